"""Constructors whose options are completed and checked as those of a stanza are."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.signature import REQUIRED, Parameter, signature_of
from fuxi_mtl.options.values import convert, located


def checked_constructor(cls: type) -> Callable:
    """The constructor of a class, which is handed all options: given or default, converted and checked.

    Its signature names those that the class takes in groups one by one, with plain types, as help and
    notebooks show them; ``checked_options`` has all that is known of them.
    """
    constructor: Callable = cls.__init__  # type: ignore[misc]
    options = signature_of(cls).options

    @functools.wraps(constructor)
    def __init__(self, *given, **named):  # noqa: N807
        own = {key: value for key, value in named.items() if key not in before}
        rest = {key: value for key, value in named.items() if key in before}
        constructor(self, *given, **rest, **completed(cls.__name__, options, own))

    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(constructor).parameters.values()
    given = [each for each in parameters if each.kind in kinds]
    before = {each.name for each in given}
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*given, *map(_shown, options.values())]
    )
    __init__.checked_options = options  # type: ignore[attr-defined]
    return __init__


class CheckedOptions:
    """Base of classes whose constructors get their options converted and checked, as a stanza's are."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls) and signature_of(cls).options:
            cls.__init__ = checked_constructor(cls)  # type: ignore[method-assign]


def completed(name: str, options: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every option: the one that is given, converted and checked, or the default.

    Args:
        name: What has the options, for errors.
        options: What is known.
        given: Values by name; a block is a dataclass or a mapping.

    Raises:
        TypeError: An option that is not known.
        ValueError: A value of another type, or out of bounds.
    """
    check_names(name, options, given)
    values = {key: each.default for key, each in options.items() if each.default is not REQUIRED}
    for key, value in given.items():
        each = options[key]
        values[key] = value if each.type is Any else convert(located(value), each.type, key, each.option)
    return values


def check_names(name: str, known: Collection[str], given: Iterable[str]) -> None:
    """Every option that is given is known.

    Raises:
        TypeError: One is not, as Python itself says it, with the nearest.
    """
    for key in given:
        if key not in known:
            raise TypeError(
                f"{name} has no option {key!r}.{did_you_mean(key, known)} Options: "
                f"{', '.join(known) or 'none'}."
            )


def documented(text: str | None, options: Mapping[str, Parameter]) -> str | None:
    """A docstring with the sentence of each option in its section ``Args``, unless it has one there."""
    lines = inspect.cleandoc(text or "").splitlines()
    if "Args:" not in lines:
        return text
    start = lines.index("Args:")
    end = next((at for at in range(start, len(lines)) if not lines[at]), len(lines))
    said = {line.strip().partition(":")[0] for line in lines[start:end]}
    more = [
        f"    {key}: {each.option.doc}"
        for key, each in options.items()
        if each.option.doc and key not in said
    ]
    return "\n".join([*lines[:end], *more, *lines[end:]])


def _shown(option: Parameter) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.name, kind, default=option.default, annotation=option.type)

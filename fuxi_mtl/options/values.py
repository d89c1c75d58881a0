"""Values converted by the type of the option they go to.

``1e-3`` is text to YAML 1.1; it becomes a number where a number is wanted and stays text elsewhere.
A whole number may stand for a fractional one, never the other way round, and true is not 1.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.source_location import Located

_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_SINGULAR = {str: "text", bool: "true or false", int: "a whole number", float: "a number", Any: "anything"}
_PLURAL = {str: "texts", bool: "true or false", int: "whole numbers", float: "numbers", Any: "values"}
_NONE = type(None)


def convert(entry: Located, expected: Any, key: str, choices: Collection = ()) -> Any:
    """The plain value of `entry`, of the expected type.

    Args:
        entry: What was written.
        expected: A type annotation: a scalar type, a union, a list or mapping of such, a `Literal`, or
            a dataclass of options.
        key: The key, for the error.
        choices: Allowed values, or allowed elements of a list; none allows all.

    Raises:
        ConfigError: The value has another type, or is none of the choices.
    """
    alternatives = _alternatives(expected)
    if entry.value is None and (_NONE in alternatives or Any in alternatives):
        return None
    for alternative in _fitting(entry.value, alternatives):
        return _as(entry, alternative, key, choices)
    if alternatives == [_NONE]:
        raise entry.error(f"{key} is code, which is never run. Prepare the column in the data instead.")
    hint = f" Write [{show(entry.value)}]." if _wants_list_of(entry.value, alternatives) else ""
    if entry.value == "None" and _NONE in alternatives:
        hint = " YAML writes None as null."
    elif str in alternatives and isinstance(entry.value, (bool, int, float)):
        hint = " In quotes it is text."
    raise entry.error(f"{key} expects {describe(expected)}, not {show(entry.value)}.{hint}")


def converted_fields(entry: Located, options: Any, key: str) -> dict[str, Any]:
    """The fields of a dataclass that a mapping gives: one entry of ``feature_cols``, for example.

    Raises:
        ConfigError: An unknown key, or a wrong value.
    """
    fields = {spelled(field.name): field for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    name = entry.value.get("name")
    label = f"{key} ({name.value})" if name and isinstance(name.value, str) else key
    given = {}
    for each, value in entry.value.items():
        if each not in fields:
            raise value.error(
                f"{label}: unknown key {each!r} (value {show(value)}).{did_you_mean(each, fields)} "
                f"Keys: {', '.join(fields)}."
            )
        field = fields[each]
        given[field.name] = convert(
            value, hints[field.name], f"{label}.{each}", field.metadata["option"].choices
        )
    return given


def spelled(field: str) -> str:
    """A field as YAML spells it: ``lambda`` is no name in Python, so the field is called ``lambda_``."""
    return field.removesuffix("_")


def plain(entry: Located) -> Any:
    """The value without its places; numbers such as 1e-3 are read as numbers."""
    if isinstance(entry.value, dict):
        return {key: plain(value) for key, value in entry.value.items()}
    if isinstance(entry.value, list):
        return [plain(value) for value in entry.value]
    return float(entry.value) if _is_exponent(entry.value) else entry.value


def show(value: Any) -> str:
    """A value as an error shows it, in the spelling of YAML."""
    if isinstance(value, Located):
        return show(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        text = f"[{', '.join(map(show, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {show(each)}' for key, each in value.items())}}}"
    else:
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe(expected: Any) -> str:
    """A type in words: ``a number or null``."""
    return " or ".join(dict.fromkeys(_words(each) for each in _alternatives(expected)))


def _words(expected: Any) -> str:
    if expected is _NONE:
        return "null"
    if typing.get_origin(expected) is Literal:
        return f"one of {', '.join(map(show, typing.get_args(expected)))}"
    if _is_list(expected):
        return f"a list of {_PLURAL.get(_element(expected), 'mappings')}"
    if _is_mapping(expected):
        return f"a mapping of names to {_PLURAL.get(_element(expected), 'values')}"
    if dataclasses.is_dataclass(expected):
        return "a mapping"
    return _SINGULAR.get(expected, str(expected))


def _alternatives(expected: Any) -> list:
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return list(typing.get_args(expected))
    return [_NONE if expected is None else expected]


def _fitting(value: Any, alternatives: list) -> list:
    """The alternatives whose form fits; numbers first, so that 1e-6 is no text for ``float | str``."""
    order = {bool: 0, int: 1, float: 2, str: 3}
    return [each for each in sorted(alternatives, key=lambda a: order.get(a, 4)) if _fits(value, each)]


def _fits(value: Any, expected: Any) -> bool:
    if expected is Any:
        return True
    if typing.get_origin(expected) is Literal:
        return type(value) in map(type, typing.get_args(expected))
    if _is_list(expected):
        # FuxiCTR writes a single label as a mapping.
        return isinstance(value, list) or (isinstance(value, dict) and _holds_options(expected))
    if _is_mapping(expected) or dataclasses.is_dataclass(expected):
        return isinstance(value, dict)
    if expected is str:
        return isinstance(value, str)
    if expected is bool:
        return isinstance(value, bool)
    if expected in (int, float):
        number = _number(value)
        return number is not None and (expected is float or number == math.floor(number))
    return False


def _number(value: Any) -> float | None:
    """A finite number; infinity and NaN are no setting of anything."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_exponent(value)):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond 1e308
        return None
    return number if math.isfinite(number) else None


def _is_exponent(value: Any) -> bool:
    return isinstance(value, str) and _EXPONENT.fullmatch(value) is not None


def _as(entry: Located, expected: Any, key: str, choices: Collection) -> Any:
    value = entry.value
    if expected is Any:
        return plain(entry)
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        return expected(**converted_fields(entry, expected, key))
    if _is_list(expected):
        element = _element(expected)
        items = value if isinstance(value, list) else [entry]
        return [convert(each, element, f"{key}[{i}]", choices) for i, each in enumerate(items)]
    if _is_mapping(expected):
        element = _element(expected)
        return {name: convert(each, element, f"{key}.{name}", choices) for name, each in value.items()}
    if typing.get_origin(expected) is Literal:
        return _chosen(entry, value, key, typing.get_args(expected))
    if expected is float or (expected is int and not isinstance(value, int)):
        value = expected(float(value))
    return _chosen(entry, value, key, choices) if choices else value


def _chosen(entry: Located, value: Any, key: str, choices: Collection) -> Any:
    """One of the choices. FuxiCTR also takes Adam for adam, and layers.MaskedAveragePooling()."""
    name = value.lower().removeprefix("layers.").removesuffix("()") if isinstance(value, str) else value
    for choice in choices:
        if name == (choice.lower() if isinstance(choice, str) else choice):
            return choice
    raise entry.error(
        f"{key} is {show(value)}.{did_you_mean(value, choices)} Choices: {', '.join(map(str, choices))}."
    )


def _is_list(expected: Any) -> bool:
    origin = typing.get_origin(expected) or expected
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def _is_mapping(expected: Any) -> bool:
    origin = typing.get_origin(expected) or expected
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _holds_options(expected: Any) -> bool:
    return dataclasses.is_dataclass(_element(expected))


def _element(expected: Any) -> Any:
    """The type of a list's elements or of a mapping's values."""
    arguments = [each for each in typing.get_args(expected) if each is not Ellipsis]
    return arguments[-1] if arguments else Any


def _wants_list_of(value: Any, alternatives: list) -> bool:
    return any(_is_list(each) and _fits(value, _element(each)) for each in alternatives)

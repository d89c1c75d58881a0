"""How one option is declared: its default, sentence, choices and bounds."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, overload


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its type and default; checks, listings and documents read it.

    Attributes:
        doc: One sentence that says what it is for.
        choices: All allowed values, or all allowed texts; empty if any value of the type will do.
        least: The smallest number allowed.
        above: Numbers must be larger than this.
        most: The largest number allowed.
    """

    doc: str
    choices: Collection = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a number, such as ``the least is 1``; of a list, with its first such member."""
        if isinstance(value, (list, tuple)):
            return next(filter(None, map(self.problem, value)), None)
        if isinstance(value, Mapping):
            return self.problem(list(value.values()))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if self.least is not None and not value >= self.least:
            return f"the least is {self.least:g}"
        if self.above is not None and not value > self.above:
            return f"it must be above {self.above:g}"
        if self.most is not None and not value <= self.most:
            return f"the most is {self.most:g}"
        return None


@overload
def option(
    doc: str,
    /,
    *,
    choices: Collection = ...,
    least: float | None = ...,
    above: float | None = ...,
    most: float | None = ...,
) -> Option: ...


@overload
def option(
    default: Any,
    doc: str,
    /,
    choices: Collection = ...,
    *,
    least: float | None = ...,
    above: float | None = ...,
    most: float | None = ...,
) -> Any: ...


def option(default: Any, doc: Any = MISSING, /, choices: Collection = (), **bounds: Any) -> Any:
    """Declares one option: ``option(default, doc)`` is a field of a dataclass of options.

    In a model's signature ``option(doc)`` stands in the annotation, since the default is the parameter's::

        batch_size: int = option(1024, "Rows in a step.", least=1)
        num_experts: Annotated[int, option("Experts.", least=1)] = 8
    """
    if doc is MISSING:
        return Option(default, choices, **bounds)
    metadata = {"option": Option(doc, choices, **bounds)}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)

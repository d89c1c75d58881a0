"""How one option is declared: its default, sentence, choices and bounds."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, overload

REQUIRED = inspect.Parameter.empty  # stands for no default


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its type and default; checks, listings and documents read it.

    Attributes:
        doc: One sentence that says what it is for.
        choices: All allowed values, or all allowed texts; empty if any value of the type will do.
        least: The smallest number allowed.
        above: Numbers must be larger than this.
        most: The largest number allowed.
        below: Numbers must be smaller than this.
        default: The default, where no field and no signature has it: in a group of options.
    """

    doc: str
    choices: Collection = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    default: Any = REQUIRED

    def problem(self, value: Any) -> str | None:
        """What is wrong with a number, such as ``the least is 1``; of a list, with its first such member."""
        if isinstance(value, (list, tuple)):
            return next(filter(None, map(self.problem, value)), None)
        if isinstance(value, Mapping):
            return self.problem(list(value.values()))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        ):
            return None
        return self.range

    @property
    def range(self) -> str:
        """The numbers allowed, in words."""
        match (self.least, self.above, self.most, self.below):
            case (None, None, most, None):
                return f"the most is {most:g}"
            case (None, None, None, below):
                return f"it must be below {below:g}"
            case (least, None, None, None):
                return f"the least is {least:g}"
            case (None, above, None, None):
                return f"it must be above {above:g}"
            case (least, None, most, None):
                return f"it lies from {least:g} to {most:g}"
            case (least, None, None, below):
                return f"it lies from {least:g} to below {below:g}"
            case (None, above, most, None):
                return f"it lies above {above:g}, up to {most:g}"
        return f"it lies between {self.above:g} and {self.below:g}, neither included"


@overload
def option(
    doc: str,
    /,
    *,
    choices: Collection = ...,
    least: float | None = ...,
    above: float | None = ...,
    most: float | None = ...,
    below: float | None = ...,
    default: Any = ...,
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
    below: float | None = ...,
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

"""Declarations of single options: default, sentence, choices and bounds."""

import inspect
from collections.abc import Callable, Collection
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
        example: A value as a stanza has it, where the type alone does not show how one looks.
        default: The default, where no field and no signature has it: in a group of options.
        check: Raises a ValueError for a text or number in which something else is wrong.
    """

    doc: str
    choices: Collection = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    example: str = ""
    default: Any = REQUIRED
    check: Callable[[Any], object] | None = None

    @property
    def bounds(self) -> str:
        """The numbers allowed, such as ``from 0 to below 1`` or ``above 0``; empty if all are."""
        low = f"from {_number(self.least)}" if self.least is not None else ""
        low = f"above {_number(self.above)}" if self.above is not None else low
        high = f"to {_number(self.most)}" if self.most is not None else ""
        high = f"below {_number(self.below)}" if self.below is not None else high
        if not (low and high):
            return low or high
        link = {"from": {"to": "", "below": "to "}, "above": {"to": "and up ", "below": "and "}}
        return f"{low} {link[low.split()[0]][high.split()[0]]}{high}"

    def problem(self, value: Any) -> str | None:
        """What is wrong with a number, such as ``the least is 1``; None if it is allowed or no number."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        ):
            return None
        match (self.least, self.above, self.most, self.below):
            case (least, None, None, None):
                return f"the least is {_number(least)}"
            case (None, None, most, None):
                return f"the most is {_number(most)}"
            case (None, _, None, None) | (None, None, None, _):
                return f"it must be {self.bounds}"
        return f"it lies {self.bounds}"


def _number(bound: float | None) -> str:
    return f"{bound:g}" if bound is None or bound != int(bound) else f"{int(bound)}"


MOST_OF_SEEDS = 2**32 - 1  # numpy's and Keras's
MOST_WIDTH = 2**16  # of layers and vectors: two such layers take 16 GiB
MOST_LENGTH = 10**6  # of a sequence
MOST_PARTS = 10_000  # experts, levels and the like, each of which is a layer of its own
MOST_STEPS = 10_000  # in one call of a graph


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
    example: str = ...,
    default: Any = ...,
    check: Callable[[Any], object] | None = ...,
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
    example: str = ...,
) -> Any: ...


def option(default: Any, doc: Any = MISSING, /, choices: Collection = (), **more: Any) -> Any:
    """Declares one option: ``option(default, doc)`` is a field of a dataclass of options.

    In a model's signature ``option(doc)`` stands in the annotation, since the default is the parameter's::

        batch_size: int = option(1024, "Rows in a step.", least=1)
        num_experts: Annotated[int, option("Experts.", least=1)] = 8
    """
    if doc is MISSING:
        return Option(default, choices, **more)
    metadata = {"option": Option(doc, choices, **more)}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)

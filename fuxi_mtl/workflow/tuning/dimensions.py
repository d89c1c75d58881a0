"""One key of a space: choices, or a range of numbers; and when a key is tried at all."""

import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

import numpy as np

from fuxi_mtl import registry
from fuxi_mtl.config.families import families_with
from fuxi_mtl.config.routing import owners
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import Family
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.options.values import convert, plain, show

RANGE = ("low", "high", "log", "step")
Values = Mapping[str, Located]  # a value of each key of a trial


@dataclass(frozen=True)
class Dimension:
    """A key and what it may be.

    Attributes:
        key: A key of the stanza or of its dataset; with dots one inside a block.
        entry: Where it was written.
        choices: Its values; none for a range.
        low: Least value of a range.
        high: Largest value of a range.
        log: Whether its orders of magnitude are equally likely.
        step: Distance of its values; None for any number between.
        whole: Whether it has whole numbers only.
    """

    key: str
    entry: Located
    choices: tuple[Located, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def texts(self) -> list[str]:
        """The choices as a study stores them."""
        return [as_text(choice) for choice in self.choices]

    def located(self, stored: Any) -> Located:
        """The value that a study stored.

        Args:
            stored: The text of a choice, or a number of the range.
        """
        if self.choices:
            return self.choices[self.texts.index(stored)]
        return Located(int(stored) if self.whole else float(stored), self.entry.location)

    @property
    def extremes(self) -> tuple[Located, ...]:
        """The values that are checked before the first trial: all choices, or both ends."""
        return self.choices or (self.located(self.low), self.located(self.high))

    @property
    def is_countable(self) -> bool:
        """Whether a grid can have all of its values."""
        return bool(self.choices) or self.step is not None

    @property
    def points(self) -> list[Any]:
        """All values of one that is countable, as a study stores them."""
        if self.choices:
            return list(dict.fromkeys(self.texts))
        count = int(np.floor((self.high - self.low) / self.step + 1e-9)) + 1 if self.step else 0
        found = [self.low + place * (self.step or 0) for place in range(count)]
        return [int(each) if self.whole else float(f"{each:.12g}") for each in found]

    @property
    def described(self) -> Any:
        """What the search is known by: plain values."""
        if self.choices:
            return [plain(choice) for choice in self.choices]
        found = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {key: value for key, value in found.items() if value not in (None, False)}


def as_text(value: Located) -> str:
    """A value as JSON: studies store texts and numbers."""
    return json.dumps(plain(value), sort_keys=True)


def dimension(key: str, entry: Located) -> Dimension | None:
    """What a key may be; None where it is fixed: neither a list of choices nor a range.

    Raises:
        ConfigError: The list is empty, or the range is none.
    """
    if isinstance(entry.value, list):
        if not entry.value:
            raise entry.error(f"{key}: there is nothing to choose from. Write [first, second, ...].")
        return Dimension(key, entry, tuple(entry.value))
    if isinstance(entry.value, dict) and {"low", "high"} & {*entry.value}:
        return _range(key, entry)
    return None


def _range(key: str, entry: Located) -> Dimension:
    for name, given in entry.value.items():
        if name not in RANGE:
            raise given.error(
                f"{key}: unknown key {name!r}.{did_you_mean(name, RANGE)} Keys: {', '.join(RANGE)}."
            )
    for name in ("low", "high"):
        if name not in entry.value:
            raise entry.error(f"{key}: a range needs {name}, as in {{low: 1.e-4, high: 1.e-2, log: true}}.")
    given = {
        name: convert(value, bool if name == "log" else float, f"{key}.{name}")
        for name, value in entry.value.items()
    }
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    written = [value.value for name, value in entry.value.items() if name != "log"]
    whole = all(isinstance(value, int) for value in written) and not _takes_fractions(key)
    if low >= high:
        raise entry.error(f"{key}: low is {low:g} and high {high:g}; low must be below high.")
    if log and low <= 0:
        raise entry.error(f"{key}: low is {low:g}; log: true needs a number above 0.")
    if log and step is not None:
        raise entry.error(f"{key}: log and step exclude each other. Write the values as a list.")
    if step is not None and step <= 0:
        raise entry.error(f"{key}: step is {step:g}; it must be above 0.")
    if whole:
        step = None if log else step or 1
        return Dimension(key, entry, (), int(low), int(high), log, None if step is None else int(step), True)
    return Dimension(key, entry, (), low, high, log, step)


def _takes_fractions(key: str) -> bool:
    """Whether an option takes any number, so that ``{low: 0, high: 1}`` does not mean 0 and 1 alone."""
    hints: list[Any] = []
    if key in owners():
        hints.append(typing.get_type_hints(owners()[key])[key])
    else:
        declared = [registry.options(name) for name in registry.names()]
        declared += [member.options for family in families_with(key) for member in family.members]
        hints += [options[key].type for options in declared if key in options]
    return any(float in _alternatives(hint) for hint in hints)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)


def is_of_models(of: Dimension) -> bool:
    """Whether a key is the model or an option of some."""
    top = of.key.partition(".")[0]
    return top == "model" or any(top in registry.options(name) for name in registry.names())


def choosers() -> tuple[str, ...]:
    """Keys that decide which others there are: the model, and what chooses from families."""
    flat = dict.fromkeys(family.key for family in Family.known if not family.in_block)
    return ("model", *flat)


def is_tried(key: str, values: Values) -> bool:
    """Whether a key has a meaning beside the values chosen before it.

    An option of some models is tried only with these, one of some weightings only with these, and so on,
    where the space varies the model or the weighting. A key that nobody has is tried, to be refused.

    Args:
        key: The key.
        values: Those of :func:`choosers` that the space varies, by key.
    """
    top = key.partition(".")[0]
    if top in owners() or top in values:
        return True
    if "model" in values:
        takers = [name for name in registry.names() if top in registry.options(name)]
        if takers:
            return values["model"].value in takers
    wanting = [family for family in families_with(top) if family.key in values]
    return not wanting or any(
        name in family.owners(top) for family in wanting for name in _names(values[family.key])
    )


def _names(chosen: Located) -> list[str]:
    given = plain(chosen)
    return [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str)]


def said(values: Mapping[str, Any]) -> str:
    """``learning_rate 0.003, num_experts 4``."""
    shown = {key: plain(value) if isinstance(value, Located) else value for key, value in values.items()}
    return ", ".join(
        f"{key} {f'{value:.4g}' if isinstance(value, float) else show(value)}" for key, value in shown.items()
    )

"""Statistics of one pass over the training rows, in bounded memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

COMPACT_ROWS = 1_000_000
SAMPLE_ROWS = 1 << 22
_COUNTS = {"token": pl.String, "count": pl.Int64}


@dataclass
class TokenCounts:
    """How often each token was seen; grows with the number of distinct tokens only.

    Attributes:
        whole: Entries that were whole numbers written with a point, as ``3.0``.
        once: Whether there is no token twice, in one part or in several.
    """

    parts: list[pl.DataFrame] = field(default_factory=list)
    pending: int = 0
    whole: int = 0
    once: bool = False

    def observe(self, tokens: pl.Series, counts: pl.Series, once: bool = False) -> None:
        """Adds the counts of a block; a token may come more than once, unless `once` says that none does."""
        self._append(pl.DataFrame({"token": tokens, "count": counts}, schema_overrides=_COUNTS), once)

    def add(self, other: "TokenCounts") -> None:
        """Adds what was counted elsewhere."""
        self._append(other.total(), once=True)
        self.whole += other.whole

    def _append(self, part: pl.DataFrame, once: bool) -> None:
        self.once = once and not self.parts
        self.parts.append(part)
        self.pending += part.height
        if self.pending > COMPACT_ROWS:
            self.total()
            self.pending = 0

    def compact(self) -> "TokenCounts":
        """The same counts, each token once."""
        return self.restored(self.state())

    def of(self, tokens: Sequence[str]) -> int:
        """How often some tokens were seen in all."""
        return sum(
            int(part["count"].filter(part["token"].is_in(list(tokens))).sum() or 0) for part in self.parts
        )

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps, and :meth:`restored` reads."""
        return {"total": self.total(), "whole": self.whole}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "TokenCounts":
        """The counts of a savepoint."""
        return cls([state["total"]], state["total"].height, state["whole"], once=True)

    def total(self) -> pl.DataFrame:
        """Tokens, each once, and their counts."""
        if not self.parts:
            return pl.DataFrame(schema=_COUNTS)
        if not self.once:
            self.parts, self.once = [_added_up(self.parts)], True
        return self.parts[0]


def total_of(counts: Sequence[TokenCounts]) -> pl.DataFrame:
    """The tokens of several columns, each once, and their counts in all of them."""
    totals = [each.total() for each in counts]
    return totals[0] if len(totals) == 1 else _added_up(totals)


def _added_up(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("token").agg(pl.col("count").sum())


def frequent_tokens(counts: list[TokenCounts], least: int, reserved: tuple[str, ...]) -> tuple[str, ...]:
    """Tokens seen at least ``least`` times in all, most frequent first, ties in the order of the text."""
    total = total_of(counts).filter((pl.col("count") >= least) & ~pl.col("token").is_in(list(reserved)))
    return tuple(total.sort("count", "token", descending=[True, False])["token"].to_list())


@dataclass
class Moments:
    """Mean, spread and range of numbers, by Chan's update of blocks."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    most: float = -np.inf

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Moments":
        """Those of one block; NaN does not count."""
        x = numbers[~np.isnan(numbers)].astype(np.float64)
        if not len(x):
            return cls()
        mean = x.mean()
        return cls(len(x), mean, ((x - mean) ** 2).sum(), x.min(), x.max())

    def observe(self, numbers: np.ndarray) -> None:
        """Takes in a block; NaN does not count."""
        self.add(Moments.of(numbers))

    def add(self, block: "Moments") -> None:
        """Takes in the moments of a block. Sums are rounded, so the order of blocks is part of the result."""
        if not block.count:
            return
        total = self.count + block.count
        gap = block.mean - self.mean
        self.squares += block.squares + gap**2 * self.count * block.count / total
        self.mean += gap * block.count / total
        self.count = total
        self.least, self.most = min(self.least, block.least), max(self.most, block.most)

    @property
    def deviation(self) -> float:
        """Standard deviation, of the population."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0

    def scaling(self, normalizer: str | None) -> tuple[float, float]:
        """Offset and scale of ``(x - offset) / scale``; a constant becomes 0, and so does what is not there.

        Args:
            normalizer: ``StandardScaler`` or ``MinMaxScaler``.
        """
        if not self.count:
            return 0.0, 1.0
        if normalizer == "MinMaxScaler":
            return float(self.least), float(self.most - self.least) or 1.0
        return self.mean, self.deviation or 1.0


@dataclass
class MomentsOfBlocks(Moments):
    """The moments of each block, for who adds them up in the order of all blocks.

    Attributes:
        blocks: Those of blocks that have numbers.
    """

    blocks: list[Moments] = field(default_factory=list)

    def add(self, block: Moments) -> None:
        """Keeps those of a block."""
        if block.count:
            self.blocks.append(block)


@dataclass
class Numbers:
    """What a column of numbers shows, as they are and as float32 holds them.

    Attributes:
        single: Moments of the numbers rounded to float32.
        double: Moments of the numbers.
        rounding: The most by which rounding moves one.
        infinite: Entries that float32 cannot hold; they are missing.
        first: The numbers of the first block.
    """

    single: Moments = field(default_factory=Moments)
    double: Moments = field(default_factory=Moments)
    rounding: float = 0.0
    infinite: int = 0
    first: np.ndarray | None = None

    def observe(self, numbers: np.ndarray, rounded: bool) -> None:
        """Takes in a block of float64 numbers, NaN where missing.

        Args:
            numbers: ``(rows,)``.
            rounded: Whether the moments of the rounded numbers are wanted too.
        """
        x = numbers[~np.isnan(numbers)]
        if not len(x):
            return
        single = x.astype(np.float32)
        self.first = x if self.first is None else self.first
        self.rounding = max(self.rounding, float(np.abs(x - single).max()))
        self.double.observe(x)
        if rounded:
            self.single.observe(single)

    @classmethod
    def of_blocks(cls) -> "Numbers":
        """Numbers that keep the moments of each block, for :meth:`add`."""
        return cls(MomentsOfBlocks(), MomentsOfBlocks())

    def add(self, other: "Numbers") -> None:
        """Takes in what :meth:`of_blocks` has seen of the rows behind these, as :meth:`observe` would."""
        for mine, theirs in ((self.single, other.single), (self.double, other.double)):
            for block in theirs.blocks if isinstance(theirs, MomentsOfBlocks) else ():
                mine.add(block)
        self.rounding = max(self.rounding, other.rounding)
        self.infinite += other.infinite
        self.first = other.first if self.first is None else self.first

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Numbers":
        """The numbers of a savepoint, which keeps all fields."""
        return cls(**{**state, "single": Moments(**state["single"]), "double": Moments(**state["double"])})

    @property
    def constant(self) -> bool:
        """Whether all are one number."""
        return self.double.least == self.double.most

    def needs_double(self, offset: float) -> bool:
        """Whether rounding, of a number or of an offset, moves it by 1/10,000 of the deviation.

        Or whether a difference of two numbers is beyond float32.
        """
        if self.double.most - self.double.least > np.finfo(np.float32).max:
            return True
        rounding = max(self.rounding, abs(offset - float(np.float32(offset))))
        return not self.constant and rounding > 1e-4 * self.double.deviation

    def distinct(self) -> tuple[int, int]:
        """How many of the first block's distinct numbers rounding leaves, and how many there are.

        Both are 0 where rounding takes only digits of fractions that say nothing.
        """
        if self.first is None or not self.rounding:
            return 0, 0
        if not self.needs_double(0.0) and (self.first != np.round(self.first)).any():
            return 0, 0
        return len(np.unique(self.first.astype(np.float32))), len(np.unique(self.first))

    def scaled(self, normalizer: str) -> tuple[int, int]:
        """How many of the first block's distinct numbers scaling leaves, and how many there are."""
        if self.first is None:
            return 0, 0
        offset, scale = self.double.scaling(normalizer)
        scaled = ((self.first - offset) / scale).astype(np.float32)
        return pl.Series(scaled).n_unique(), pl.Series(self.first).n_unique()


@dataclass
class Sample:
    """All numbers while they are few, then every second one, every fourth, and so on."""

    parts: list[np.ndarray] = field(default_factory=list)
    step: int = 1
    phase: int = 0
    kept: int = 0

    def observe(self, numbers: np.ndarray) -> None:
        """Takes in a block; NaN does not count."""
        x = numbers[~np.isnan(numbers)]
        part = x[self.phase :: self.step]
        self.phase = (self.phase - len(x)) % self.step
        self.parts.append(part)
        self.kept += len(part)
        while self.kept > SAMPLE_ROWS:
            numbers_kept = np.concatenate(self.parts)
            if len(numbers_kept) % 2:
                self.phase += self.step
            self.step *= 2
            self.parts = [numbers_kept[::2]]
            self.kept = len(self.parts[0])

    def add(self, other: "SpooledSample") -> None:
        """Takes in the numbers of the rows behind these, and removes their file."""
        if not other.kept:
            return
        numbers = np.memmap(other.path, np.float64, "r")
        for start in range(0, len(numbers), SAMPLE_ROWS):
            self.observe(np.array(numbers[start : start + SAMPLE_ROWS]))
        other.path.unlink()

    def boundaries(self, buckets: int, dtype: type = np.float32) -> tuple[float, ...]:
        """The numbers that cut the sample into buckets of equal size, repeated ones left out."""
        x = np.concatenate(self.parts) if self.parts else np.zeros(0, dtype)
        if not len(x):
            return ()
        # "higher" takes a number of the sample: no rounding between float32 and float64.
        cuts: np.ndarray = np.quantile(x.astype(dtype), np.arange(1, buckets) / buckets, method="higher")
        return tuple(float(cut) for cut in np.unique(cuts))


@dataclass
class SpooledSample(Sample):
    """All numbers, in a file: which of them a sample keeps is known when those before them are counted.

    Attributes:
        path: The file; there is none before the first number.
    """

    path: Path = Path()

    def observe(self, numbers: np.ndarray) -> None:
        """Appends a block; NaN does not count."""
        x = numbers[~np.isnan(numbers)].astype(np.float64)
        if len(x):
            with self.path.open("ab" if self.kept else "wb") as file:
                file.write(x.data)
            self.kept += len(x)

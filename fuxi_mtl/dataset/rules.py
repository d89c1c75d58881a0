"""Rules from an entry to an id or a number: small and frozen, fitted once and kept as JSON.

The exporter rebuilds each rule inside a TensorFlow graph, so each says exactly what it computes.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError
from fuxi_mtl.dataset.farmhash import buckets_of


@dataclass(frozen=True)
class Vocabulary:
    """Id = 1 + position of the token in a list; unseen tokens get ``vocab_size - 1``.

    Attributes:
        owner: Feature whose list of tokens this is.
        dtype: ``int``, ``str`` or ``text``, see :func:`fuxi_mtl.dataset.raw.tokens`.
        fill_na: Token of a missing entry; without it the token is ``""``.
    """

    owner: str
    dtype: str = "str"
    fill_na: str | None = None

    def tokens(self, entries: pl.Series) -> pl.Series:
        """The token of each entry; for many entries that repeat, :meth:`distinct` is faster."""
        return _filled_tokens(entries, self.dtype, self.fill_na)

    def distinct(self, entries: pl.Series) -> tuple[pl.Series, np.ndarray]:
        """The tokens of the different entries, and which of them each row holds."""
        return _distinct_tokens(entries, self.dtype, self.fill_na)

    def tokens_of(self, values: pl.Series, rows: np.ndarray) -> pl.Series:
        """The token of each of the values that :func:`fuxi_mtl.dataset.raw.distinct` found.

        Args:
            values: Different entries.
            rows: Which of them each row holds; a mistake is told with the first row that has it.
        """
        return _tokens_of(values, rows, self.dtype, self.fill_na)


@dataclass(frozen=True)
class HashBuckets:
    """Id = 1 + ``tf.strings.to_hash_bucket_fast(token, buckets)``; ``vocab_size`` is ``buckets + 2``.

    Attributes:
        buckets: Number of buckets.
        dtype: As in :class:`Vocabulary`.
        fill_na: As in :class:`Vocabulary`.
    """

    buckets: int
    dtype: str = "str"
    fill_na: str | None = None

    def apply(self, entries: pl.Series) -> np.ndarray:
        """Ids ``(rows,)`` int32."""
        found, rows = _distinct_tokens(entries, self.dtype, self.fill_na)
        return (buckets_of(found, self.buckets) + 1).astype(np.int32)[rows]


@dataclass(frozen=True)
class Buckets:
    """Id = 1 + number of boundaries that are not above the number; missing is ``vocab_size - 1``.

    Attributes:
        boundaries: Rising numbers; ``vocab_size`` is three more than their number.
        fill_na: Number that stands for a missing one.
        double: Whether numbers are compared in float64, as float32 makes some boundaries one.
        least: Numbers below it are errors; None if there are none.
    """

    boundaries: tuple[float, ...]
    fill_na: float | None = None
    double: bool = False
    least: float | None = None

    def apply(self, entries: pl.Series) -> np.ndarray:
        """Ids ``(rows,)`` int32.

        Raises:
            BadEntryError: An entry is below the least.
        """
        x = filled_numbers(entries, self.fill_na, self.double)
        below = np.zeros(len(x), bool) if self.least is None else x < self.least
        if below.any():
            index = int(np.argmax(below))
            wanted = f"a time of {self.least:g} or more; clip_negative_gaps takes less as 0"
            raise BadEntryError(entries.name, index, entries[index], wanted)
        ids = 1 + np.searchsorted(np.asarray(self.boundaries, x.dtype), x, side="right")
        return np.where(np.isnan(x), len(self.boundaries) + 2, ids).astype(np.int32)


@dataclass(frozen=True)
class Ids:
    """The column already holds ids; missing ones and those outside ``[0, count)`` are OOV.

    Attributes:
        count: Number of ids that the column may hold.
        fill_na: Id of a missing entry.
        unknown: The id of OOV: the one behind them. Version 0.1.0 took the last of them.
    """

    count: int
    fill_na: int | None = None
    unknown: int = -1

    def __post_init__(self) -> None:
        if self.unknown < 0:
            object.__setattr__(self, "unknown", self.count)

    def apply(self, entries: pl.Series) -> np.ndarray:
        """Ids ``(rows,)`` int32."""
        filling = self.unknown if self.fill_na is None else self.fill_na
        ids = raw.integers(entries).fill_null(filling).to_numpy()
        return np.where((ids < 0) | (ids >= self.count), self.unknown, ids).astype(np.int32)


@dataclass(frozen=True)
class Number:
    """``(x - offset) / scale``, or ``log(1 + x)``; a missing number without ``fill_na`` gives 0.

    Attributes:
        offset: Mean, or least value; 0 without a normalizer.
        scale: Standard deviation, or range; 1 without a normalizer.
        fill_na: Number that stands for a missing one, before scaling.
        double: Whether x is scaled in float64, as float32 loses too much of it before the subtraction: Unix
            time is a constant there.
        log: Whether it is the logarithm, which is taken in float64 of x in float32.
    """

    offset: float = 0.0
    scale: float = 1.0
    fill_na: float | None = None
    double: bool = False
    log: bool = False

    def apply(self, entries: pl.Series) -> np.ndarray:
        """Numbers ``(rows,)`` float32.

        Raises:
            BadEntryError: An entry has no logarithm.
        """
        x = filled_numbers(entries, self.fill_na, self.double)
        if self.log:
            check_logarithms(entries, x)
            x = np.log1p(x, dtype=np.float64)
        else:
            x = (x - x.dtype.type(self.offset)) / x.dtype.type(self.scale)
        x = x.astype(np.float32)
        return np.where(np.isfinite(x), x, np.float32(0))


# Boundaries of floor(log2(1 + x)), which ends at 31.
LOG2_BOUNDARIES = tuple(2.0**power - 1 for power in range(1, 32))

Rule = Vocabulary | HashBuckets | Buckets | Ids | Number
RULES: dict[str, type] = {rule.__name__: rule for rule in (Vocabulary, HashBuckets, Buckets, Ids, Number)}


def _distinct_tokens(entries: pl.Series, dtype: str, fill_na: str | None) -> tuple[pl.Series, np.ndarray]:
    values, rows = raw.distinct(entries)
    return _tokens_of(values, rows, dtype, fill_na), rows


def _tokens_of(values: pl.Series, rows: np.ndarray, dtype: str, fill_na: str | None) -> pl.Series:
    try:
        return _filled_tokens(values, dtype, fill_na)
    except BadEntryError as error:
        first = int(np.argmax(rows == error.index))
        raise BadEntryError(error.column, first, error.value, error.wanted) from None


def _filled_tokens(entries: pl.Series, dtype: str, fill_na: str | None) -> pl.Series:
    tokens = raw.tokens(entries, dtype)
    return tokens if fill_na is None else tokens.replace(raw.MISSING, fill_na)


def filled_numbers(entries: pl.Series, fill_na: float | None, double: bool = False) -> np.ndarray:
    """Entries as float32, or float64 if ``double``; NaN where missing, or infinite in float32."""
    x = raw.doubles(entries) if double else raw.numbers(entries)
    if double:
        x[raw.infinite(x)] = np.nan
    return filled(x, fill_na)


def filled(x: np.ndarray, fill_na: float | None) -> np.ndarray:
    """Numbers with ``fill_na`` in the place of NaN, if there is one."""
    return x if fill_na is None else np.where(np.isnan(x), x.dtype.type(fill_na), x)


def check_logarithms(entries: pl.Series, x: np.ndarray) -> None:
    """Every number has a logarithm ``log(1 + x)``.

    Raises:
        BadEntryError: One has not.
    """
    bad = x <= -1
    if bad.any():
        index = int(np.argmax(bad))
        wanted = "a number above -1, as normalizer: log1p asks"
        raise BadEntryError(entries.name, index, entries[index], wanted)

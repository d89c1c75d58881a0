"""Raw columns as tokens, numbers and lists, the same from every file format.

A missing entry is null, NaN or empty text. Integers are written as decimal digits. A float without
fraction is its integer, as a number and as a text: pandas makes ``3.0`` of ``3`` as soon as one entry is
missing, so ids would be others in a file with a gap than in one without. ``dtype: text`` keeps every text
as it is. Numbers are parsed to float64 and rounded to float32 at once: a network served with float32
inputs then sees exactly what it saw in training.
"""

import numpy as np
import polars as pl

from fuxi_mtl.dataset.errors import BadEntryError

MISSING = ""  # The token of a missing entry.
MAX_EXACT_FLOAT = 2**53
WHOLE = r"^([-+]?[0-9]+)\.0$"  # a whole number as pandas writes it beside a missing one


def tokens(entries: pl.Series, dtype: str) -> pl.Series:
    """Entries as text, ``""`` where missing; ``3.0`` is ``3``.

    Args:
        entries: A raw column.
        dtype: ``int`` for integers only; ``text`` takes every entry as it is written.

    Raises:
        BadEntryError: An entry of an integer column is no integer.
    """
    if dtype == "int":
        entries = integers(entries)
    elif entries.dtype.is_float():
        entries = entries.fill_nan(None)
        texts = entries.cast(pl.String)
        if dtype != "text":
            whole = written_whole(entries)
            digits = entries.set(~whole, None).cast(pl.Int64).cast(pl.String)
            texts = texts.zip_with(~whole, digits)
        entries = texts
    elif dtype != "text":
        found = written_whole(entries)
        if found.any():
            entries = entries.cast(pl.String).str.replace(WHOLE, "$1")
    return entries.cast(pl.String).fill_null(MISSING)


def written_whole(entries: pl.Series) -> pl.Series:
    """Which entries are whole numbers that are written with a point, as ``3.0``."""
    if entries.dtype.is_float():
        return ((entries == entries.round()) & (entries.abs() <= MAX_EXACT_FLOAT)).fill_null(False)
    if entries.dtype == pl.String:
        return entries.str.contains(WHOLE).fill_null(False)
    return pl.repeat(False, len(entries), eager=True)


def distinct(entries: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The different entries and, for each row, which of them it holds.

    What is costly for texts is done once for each different one: entries mostly repeat.
    """
    if entries.dtype in (pl.Categorical, pl.Enum):
        entries = entries.cast(pl.String)
    encoded = entries.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode("encode")
    values = pl.Series(entries.name, pl.from_arrow(encoded.dictionary))
    return values, pl.Series(pl.from_arrow(encoded.indices)).to_numpy()


def is_missing(entries: pl.Series) -> np.ndarray:
    """Whether each entry is missing, as booleans."""
    missing = entries.is_null()
    if entries.dtype == pl.String:
        missing |= entries == MISSING
    elif entries.dtype.is_float():
        missing |= entries.is_nan()
    return missing.fill_null(True).to_numpy()


def integers(entries: pl.Series) -> pl.Series:
    """Entries as Int64, null where missing.

    Raises:
        BadEntryError: An entry is no integer.
    """
    if entries.dtype.is_integer() or entries.dtype == pl.Boolean:
        return entries.cast(pl.Int64)
    if entries.dtype == pl.String:
        whole = entries.cast(pl.Int64, strict=False)
        if whole.null_count() == entries.null_count():
            return whole
        # Slower, for what is left: blanks, and integers that some tool wrote as 3.0.
        rest = whole.is_null()
        values = _floats(entries.filter(rest), entries, rest)
        return whole.scatter(rest.arg_true(), _whole(values, entries, rest))
    everything = pl.repeat(True, len(entries), eager=True)
    return _whole(_floats(entries, entries, everything), entries, everything)


def _floats(values: pl.Series, entries: pl.Series, chosen: pl.Series) -> pl.Series:
    """``values``, the chosen entries, as Float64 with null for missing."""
    text = values.dtype == pl.String
    if text:
        values = values.str.strip_chars()
        values = values.set(values == MISSING, None)
    parsed = values.cast(pl.Float64, strict=False)
    bad = parsed.is_null() & values.is_not_null()
    if bad.any():
        index = int(chosen.arg_true()[bad.arg_true()[0]])
        raise BadEntryError(entries.name, index, entries[index], "a number")
    return parsed.fill_nan(None)


def _whole(values: pl.Series, entries: pl.Series, chosen: pl.Series) -> pl.Series:
    """Float64 values as Int64."""
    bad = (values != values.round()) | (values.abs() > MAX_EXACT_FLOAT)
    if bad.any():
        index = int(chosen.arg_true()[bad.arg_true()[0]])
        raise BadEntryError(entries.name, index, entries[index], "an integer")
    return values.cast(pl.Int64)


def numbers(entries: pl.Series) -> np.ndarray:
    """Entries as float32, NaN where missing or infinite.

    Raises:
        BadEntryError: An entry is no number.
    """
    values = doubles(entries).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def doubles(entries: pl.Series) -> np.ndarray:
    """Entries as float64, NaN where missing.

    Raises:
        BadEntryError: An entry is no number.
    """
    if entries.dtype == pl.String:
        quick = entries.cast(pl.Float64, strict=False)
        if quick.null_count() > entries.null_count():
            quick = _floats(entries, entries, pl.repeat(True, len(entries), eager=True))
        entries = quick
    elif not (entries.dtype.is_numeric() or entries.dtype in (pl.Boolean, pl.Null)):
        raise BadEntryError(entries.name, 0, entries[0] if len(entries) else None, "a number")
    return entries.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)


def lists(entries: pl.Series, splitter: str) -> tuple[pl.Series, np.ndarray]:
    """All members of all bags one after the other, and the number of members of each bag.

    Args:
        entries: Lists, arrays, or texts such as ``a^b^c``.
        splitter: What separates the members of a text.

    Returns:
        The members, and their number in each row, ``(rows,)`` int64.
    """
    if isinstance(entries.dtype, pl.Array):
        entries = entries.arr.to_list()
    elif not isinstance(entries.dtype, pl.List):
        # A missing text is the empty bag; an empty text is one missing member, which is padding as well.
        entries = entries.cast(pl.String).str.split(splitter)
    lengths = entries.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    members = entries.filter(pl.Series(lengths > 0)).explode()
    return members, lengths

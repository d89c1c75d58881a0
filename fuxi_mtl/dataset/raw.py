"""Raw columns as tokens, numbers and lists, the same from every file format.

A missing entry is null, NaN or empty text. Integers are written as decimal digits. A float without
fraction is its integer, as a number and as a text: pandas makes ``3.0`` of ``3`` as soon as one entry is
missing, so ids would be others in a file with a gap than in one without. ``dtype: text`` keeps every text
as it is. A float from 2^53 on may stand for several integers and is no id.

Numbers are parsed to float64, and rounded to float32 at once unless their rule needs float64: a network that
is served with inputs of that type then sees exactly what it saw in training.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from fuxi_mtl.dataset.errors import BadEntryError, BadTypeError, type_of
from fuxi_mtl.options.tokens import WHOLE

MISSING = ""  # The token of a missing entry.
MAX_EXACT_FLOAT = 2**53  # From here on a float may stand for several integers.
INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)  # all are Int64, too
MISSING_INTEGER = -(2**63)  # What numpy makes of NaN; it is missing in a SavedModel, so it is everywhere.
_EXACT_ID = "an exact id: floats from 2^53 on lose digits. Store the column as integers or as text"
ZERO = r"^\s*[-+]?0+(?:\.0*)?\s*$"  # the id 0 in any spelling


class Distinct(NamedTuple):
    """A column as its different entries.

    Attributes:
        values: The entries; a few may be in no row, or stand there twice.
        rows: ``(rows,)`` which of them each row holds.
    """

    values: pl.Series
    rows: np.ndarray

    def used(self) -> "Distinct":
        """The same without values that no row holds."""
        there = np.zeros(len(self.values), bool)
        there[self.rows] = True
        if there.all():
            return self
        return Distinct(self.values.filter(pl.Series(there)), (np.cumsum(there) - 1)[self.rows])


def tokens(entries: pl.Series, dtype: str) -> pl.Series:
    """Entries as text, ``""`` where missing; ``3.0`` is ``3``.

    Args:
        entries: A raw column.
        dtype: ``int`` for integers only; ``text`` takes every entry as it is written.

    Raises:
        BadEntryError: An entry of an integer column is no integer, or a float is too large for an id.
        BadTypeError: There is no text of the entries.
    """
    if dtype == "int":
        entries = integers(entries)
    elif entries.dtype.is_float():
        entries = entries.fill_nan(None)
        if dtype != "text":
            _check_exact(entries)
        texts = entries.cast(pl.String)
        if dtype != "text":
            whole = written_whole(entries)
            digits = entries.set(~whole, None).cast(pl.Int64).cast(pl.String)
            texts = texts.zip_with(~whole, digits)
        entries = texts
    elif entries.dtype.is_decimal():
        entries = _decimal_texts(entries, dtype)
    elif entries.dtype == pl.Binary:
        entries = _decoded(entries)
    elif entries.dtype.is_nested() or isinstance(entries.dtype, (pl.Duration, pl.Object)):
        raise no_entry(entries, "a category")
    elif dtype != "text":
        found = written_whole(entries)
        if found.any():
            entries = entries.cast(pl.String).str.replace(WHOLE, "$1$2")
    return entries.cast(pl.String).fill_null(MISSING)


def written_whole(entries: pl.Series) -> pl.Series:
    """Which entries are whole numbers that are written with a point, as ``3.0``."""
    if entries.dtype.is_float():
        return ((entries == entries.round()) & (entries.abs() < MAX_EXACT_FLOAT)).fill_null(False)
    if entries.dtype == pl.String:
        # A look at the end is cheap, and most texts do not pass it.
        likely = entries.str.ends_with(".0").fill_null(False)
        return likely & entries.str.contains(WHOLE).fill_null(False) if likely.any() else likely
    return pl.repeat(False, len(entries), eager=True)


def distinct(entries: pl.Series) -> Distinct:
    """The different entries and, for each row, which of them it holds.

    What is costly for texts is done once for each different one: entries mostly repeat.
    """
    if entries.dtype in (pl.Categorical, pl.Enum):
        entries = entries.cast(pl.String)
    elif entries.dtype.is_nested() or isinstance(entries.dtype, pl.Object):
        raise no_entry(entries, "a category")
    encoded = entries.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode("encode")
    values = pl.Series(entries.name, pl.from_arrow(encoded.dictionary))
    return Distinct(values, pl.Series(pl.from_arrow(encoded.indices)).to_numpy())


def near_integers(entries: pl.Series) -> Distinct | None:
    """The same of integers that lie near each other, for which no table of hashes is needed; else None.

    They rise, where :func:`distinct` has them in the order in which they come.
    """
    if entries.dtype not in INTEGERS or entries.null_count() or not len(entries):
        return None
    least, most = entries.min(), entries.max()
    if most - least > len(entries):
        return None
    places = entries.to_numpy().astype(np.int64) - least
    there = np.zeros(most - least + 1, bool)
    there[places] = True
    values = np.flatnonzero(there)
    if len(values) < len(there):
        places = (np.cumsum(there) - 1)[places]
    return Distinct(pl.Series(entries.name, values + least, entries.dtype), places)


def is_missing(entries: pl.Series) -> np.ndarray:
    """Whether each entry is missing, as booleans."""
    missing = entries.is_null()
    if entries.dtype == pl.String:
        missing |= entries == MISSING
    elif entries.dtype.is_float():
        missing |= entries.is_nan()
    return missing.fill_null(True).to_numpy()


def is_zero(entries: pl.Series) -> np.ndarray:
    """Whether each entry is the id 0, as a number or a text, as booleans."""
    if entries.dtype == pl.String:
        return entries.str.contains(ZERO).fill_null(False).to_numpy()
    if not entries.dtype.is_numeric():  # told where ids are read
        return np.zeros(len(entries), bool)
    return (entries == 0).fill_null(False).to_numpy()


def integers(entries: pl.Series) -> pl.Series:
    """Entries as Int64, null where missing.

    Raises:
        BadEntryError: An entry is no integer, or none of 64 bits.
        BadTypeError: The entries are no numbers.
    """
    whole = _integers(entries)
    return whole.set(whole == MISSING_INTEGER, None) if whole.min() == MISSING_INTEGER else whole


def _integers(entries: pl.Series) -> pl.Series:
    if entries.dtype.is_integer() or entries.dtype == pl.Boolean:
        return _in_64_bits(entries, entries.cast(pl.Int64, strict=False))
    if entries.dtype == pl.Binary:
        entries = _decoded(entries)
    if entries.dtype.is_decimal():
        return _in_64_bits(entries, _decimal_texts(entries, "str").cast(pl.Int64, strict=False))
    if isinstance(entries.dtype, (pl.Categorical, pl.Enum)):
        entries = entries.cast(pl.String)
    if entries.dtype == pl.String:
        whole = entries.cast(pl.Int64, strict=False)
        if whole.null_count() == entries.null_count():
            return whole
        # Slower, for what is left: blanks, and integers that some tool wrote as 3.0.
        rest = whole.is_null()
        left = entries.filter(rest)
        digits = left.str.strip_chars().str.replace(WHOLE, "$1$2")
        exact = digits.str.strip_prefix("+").cast(pl.Int64, strict=False)
        # What has all its digits needs no float, which would lose some of a large integer.
        values = _whole(_floats(left.set(exact.is_not_null(), None), entries, rest), entries, rest)
        return whole.scatter(rest.arg_true(), exact.fill_null(values))
    if not (entries.dtype.is_float() or entries.dtype == pl.Null):
        raise no_entry(entries, "an integer")
    everything = pl.repeat(True, len(entries), eager=True)
    return _whole(_floats(entries, entries, everything), entries, everything)


def _in_64_bits(entries: pl.Series, whole: pl.Series) -> pl.Series:
    """Integers of another type, all of which have become Int64."""
    lost = whole.is_null() & entries.is_not_null()
    if lost.any():
        index = int(lost.arg_true()[0])
        wanted = "an integer"
        if entries[index] == entries[index] // 1:
            wanted = "an integer from -2^63 to 2^63 - 1. Read the column as text (dtype: str)"
        raise BadEntryError(entries.name, index, entries[index], wanted)
    return whole


def _decimal_texts(entries: pl.Series, dtype: str) -> pl.Series:
    """Decimals with all their digits; without the zeros behind the last one, as floats are written."""
    texts = entries.cast(pl.String)
    if dtype == "text" or not entries.dtype.scale:
        return texts
    return texts.str.replace(r"\.?0+$", "")


def _decoded(entries: pl.Series) -> pl.Series:
    """Bytes as the text that they are.

    Raises:
        BadTypeError: They are none.
    """
    try:
        return entries.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise BadTypeError(
            entries.name, "holds bytes that are no text in UTF-8. Store them as text, or as numbers."
        ) from error


def no_entry(entries: pl.Series, wanted: str) -> BadTypeError:
    """What to say of a column whose type is never a single entry of this kind."""
    dtype, remedy = entries.dtype, "Store one text or number a row"
    if isinstance(dtype, (pl.List, pl.Array)) and not dtype.inner.is_nested():
        remedy = "Store one entry a row (of a numpy array, x[:, 0]); lists are for features of type: sequence"
    elif isinstance(dtype, pl.Duration):
        remedy = "Store it as a number, such as seconds"
    return BadTypeError(entries.name, f"holds {type_of(dtype)}, which is not {wanted}. {remedy}.")


def _check_exact(entries: pl.Series) -> None:
    """No float is so large that it may stand for several ids."""
    large = ((entries.abs() >= MAX_EXACT_FLOAT) & entries.is_finite()).fill_null(False)
    if large.any():
        index = int(large.arg_true()[0])
        raise BadEntryError(entries.name, index, entries[index], _EXACT_ID)


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
    bad = (values != values.round()) | (values.abs() >= MAX_EXACT_FLOAT)
    if bad.any():
        place = int(bad.arg_true()[0])
        index = int(chosen.arg_true()[place])
        wanted = _EXACT_ID if values[place] == round(values[place]) else "an integer"
        raise BadEntryError(entries.name, index, entries[index], wanted)
    return values.cast(pl.Int64)


def infinite(values: np.ndarray) -> np.ndarray:
    """Which float64 numbers are infinite in float32, as booleans."""
    with np.errstate(over="ignore"):
        return np.isinf(values.astype(np.float32))


def numbers(entries: pl.Series) -> np.ndarray:
    """Entries as float32, NaN where missing or infinite.

    Raises:
        BadEntryError: An entry is no number.
    """
    with np.errstate(over="ignore"):  # beyond float32 is infinite, too
        values = doubles(entries).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def doubles(entries: pl.Series) -> np.ndarray:
    """Entries as float64, NaN where missing.

    Raises:
        BadEntryError: An entry is no number.
        BadTypeError: The entries are of a type that has none.
    """
    if entries.dtype == pl.Binary:
        entries = _decoded(entries)
    elif isinstance(entries.dtype, (pl.Categorical, pl.Enum)):
        entries = entries.cast(pl.String)
    if entries.dtype == pl.String:
        quick = entries.cast(pl.Float64, strict=False)
        if quick.null_count() > entries.null_count():
            quick = _floats(entries, entries, pl.repeat(True, len(entries), eager=True))
        entries = quick
    elif not (entries.dtype.is_numeric() or entries.dtype in (pl.Boolean, pl.Null)):
        raise no_entry(entries, "a number")
    values = entries.cast(pl.Float64)
    return (values.fill_null(np.nan) if values.null_count() else values).to_numpy().astype(np.float64)


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
        # A missing text is the empty bag; an empty text is one missing member.
        if entries.dtype != pl.String:
            entries = tokens(entries, "str").set(entries.is_null(), None)
        entries = entries.str.split(splitter)
    lengths = entries.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    members = entries.filter(pl.Series(lengths > 0)).explode()
    return members, lengths


def where_present(
    members: pl.Series, lengths: np.ndarray, present: np.ndarray
) -> tuple[pl.Series, np.ndarray]:
    """Lists without the members that take no place.

    Args:
        members: All members of all lists, one after the other.
        lengths: Members of each list, ``(rows,)``.
        present: For each member whether it takes a place.

    Returns:
        The members that do, and their number in each row.
    """
    if present.all():
        return members, lengths
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return members.filter(pl.Series(present)), np.bincount(rows[present], minlength=len(lengths))

"""Rows in memory: frames of pandas and polars, arrow tables and dicts of arrays, as the encoder reads files.

A csv file has texts and nothing else, a frame has types. Where a type leaves open which text an entry would
be, it is refused with its column and what to do; everything else gives the tokens and numbers of the file.
"""

import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import DataError, shortened
from fuxi_mtl.dataset.reading import BLOCK_ROWS
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Number, Rule, Vocabulary
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.hints import did_you_mean

_NO_TEXT = (pl.Datetime, pl.Time, pl.Duration, pl.Object, pl.Struct)


@dataclass(frozen=True)
class FrameSource:
    """Rows in memory in the place of a file: see :class:`fuxi_mtl.dataset.sources.Source`.

    Attributes:
        key: ``train_data``, ``valid_data`` or ``test_data``; errors name it.
        frame: The rows, with the columns that are needed.
        n_rows: Most rows to read, or None.
        block_rows: Rows in a block.
    """

    key: str
    frame: pl.DataFrame
    n_rows: int | None = None
    block_rows: int = BLOCK_ROWS
    files = ()

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.key

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """The rows in order, with only these columns."""
        start = 0
        frame = self.frame.select(columns)
        for part in (frame if self.n_rows is None else frame.head(self.n_rows)).iter_slices(self.block_rows):
            yield Block(part, self.key, np.arange(start, start + part.height), start)
            start += part.height

    def count_rows(self) -> int:
        """Rows that :meth:`blocks` gives."""
        return self.frame.height if self.n_rows is None else min(self.frame.height, self.n_rows)

    def notes(self) -> list[str]:
        """What a user should know of how the rows were read: nothing."""
        return []

    def check_columns(self, columns: Iterable[str]) -> None:
        """The frame has every column.

        Raises:
            DataError: It lacks one.
        """
        check_columns(self.key, columns, self.frame.columns)

    def identity(self) -> str:
        """Changes with the columns, their types and every entry."""
        content = _Digest()
        self.frame.write_ipc_stream(content)
        return content.hexdigest()


class _Digest:
    """A file that keeps nothing but a checksum of what is written."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.hexdigest = self._hash.hexdigest

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""


def check_columns(key: str, columns: Iterable[str], known: Sequence[str]) -> None:
    """Raises for the first column that is not there.

    Raises:
        DataError: It lacks one; the message has the nearest name and all names.
    """
    for name in columns:
        if name not in known:
            raise DataError(
                f"{key}: there is no column {name!r}.{did_you_mean(name, known)} "
                f"Its columns: {shortened(known)}."
            )


def is_frame(rows: Any) -> bool:
    """Whether these are rows in memory, and no file."""
    return bool(_kind(rows))


def describe(rows: Any) -> str:
    """``pandas.DataFrame of 4,000 rows``: what stands in a stanza in the place of a file."""
    return f"{_kind(rows)} of {_length(rows):,} rows"


def column_names(rows: Any) -> list[str]:
    """The columns of rows in memory."""
    if isinstance(rows, pl.LazyFrame):
        return rows.collect_schema().names()
    if _kind(rows).startswith("pyarrow"):
        return list(rows.schema.names)
    return [str(name) for name in (rows if isinstance(rows, Mapping) else rows.columns)]


def as_frame(key: str, rows: Any, columns: Iterable[str]) -> pl.DataFrame:
    """Some columns of rows in memory.

    Args:
        key: What errors call the rows.
        rows: A frame of polars or pandas, an arrow table, or a mapping of names to arrays or lists.
        columns: Which columns; those that are not needed may hold anything.

    Raises:
        DataError: A column is missing, comes twice, has another length, or holds what no column can.
    """
    columns = list(dict.fromkeys(columns))
    names = column_names(rows)
    check_columns(key, columns, names)
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise DataError(f"{key} has two columns called {twice[0]!r}: rename or drop one.")
    if isinstance(rows, pl.LazyFrame):
        rows = rows.select(columns).collect()
    series = [_series(key, name, rows[name]) for name in columns]
    lengths = {each.name: len(each) for each in series}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{key}: the columns differ in length: {told}.")
    return pl.DataFrame(series)


def _kind(rows: Any) -> str:
    """The library and class of rows in memory; nothing for anything else."""
    if isinstance(rows, (pl.DataFrame, pl.LazyFrame)):
        return f"polars.{type(rows).__name__}"
    pandas, arrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")  # whose object it is, is loaded
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        return "pandas.DataFrame"
    if arrow is not None and isinstance(rows, (arrow.Table, arrow.RecordBatch)):
        return f"pyarrow.{type(rows).__name__}"
    return "dict" if isinstance(rows, Mapping) else ""


def _length(rows: Any) -> int:
    if isinstance(rows, pl.LazyFrame):
        return int(rows.select(pl.len()).collect().item())
    if isinstance(rows, Mapping):
        return len(next(iter(rows.values()))) if rows else 0
    return int(rows.shape[0]) if hasattr(rows, "shape") else int(rows.num_rows)


def _series(key: str, name: str, values: Any) -> pl.Series:
    """One column, with plain texts in the place of categories."""
    if isinstance(values, pl.Series):
        series = values.alias(name)
    elif isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray):
        series = _of_array(key, name, values)
    else:
        series = _of_arrow(key, name, values)
    if isinstance(series.dtype, (pl.Categorical, pl.Enum)):
        series = series.cast(pl.String)
    elif isinstance(series.dtype, pl.List) and isinstance(series.dtype.inner, (pl.Categorical, pl.Enum)):
        series = series.cast(pl.List(pl.String))
    return series


def _of_array(key: str, name: str, values: np.ndarray) -> pl.Series:
    if values.ndim not in (1, 2):
        raise DataError(
            f"{key}, column {name!r}: an array of shape {values.shape} is no column. Give (rows,), or "
            "(rows, length) for vectors and padded sequences."
        )
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind in "OU":
        return _of_arrow(key, name, values.tolist())
    if values.dtype.kind not in "biufM":
        raise DataError(f"{key}, column {name!r}: an array of dtype {values.dtype} is no column.")
    if values.dtype.kind != "b":
        values = values.astype(values.dtype.newbyteorder("="))
    return pl.Series(name, values.astype(np.float32) if values.dtype == np.float16 else values)


def _of_arrow(key: str, name: str, values: Any) -> pl.Series:
    """A column of pandas, arrow, or a list, by way of arrow, which knows missing entries from NaN."""
    import pyarrow as pa  # Slow to import, and rows in memory are not always there.

    try:
        if (
            type(getattr(values, "dtype", None)).__name__ == "SparseDtype"
        ):  # pandas', of which arrow knows nothing
            values = np.asarray(values)
        array = values
        if isinstance(values, np.ma.MaskedArray):
            array = pa.array(values.data, mask=np.ma.getmaskarray(values))
        elif not isinstance(values, (pa.Array, pa.ChunkedArray)):
            array = pa.array(values, from_pandas=True)
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        return pl.Series(name, pl.from_arrow(array))
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{key}, column {name!r}: its entries are not of one type ({reason}). Make them texts, as in "
            f"frame[{name!r}].astype(str), or numbers, as in pandas.to_numeric(frame[{name!r}])."
        ) from error


def typed(key: str, frame: pl.DataFrame, rules: Mapping[str, Rule]) -> pl.DataFrame:
    """The frame with entries that are the texts or numbers of a csv file beyond doubt.

    Args:
        key: What errors call the rows.
        frame: The rows.
        rules: How the columns are read; others stay as they are.

    Raises:
        DataError: The type of a column leaves open what its entries are.
    """
    columns = [_typed(key, frame[name], rule) for name, rule in rules.items() if name in frame.columns]
    return frame.with_columns(columns)


def _typed(key: str, entries: pl.Series, rule: Rule) -> pl.Series:
    dtype = entries.dtype
    inner: Any = dtype.inner if isinstance(dtype, (pl.List, pl.Array)) else dtype
    where = f"{key}, column {entries.name!r}"
    if isinstance(rule, (Number, Buckets)):
        if isinstance(inner, (*_NO_TEXT, pl.Date)):
            raise DataError(
                f"{where} holds {inner}, which is no number. Give the number that you mean, such as the days "
                "or seconds since a date."
            )
        return entries
    if isinstance(inner, _NO_TEXT):
        raise DataError(
            f"{where} holds {inner}, of which there is more than one text. Give the text or number that you "
            f"mean, such as frame[{entries.name!r}].dt.strftime('%Y-%m-%d') of pandas."
        )
    if inner.is_float() and isinstance(rule, (Vocabulary, HashBuckets)) and rule.dtype != "int":
        _check_whole(where, entries, rule.dtype)
    return entries


def _check_whole(where: str, entries: pl.Series, dtype: str) -> None:
    """Whole numbers are the integers that pandas makes them of where one is missing; others have no text."""
    members = entries.explode() if entries.dtype.is_nested() else entries
    values = members.fill_nan(None).drop_nulls()
    bad = values if dtype == "text" else values.filter(~raw.written_whole(values))
    if len(bad):
        raise DataError(
            f"{where} is a category of texts and holds fractional numbers, such as {bad[0]}: their text is "
            f"open. Give texts, as in frame[{entries.name!r}].astype(str), or make the feature numeric; with "
            "category_processor: quantile_bucket a number becomes a category."
        )


def rows_of(key: str, rows: Any, rules: Mapping[str, Rule], columns: Collection[str]) -> pl.DataFrame:
    """Rows in memory as the encoder reads them: :func:`as_frame`, then :func:`typed`."""
    return typed(key, as_frame(key, rows, columns), rules)

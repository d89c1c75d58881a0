"""Text columns of a parquet file as the file itself numbers them: most writers keep each text once.

To find the different texts of a column takes a look at each row; where the file has done so, its numbers are
taken over.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fuxi_mtl.dataset.raw import Distinct

_FEW = 16  # rows for each text: fewer texts are kept without a look at who has them
_WORTH_ROWS = 50_000  # smaller files are read before pyarrow.parquet is imported
_NUMBERED = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}  # how a page may hold numbers
_BESIDE = {"PLAIN", "RLE", "BIT_PACKED"}  # the texts themselves, and gaps
# Bytes of a column's part: two a row, and the texts. One of too many texts, whose later rows are written as
# texts again, has more: pyarrow would look at all of them for each block.
_ROW_BYTES, _TEXT_BYTES = 2, 2**18
# Who never has a text twice in a part: pyarrow would take one out, and leave the numbers behind it.
_WRITERS = ("parquet-cpp", "parquet-mr", "parquet-rs", "Polars", "DuckDB")


def numbered_columns(path: Path, rows: int, columns: Sequence[str]) -> list[str]:
    """Those of the columns whose texts a parquet file has numbered in all of its parts.

    Args:
        path: The file.
        rows: How many it has.
        columns: Columns that it has.
    """
    if rows < _WORTH_ROWS or not columns:
        return []
    import pyarrow.parquet as pq  # Slow to import, and only large files need it.

    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except pa.ArrowException:  # polars reads more types
        return []
    if not (metadata.created_by or "").startswith(_WRITERS):
        return []
    texts = {field.name for field in schema if field.type in (pa.string(), pa.large_string())}
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    times = Counter(paths)  # of "a.b", which a field b of a structure a has, too
    parts = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return [
        name
        for name in columns
        if name in texts
        and times[name] == 1
        and all(_is_numbered(p.column(paths.index(name))) for p in parts)
    ]


def _is_numbered(chunk: Any) -> bool:
    # Not every writer says that there is a page with the texts.
    found, most = set(chunk.encodings), _ROW_BYTES * chunk.num_values + _TEXT_BYTES
    return bool(found & _NUMBERED) and found <= _NUMBERED | _BESIDE and chunk.total_uncompressed_size <= most


class NumberedTexts:
    """The rows of such columns in their order.

    Args:
        path: The file.
        columns: As :func:`numbered_columns` gives them.
        block_rows: Rows to read at once.

    Raises:
        ValueError: The file is damaged, or a text is none in UTF-8.
    """

    def __init__(self, path: Path, columns: Sequence[str], block_rows: int):
        self._columns = list(columns)
        self._batches = self._read(path, block_rows)
        self._rest: Any = None  # of the batch that was read last

    def take(self, rows: int) -> dict[str, Distinct]:
        """The next rows, by column; an entry may be among the values of two batches."""
        parts: list[Any] = []
        while rows and self._columns:
            if self._rest is None or not self._rest.num_rows:
                self._rest = next(self._batches, None)
                if self._rest is None:
                    raise ValueError("a column has fewer rows than the file.")
            parts.append(self._rest.slice(0, rows))
            self._rest = self._rest.slice(rows)
            rows -= parts[-1].num_rows
        return {name: _together(name, [part.column(name) for part in parts]) for name in self._columns}

    def _read(self, path: Path, block_rows: int) -> Iterator[Any]:
        import pyarrow.parquet as pq  # As above.

        with pq.ParquetFile(path, read_dictionary=self._columns) as file:
            # Threads would read all columns of a part at once.
            yield from file.iter_batches(block_rows, columns=self._columns, use_threads=False)


def _together(name: str, parts: Sequence[Any]) -> Distinct:
    """Arrays of numbers with a dictionary each."""
    values, rows, before = [], [], 0
    for part in parts:
        try:
            part.validate(full=True)  # polars would take any bytes for UTF-8, and numpy any number
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {name!r}: {error}") from error
        own, numbers = part.dictionary, part.indices
        own = pl.Series(name, pl.from_arrow(own), pl.String)
        if numbers.null_count:
            numbers = numbers.fill_null(len(own))
            own = own.append(pl.Series(name, [None], pl.String))
        found = Distinct(own, numbers.to_numpy())
        if len(own) > len(numbers) // _FEW:  # that of a part of the file, which may have many rows more
            found = found.used()
        values.append(found.values)
        rows.append(found.rows + before if before else found.rows)
        before += len(found.values)
    return Distinct(pl.concat(values), np.concatenate(rows)) if len(parts) > 1 else found

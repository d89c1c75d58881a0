"""Text columns of a parquet file as the file itself numbers them: most writers keep each text once.

To find the different texts of a column takes a look at each row; where the file has done so, its numbers are
taken over.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.raw import Distinct

_FEW = 16  # rows for each text: fewer texts are kept without a look at who has them
_WORTH_ROWS = 50_000  # smaller files are read before pyarrow.parquet is imported
_NUMBERED = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}  # how a page may hold numbers
_BESIDE = {"PLAIN", "RLE", "BIT_PACKED"}  # the texts themselves, and gaps


def numbered_columns(path: Path, rows: int, columns: Sequence[str]) -> list[str]:
    """Those of the columns whose texts a parquet file has numbered in all of its parts.

    Args:
        path: The file.
        rows: How many it has.
        columns: Columns that it has.
    """
    if rows < _WORTH_ROWS or not columns:
        return []
    import pyarrow as pa
    import pyarrow.parquet as pq  # Slow to import, and only large files need it.

    with pq.ParquetFile(path) as file:
        texts = {field.name for field in file.schema_arrow if field.type in (pa.string(), pa.large_string())}
        metadata = file.metadata
        number_of = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        parts = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        return [
            name
            for name in columns
            if name in texts and all(_is_numbered(part.column(number_of[name])) for part in parts)
        ]


def _is_numbered(chunk: Any) -> bool:
    # Not every writer says that there is a page with the texts.
    found = set(chunk.encodings)
    return bool(found & _NUMBERED) and found <= _NUMBERED | _BESIDE


class NumberedTexts:
    """The rows of such columns in their order.

    Args:
        path: The file.
        columns: As :func:`numbered_columns` gives them.
        block_rows: Rows to read at once.

    Raises:
        ValueError: A text is no text in UTF-8.
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
                self._rest = next(self._batches)
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
        own, numbers = part.dictionary, part.indices
        own.validate(full=True)  # polars would take any bytes for UTF-8
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

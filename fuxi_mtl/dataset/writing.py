"""Splits written block by block.

Blocks are appended with plain writes, not through memory maps: on a full disk a write raises an error, where
a memory map would end the process.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import errors_of
from fuxi_mtl.options import FeatureOptions


class ArrayFile:
    """A .npy file that grows by rows.

    Args:
        path: The file.
        dtype: Type of the entries.
        width: Columns, or None for a plain vector.
    """

    def __init__(self, path: Path, dtype: type, width: int | None):
        self.dtype, self.width, self.rows = np.dtype(dtype), width, 0
        self._file = path.open("wb")
        self._header = self._write_header()

    def _write_header(self) -> int:
        shape = (self.rows,) if self.width is None else (self.rows, self.width)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        # numpy leaves room for the first axis to grow, so the header keeps its length.
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Adds rows at the end."""
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)

    def close(self) -> None:
        """Writes the number of rows into the header."""
        self._file.seek(0)
        if self._write_header() != self._header:
            raise RuntimeError("the header of a .npy file changed its length.")
        self._file.close()


class SplitFiles:
    """The files of one split while it is written.

    Args:
        folder: Where they go.
        name: The split.
        widths: Columns of ids, numbers and events.
        weighted: Whether rows have weights.
        meta: The columns that are carried along.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        widths: Mapping[str, int],
        weighted: bool,
        meta: Sequence[FeatureOptions],
    ):
        self._arrays = {
            part: ArrayFile(folder / f"{name}.{part}.npy", np.int32 if part == "ids" else np.float32, width)
            for part, width in widths.items()
        }
        if weighted:
            self._arrays["weights"] = ArrayFile(folder / f"{name}.weights.npy", np.float32, None)
        self._meta_file, self._meta = folder / f"{name}.meta.parquet", meta
        self._writer: Any = None
        self.whole: Counter[str] = Counter()  # whole numbers with a point, by column carried along as text

    @property
    def rows(self) -> int:
        """Rows written."""
        return self._arrays["events"].rows

    def append(self, meta: pl.DataFrame, **parts: np.ndarray | None) -> None:
        """Adds a block: ids, numeric, events and, if rows have weights, weights."""
        for part, rows in parts.items():
            if rows is not None:
                self._arrays[part].append(rows)
        self._append_meta(meta)

    def _append_meta(self, frame: pl.DataFrame) -> None:
        if not self._meta:
            return
        import pyarrow.parquet as pq  # Slow to import, and only needed while encoding.

        columns = [carried(frame[str(f.name)], f.dtype) for f in self._meta]
        texts = [str(f.name) for f in self._meta if f.dtype == "str"]
        self.whole.update({name: int(raw.written_whole(frame[name]).sum()) for name in texts})
        table = pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._meta_file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Completes the files."""
        for array in self._arrays.values():
            array.close()
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> "SplitFiles":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def carried(entries: pl.Series, dtype: str) -> pl.Series:
    """A meta column in its type.

    Texts are read as those of features are, ``3.0`` as ``3`` unless `dtype` is ``text``: a user is one group
    however a file writes it.

    Raises:
        DataError: An entry, or the column, is not of that type.
    """
    with errors_of(entries.name, entries.dtype):
        return _carried(entries, dtype)


def _carried(entries: pl.Series, dtype: str) -> pl.Series:
    if dtype == "int":
        return raw.integers(entries)
    if dtype == "float":
        return pl.Series(entries.name, raw.doubles(entries)).fill_nan(None)
    if dtype == "list":
        return entries
    return raw.tokens(entries, "text" if dtype == "text" else "str").set(entries.is_null(), None)

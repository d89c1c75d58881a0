"""Splits written block by block.

Blocks are appended with plain writes, not through memory maps: on a full disk a write raises an error, where
a memory map would end the process.
"""

import os
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import errors_of
from fuxi_mtl.options import FeatureOptions

_PART = 1 << 22  # bytes of a file that are read at once


class _Grown:
    """What was appended to a file behind its head, with a checksum that is made when it is asked for."""

    def __init__(self, file: BinaryIO, begin: int):
        self._file, self._end, self._checksum = file, begin, 0
        self._begin = begin

    def state(self) -> dict[str, int]:
        """Its size and its checksum; what came since the last time is read."""
        self._file.flush()
        self._read(self._file.seek(0, os.SEEK_END))
        return {"bytes": self._end - self._begin, "crc32": self._checksum}

    def restore(self, state: Mapping[str, int]) -> None:
        """Cuts the file off where it was.

        Raises:
            ValueError: What is there is something else.
        """
        self._read(self._begin + state["bytes"])
        if self._checksum != state["crc32"]:
            raise ValueError(f"{Path(self._file.name).name} was changed")
        self._file.truncate()

    def _read(self, end: int) -> None:
        self._file.seek(self._end)
        while part := self._file.read(min(_PART, end - self._end)):
            self._checksum = zlib.crc32(part, self._checksum)
            self._end += len(part)


class ArrayFile:
    """A .npy file that grows by rows.

    Args:
        path: The file.
        dtype: Type of the entries.
        width: Columns, or None for a plain vector.
        state: What :meth:`state` gave, to go on with a file that is there.

    Raises:
        ValueError: The file is not what it was then.
    """

    def __init__(self, path: Path, dtype: type, width: int | None, state: Mapping[str, Any] | None = None):
        self.dtype, self.width, self.rows = np.dtype(dtype), width, 0
        self._file = path.open("r+b" if state else "w+b")
        self._header = self._write_header()
        self._grown = _Grown(self._file, self._header)
        if state:
            self._grown.restore(state)
            self.rows = state["rows"]

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

    def append_file(self, path: Path) -> None:
        """Adds the rows of another such file at the end."""
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            shutil.copyfileobj(file, self._file, _PART)
        self.rows += shape[0]

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {"rows": self.rows, **self._grown.state()}

    def abandon(self) -> None:
        """Lets go of the file as it is."""
        self._file.close()

    def close(self) -> None:
        """Writes the number of rows into the header."""
        self._file.seek(0)
        if self._write_header() != self._header:
            raise RuntimeError("the header of a .npy file changed its length.")
        self._file.close()


class CarriedFile:
    """Columns that are carried along: a stream while they come, a parquet file when all are there.

    A parquet file cannot be gone on with; a stream of Arrow's can.

    Args:
        path: The parquet file.
        stream: The stream.
        meta: The columns.
        state: What :meth:`state` gave, to go on with a stream that is there.

    Raises:
        ValueError: The stream is not what it was then.
    """

    def __init__(
        self,
        path: Path,
        stream: Path,
        meta: Sequence[FeatureOptions],
        state: Mapping[str, Any] | None = None,
    ):
        self._path, self._stream, self._meta = path, stream, meta
        self._file = stream.open("r+b" if state else "w+b")
        self._grown = _Grown(self._file, 0)
        self.whole: Counter[str] = Counter()  # whole numbers with a point, by column carried along as text
        if state:
            self._grown.restore(state)
            self.whole.update(state["whole"])

    def append(self, frame: pl.DataFrame) -> None:
        """Adds a block."""
        columns = [carried(frame[str(f.name)], f.dtype) for f in self._meta]
        texts = [str(f.name) for f in self._meta if f.dtype == "str"]
        self.whole.update({name: int(raw.written_whole(frame[name]).sum()) for name in texts})
        table = pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        if not self._file.tell():
            self._file.write(table.schema.serialize())
        for batch in table.to_batches():
            self._file.write(batch.serialize())

    def append_stream(self, path: Path, whole: Mapping[str, int]) -> None:
        """Adds the blocks of another stream, and its whole numbers with a point."""
        import pyarrow as pa  # As below.

        self.whole.update(whole)
        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            if not self._file.tell():
                self._file.write(stream.schema.serialize())
            for batch in stream:
                self._file.write(batch.serialize())

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {"whole": dict(self.whole), **self._grown.state()}

    def abandon(self) -> None:
        """Lets go of the stream as it is."""
        self._file.close()

    def close(self) -> None:
        """Writes the parquet file; the stream stays."""
        import pyarrow as pa
        import pyarrow.parquet as pq  # Slow to import, and only needed while encoding.

        self._file.close()
        with (
            self._stream.open("rb") as file,
            pa.ipc.open_stream(file) as stream,
            pq.ParquetWriter(self._path, stream.schema) as writer,
        ):
            for batch in stream:
                writer.write_table(pa.Table.from_batches([batch]))


class SplitFiles:
    """The files of one split while it is written.

    Args:
        folder: Where they go.
        streams: A folder for what stays until all are whole.
        name: The split.
        widths: Columns of ids, numbers and events.
        weighted: Whether rows have weights.
        meta: The columns that are carried along.
        state: What :meth:`state` gave, to go on with files that are there.

    Raises:
        ValueError: They are not what they were then.
    """

    def __init__(
        self,
        folder: Path,
        streams: Path,
        name: str,
        widths: Mapping[str, int],
        weighted: bool,
        meta: Sequence[FeatureOptions],
        state: Mapping[str, Any] | None = None,
    ):
        known = state or {}
        self._arrays = {
            part: ArrayFile(
                folder / f"{name}.{part}.npy",
                np.int32 if part == "ids" else np.float32,
                width,
                known.get(part),
            )
            for part, width in {**widths, **({"weights": None} if weighted else {})}.items()
        }
        self._carried: CarriedFile | None = None
        if meta:
            parquet, stream = folder / f"{name}.meta.parquet", streams / f"{name}.meta.arrow"
            self._carried = CarriedFile(parquet, stream, meta, known.get("meta"))

    @property
    def rows(self) -> int:
        """Rows written."""
        return self._arrays["events"].rows

    @property
    def whole(self) -> Counter[str]:
        """Whole numbers with a point, by column that is carried along as text."""
        return self._carried.whole if self._carried else Counter()

    def append(self, meta: pl.DataFrame, **parts: np.ndarray | None) -> None:
        """Adds a block: ids, numeric, events and, if rows have weights, weights."""
        for part, rows in parts.items():
            if rows is not None:
                self._arrays[part].append(rows)
        if self._carried is not None:
            self._carried.append(meta)

    def append_files(self, folder: Path, streams: Path, name: str, whole: Mapping[str, int]) -> None:
        """Adds the rows of other files, of which :meth:`close_parts` was called; the arguments are theirs."""
        for part, array in self._arrays.items():
            array.append_file(folder / f"{name}.{part}.npy")
        if self._carried is not None:
            self._carried.append_stream(streams / f"{name}.meta.arrow", whole)

    def close_parts(self) -> None:
        """Completes the files for :meth:`append_files` of others; carried columns stay a stream."""
        for array in self._arrays.values():
            array.close()
        if self._carried is not None:
            self._carried.abandon()

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        found = {part: array.state() for part, array in self._arrays.items()}
        return found | ({"meta": self._carried.state()} if self._carried else {})

    def abandon(self) -> None:
        """Lets go of the files as they are."""
        for file in self._all:
            file.abandon()

    def close(self) -> None:
        """Completes the files."""
        for file in self._all:
            file.close()

    @property
    def _all(self) -> list[ArrayFile | CarriedFile]:
        return [*self._arrays.values(), *([self._carried] if self._carried else [])]


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

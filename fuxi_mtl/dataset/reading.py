"""Raw rows in blocks, from csv, parquet, npz and h5 files; never a whole file in memory.

All csv columns are read as text (:mod:`fuxi_mtl.dataset.csv_reading`). What they mean is decided in one
place, :mod:`fuxi_mtl.dataset.raw`: a number that cannot be read is named and changes no column's type.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fuxi_mtl.dataset import csv_reading
from fuxi_mtl.dataset.csv_reading import COMMAS, CsvFormat, CsvNotes
from fuxi_mtl.dataset.dictionaries import NumberedTexts, numbered_columns
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.raw import Distinct

FORMATS = ("csv", "parquet", "npz", "h5")
FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".npz": "npz",
    ".h5": "h5",
}
BLOCK_ROWS = 100_000
_BLOCKS_AHEAD = 4  # of a parquet file, that polars may have read before they are taken
# How files begin that are no text; a csv file may well have a column PAR1.
_BEGINNINGS = {
    "parquet": rb"PAR1[^ -~\s]",
    "npz": rb"PK\x03\x04",
    "h5": rb"\x89HDF",
    "gz": rb"\x1f\x8b",
    "bz2": rb"BZh[1-9]1AY&SY",
    "zst": rb"\x28\xb5\x2f\xfd",
}


def column_names(path: Path, data_format: str, csv: CsvFormat) -> list[str]:
    """The columns of a file.

    Raises:
        DataError: The file cannot be read in this format.
    """
    with _errors(path, data_format):
        _check_beginning(path, data_format)
        if data_format == "csv":
            return csv_reading.header(path, csv)
        if data_format == "parquet":
            return _scan(path).collect_schema().names()
        with _OPEN[data_format](path) as arrays:
            return list(arrays)


def blocks(
    path: Path,
    data_format: str,
    csv: CsvFormat,
    columns: Sequence[str],
    block_rows: int,
    notes: CsvNotes | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of a file in their order.

    Args:
        path: The file.
        data_format: csv, parquet, npz or h5.
        csv: How a csv file is written.
        columns: Columns to read, which exist.
        block_rows: Most rows in a block.
        notes: Is told at the end what is to be said of a csv file.

    Raises:
        DataError: The file cannot be read.
    """
    with _errors(path, data_format):
        if data_format == "csv":
            for frame in csv_reading.blocks(path, csv, columns, notes):
                yield from frame.iter_slices(block_rows)
            return
        if data_format == "parquet":
            for start, rows in _spans(path, _BLOCKS_AHEAD * block_rows):
                # Without any column polars would not count rows.
                scan = _scan(path).slice(start, rows).select(columns)
                for frame in scan.collect_batches(chunk_size=block_rows, maintain_order=True):
                    yield from frame.iter_slices(block_rows)
            return
        with _OPEN[data_format](path) as arrays:
            yield from _array_blocks(path, {name: arrays[name] for name in columns}, block_rows)


def numbered_blocks(
    path: Path, columns: Sequence[str], texts: Collection[str], block_rows: int
) -> Iterator[tuple[pl.DataFrame, dict[str, Distinct]]]:
    """The rows of a parquet file; text columns as their different texts where the file has numbered them.

    Args:
        path: The file.
        columns: Columns to read, which exist.
        texts: Those of them that may come as their different texts.
        block_rows: Most rows in a block.

    Raises:
        DataError: The file cannot be read.
    """
    with _errors(path, "parquet"):
        numbered = numbered_columns(path, _rows_of(path), [name for name in columns if name in texts])
        # polars counts rows by a column.
        others = [name for name in columns if name not in numbered] or [numbered.pop()]
        beside = NumberedTexts(path, numbered, block_rows)
        for frame in blocks(path, "parquet", COMMAS, others, block_rows):
            yield frame, beside.take(frame.height)


def count_rows(path: Path, data_format: str, csv: CsvFormat) -> int:
    """Rows of a file, without reading its values where that is possible."""
    with _errors(path, data_format):
        if data_format == "csv":
            return csv_reading.count_rows(path, csv)
        if data_format == "parquet":
            return _rows_of(path)
        with _OPEN[data_format](path) as arrays:
            return len(next(iter(arrays.values()))) if arrays else 0


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False)


def _rows_of(path: Path) -> int:
    return int(_scan(path).select(pl.len()).collect().item())


def _spans(path: Path, most: int) -> Iterator[tuple[int, int | None]]:
    """Start and number of rows of parts of a parquet file, whole row groups of at most so many rows, or one.

    polars reads ahead of who takes its batches without an end; so it does not go beyond a part.
    """
    rows = _rows_of(path)
    if rows <= most:
        yield 0, None
        return
    import pyarrow.parquet as pq  # Slow to import, and only large files need it.

    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowException:  # polars reads more types
        yield 0, None
        return
    start, taken = 0, 0
    for number in range(metadata.num_row_groups):
        of_group = metadata.row_group(number).num_rows
        if taken and taken + of_group > most:
            yield start, taken
            start, taken = start + taken, 0
        taken += of_group
    yield start, taken


def _check_beginning(path: Path, data_format: str) -> None:
    """The file does not begin as one of another format, whatever it is called.

    Raises:
        DataError: It does.
    """
    with path.open("rb") as file:
        start = file.read(10)
    found = next((kind for kind, mark in _BEGINNINGS.items() if re.match(mark, start)), data_format)
    if found in FORMATS and found != data_format:
        raise DataError(f"{path} is no {data_format} file, it begins as {found}: set data_format: {found}.")
    if found not in FORMATS and path.suffix != f".{found}":
        raise DataError(f"{path} is packed: its name must end in .{found}.")


@contextmanager
def _errors(path: Path, data_format: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (
        pl.exceptions.PolarsError,
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
        EOFError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read as {data_format}: {reason}") from error


class _NpzArray:
    """One array of an npz archive, read from front to back."""

    def __init__(self, archive: zipfile.ZipFile, member: str):
        self._open: Callable[[], Any] = lambda: archive.open(member)
        with self._open() as stream:
            self.shape, self._by_columns, self.dtype = _npy_header(stream)

    @property
    def refusal(self) -> str:
        """Why it cannot be read; empty if it can."""
        if self.dtype.hasobject:
            return "holds Python objects; save it as numbers or as text of dtype U."
        if self._by_columns and len(self.shape) > 1:
            return "is stored by columns; save it with numpy.ascontiguousarray."
        return ""

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def parts(self, rows: int) -> Iterator[np.ndarray]:
        width = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        with self._open() as stream:
            _npy_header(stream)
            for start in range(0, len(self), rows):
                count = min(rows, len(self) - start)
                content = stream.read(count * width)
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


class _H5Array:
    """One dataset of an h5 file."""

    def __init__(self, data: Any):
        import h5py  # Only h5 files need it.

        self.shape, self.refusal = data.shape, ""
        # Whatever the file says of its charset: numpy's bytes are said to be ASCII and hold UTF-8.
        self._data = data.asstr("utf-8") if h5py.check_string_dtype(data.dtype) else data

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def parts(self, rows: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self), rows):
            yield np.asarray(self._data[start : start + rows])


@contextmanager
def _open_npz(path: Path) -> Iterator[dict[str, _NpzArray]]:
    with zipfile.ZipFile(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        yield {name: _NpzArray(archive, f"{name}.npy") for name in names}


@contextmanager
def _open_h5(path: Path) -> Iterator[dict[str, _H5Array]]:
    import h5py  # Only h5 files need it.

    with h5py.File(path, "r") as file:
        yield {name: _H5Array(data) for name, data in file.items() if isinstance(data, h5py.Dataset)}


_OPEN: dict[str, Callable[[Path], Any]] = {"npz": _open_npz, "h5": _open_h5}


def _array_blocks(path: Path, arrays: dict[str, Any], block_rows: int) -> Iterator[pl.DataFrame]:
    for name, array in arrays.items():
        told = array.refusal or ("is a single value: store one a row." if array.shape == () else "")
        if told:
            raise DataError(f"{path}: the array {name!r} {told}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{path}: the arrays differ in length: {told}.")
    streams = {name: _decoded(path, name, array.parts(block_rows)) for name, array in arrays.items()}
    for parts in zip(*streams.values(), strict=True):
        yield pl.DataFrame(
            {name: _series(path, name, part) for name, part in zip(streams, parts, strict=True)}
        )


def _decoded(path: Path, name: str, parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    try:
        yield from parts
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, column {name!r}: the bytes {error.object!r} are no utf-8. Store its texts in utf-8."
        ) from error


def _series(path: Path, name: str, part: np.ndarray) -> pl.Series:
    """A block of an array; fixed-width bytes are text."""
    texts = part.dtype.kind == "O" and all(isinstance(each, str) for each in part.flat)
    if (part.dtype.kind not in "biufMSU" and not texts) or (
        part.dtype.itemsize > 8 and part.dtype.kind == "f"
    ):
        fields = " Save each of its fields as an array of its own." if part.dtype.names else ""
        raise DataError(
            f"{path}: the array {name!r} is of dtype {part.dtype}, of which there is no column: "
            f"numbers of at most 8 bytes, texts and dates are.{fields}"
        )
    if part.dtype.kind == "S":
        try:
            part = np.char.decode(part, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the array {name!r} holds bytes that are no text in UTF-8.") from error
    if texts or part.dtype.kind == "U":
        flat = pl.Series(part.ravel().astype(str).tolist(), dtype=pl.String)
        return flat if part.ndim == 1 else flat.reshape(part.shape)
    return pl.Series(part)

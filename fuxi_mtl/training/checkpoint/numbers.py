"""Numbers of a checkpoint in its file, with their checksums."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxi_mtl.training.checkpoint.naming import CHUNK, Part

CHECKSUM = "crc32"  # an attribute: of the numbers, or of those of each worker
# HDF5's reader turns damage into errors of many kinds.
READ_ERRORS = (OSError, ValueError, LookupError, RuntimeError, TypeError)


def write_numbers(dataset: h5py.Dataset, part: Part) -> bool:
    """Writes a part with its checksum; whether its numbers are finite."""
    checksum, finite = 0, True
    for chunk in part.chunks():
        values = part.read(chunk)
        dataset[chunk] = values
        checksum = zlib.crc32(values.data, checksum)
        finite = finite and bool(np.isfinite(values).all())
    dataset.attrs[CHECKSUM] = checksum
    return finite


def rows_file(folder: Path, rank: int, workers: int) -> Path:
    """Where a worker's rows lie beside a checkpoint."""
    return folder / f"rows_{rank}_of_{workers}.h5"


def check_numbers(dataset: h5py.Dataset) -> None:
    """The numbers of a dataset are those that were written.

    Raises:
        ValueError: They are not; or another of :data:`READ_ERRORS`.
    """
    if dataset.is_virtual:
        for rank in range(len(dataset.attrs[CHECKSUM])):
            check_rows(dataset, rank)
    else:
        _check(dataset, dataset.attrs[CHECKSUM], dataset.name[1:])


def check_rows(dataset: h5py.Dataset, rank: int) -> None:
    """The same of the rows of one worker, of a table that was spread over several."""
    checksums = dataset.attrs[CHECKSUM]
    file = rows_file(Path(dataset.file.filename).parent, rank, len(checksums))
    with h5py.File(file) as rows:
        _check(rows[dataset.name], checksums[rank], f"{dataset.name[1:]} in {file.name}")


def _check(dataset: h5py.Dataset, expected: int, name: str) -> None:
    checksum = 0
    for chunk in _chunks(dataset):
        checksum = zlib.crc32(np.ascontiguousarray(dataset[chunk]).data, checksum)
    if checksum != expected:
        raise ValueError(f"the numbers of {name} are not those that were written")


def _chunks(dataset: h5py.Dataset) -> Iterator[Any]:
    """Where to look, so that no table is read whole."""
    if not dataset.shape:
        yield ...
    for first in range(0, dataset.shape[0] if dataset.shape else 0, CHUNK):
        yield slice(first, first + CHUNK)


def reason(error: Exception) -> str:
    """The first line of what went wrong."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]

"""Rows of tables that are spread over workers, beside a checkpoint: each worker writes and reads its own.

``state.h5``, which the chief writes last, shows them as whole tables (virtual datasets of HDF5) and holds the
checksum of each worker's rows::

    state.h5            all that is not spread; the tables, as one dataset a feature
    rows_0_of_2.h5      the rows of worker 0
    rows_1_of_2.h5      those of worker 1

Who reads a checkpoint need not know by how many workers it was written, if by any.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxi_mtl.cluster.workers import connected
from fuxi_mtl.training.checkpoint.naming import CHUNK, Part
from fuxi_mtl.training.checkpoint.numbers import (
    CHECKSUM,
    READ_ERRORS,
    check_rows,
    reason,
    rows_file,
    write_numbers,
)

WRITE, READ, GO = "write rows", "read rows", "go on"


@dataclass(frozen=True)
class Written:
    """What workers have written.

    Attributes:
        checksums: Of the rows of each worker in their order, by part.
        finite: Whether all numbers are finite.
    """

    checksums: Mapping[str, list[int]] = field(default_factory=dict)
    finite: bool = True


def all_finite(parts: Mapping[str, Part]) -> bool:
    """Whether the numbers of parts that are spread are finite."""
    return all(
        np.isfinite(part.read(chunk)).all()
        for part in spread_parts(parts).values()
        for chunk in part.chunks()
    )


def spread_parts(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Those of which this worker has some rows."""
    return {name: part for name, part in parts.items() if part.shard is not None}


def write_together(parts: Mapping[str, Part], folder: Path) -> Written:
    """Has all workers write their rows into a folder; of the chief, while the others follow.

    Args:
        parts: Of the chief.
        folder: On a disk that all workers share.

    Raises:
        OSError: A worker cannot write.
    """
    spread, workers = spread_parts(parts), connected()
    if not spread or workers is None:
        return Written()
    workers.tell(WRITE, folder=str(folder.resolve()))
    found = workers.collect(_tried(lambda: write_own(spread, folder)))
    _check_none_failed(found)
    checksums = {name: [each["checksums"][name] for each in found] for name in spread}
    return Written(checksums, all(each["finite"] for each in found))


def write_share(parts: Mapping[str, Part], told: Mapping[str, Any]) -> None:
    """What another worker does then."""
    workers: Any = connected()
    workers.say(_tried(lambda: write_own(spread_parts(parts), Path(told["folder"]))))


def write_own(spread: Mapping[str, Part], folder: Path) -> dict[str, Any]:
    """Writes the rows of this worker; their checksums, and whether they are finite."""
    if not folder.is_dir():
        raise OSError(f"{folder} is not there: model_root must lie on a disk that all workers share")
    shard: Any = next(iter(spread.values())).shard
    path = rows_file(folder, shard.rank, shard.size)
    with h5py.File(path, "w", libver="latest") as file:
        finite = [
            write_numbers(file.create_dataset(n, part.shape, part.dtype), part) for n, part in spread.items()
        ]
        checksums = {name: int(file[name].attrs[CHECKSUM]) for name in spread}
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return {"checksums": checksums, "finite": all(finite)}


def create_virtual(file: h5py.File, name: str, part: Part, checksums: list[int]) -> None:
    """Shows the rows of all workers as one dataset."""
    layout = h5py.VirtualLayout(part.whole_shape, part.dtype)
    workers, length = len(checksums), part.whole_shape[0]
    for rank in range(workers):
        first = (rank - part.of_table[0]) % workers
        count = len(range(first, length, workers))
        if count:
            shape = (count, *part.whole_shape[1:])
            source = h5py.VirtualSource(rows_file(Path(), rank, workers).name, name, shape, part.dtype)
            layout[first::workers] = source
    file.create_virtual_dataset(name, layout).attrs[CHECKSUM] = checksums


def read_together(parts: Mapping[str, Part], stored: Mapping[str, h5py.Dataset]) -> None:
    """Has all workers set their rows to what is stored; of the chief, while the others follow.

    Raises:
        ValueError: A worker cannot read them.
    """
    spread, workers = spread_parts(parts), connected()
    if not spread or workers is None:
        return
    there = {name: stored[name] for name in spread}
    file = Path(next(iter(there.values())).file.filename)
    workers.tell(READ, file=str(file.resolve()))
    _check_none_failed(workers.collect(_tried(lambda: _read_own(spread, there))))


def read_share(parts: Mapping[str, Part], told: Mapping[str, Any]) -> None:
    """What another worker does then."""
    workers: Any = connected()

    def read() -> None:
        with h5py.File(told["file"]) as file:
            _read_own(spread_parts(parts), file)

    workers.say(_tried(read))


def has_own_file(dataset: h5py.Dataset, part: Part) -> bool:
    """Whether the rows of this worker lie in a file of their own: as many workers have written it."""
    return part.shard is not None and dataset.is_virtual and len(dataset.attrs[CHECKSUM]) == part.shard.size


def _read_own(spread: Mapping[str, Part], stored: Mapping[str, h5py.Dataset]) -> None:
    for name, part in spread.items():
        if has_own_file(stored[name], part):
            check_rows(stored[name], part.shard.rank)  # type: ignore[union-attr]
    for name, part in spread.items():
        _read_part(part, stored[name])


def _read_part(part: Part, dataset: h5py.Dataset) -> None:
    shard: Any = part.shard
    if has_own_file(dataset, part):
        with h5py.File(rows_file(Path(dataset.file.filename).parent, shard.rank, shard.size)) as file:
            for chunk in part.chunks():
                part.write(chunk, file[dataset.name][chunk])
        return
    for start in range(0, len(dataset), CHUNK):
        rows = dataset[start : start + CHUNK]
        behind = (part.first - start) % shard.size
        own, place = rows[behind :: shard.size], (start + behind - part.first) // shard.size
        if len(own):
            part.write(slice(place, place + len(own)), own)


def _tried(do: Callable[[], Any]) -> Any:
    """What it gives; an error as something that can be told."""
    try:
        return do()
    except READ_ERRORS as error:
        return {"error": reason(error)}


def _check_none_failed(found: list[Any]) -> None:
    workers: Any = connected()
    for rank, each in enumerate(found):
        if isinstance(each, dict) and "error" in each:
            raise OSError(f"{workers.cluster.name(rank)}: {each['error']}")

"""Checkpoints as files."""

import json
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from fuxi_mtl.files import whole_folder
from fuxi_mtl.layers.absent_rows import has_rows
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.checkpoint.naming import Part, orders_of, parts_of
from fuxi_mtl.training.checkpoint.numbers import READ_ERRORS, check_numbers, reason, write_numbers
from fuxi_mtl.training.checkpoint.spread import (
    create_virtual,
    has_own_file,
    read_together,
    write_together,
)

logger = logging.getLogger(__name__)

FILE = "state.h5"
PIECE = 2**20  # rows of a table that are read at a time for an export: 64 MB at 16 numbers
NOTE = "note"  # the name of what lies beside the parts of a model
# Groups of checkpoints made before, and their names of today.
NEWER = ("known_rate", "u_product")  # last parts of names that older checkpoints lack
OF_TURN = re.compile(r"/turns/[^/]+/")  # what turns have each of their own, and once had together
RENAMED = {"optimizer/architecture/": "optimizer/bilevel/"}


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model."""


def save(model: MultiTaskModel, folder: Path) -> None:
    """Writes network, optimizer and weighting; an older checkpoint stays until the new one is whole.

    Rows that have put off moves make them first: the network is stored as it would be evaluated.

    Raises:
        CheckpointError: It cannot be written; the older one is still there.
    """
    model.apply_deferred_updates()
    parts = parts_of(model)
    try:
        with whole_folder(folder) as partial:
            write(partial / FILE, parts, orders_of(model), spread=write_together(parts, partial).checksums)
    except (OSError, RuntimeError) as error:  # HDF5's own errors are of either kind
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be written ({reason(error)}). "
            "Make room, or set model_root to another folder."
        ) from error


def restore(model: MultiTaskModel, folder: Path) -> None:
    """Reads what :func:`save` wrote; an uncompiled model takes the network's weights only.

    Each feature gets its rows, in whatever order the features come and whatever table they lie in. All is
    checked before anything is changed.

    Raises:
        CheckpointError: Nothing there, damaged, or written by a model of another shape.
    """
    with opened(folder, whole=model.compiled) as there:
        set_parts(there, parts_of(model), orders_of(model))


def is_spread(folder: Path) -> bool:
    """Whether the rows of a checkpoint's tables lie in files of several workers."""
    return any(folder.glob("rows_0_of_*.h5"))


def rows_of_tables(model: MultiTaskModel, folder: Path) -> dict[int, Iterator[tuple[int, np.ndarray]]]:
    """The rows of tables that a model was made without, piece by piece, by the id of their variable.

    Args:
        model: Made :func:`~fuxi_mtl.layers.absent_rows.rows_elsewhere`.
        folder: Its checkpoint, which :func:`restore` has checked.

    Returns:
        The number of the first row of each piece, and the rows.
    """
    tables: dict[int, dict[str, Part]] = {}
    for name, part in parts_of(model).items():
        if not has_rows(part.variable):
            tables.setdefault(id(part.variable), {})[name] = part
    return {key: _pieces(parts, folder) for key, parts in tables.items()}


def _pieces(parts: Mapping[str, Part], folder: Path) -> Iterator[tuple[int, np.ndarray]]:
    with opened(folder, whole=False) as there:
        for name, part in parts.items():
            start, end = part.rows or (0, 0)
            for first in range(0, end - start, PIECE):
                yield start + first, there.parts[name][first : min(first + PIECE, end - start)]


@dataclass(frozen=True)
class Stored:
    """An open checkpoint.

    Attributes:
        parts: Its datasets by their names of today.
        orders: The order of names behind what is known by position only; see
            :func:`~fuxi_mtl.training.checkpoint.naming.orders_of`.
    """

    parts: dict[str, h5py.Dataset]
    orders: dict[str, list[str]]


@contextmanager
def opened(folder: Path, whole: bool = True) -> Iterator[Stored]:
    """What lies in a checkpoint.

    Args:
        folder: The checkpoint.
        whole: False leaves out all but the network.

    Raises:
        CheckpointError: Nothing there or damaged, and what the block raises when it does not fit.
    """
    path = folder / FILE
    if (folder / "state.index").is_file() and not path.is_file():
        raise CheckpointError(
            f"{folder}: fuxi_mtl 0.1.0 wrote this checkpoint, which numbers its variables where this version "
            "names them. Train the experiment again, or use that version."
        )
    if not path.is_file():
        raise CheckpointError(f"{folder}: no checkpoint there. Train the experiment again.")
    try:
        with h5py.File(path) as file:
            yield Stored(_stored(file, whole), _orders(file))
    except READ_ERRORS as error:
        raise CheckpointError(
            f"{folder}: the checkpoint is damaged, or of another model ({reason(error)}). "
            "Train the experiment again."
        ) from error


def write(
    path: Path,
    parts: Mapping[str, Part],
    orders: Mapping[str, list[str]],
    note: Any = None,
    spread: Mapping[str, list[int]] = MappingProxyType({}),
) -> None:
    """Writes parts under their names, each with a checksum.

    Args:
        path: The file.
        parts: What to write.
        orders: Of names, by group.
        note: Anything that JSON knows, to lie beside them.
        spread: Checksums of all workers' rows, by part, of tables that are spread: what
            :func:`~fuxi_mtl.training.checkpoint.spread.write_together` gave for the folder.

    Raises:
        OSError: It cannot be written, or a :class:`RuntimeError`, as HDF5 likes it.
    """
    # The latest layout of HDF5 has checksums of names and shapes; those of the numbers are ours.
    with h5py.File(path, "w", libver="latest") as file:
        for name, part in parts.items():
            if name in spread:
                create_virtual(file, name, part, spread[name])
            else:
                write_numbers(file.create_dataset(name, part.shape, part.dtype), part)
        for group, order in orders.items():
            file.require_group(group).attrs["order"] = order
        if note is not None:
            text = np.frombuffer(json.dumps(note, default=lambda number: number.item()).encode(), np.uint8)
            file.create_dataset(NOTE, data=text).attrs["crc32"] = zlib.crc32(text.data)


def read(path: Path, parts: Mapping[str, Part], orders: Mapping[str, list[str]]) -> None:
    """Sets parts to what :func:`write` wrote; see :func:`set_parts`.

    Raises:
        ValueError: The file is damaged, or holds other parts; or another of :data:`READ_ERRORS`.
    """
    with h5py.File(path) as file:
        set_parts(Stored(_stored(file, whole=True), _orders(file)), parts, orders)


def set_parts(there: Stored, parts: Mapping[str, Part], orders: Mapping[str, list[str]]) -> None:
    """Sets parts to what is stored; all is checked before anything is changed.

    Args:
        there: What is stored.
        parts: All that is there.
        orders: Of names, by group.

    Raises:
        ValueError: They are others, or the numbers are not those that were written.
    """
    stored = _by_turn(there.parts, parts)
    # What older versions did not have stays as it starts.
    parts = {n: part for n, part in parts.items() if n in stored or n.rpartition("/")[2] not in NEWER}
    _check_shapes(parts, stored)
    _check_orders(there.orders, orders)
    for name, dataset in stored.items():
        if name not in parts or not has_own_file(dataset, parts[name]):  # else each worker checks its own
            check_numbers(dataset)
    read_together(parts, stored)
    for name, part in parts.items():
        if part.shard is None and has_rows(part.variable):
            for chunk in part.chunks():
                part.write(chunk, stored[name][chunk])


def read_note(path: Path) -> Any:
    """What :func:`write` was given beside the parts.

    Raises:
        ValueError: It is damaged; or another of :data:`READ_ERRORS`.
    """
    with h5py.File(path) as file:
        text = np.asarray(file[NOTE])
        if zlib.crc32(text.data) != file[NOTE].attrs["crc32"]:
            raise ValueError(f"{NOTE} is not what was written")
    return json.loads(text.tobytes())


def _stored(file: h5py.File, whole: bool) -> dict[str, h5py.Dataset]:
    """Its datasets by their names of today; those of the network alone unless it is wanted whole."""
    found: dict[str, h5py.Dataset] = {}

    def keep(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and name != NOTE and (whole or name.startswith("network/")):
            old = next((group for group in RENAMED if name.startswith(group)), None)
            found[RENAMED[old] + name.removeprefix(old) if old else name] = item

    file.visititems(keep)
    return found


def _orders(file: h5py.File) -> dict[str, list[str]]:
    """The orders of names that groups have."""
    found: dict[str, list[str]] = {}

    def keep(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Group) and "order" in item.attrs:
            found[name] = [str(each) for each in item.attrs["order"]]

    file.visititems(keep)
    return found


def _by_turn(stored: dict[str, h5py.Dataset], parts: Mapping[str, Part]) -> dict[str, h5py.Dataset]:
    """A checkpoint from when all turns shared what an optimizer has once: each turn goes on from there."""
    shared = {name: OF_TURN.sub("/", name) for name in parts.keys() - stored.keys() if OF_TURN.search(name)}
    found = stored | {name: stored[old] for name, old in shared.items() if old in stored}
    if shared:  # the tables once missed the steps of other turns
        found["optimizer/rows/iterations"] = stored["optimizer/dense/iterations"]
    once = set(shared.values()) - parts.keys()
    return {name: dataset for name, dataset in found.items() if name not in once}


def _check_shapes(parts: Mapping[str, Part], stored: Mapping[str, h5py.Dataset]) -> None:
    for name, part in parts.items():
        what = f"feature {part.feature!r} ({name})" if part.feature else name
        if name not in stored:
            raise ValueError(f"{what} is {part.whole_shape} here and missing there")
        if stored[name].shape != part.whole_shape:
            raise ValueError(f"{what} is {part.whole_shape} here and {stored[name].shape} there")
    more = [f"{name} {dataset.shape}" for name, dataset in stored.items() if name not in parts]
    if more:
        raise ValueError(f"it has {len(more)} variables more: {', '.join(more[:3])}")


def _check_orders(stored: Mapping[str, list[str]], orders: Mapping[str, list[str]]) -> None:
    for group, here in orders.items():
        there = stored[group]
        if here == there:
            continue
        if not group.startswith("network/") or sorted(here) != sorted(there):
            raise ValueError(f"{group} is of {', '.join(here)} here and of {', '.join(there)} there")
        logger.warning(
            "%s: the features come in the order %s, and in the checkpoint %s. Each has its rows; but the "
            "layers behind read the vectors by position and must be trained again.",
            group,
            ", ".join(here),
            ", ".join(there),
        )

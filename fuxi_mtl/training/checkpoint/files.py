"""Checkpoints as files."""

import json
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxi_mtl.files import whole_folder
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.checkpoint.naming import CHUNK, Part, orders_of, parts_of

logger = logging.getLogger(__name__)

FILE = "state.h5"
NOTE = "note"  # the name of what lies beside the parts of a model
# HDF5's reader turns damage into errors of many kinds.
READ_ERRORS = (OSError, ValueError, LookupError, RuntimeError, TypeError)
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
    try:
        with whole_folder(folder) as partial:
            write(partial / FILE, parts_of(model), orders_of(model))
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


def write(path: Path, parts: Mapping[str, Part], orders: Mapping[str, list[str]], note: Any = None) -> None:
    """Writes parts under their names, each with a checksum.

    Args:
        path: The file.
        parts: What to write.
        orders: Of names, by group.
        note: Anything that JSON knows, to lie beside them.

    Raises:
        OSError: It cannot be written, or a :class:`RuntimeError`, as HDF5 likes it.
    """
    # The latest layout of HDF5 has checksums of names and shapes; those of the numbers are ours.
    with h5py.File(path, "w", libver="latest") as file:
        for name, part in parts.items():
            _write(file.create_dataset(name, part.shape, part.dtype), part)
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
    for dataset in stored.values():
        check_numbers(dataset)
    for name, part in parts.items():
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


def _write(dataset: h5py.Dataset, part: Part) -> None:
    checksum = 0
    for chunk in part.chunks():
        values = part.read(chunk)
        dataset[chunk] = values
        checksum = zlib.crc32(values.data, checksum)
    dataset.attrs["crc32"] = checksum


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
            raise ValueError(f"{what} is {part.shape} here and missing there")
        if stored[name].shape != part.shape:
            raise ValueError(f"{what} is {part.shape} here and {stored[name].shape} there")
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


def check_numbers(dataset: h5py.Dataset) -> None:
    """The numbers of a dataset are those that were written.

    Raises:
        ValueError: They are not.
    """
    checksum = 0
    for chunk in _chunks(dataset):
        checksum = zlib.crc32(np.ascontiguousarray(dataset[chunk]).data, checksum)
    if checksum != dataset.attrs["crc32"]:
        raise ValueError(f"the numbers of {dataset.name[1:]} are not those that were written")


def _chunks(dataset: h5py.Dataset) -> Iterator[Any]:
    """Where to look, so that no table is read whole."""
    if not dataset.shape:
        yield ...
    for first in range(0, dataset.shape[0] if dataset.shape else 0, CHUNK):
        yield slice(first, first + CHUNK)


def reason(error: Exception) -> str:
    """The first line of what went wrong."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]

"""Savepoints of an encoding: what was seen of the files that are done, so that a killed one goes on.

A savepoint is a folder with ``state.json``, ``arrays.npz`` and the texts of columns, written beside and
renamed when whole. It is kept with the rows that were coded so far, and is gone when the encoding is whole.
"""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.files import (
    checked_json,
    checksum_of,
    partial_name,
    read_arrays,
    read_json,
    replace_folder,
    write_text,
)

logger = logging.getLogger(__name__)

FOLDER = "savepoint"
EVERY = 600.0  # seconds between two savepoints, at least
_STATE, _ARRAYS = "state.json", "arrays.npz"
_ARRAY, _FRAME = "array of", "frame of"  # the only key of what stands for one in state.json


class Savepoints:
    """The savepoints of one encoding.

    Args:
        building: The folder where it is built.
        identity: What the state depends on beside the key of the encoding; plain data.
    """

    def __init__(self, building: Path, identity: Mapping[str, Any]):
        self._folder, self._identity = building / FOLDER, dict(identity)
        self._last = time.monotonic()
        self._marks: dict[Path, int] = {}  # files do not change, and are read once

    @property
    def due(self) -> bool:
        """Whether the last one, or the begin, is long enough ago."""
        return time.monotonic() - self._last >= EVERY

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        return self._folder.is_dir()

    def save(self, state: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Keeps a state.

        Args:
            state: Plain data, arrays and frames, in dicts and lists.
            files: Files beside it that belong to it.
        """
        partial = partial_name(self._folder)
        arrays: dict[str, np.ndarray] = {}
        for file in files:
            if file not in self._marks:
                self._marks[file] = checksum_of(file)
        try:
            partial.mkdir()
            content = {
                "identity": self._identity,
                "state": _packed(state, partial, arrays),
                "files": {str(file.relative_to(self._folder.parent)): self._marks[file] for file in files},
            }
            np.savez(partial / _ARRAYS, **arrays)  # type: ignore[arg-type]
            content["frames"] = {file.name: checksum_of(file) for file in sorted(partial.glob("*.arrow"))}
            write_text(partial / _STATE, checked_json(content))
            replace_folder(partial, self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was kept; None without one, or where it is damaged or of something else."""
        if not self.exists:
            return None
        try:
            content = read_json(self._folder / _STATE, "")
            if content["identity"] != self._identity:
                raise ValueError("it is of other blocks of rows, or of another version")
            files = {self._folder.parent / name: mark for name, mark in content["files"].items()}
            files |= {self._folder / name: mark for name, mark in content["frames"].items()}
            for file, mark in files.items():
                if checksum_of(file) != mark:
                    raise ValueError(f"{file.name} was changed")
            return _unpacked(content["state"], self._folder, read_arrays(self._folder / _ARRAYS, ""))
        except (OSError, ValueError, LookupError, TypeError) as error:
            logger.warning("%s cannot be used (%s): the files are read from the first.", self._folder, error)
            return None

    def remove(self) -> None:
        """Removes what there is."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _packed(value: Any, folder: Path, arrays: dict[str, np.ndarray]) -> Any:
    """Plain data; arrays go into ``arrays``, frames into files of their own."""
    if isinstance(value, Mapping):
        return {str(key): _packed(each, folder, arrays) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(each, folder, arrays) for each in value]
    if isinstance(value, np.ndarray):
        arrays[f"a{len(arrays)}"] = value
        return {_ARRAY: f"a{len(arrays) - 1}"}
    if isinstance(value, pl.DataFrame):
        file = folder / f"f{len(list(folder.iterdir()))}.arrow"
        value.write_ipc_stream(file)
        return {_FRAME: file.name}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, folder: Path, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(each, folder, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_ARRAY}:
        return arrays[value[_ARRAY]]
    if value.keys() == {_FRAME}:
        with (folder / value[_FRAME]).open("rb") as stream:
            return pl.read_ipc_stream(stream)
    return {key: _unpacked(each, folder, arrays) for key, each in value.items()}

"""Memory for a copy of a training's state: how much is left, and how it is taken before it is needed."""

import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fuxi_mtl.training.checkpoint.naming import Part

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
LARGE = 1 << 20  # bytes from which a variable's copy lies in memory that was taken before


def free_memory() -> int:
    """Bytes that may still be taken: of the machine, or of a container that allows less.

    Where the system does not say (it is no Linux), they are taken for enough.
    """
    free = sys.maxsize
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, LookupError):
        pass
    try:
        most, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return min(free, most - used + int(cached["inactive_file"]))
    except (OSError, ValueError, LookupError):  # no container, or one without a limit
        return free


class Copies:
    """Copies of variables, whose memory another thread takes from the system while training goes on.

    To give a process a page costs the system several times what it costs to copy one, and on some machines
    ten times that.

    Args:
        parts: What will be copied.
    """

    def __init__(self, parts: Iterable[Part]):
        self._variables = {id(part.variable): part.variable for part in parts}
        self._arrays: dict[int, np.ndarray] = {}
        large = {key: each for key, each in self._variables.items() if _is_large_and_here(each)}
        self._thread = threading.Thread(target=self._take, args=(large,), daemon=True)
        if large:
            self._thread.start()

    @property
    def have_memory(self) -> bool:
        """Whether all of it is there."""
        return not self._thread.is_alive()

    def now(self) -> dict[int, np.ndarray]:
        """The numbers of each variable as they are now, by the variable's id."""
        if self._thread.is_alive():
            self._thread.join()
        return {key: self._copied(key, variable) for key, variable in self._variables.items()}

    def _take(self, variables: Mapping[int, Any]) -> None:
        for key, variable in variables.items():
            array = np.empty(variable.shape, variable.dtype.as_numpy_dtype)
            array.fill(0)  # a page is given when it is written to
            self._arrays[key] = array

    def _copied(self, key: int, variable: Any) -> np.ndarray:
        """A copy; of a small variable the memory itself, from which TensorFlow moves it at the next step."""
        array = self._arrays.pop(key, None)
        if array is None:
            return np.asarray(tf.convert_to_tensor(variable))
        # Else a variable whose rows are moved is copied when it is read; the next move turns that on again.
        tf.raw_ops.DisableCopyOnRead(resource=variable.handle)
        np.copyto(array, np.asarray(tf.convert_to_tensor(variable)))
        return array


def _is_large_and_here(variable: Any) -> bool:
    """Whether a variable is worth it, and its memory is this process's own."""
    if isinstance(variable, tf.distribute.DistributedValues) or "CPU" not in variable.device:
        return False
    return variable.shape.num_elements() * variable.dtype.size >= LARGE

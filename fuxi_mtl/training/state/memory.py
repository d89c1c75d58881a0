"""Memory that is left for a copy of a training's state."""

import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


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

"""Who uses an encoded dataset, and when it was used last.

A process that reads ``encoded-KEY`` has an empty file beside it, whose name says which process that is. The
time of the manifest is that of the last use.
"""

import atexit
import os
import time
from contextlib import suppress
from pathlib import Path

from fuxi_mtl.files import USED, Leaving, leavings_of, partial_name
from fuxi_mtl.files.processes import this_process

MANIFEST = "manifest.json"
FORGOTTEN_AFTER = 30 * 86400.0  # seconds that a mark counts whose process this machine does not know

_marks: dict[Path, Path] = {}


def begin_use(folder: Path) -> None:
    """Marks an encoded dataset as used by this process, until it ends, where that can be written."""
    mark = _marks.get(folder)
    if mark is None or not mark.exists() or Leaving.at(mark).writer != this_process():  # type: ignore[union-attr]
        mark = partial_name(folder, USED)
        with suppress(OSError):  # no such folder yet, or nobody may write there
            mark.touch()
            _marks[folder] = mark
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def end_use(folder: Path) -> None:
    """Removes the mark of this process."""
    mark = _marks.pop(folder, None)
    if mark is not None and Leaving.at(mark).writer == this_process():  # type: ignore[union-attr]
        with suppress(OSError):
            mark.unlink(missing_ok=True)


@atexit.register
def _end_all() -> None:
    for folder in list(_marks):
        end_use(folder)


def in_use(folder: Path) -> bool:
    """Whether a living process uses an encoded dataset, or one of which this machine does not know."""
    return any(_living(each) for each in leavings_of(folder) if each.kind == USED)


def _living(mark: Leaving) -> bool:
    try:
        return not mark.dead if mark.dead is not None else _age(mark.path) < FORGOTTEN_AFTER
    except FileNotFoundError:
        return False


def unused_seconds(folder: Path) -> float:
    """How long ago an encoded dataset was used last."""
    manifest = folder / MANIFEST
    return _age(manifest if manifest.is_file() else folder)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime

"""Names of what is not whole yet, and what writers that were killed left under such names."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuxi_mtl.files.processes import Process, this_process

PARTIAL, REPLACED = "partial", "replaced"  # not whole yet; whole, but another has its name now
USED = "used"  # an empty file: the process of its name reads what it is of
TEMPORARY = "fuxi_mtl-"  # begins the names of temporary folders


def partial_name(path: Path, kind: str = PARTIAL) -> Path:
    """A hidden name beside a path for what is not whole yet, or another kind of leaving, never given twice.

    It says which process writes there, so that others know when nobody does any more. It does not rest on the
    number of the process alone: a container that is killed and started again has the same one, and so have
    two machines that share a disk.
    """
    return path.with_name(f".{path.name}.{kind}-{this_process().mark}-{uuid.uuid4().hex[:8]}")


@dataclass(frozen=True)
class Leaving:
    """A file or folder that was not whole, or had to go, when something happened to its writer.

    Attributes:
        path: Where it lies.
        of: The name that it was to have, or had.
        kind: ``partial``, ``replaced`` or ``used``.
        writer: Who wrote it; None where its name does not say.
    """

    path: Path
    of: str
    kind: str
    writer: Process | None

    @classmethod
    def at(cls, path: Path) -> "Leaving | None":
        """What a path is by its name; None if it is none."""
        for kind in (PARTIAL, REPLACED, USED):
            of, found, mark = path.name.rpartition(f".{kind}-")
            if found and of.startswith("."):
                return cls._marked(path, of[1:], kind, mark)
        if path.name.startswith(TEMPORARY):
            return cls._marked(path, "", PARTIAL, path.name.removeprefix(TEMPORARY))
        return None

    @classmethod
    def _marked(cls, path: Path, of: str, kind: str, mark: str) -> "Leaving | None":
        if not re.fullmatch(r"([0-9a-f]{8}-[0-9a-f]+-[0-9a-f]+-)?\w{8}", mark):  # of another program
            return None
        process = mark.rpartition("-")[0]  # names did not always say who
        return cls(path, of, kind, Process.from_mark(process) if process else None)

    @property
    def dead(self) -> bool | None:
        """Whether nobody writes it any more; None where its name does not say."""
        return self.writer.gone if self.writer else None


def removed(path: Path) -> None:
    """Removes a file or folder, as far as that is possible, which has another name first."""
    gone = path if Leaving.at(path) else partial_name(path, REPLACED)
    if gone != path:
        path.rename(gone)
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink(missing_ok=True)


def leavings_in(folder: Path) -> Iterator[Leaving]:
    """What writers have left in a folder, and what living ones are writing there."""
    if folder.is_dir():
        yield from filter(None, map(Leaving.at, sorted(folder.iterdir())))


def leavings_of(path: Path) -> Iterator[Leaving]:
    """What writers of a file or folder have left beside it, and what living ones are writing."""
    return (each for each in leavings_in(path.parent) if each.of == path.name)


def remove_leavings(path: Path, alone: bool = False) -> list[Path]:
    """Removes what dead writers of a file or folder have left beside it.

    Args:
        path: The file or folder.
        alone: Whether no other process can be writing it, because this one holds its lock: then what does
            not say who wrote it goes too.

    Returns:
        What was removed.
    """
    gone = []
    for each in leavings_of(path):
        own = each.writer == this_process()
        unknown = each.dead is None and not own and each.kind != USED
        if each.dead or (alone and unknown):
            removed(each.path)
            gone.append(each.path)
    return gone


def remove_dead(folder: Path) -> None:
    """Removes what writers and readers that are gone have left in a folder."""
    for each in leavings_in(folder):
        if each.dead:
            removed(each.path)


def temporary_folder() -> Path:
    """A new folder among the system's temporary files; those of programs that were killed are removed."""
    place = Path(tempfile.gettempdir())
    with os.scandir(place) as entries:
        own = [place / entry.name for entry in entries if entry.name.startswith(TEMPORARY)]
    for each in filter(None, map(Leaving.at, own)):
        if each.dead:
            removed(each.path)
    return Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{this_process().mark}-"))

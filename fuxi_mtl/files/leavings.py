"""Names of what is not whole yet, and what writers that were killed left under such names."""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuxi_mtl.files.processes import Process, this_process

PARTIAL, REPLACED = "partial", "replaced"  # not whole yet; whole, but another has its name now


def partial_name(path: Path, kind: str = PARTIAL) -> Path:
    """A hidden name beside a path for what is not whole yet, never given twice.

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
        writer: Who wrote it; None where its name does not say.
    """

    path: Path
    of: str
    writer: Process | None

    @classmethod
    def at(cls, path: Path) -> "Leaving | None":
        """What a path is by its name; None if it is none."""
        for kind in (PARTIAL, REPLACED):
            of, found, mark = path.name.rpartition(f".{kind}-")
            if found and of.startswith("."):
                try:
                    writer = Process.from_mark(mark.rpartition("-")[0])
                except ValueError:  # before names said who
                    writer = None
                return cls(path, of[1:], writer)
        return None

    @property
    def dead(self) -> bool | None:
        """Whether nobody writes it any more; None where its name does not say."""
        return self.writer.gone if self.writer else None

    def remove(self) -> None:
        """Removes it, as far as that is possible."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def leavings_of(path: Path) -> Iterator[Leaving]:
    """What writers of a file or folder have left beside it, and what living ones are writing."""
    if not path.parent.is_dir():
        return
    for each in sorted(path.parent.iterdir()):
        found = Leaving.at(each)
        if found is not None and found.of == path.name:
            yield found


def remove_leavings(path: Path, alone: bool = False) -> list[Path]:
    """Removes what dead writers of a file or folder have left beside it.

    Args:
        path: The file or folder.
        alone: Whether no other process can be writing it, because this one holds its lock: then what does
            not say who wrote it goes too.

    Returns:
        What was removed.
    """
    removed = []
    for each in leavings_of(path):
        own = each.writer == this_process()
        if each.dead or (alone and each.dead is None and not own):
            each.remove()
            removed.append(each.path)
    return removed

"""Removal of what nothing needs any more: what killed processes left, and encodings that nobody uses.

What a living process holds stays, and so does every finished run.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fuxi_mtl.dataset.cache import BUILDING, ENCODED
from fuxi_mtl.dataset.savepoints import FOLDER as SAVEPOINT
from fuxi_mtl.dataset.usage import in_use, unused_seconds
from fuxi_mtl.files import (
    REPLACED,
    TEMPORARY,
    USED,
    Leaving,
    LockedError,
    held,
    holder_of,
    leavings_in,
    lock_file,
    locks_in,
    removed,
)
from fuxi_mtl.lineage import DAYS
from fuxi_mtl.runs import TRAINING, UNFINISHED, Run, local_root, run_folders

_WHAT = {REPLACED: "an older version that was replaced", USED: "the mark of a reader"}
_ENCODING = "an encoded dataset"


@dataclass(frozen=True)
class Found:
    """Something that was removed, or that stays although it may be a leaving.

    Attributes:
        path: The file or folder.
        what: What it is.
        size: Bytes.
        stays: Why it stays; None if it does not.
    """

    path: Path
    what: str
    size: int
    stays: str | None


@dataclass(frozen=True)
class Cleaning:
    """What a cleaning found.

    Attributes:
        found: What was removed, or would be, and what of its kinds stays.
        runs: The finished runs.
    """

    found: tuple[Found, ...]
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class _Candidate:
    """What is removed unless there is a reason against it.

    Attributes:
        path: The file or folder.
        what: What it is.
        guarded: Whose lock keeps others from it; None where nobody can be at work on it.
        reason: Why it stays, asked once more when that lock is held.
    """

    path: Path
    what: str
    guarded: Path | None
    reason: Callable[[], str | None]

    def clean(self, dry_run: bool) -> Found:
        """Removes it, if it may go."""
        size, stays = size_of(self.path), self.reason()
        if not stays and self.guarded is not None and (holder := holder_of(self.guarded)):
            stays = f"{holder} holds it"
        if not stays and not dry_run:
            stays = self._removed()
        return Found(self.path, self.what, size, stays)

    def _removed(self) -> str | None:
        if self.guarded is None:
            removed(self.path)
            return None
        try:
            with held(self.guarded, wait=False):
                stays = self.reason()
                if not stays and self.path != lock_file(self.guarded):  # which goes with being freed
                    removed(self.path)
        except LockedError as error:
            return str(error)
        return stays


def clean(
    model_roots: Iterable[str | Path],
    data_roots: Iterable[str | Path],
    older_than: float,
    dry_run: bool = False,
) -> Cleaning:
    """Removes leavings.

    What a process of this machine left that is gone goes whatever its age. Of what another machine may be
    writing, of encodings and of unfinished runs the age decides.

    Args:
        model_roots: Folders of runs.
        data_roots: Folders of encoded data.
        older_than: Seconds since something was used or changed last.
        dry_run: Only say what would go.

    Raises:
        OSError: Something cannot be removed.
    """
    models, data = _folders(model_roots), _folders(data_roots)
    of_runs = [folder for root in models for folder in _below(root, 5)]
    of_data = [folder for root in data for folder in _below(root, 1)]
    both = list(dict.fromkeys([*of_runs, *of_data]))
    candidates = (
        *(each for place in both for each in _leavings(place, older_than)),
        *_temporary(older_than),
        *(each for place in of_data for each in _encodings(place, older_than)),
        *(each for place in of_runs for each in _unfinished(place, older_than)),
        *(each for place in of_runs for each in _interrupted(place, older_than)),
    )
    found = [each.clean(dry_run) for each in candidates]
    found += [each.clean(dry_run) for place in both for each in _locks(place)]
    return Cleaning(tuple(found), tuple(run for root in models for run in _runs(root)))


def _runs(root: Path) -> list[Path]:
    """The finished runs, updates included."""
    updates = sorted(root.glob(f"*/*/{DAYS}/*/seed_*/{Run(Path()).metrics.name}"))
    return [*run_folders(root), *(each.parent for each in updates)]


def _folders(roots: Iterable[str | Path]) -> list[Path]:
    """The roots that are there, each once; of a URL the folder from which runs are uploaded."""
    found = dict.fromkeys(local_root(root).resolve() for root in roots)
    return [root for root in found if root.is_dir()]


def _below(root: Path, levels: int) -> Iterator[Path]:
    """The folder itself and the folders in it down to some levels, but for hidden ones."""
    yield root
    if levels:
        for each in sorted(root.iterdir()):
            if each.is_dir() and not each.is_symlink() and not each.name.startswith("."):
                yield from _below(each, levels - 1)


def _leavings(place: Path, older_than: float) -> Iterator[_Candidate]:
    for each in leavings_in(place):
        if not each.path.name.startswith(TEMPORARY):
            guarded = None if each.dead else each.path.with_name(each.of)
            reason = partial(_at_work, each, older_than)
            yield _Candidate(each.path, _WHAT.get(each.kind, "what was not whole yet"), guarded, reason)


def _temporary(older_than: float) -> Iterator[_Candidate]:
    for each in leavings_in(Path(tempfile.gettempdir())):
        if each.path.name.startswith(TEMPORARY):
            yield _Candidate(each.path, "a temporary folder", None, partial(_at_work, each, older_than))


def _at_work(leaving: Leaving, older_than: float) -> str | None:
    if leaving.dead:
        return None
    if leaving.dead is False and leaving.writer:
        return f"process {leaving.writer.pid} is at work on it"
    return _changed(leaving.path, older_than)


def _encodings(place: Path, older_than: float) -> Iterator[_Candidate]:
    for each in sorted(place.glob(f"{BUILDING}*/")):
        folder = each.with_name(each.name.replace(BUILDING, ENCODED, 1))
        resumable = (each / SAVEPOINT).is_dir()
        reason = partial(_changed, each, older_than) if resumable else lambda: None
        yield _Candidate(each, "an encoding that was not whole yet", folder, reason)
    for each in sorted(place.glob(f"{ENCODED}*/")):
        yield _Candidate(each, _ENCODING, each, partial(_needed, each, older_than))


def _needed(encoding: Path, older_than: float) -> str | None:
    if in_use(encoding):
        return "a living process uses it"
    return _too_young(unused_seconds(encoding), older_than, "used")


def _unfinished(place: Path, older_than: float) -> Iterator[_Candidate]:
    for each in sorted(place.glob(f"{UNFINISHED}seed_*/")):
        folder = each.with_name(each.name.removeprefix(UNFINISHED))
        yield _Candidate(each, "what a full disk left of a run", folder, partial(_changed, each, older_than))


def _interrupted(place: Path, older_than: float) -> Iterator[_Candidate]:
    for each in sorted(place.glob(f"seed_*{TRAINING}/")):
        folder = each.with_name(each.name.removesuffix(TRAINING))
        reason = partial(_may_go_on, each, folder, older_than)
        yield _Candidate(each, "the states of a training that was interrupted", folder, reason)


def _may_go_on(states: Path, folder: Path, older_than: float) -> str | None:
    """Why the states of a training stay; a run that was finished since needs them no more."""
    metrics = Run(folder).metrics
    if metrics.is_file() and time.time() - metrics.stat().st_mtime < _age(states):
        return None
    return _changed(states, older_than)


def _locks(place: Path) -> Iterator[_Candidate]:
    for each in locks_in(place):
        yield _Candidate(lock_file(each), "a lock", each, lambda: None)


def _changed(path: Path, older_than: float) -> str | None:
    return _too_young(_age(path), older_than, "changed")


def _too_young(age: float, older_than: float, verb: str) -> str | None:
    return None if age >= older_than else f"{verb} {duration(age)} ago"


def _age(path: Path) -> float:
    """Seconds since it, or anything in it, was changed."""
    times = [each.lstat().st_mtime for each in (path, *path.rglob("*"))]
    return time.time() - max(times)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def duration(seconds: float) -> str:
    """A time as people say it: ``41 days``."""
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((each for each in units if seconds >= each[1]), units[-1])
    number = int(seconds // length)
    return f"{number} {unit}{'' if number == 1 else 's'}"

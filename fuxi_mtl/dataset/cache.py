"""Encoded datasets on disk: found by a hash, complete or not there at all."""

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxi_mtl.dataset.parallel.processes import LostProcessError
from fuxi_mtl.dataset.savepoints import FOLDER as SAVEPOINT
from fuxi_mtl.dataset.usage import MANIFEST, begin_use, end_use
from fuxi_mtl.files import (
    Lock,
    checked_json,
    checksum_of,
    held,
    read_json,
    remove_dead,
    remove_leavings,
    replace_folder,
    write_text,
)
from fuxi_mtl.files.remote import about, as_url, is_url, version_of

logger = logging.getLogger(__name__)

FORMAT = 2  # Counts up when the files or their meaning change.
SOURCES = "sources.json"
ENCODED, BUILDING = "encoded-", ".building-"  # with the key: the name of an encoding, and before it is whole
_PART = 1 << 22  # Bytes of a file that are read at once.
_TICK = 2_000_000_000  # Nanoseconds; the coarsest clock of a file system in use ticks every two seconds.


def key_of(content: Mapping[str, Any], files: Iterable[Sequence], number: int = FORMAT) -> str:
    """Hash of what an encoded dataset is made from.

    Args:
        content: Plain data: everything that changes the result.
        files: What each input file is known by; see :func:`by_time` and :class:`SourceHashes`.
        number: The format whose hash it is.
    """
    text = json.dumps([number, content, list(files)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def absolute(file: str | Path) -> str:
    """One spelling of a path, its links not followed: a link's name may hold a column, such as ``day=1``."""
    return os.path.abspath(file)  # noqa: PTH100 - Path.absolute leaves `..` in


def by_time(files: Iterable[Path]) -> list[list]:
    """What format 1 knows files by: path, size and time of change."""
    found = []
    for file in files:
        status = file.stat()
        found.append([str(file.resolve()), status.st_size, status.st_mtime_ns])
    return found


class SourceHashes:
    """Hashes of input files, kept beside the encodings.

    A file whose size and time are those of its entry is not read again. One that was changed in the last
    seconds gets no entry: within the tick of a file system's clock it could change once more unseen.
    """

    def __init__(self, root: Path):
        remove_dead(root)
        self._file = root / SOURCES
        self._changed = False
        try:
            self._known: dict[str, list] = dict(read_json(self._file, ""))
        except (OSError, ValueError, TypeError):  # none yet, or damaged: files are read once more
            self._known = {}

    def identity(self, file: Path) -> list:
        """What a file is known by: its path, its size and the hash of its content.

        Of a URL what the service says of it, by which its content need not be fetched.
        """
        if is_url(file):
            return [as_url(file), *version_of(about(file))]
        return [absolute(file), file.stat().st_size, self._hash(file)]

    def changed_unseen(self, file: Path) -> bool:
        """Whether another content has the size and the time of the entry; the entry is then the file's."""
        if is_url(file):
            return False
        known, status = self._known.pop(str(file.resolve()), None), file.stat()
        found = self._hash(file)
        return known is not None and known[:2] == [status.st_size, status.st_mtime_ns] and known[2] != found

    def save(self) -> None:
        """Keeps what was found, if there is a place for it; without it files are only read once more."""
        if self._changed and self._file.parent.is_dir():
            there = {file: known for file, known in self._known.items() if Path(file).is_file()}
            with suppress(OSError):
                write_text(self._file, checked_json(there, 1))
            self._changed = False

    def _hash(self, file: Path) -> str:
        name, status = str(file.resolve()), file.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        known = self._known.get(name)
        if known is not None and known[:2] == stamp:
            return known[2]
        content = hashlib.sha256()
        with file.open("rb") as stream:
            while part := stream.read(_PART):
                content.update(part)
        found = content.hexdigest()
        if time.time_ns() - status.st_mtime_ns > _TICK:
            self._known[name] = [*stamp, found]
            self._changed = True
        return found


@dataclass(frozen=True)
class Cache:
    """The place of one encoded dataset.

    Attributes:
        root: Folder of all encodings of the dataset.
        key: Hash of what it is made from.
    """

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        """Where the encoded dataset lies."""
        return self.root / f"{ENCODED}{self.key}"

    def get(self, build: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
        """The manifest of the encoded dataset, which is built first if it is not there or damaged.

        Other processes that want the same wait. It is built in a folder beside and renamed when whole, so a
        crash leaves nothing that looks complete.

        Args:
            build: Fills a folder, which is empty but for a savepoint of its own and what belongs to that,
                and returns what the manifest should keep.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        begin_use(self.folder)  # first, so that nobody cleans it away between a look and the reading
        if not self._damage():
            return self._manifest()
        try:
            with held(self.folder) as lock:
                begin_use(self.folder)
                damage = self._damage()
                if damage and self.folder.exists():
                    logger.warning("%s is damaged (%s): building it again.", self.folder, ", ".join(damage))
                return self._build(build, lock) if damage else self._manifest()
        except BaseException as error:
            end_use(self.folder)
            explained = _explained(error, self.root) if isinstance(error, OSError) else None
            if explained is None:
                raise
            raise explained from error

    def _manifest(self) -> dict[str, Any]:
        return read_json(self.folder / MANIFEST, "it is built again.")

    def _damage(self) -> list[str]:
        """The files that differ from what the manifest says; the manifest itself if there is none."""
        try:
            marks = self._manifest()["files"].items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return [MANIFEST]
        return [name for name, mark in marks if fingerprint(self.folder / name) != mark]

    def _build(self, build: Callable[[Path], Mapping[str, Any]], lock: Lock) -> dict[str, Any]:
        # Under the lock nobody else builds this key: what lies there is left from a crash.
        building = self.root / f"{BUILDING}{self.key}"
        if not (building / SAVEPOINT).is_dir():
            shutil.rmtree(building, ignore_errors=True)
        remove_leavings(self.folder, alone=True)
        building.mkdir(exist_ok=True)
        try:
            manifest = dict(build(building))
            files = sorted(file for file in building.iterdir())
            manifest["files"] = {file.name: fingerprint(file) for file in files}
            write_text(building / MANIFEST, checked_json(manifest, 1))
            lock.check()
            replace_folder(building, self.folder)
        except BaseException as error:
            kept = isinstance(error, KeyboardInterrupt | LostProcessError)
            if kept and (building / SAVEPOINT).is_dir():
                logger.info("%s: what was read so far is kept: encoding goes on from there.", building)
            else:
                shutil.rmtree(building, ignore_errors=True)
            raise
        return manifest


def fingerprint(file: Path) -> list[int] | None:
    """Size of a file and a checksum of all of it: a flipped bit is seen, at some 3 GB a second."""
    return [file.stat().st_size, checksum_of(file)] if file.is_file() else None


def _explained(error: OSError, root: Path) -> OSError | None:
    """The same error with what to do about it, if that is known."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(root).free >> 20
        left = f"{free} MiB are free without the unfinished files"
        advice = f"the disk is full ({left}): make room, or set data_root to another disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        reason = os.strerror(error.errno).lower()
        advice = f"encoded data cannot be written there ({reason}): set data_root to another folder"
    else:
        return None
    return OSError(error.errno, advice, str(root))

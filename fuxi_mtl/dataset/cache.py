"""Encoded datasets on disk: found by a hash, complete or not there at all."""

import errno
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from fuxi_mtl.dataset.encoding import write_json
from fuxi_mtl.files import replace_folder

logger = logging.getLogger(__name__)

FORMAT = 2  # Counts up when the files or their meaning change.
MANIFEST = "manifest.json"
_PART = 1 << 22  # Bytes of a file that are read at once.


def key_of(content: Mapping[str, Any], files: Iterable[str | Path], number: int = FORMAT) -> str:
    """Hash of what an encoded dataset is made from.

    Args:
        content: Plain data: everything that changes the result.
        files: Input files, known by path, size and time of change.
        number: The format whose hash it is.
    """
    identity = []
    for file in map(Path, files):
        status = file.stat()
        identity.append([str(file.resolve()), status.st_size, status.st_mtime_ns])
    text = json.dumps([number, content, identity], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        return self.root / f"encoded-{self.key}"

    def get(self, build: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
        """The manifest of the encoded dataset, which is built first if it is not there or damaged.

        Other processes that want the same wait. It is built in a folder beside and renamed when whole, so a
        crash leaves nothing that looks complete.

        Args:
            build: Fills an empty folder and returns what the manifest should keep.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        if not self._damage():
            return self._manifest()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"encoded-{self.key}.lock"):
                damage = self._damage()
                if damage and self.folder.exists():
                    logger.warning("%s is damaged (%s): building it again.", self.folder, ", ".join(damage))
                return self._build(build) if damage else self._manifest()
        except OSError as error:
            explained = _explained(error, self.root)
            if explained is None:
                raise
            raise explained from error

    def _manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))

    def _damage(self) -> list[str]:
        """The files that differ from what the manifest says; the manifest itself if there is none."""
        try:
            marks = self._manifest()["files"].items()
        except (OSError, ValueError, KeyError):
            return [MANIFEST]
        return [name for name, mark in marks if fingerprint(self.folder / name) != mark]

    def _build(self, build: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
        # Under the lock nobody else builds this key: what lies there is left from a crash.
        building = self.root / f".building-{self.key}"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            manifest = dict(build(building))
            files = sorted(file for file in building.iterdir())
            manifest["files"] = {file.name: fingerprint(file) for file in files}
            write_json(building / MANIFEST, manifest)
            replace_folder(building, self.folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        return manifest


def fingerprint(file: Path) -> list[int] | None:
    """Size of a file and a checksum of all of it: a flipped bit is seen, at some 3 GB a second."""
    if not file.is_file():
        return None
    check = 0
    with file.open("rb") as stream:
        while part := stream.read(_PART):
            check = zlib.crc32(part, check)
    return [file.stat().st_size, check]


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

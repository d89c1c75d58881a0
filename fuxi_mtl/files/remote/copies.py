"""Local copies of remote files, in a folder that does not grow beyond a limit.

``{root}/{version}/{scheme}/{bucket}/{path}``: the version is a hash of what the service says of the file (its
size and its ETag, or the time of its change), so another content never has the name of an older one.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxi_mtl.files.leavings import USED, Leaving, leavings_of, partial_name, removed
from fuxi_mtl.files.remote.urls import RemoteError, as_path, as_url, errors_of, file_system, is_url, name_of

logger = logging.getLogger(__name__)

_TELL = ("ETag", "etag", "e_tag", "md5Hash", "generation", "checksum")  # change with the content
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modificationTime", "created")


@dataclass(frozen=True)
class Copies:
    """The folder of copies.

    Attributes:
        root: The folder.
        limit: Bytes of all copies at most.
    """

    root: Path
    limit: int

    @contextmanager
    def local(self, file: Path, key: str = "") -> Iterator[Path]:
        """A file on this machine, which stays inside the block; a local one is itself.

        Args:
            file: A path, or what :func:`~fuxi_mtl.files.remote.urls.as_path` makes of a URL.
            key: What errors call it.

        Raises:
            RemoteError: It cannot be had, or there is no room for it.
        """
        if not is_url(file):
            yield file
            return
        url = as_url(file)
        information = about(file, key)
        copy = self._place(url, information)
        copy.parent.mkdir(parents=True, exist_ok=True)
        mark = partial_name(copy, USED)
        mark.touch()  # first, so that nobody removes it between a look and the reading
        try:
            if not copy.is_file():
                self._download(url, copy, int(information["size"]), key)
            os.utime(copy)  # the one that was used least lately goes first
            yield copy
        finally:
            mark.unlink(missing_ok=True)

    def _place(self, url: str, information: Mapping[str, Any]) -> Path:
        version = hashlib.sha256(repr([url, version_of(information)]).encode()).hexdigest()[:16]
        scheme, _, rest = str(as_path(url)).partition(":/")
        return self.root.expanduser() / version / scheme / rest

    def _download(self, url: str, copy: Path, size: int, key: str) -> None:
        self._make_room(url, copy, size, key)
        system, path = file_system(url, key)
        partial = partial_name(copy)
        logger.info("%s: downloading %s, %.1f MiB.", key or "remote", name_of(as_path(url)), size / 2**20)
        try:
            with errors_of(url, key):
                system.get_file(path, str(partial))
            found = partial.stat().st_size
            if found != size:
                raise RemoteError(f"{url} has {size} bytes, {found} came: it was changed, or cut off.")
            partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, url: str, copy: Path, size: int, key: str) -> None:
        there = {file: file.stat() for file in self._files()}
        left = self.limit - size - sum(status.st_size for status in there.values())
        for file, status in sorted(there.items(), key=lambda each: each[1].st_mtime):
            if left >= 0:
                return
            if file == copy or _in_use(file):
                continue
            logger.info(
                "remote_cache: %s (%.1f MiB) makes room for %s.",
                self._url_of(file),
                status.st_size / 2**20,
                url,
            )
            self._remove(file)
            left += status.st_size
        if left < 0:
            raise RemoteError(
                f"{f'{key}: ' if key else ''}{url} ({size / 2**30:.3g} GiB) has no room in {self.root}: "
                f"remote_cache_gb allows {self.limit / 2**30:.3g} GiB, and {-left / 2**30:.3g} more are "
                "needed beside what is being read. Raise it, or lower encode_workers."
            )

    def _files(self) -> Iterator[Path]:
        root = self.root.expanduser()
        for file in root.rglob("*") if root.is_dir() else ():
            left = Leaving.at(file)
            if left is None:
                if file.is_file():
                    yield file
            elif left.dead:
                removed(file)

    def _url_of(self, copy: Path) -> str:
        _, scheme, *rest = copy.relative_to(self.root.expanduser()).parts
        return as_url(Path(f"{scheme}:/{'/'.join(rest)}"))

    def _remove(self, copy: Path) -> None:
        with suppress(FileNotFoundError):
            copy.unlink()
        for folder in copy.parents:
            if folder == self.root.expanduser() or any(folder.iterdir()):
                return
            shutil.rmtree(folder, ignore_errors=True)


def about(file: Path, key: str = "") -> dict[str, Any]:
    """What a service says of a file; ``size`` is among it.

    Raises:
        RemoteError: It is not there.
    """
    url = as_url(file)
    system, path = file_system(url, key)
    system.invalidate_cache()  # listings are remembered, and files change
    with errors_of(url, key):
        found = dict(system.info(path))
    if found.get("type") == "directory" or found.get("size") is None:
        raise RemoteError(f"{f'{key}: ' if key else ''}{url} is a folder: name one file.")
    return found


def version_of(information: Mapping[str, Any]) -> list[str]:
    """Of what a service says of a file, what changes with its content: size, and ETag or time of change."""
    said = [str(information[name]) for name in _TELL if information.get(name)]
    said = said or [str(information[name]) for name in _TIMES if information.get(name)]
    return [str(information["size"]), *said]


def _in_use(copy: Path) -> bool:
    return any(left.kind == USED and not left.dead for left in leavings_of(copy))

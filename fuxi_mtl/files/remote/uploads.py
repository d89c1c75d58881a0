"""Folders in stores that know no renaming: files under their final names, then a manifest that names them.

What has no manifest is not there, whatever lies under its name; so an upload that was killed half-way is not
there either, and the next one begins anew. The manifest of an older version goes first.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuxi_mtl.files.checked import checked_json
from fuxi_mtl.files.leavings import partial_name, removed, temporary_folder
from fuxi_mtl.files.listed import files_below, sha256_of
from fuxi_mtl.files.remote.urls import RemoteError, as_url, check_url, errors_of, file_system, is_url
from fuxi_mtl.files.writing import replace_folder, write_text

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"


def upload_folder(folder: Path, url: str) -> None:
    """Uploads all files of a folder; what else lies under the URL is removed.

    Args:
        folder: The folder.
        url: Where it goes.

    Raises:
        RemoteError: It cannot be written there.
    """
    url = url.rstrip("/")
    files = files_below(folder)
    system, root = file_system(url)
    with errors_of(url, done="written"):
        before = _listed(system, root)
        if f"{root}/{MANIFEST}" in before:
            system.rm_file(f"{root}/{MANIFEST}")
        named = {}
        for name, file in files.items():
            named[name] = [file.stat().st_size, sha256_of(file)]
            _put(system, file, f"{root}/{name}")
        with system.open(f"{root}/{MANIFEST}", "wb") as stream:
            stream.write(checked_json({"files": named}, 1).encode())
        for left in sorted(before - {f"{root}/{name}" for name in [*files, MANIFEST]}):
            system.rm_file(left)
    logger.info("Uploaded %d files to %s.", len(files), url)


def upload_file(file: Path, url: str) -> None:
    """Uploads one file, which a store of objects shows when it is whole.

    Raises:
        RemoteError: It cannot be written there.
    """
    system, path = file_system(url)
    with errors_of(url, done="written"):
        _put(system, file, path)
    logger.info("Uploaded %s.", url)


@contextmanager
def uploaded(url: str | Path, key: str) -> Iterator[Path]:
    """A local name for a file or folder that the block writes, behind which it is uploaded.

    Args:
        url: Where it goes.
        key: What errors call it.

    Raises:
        RemoteError: It cannot be written there; that is tried before the block only as far as packages are
            concerned.
    """
    url = as_url(url).rstrip("/")
    file_system(url, key)
    folder = temporary_folder()
    try:
        file = folder / url.rpartition("/")[2]
        yield file
        for made in sorted(folder.iterdir()):  # some formats write a folder beside their file
            target = f"{url.rpartition('/')[0]}/{made.name}"
            if made.is_dir():
                upload_folder(made, target)
            else:
                upload_file(made, target)
    finally:
        removed(folder)


def put_text(output: str | Path, text: str) -> None:
    """Writes a text into a file, or under a URL.

    Raises:
        RemoteError: It cannot be written there.
    """
    if is_url(output):
        with uploaded(output, "output") as file:
            write_text(file, text)
    else:
        write_text(Path(output), text)


def read_manifest(url: str) -> dict[str, list] | None:
    """Size and SHA-256 of each file of an uploaded folder by its name; None if there is none, or a torn one.

    Raises:
        RemoteError: The store cannot be asked.
    """
    system, root = file_system(url.rstrip("/"))
    system.invalidate_cache()
    try:
        with errors_of(url):
            content = json.loads(system.cat_file(f"{root}/{MANIFEST}"))
    except RemoteError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    except ValueError:
        return None
    return content.get("files") if isinstance(content, Mapping) else None


def same_as(url: str, folder: Path) -> bool:
    """Whether a folder is whole under a URL, file by file, as its manifest says."""
    named = read_manifest(url)
    return named is not None and set(named) == set(files_below(folder)) and _same(folder, named)


def download_folder(url: str, folder: Path) -> bool:
    """Makes a local folder what an uploaded one is; files that are there already are not fetched again.

    Args:
        url: Where it lies.
        folder: The local folder; an older one is replaced when all has come.

    Returns:
        Whether there is one.

    Raises:
        RemoteError: A file is not what its manifest says.
    """
    check_url("", url)
    named = read_manifest(url)
    if named is None:
        return False
    if _same(folder, named):
        return True
    system, root = file_system(url.rstrip("/"))
    partial = partial_name(folder)
    try:
        for name, (size, mark) in named.items():
            target = _inside(partial, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with errors_of(f"{url}/{name}"):
                system.get_file(f"{root}/{name}", str(target))
            if target.stat().st_size != size or sha256_of(target) != mark:
                raise RemoteError(
                    f"{url}/{name} is not what {MANIFEST} says: something else writes there, or it is "
                    "damaged. Upload it again."
                )
        partial.mkdir(parents=True, exist_ok=True)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _inside(folder: Path, name: str) -> Path:
    if name.startswith("/") or ".." in Path(name).parts:
        raise RemoteError(f"{MANIFEST} names {name!r}, which is no file below it.")
    return folder / name


def _same(folder: Path, named: Mapping[str, Any]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == size
        and sha256_of(folder / name) == mark
        for name, (size, mark) in named.items()
    )


def _listed(system: Any, root: str) -> set[str]:
    system.invalidate_cache()
    try:
        return set(system.find(root))
    except FileNotFoundError:
        return set()


def _put(system: Any, file: Path, path: str) -> None:
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    system.put_file(str(file), path)

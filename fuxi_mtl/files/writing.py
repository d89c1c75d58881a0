"""Files and folders that are whole or not there: written under another name, and renamed."""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuxi_mtl.files.leavings import REPLACED, partial_name

MOST_BYTES = 200  # of a name; a file system allows 255, and what is not whole yet has a longer name
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


def name_problem(name: str) -> str | None:
    """Why a name from a stanza can be no folder; None if it can."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\"):
        return "it is a path: a name has no / and is neither . nor .."
    if any(not mark.isprintable() for mark in name):
        return "it holds control characters"
    if len(os.fsencode(name)) > MOST_BYTES:
        return f"it is longer than {MOST_BYTES} bytes"
    return None


def write_text(path: Path, text: str) -> None:
    """Writes a file that is either whole or not there.

    Raises:
        OSError: It cannot be written; the message names the file.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or not there; see :func:`write_text`."""
    partial = partial_name(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def replace_folder(new: Path, old: Path) -> None:
    """Gives a folder the name of another, which may exist and is then removed.

    Where the system can exchange two names (Linux), there is a whole folder under the name at every moment;
    elsewhere the older one has another name for the instant between two renames.
    """
    replaced = partial_name(old, REPLACED)
    if not old.exists():
        new.rename(old)
        return
    if _exchange(new, old):
        new.rename(replaced)
    else:
        old.rename(replaced)
        new.rename(old)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder under another name, which gets its own when the block ends, and is removed if that fails.

    Raises:
        OSError: It cannot be written.
    """
    partial = partial_name(folder)
    partial.mkdir(parents=True)
    try:
        yield partial
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two names at once, if the system can."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # no such function in the C library
        return False
    names = (os.fsencode(first), os.fsencode(second))
    done = renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):  # an older kernel, or this file system
        return False
    raise OSError(number, os.strerror(number), str(second))

"""Folders for other programs: a list of their files with checksums, as ``sha256sum`` writes and reads it."""

import re
from pathlib import Path

from fuxi_mtl.files.checked import DamagedError

_PART = 1 << 22  # bytes of a file that are read at once
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def list_files(folder: Path, listed: Path) -> None:
    """Lists all files of a folder: ``sha256sum -c {listed}`` in the folder checks them.

    Args:
        folder: The folder.
        listed: The file with the list, in that folder or below.
    """
    lines = [f"{sha256_of(file)}  {name}\n" for name, file in files_below(folder).items() if file != listed]
    listed.write_text("".join(lines), encoding="utf-8")


def check_listed(folder: Path, listed: Path, remedy: str) -> None:
    """Makes sure that every file of a list is there and holds what was written; others may be there, too.

    Args:
        folder: The folder.
        listed: The file with the list.
        remedy: What to do where one is damaged, as a sentence.

    Raises:
        FileNotFoundError: There is no list.
        DamagedError: A file is missing or another, or the list is damaged.
    """
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DamagedError(listed, error, remedy) from error
    files = files_below(folder)
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            raise DamagedError(listed, f"{line!r} is no checksum and name", remedy)
        checksum, name = found.groups()
        if name not in files:
            raise DamagedError(folder / name, f"{listed.name} lists it, and it is not there", remedy)
        if sha256_of(files[name]) != checksum:
            raise DamagedError(files[name], f"{listed.name} lists another checksum", remedy)


def files_below(folder: Path) -> dict[str, Path]:
    """Its files and those below, by their names in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file for file in files}


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    import hashlib  # here, because commands that check nothing are quick

    found = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(_PART):
            found.update(part)
    return found.hexdigest()

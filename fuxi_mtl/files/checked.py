"""Files that say by themselves what they should hold: a flipped bit is an error, never another number.

JSON has its checksum as one more key, YAML as a comment in its last line, and a zip of arrays one for each
array. A file without one, of an older version or changed by hand, is taken as it is.
"""

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:  # --help does without
    import numpy as np

CHECKSUM = "crc32"
_PART = 1 << 22  # bytes of a file that are read at once
_LAST_LINE = re.compile(rf"(.*\n)# {CHECKSUM}: ([0-9a-f]{{8}})\n?", re.DOTALL)
_END_RECORD = struct.Struct("<4s4H2LH")  # of a zip without a comment
# What damage makes of a zip of arrays, besides ValueError and OSError.
_OF_ARRAYS = (EOFError, LookupError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, SyntaxError)


class DamagedError(ValueError):
    """A file does not hold what was written."""

    def __init__(self, path: Path, reason: object, remedy: str):
        super().__init__(f"{path} cannot be read ({reason}): {remedy}")


_OTHER = f"its checksum is another; if you changed it yourself, remove its {CHECKSUM}"


def checked_json(content: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON with its checksum; nothing but plain data can be checked."""
    return json.dumps({**content, CHECKSUM: _checksum(content)}, indent=indent, ensure_ascii=False)


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file without its checksum.

    Args:
        path: The file.
        remedy: What to do where it is damaged, as a sentence.

    Raises:
        FileNotFoundError: It is missing.
        DamagedError: It is no JSON, or its checksum is another.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(path, error, remedy) from error
    if not isinstance(content, dict) or CHECKSUM not in content:
        return content
    if content.pop(CHECKSUM) != _checksum(content):
        raise DamagedError(path, _OTHER, remedy)
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def checksum_of(file: Path) -> int:
    """A checksum of all bytes of a file, at some 3 GB a second."""
    checksum = 0
    with file.open("rb") as stream:
        while part := stream.read(_PART):
            checksum = zlib.crc32(part, checksum)
    return checksum


def checked_yaml(text: str) -> str:
    """YAML with its checksum."""
    return f"{text}# {CHECKSUM}: {zlib.crc32(text.encode()):08x}\n"


def check_yaml(path: Path, remedy: str) -> None:
    """Makes sure that a YAML file, if it is there, holds what was written.

    Raises:
        DamagedError: It does not.
    """
    try:
        found = _LAST_LINE.fullmatch(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DamagedError(path, error, remedy) from error
    if found and f"{zlib.crc32(found[1].encode()):08x}" != found[2]:
        raise DamagedError(path, _OTHER, remedy)


def read_arrays(path: Path, remedy: str) -> "dict[str, np.ndarray]":
    """The arrays of an npz file, whose checksums are made sure of.

    Raises:
        FileNotFoundError: It is missing.
        DamagedError: It is damaged.
    """
    from numpy.lib.format import read_array

    found = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) != _members(file):
                raise ValueError("its table of contents is not whole")
            for name in names:
                with archive.open(name) as stream:
                    array = read_array(stream, allow_pickle=False)
                    if stream.read():  # the checksum is looked at when the end is read
                        raise ValueError(f"{name} is longer than it says")
                found[name.removesuffix(".npy")] = array
    except FileNotFoundError:
        raise
    except (OSError, ValueError, *_OF_ARRAYS) as error:
        raise DamagedError(path, error, remedy) from error
    return found


def _members(file: BinaryIO) -> int:
    """How many members the last record of a zip says that there are, which Python does not look at."""
    file.seek(-_END_RECORD.size, os.SEEK_END)
    return _END_RECORD.unpack(file.read())[4]

"""Models that are one file, and the encoding of their inputs beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxi_mtl.dataset import DataError, Encoder
from fuxi_mtl.dataset.encoding_file import check_place, write_encoding
from fuxi_mtl.files import remove_leavings, write_bytes
from fuxi_mtl.serving.export import ExportError


def checked_file(file: str | Path, suffix: str, kind: str) -> Path:
    """Where a model goes.

    Raises:
        ExportError: The name is none of such a file.
    """
    file = Path(file).expanduser()
    if file.suffix != suffix or file.is_dir():
        raise ExportError(f"output: {file} is no name of {kind}: it must end in {suffix}.")
    return file


def write_file(
    file: Path, content: bytes, encoder: Encoder | None = None, said: Mapping[str, Any] | None = None
) -> None:
    """Writes a model and, if it takes ids, ``encoding.json`` beside it.

    Args:
        file: The model's file; an older one is replaced once the new one is whole.
        content: What goes in.
        encoder: The encoding of its ids, or None.
        said: What else stands in ``encoding.json``.

    Raises:
        ExportError: A file cannot be written, or the encoding of another model lies there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_leavings(file)
        if encoder is not None:
            check_place(file.parent, file.name)
        write_bytes(file, content)
        if encoder is not None:
            write_encoding(encoder, file.parent, file.name, said or {})
    except DataError as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        raise ExportError(f"cannot write {file} ({error.strerror or error}).") from error

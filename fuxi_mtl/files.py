"""Writing of files that are either whole or not there."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file that is either whole or not there."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

"""Public data that the repository does not hold: where it lies on this machine."""

import os
from pathlib import Path

FOLDER_VARIABLE = "FUXI_MTL_DATASETS"
_ROOT = Path(__file__).parent.parent
_WRITTEN = "../shared/datasets"  # how the shipped stanzas name the folder


def datasets() -> Path:
    """The folder that the environment variable names, else ``../shared/datasets`` beside the repository."""
    return Path(os.environ.get(FOLDER_VARIABLE, _ROOT / _WRITTEN)).resolve()


def located(path: str) -> str:
    """A path of a shipped stanza as an absolute one, whatever the working directory is."""
    if path.startswith(f"{_WRITTEN}/"):
        return str(datasets() / path.removeprefix(f"{_WRITTEN}/"))
    return str((_ROOT / path).resolve())

"""Public data that the repository does not hold: where it lies on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

FOLDER_VARIABLE = "FUXI_MTL_DATASETS"
_ROOT = Path(__file__).parent.parent
_WRITTEN = "../shared/datasets"  # how the shipped stanzas name the folder


def datasets() -> Path:
    """The folder that the environment variable names, else ``../shared/datasets`` beside the repository."""
    return Path(os.environ.get(FOLDER_VARIABLE, _ROOT / _WRITTEN)).resolve()


def impressions_of(folder: Path, every: int) -> pl.DataFrame:
    """KuaiRand's impressions, in order.

    Args:
        folder: Where the file lies.
        every: One in how many training impressions is kept.
    """
    impressions = pl.read_parquet(folder / "impressions.parquet")
    training = impressions["split"] == "train"
    return impressions.filter(~training | (training.cum_sum() % every == 0))


def used(content: Mapping[str, Any]) -> str:
    """Which impressions a study was trained on, in words."""
    every = content["every"]
    return "all training impressions" if every == 1 else f"one in {every} training impressions"


def located(path: str) -> str:
    """A path of a shipped stanza as an absolute one, whatever the working directory is."""
    if path.startswith(f"{_WRITTEN}/"):
        return str(datasets() / path.removeprefix(f"{_WRITTEN}/"))
    return str((_ROOT / path).resolve())

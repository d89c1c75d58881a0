"""The folder that a run leaves, and how others find it.

``{model_root}/{dataset_id}/{expid}/seed_{seed}/`` holds::

    config.yaml  environment.json  history.json  metrics.json  valid_scores.npz  test_scores.npz
    diagnostics.json (if the stanza asks for them)  calibration.json (likewise)
    fusion.json, fusion_network.npz (what makes one score of several, if the stanza asks for it)
    features/ (what the inputs mean)  checkpoint/ (the best weights, in HDF5)  saved_model/

with the log beside it, ``seed_{seed}.log``. A run appears under its name when it is whole; until then
it lies in a folder of its own, which is removed if the run fails.
"""

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fuxi_mtl.files import write_text

_PACKAGES = ("fuxi_mtl", "tensorflow", "keras", "numpy", "polars", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """A run's folder and the names of what lies in it."""

    folder: Path

    @property
    def expid(self) -> str:
        """The experiment it is a run of."""
        return self.folder.parent.name

    @property
    def config(self) -> Path:
        """The resolved stanza and its dataset's."""
        return self.folder / "config.yaml"

    @property
    def features(self) -> Path:
        """Feature map, vocabularies and encoders."""
        return self.folder / "features"

    @property
    def checkpoint(self) -> Path:
        """The best weights."""
        return self.folder / "checkpoint"

    @property
    def calibration(self) -> Path:
        """How its probabilities are calibrated, if they are."""
        return self.folder / "calibration.json"

    @property
    def fusion(self) -> Path:
        """How one score is made of the tasks', if it is."""
        return self.folder / "fusion.json"

    @property
    def fusion_network(self) -> Path:
        """The network of personal weights, if it has one."""
        return self.folder / "fusion_network.npz"

    def scores(self, split: str) -> Path:
        """Predictions and labels of a split, ``valid`` or ``test``."""
        return self.folder / f"{split}_scores.npz"

    @property
    def saved_model(self) -> Path:
        """The exported model."""
        return self.folder / "saved_model"

    def write_json(self, name: str, content: Any, indent: int | None = 2) -> None:
        """Writes a file of the run; NaN becomes null. Without an indent it is one line."""
        write_text(self.folder / name, json.dumps(_plain(content), indent=indent) + "\n")

    def read_json(self, name: str) -> Any:
        """The content of such a file.

        Raises:
            ValueError: It is missing or damaged.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.folder / name} is missing or damaged: train the experiment again."
            ) from error

    def write_config(self, stanza: Mapping) -> None:
        """Writes what the run was configured with, resolved."""
        write_text(self.config, yaml.safe_dump(_plain(stanza), sort_keys=False, allow_unicode=True))


def run_folder(model_root: str, dataset_id: str, expid: str, seed: int) -> Path:
    """Where the run of an experiment with a seed lies."""
    return Path(model_root) / dataset_id / expid / f"seed_{seed}"


@contextmanager
def new_run(folder: Path) -> Iterator[Run]:
    """A run that is written under a temporary name and appears under its own when the block ends.

    Raises:
        ValueError: The folder cannot be written, or the disk is full.
    """
    # Not by the process id: a container that is killed and started again has the same one.
    unique = uuid.uuid4().hex[:8]
    partial = folder.with_name(f".{folder.name}.partial-{unique}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"model_root: cannot write {folder.parent} ({error.strerror}).") from error
    try:
        yield Run(partial)
        replaced = folder.with_name(f".{folder.name}.replaced-{unique}")
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"model_root: the disk of {folder.parent} is full: make room, or set model_root to another one."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def environment(data_key: str) -> dict[str, Any]:
    """What a number depends on beside the stanza: versions, machine, code and data."""
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "git_commit": _git_commit(),
        "data_key": data_key,
        "started": datetime.now().isoformat(timespec="seconds"),
    }


def append_results_line(config_dir: str | Path, expid: str, dataset_id: str, valid: str, test: str) -> None:
    """Adds FuxiCTR's line to ``{config folder's name}.csv`` in the working directory."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    command = f"python {' '.join(sys.argv)}"
    with Path(f"{Path(config_dir).resolve().name}.csv").open("a", encoding="utf-8") as file:
        file.write(
            f" {time},[command] {command},[exp_id] {expid},[dataset_id] {dataset_id},"
            f"[train] N.A.,[val] {valid or 'N.A.'},[test] {test or 'N.A.'}\n"
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _plain(content: Any) -> Any:
    """Only what JSON and YAML know: NaN as None, numpy numbers and tuples as Python's."""
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return str(content) if isinstance(content, Path) else content

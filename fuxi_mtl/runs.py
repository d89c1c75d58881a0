"""The folder of a run: its place, its files and its scores.

``{model_root}/{dataset_id}/{expid}/seed_{seed}/`` holds::

    config.yaml  environment.json  history.json  metrics.json  valid_scores.npz  test_scores.npz
    diagnostics.json (if the stanza asks for them)  calibration.json (likewise)
    fusion.json, fusion_network.npz (what makes one score of several, if the stanza asks for it)
    features/ (what the inputs mean)  checkpoint/ (the best weights, in HDF5)  saved_model/

with the log beside it, ``seed_{seed}.log``, and updates of it in ``days/``, see :mod:`fuxi_mtl.lineage`. A
run appears under its name when it is whole; until then it lies in a folder of its own, which is removed if
the run fails.
"""

import errno
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from fuxi_mtl import __version__
from fuxi_mtl.files import (
    Leaving,
    Lock,
    checked_json,
    checked_yaml,
    held,
    name_problem,
    partial_name,
    read_arrays,
    read_json,
    remove_leavings,
    replace_folder,
    write_text,
)
from fuxi_mtl.files.remote import as_url, is_url, without_secrets
from fuxi_mtl.metrics import NO_PARTS, Parts, Truth

logger = logging.getLogger(__name__)

RUNS = "FUXI_MTL_RUNS"  # environment variable: folder of runs whose model_root is a URL
TRAINING = ".training"  # behind the name of a run: where the states of its training lie
UNFINISHED = "unfinished_"  # before the name of a run: what was trained of it when the disk failed
_PATIENCE = 60.0  # seconds that a change of a run waits for another one
_AGAIN = "run the experiment again."
_PACKAGES = ("tensorflow", "keras", "numpy", "polars", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """A run's folder and the names of what lies in it."""

    folder: Path

    @property
    def expid(self) -> str:
        """The experiment it is a run of, as the run says; of an unfinished one the name of its place."""
        try:
            return str(read_json(self.metrics, _AGAIN)["expid"])
        except (OSError, ValueError, LookupError, TypeError):
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

    @property
    def saved_model(self) -> Path:
        """The exported model."""
        return self.folder / "saved_model"

    @property
    def metrics(self) -> Path:
        """What the run is, and what it is worth; a run that has it is finished."""
        return self.folder / "metrics.json"

    @property
    def history(self) -> Path:
        """The evaluations during training."""
        return self.folder / "history.json"

    @property
    def diagnostics(self) -> Path:
        """What was measured beside training, if anything was."""
        return self.folder / "diagnostics.json"

    @property
    def environment(self) -> Path:
        """Versions, machine, code and data."""
        return self.folder / "environment.json"

    def scores(self, split: str) -> Path:
        """Predictions and labels of a split, ``valid`` or ``test``."""
        return self.folder / f"{split}_scores.npz"

    def read_scores(self, split: str) -> "StoredScores | None":
        """The content of that file; None without it.

        Raises:
            ValueError: It is damaged.
        """
        path = self.scores(split)
        if not path.is_file():
            return None
        return StoredScores(read_arrays(path, _AGAIN))

    def write_scores(self, split: str, scores: "StoredScores") -> None:
        """Writes predictions and labels of a split."""
        np.savez_compressed(self.scores(split), **scores.arrays)  # type: ignore[arg-type]

    def write_json(self, path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
        """Writes a file of the run; NaN becomes null. Without an indent it is one line."""
        write_text(path, checked_json(_plain(content), indent) + "\n")

    def read_json(self, path: Path, *required: str) -> Any:
        """The content of such a file.

        Args:
            path: One of the above paths.
            required: Keys that it must have.

        Raises:
            ValueError: It is missing or damaged.
        """
        try:
            content = read_json(path, _AGAIN)
        except FileNotFoundError as error:
            raise ValueError(
                f"{self.folder} holds no finished run: {path.name} is missing. Run the experiment again."
            ) from error
        absent = [key for key in required if not isinstance(content, dict) or key not in content]
        if absent:
            raise ValueError(f"{path} lacks {', '.join(absent)}: run the experiment again.")
        return content

    def write_config(self, stanza: Mapping) -> None:
        """Writes what the run was configured with, resolved."""
        text = yaml.safe_dump(_plain(stanza), sort_keys=False, allow_unicode=True)
        write_text(self.config, checked_yaml(text))


@dataclass(frozen=True)
class StoredScores:
    """The scores of a split's rows beside what they are held against, in the order of the rows.

    Attributes:
        arrays: ``(rows,)`` each: ``{task}_pred``, ``{task}_label``, where it is known ``{task}_truth`` and
            ``{task}_outcome``; ``group`` where there are groups, ``weight`` where weights count in metrics.
            Of a task of classes ``{task}_chances`` ``(rows, classes)`` and, if it has one, the number
            ``{task}_value`` that a fusion takes; of predicted quantiles ``{task}_quantiles`` ``(rows, taus)``
            and ``{task}_taus``.
    """

    arrays: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        predictions: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        truth: Mapping[str, Truth],
        groups: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        parts: Mapping[str, Parts] = MappingProxyType({}),
        values: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> "StoredScores":
        """The scores of the tasks that have labels.

        Args:
            predictions: ``(rows,)`` by task.
            labels: The same.
            truth: What is known of it, by task.
            groups: Group of each row.
            weights: Sample weights.
            parts: What is predicted beside the values, by task.
            values: Numbers that stand for tasks of classes in a fusion.
        """
        arrays = {f"{task}_pred": predictions[task] for task in labels}
        arrays |= {f"{task}_label": each for task, each in labels.items()}
        arrays |= {f"{task}_{name}": each for task in parts for name, each in parts[task].arrays.items()}
        arrays |= {f"{task}_value": each for task, each in values.items()}
        for task, known in truth.items():
            arrays[f"{task}_truth"] = known.expected.astype(np.float32)
            if known.outcome is not None:
                arrays[f"{task}_outcome"] = known.outcome.astype(np.float32)
        rest = {"group": groups, "weight": weights}
        return cls(arrays | {name: values for name, values in rest.items() if values is not None})

    def prediction(self, task: str) -> np.ndarray:
        """Probabilities, or the values of a regression."""
        return self._array(f"{task}_pred")

    def label(self, task: str) -> np.ndarray:
        """Labels, NaN where the task is not defined."""
        return self._array(f"{task}_label")

    def truth(self, task: str) -> Truth:
        """The truth of a task, perhaps without outcomes."""
        return Truth(self._array(f"{task}_truth"), self.arrays.get(f"{task}_outcome"))

    def parts(self, task: str) -> Parts:
        """What is predicted of a task beside its value."""
        found = {name: self.arrays.get(f"{task}_{name}") for name in vars(NO_PARTS)}
        taus = found.pop("taus")
        return Parts(**found, taus=None if taus is None else tuple(map(float, taus)))

    def scalar(self, task: str) -> np.ndarray | None:
        """The number a row that a fusion takes: of classes the expected value if there is one."""
        if f"{task}_chances" in self.arrays:
            return self.arrays.get(f"{task}_value")
        return self.prediction(task)

    @property
    def given(self) -> dict[str, np.ndarray]:
        """What a run was measured on, whatever it predicted."""
        ends = ("pred", "value", *vars(NO_PARTS))
        tasks = [name.removesuffix("_label") for name in self.arrays if name.endswith("_label")]
        predicted = {f"{task}_{end}" for task in tasks for end in ends}
        return {name: each for name, each in self.arrays.items() if name not in predicted}

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each row."""
        return self.arrays.get("group")

    @property
    def weights(self) -> np.ndarray | None:
        """Sample weights, if the metrics of the run are weighted by them."""
        return self.arrays.get("weight")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values())))

    def _array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise ValueError(f"saved no {name}")
        return self.arrays[name]


def local_root(model_root: str | Path) -> Path:
    """The folder of runs on this machine; of a URL the one from which they are uploaded."""
    if not is_url(model_root):
        return Path(model_root).expanduser()
    scheme, _, rest = as_url(model_root).partition("://")
    return Path(os.environ.get(RUNS, "~/.cache/fuxi_mtl/runs")).expanduser() / scheme / rest.strip("/")


def run_folders(model_root: str | Path) -> list[Path]:
    """The folders of all finished runs, sorted."""
    found = local_root(model_root).glob(f"*/*/seed_*/{Run(Path()).metrics.name}")
    return sorted(path.parent for path in found)


def run_folder(model_root: str, dataset_id: str, expid: str, seed: int) -> Path:
    """Where the run of an experiment with a seed lies.

    Raises:
        ValueError: A name is a path.
    """
    for what, name in (("dataset_id", dataset_id), ("expid", expid)):
        if problem := name_problem(name):
            raise ValueError(f"{what} {name!r} names a folder, which it cannot: {problem}.")
    return local_root(model_root) / dataset_id / expid / f"seed_{seed}"


@contextmanager
def held_run(folder: Path, wait: bool | float = False) -> Iterator[Lock]:
    """The lock of a run, of the states of its training and of its log.

    Raises:
        LockedError: Another process writes it.
        ValueError: The folder it lies in cannot be written.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(held(folder, wait))
        except OSError as error:
            raise ValueError(f"model_root: cannot write {folder.parent} ({error.strerror}).") from error
        yield lock


@contextmanager
def new_run(folder: Path, keeps_trained: bool = False, wait: bool | float = False) -> Iterator[Run]:
    """A run that is written under a temporary name and appears under its own when the block ends.

    It holds the lock of the folder, and removes what killed writers of the same run have left.

    Args:
        folder: The run's.
        keeps_trained: Whether weights that are in its checkpoint outlive a disk that fails behind them: as
            ``unfinished_seed_1`` beside ``seed_1``, of which a model can be made again.
        wait: Whether to wait for another process that writes it, or for how many seconds.

    Raises:
        LockedError: Another process writes it.
        ValueError: The folder cannot be written, or the disk is full.
    """
    if is_url(folder):
        raise ValueError(f"{as_url(folder)} is a URL: a run is written into a folder. model_root may be one.")
    partial = partial_name(folder)
    with held_run(folder, wait) as lock:
        try:
            for removed in remove_leavings(folder, alone=True):
                logger.info("%s, which a process that is gone has left, is removed.", removed)
            partial.mkdir()
        except OSError as error:
            raise ValueError(f"model_root: cannot write {folder.parent} ({error.strerror}).") from error
        with _renamed(partial, folder, keeps_trained):
            yield Run(partial)
            lock.check()


@contextmanager
def _renamed(partial: Path, folder: Path, keeps_trained: bool) -> Iterator[None]:
    """Gives a folder its name when the block ends; see :func:`new_run`."""
    try:
        yield
        replace_folder(partial, folder)
    except (OSError, ValueError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        kept = ""
        if keeps_trained and isinstance(cause, OSError) and Run(partial).checkpoint.is_dir():
            unfinished = folder.with_name(f"{UNFINISHED}{folder.name}")
            replace_folder(partial, unfinished)
            kept = f" What was trained is kept in {unfinished}: its checkpoint holds the best weights so far."
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"model_root: the disk of {folder.parent} is full: make room, or set model_root to another "
                f"one.{kept}"
            ) from error
        if kept:
            raise ValueError(f"{str(error).replace(str(partial), str(folder))}{kept}") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def amended_run(folder: Path) -> Iterator[Run]:
    """A copy of a finished run, to be changed, which takes the place of the run when the block ends.

    Raises:
        ValueError: The folder cannot be written, the disk is full, or what the block raises; in an error that
            the block raises the run has its own name.
    """
    with new_run(folder, wait=_PATIENCE) as run:
        try:
            copy = partial(_copied, folder)
            shutil.copytree(folder, run.folder, copy_function=copy, dirs_exist_ok=True, ignore=_left)
            yield run
        except ValueError as error:
            # Nobody finds the copy that a message names.
            raise ValueError(str(error).replace(str(run.folder), str(folder))) from error


def _left(folder: str, names: list[str]) -> set[str]:
    """What writers that were killed left in a folder of a run, by name."""
    return {name for name in names if Leaving.at(Path(folder, name))}


def _copied(folder: Path, source: str, target: str) -> None:
    """Copies a file of a run; what lies in folders is written once and never changed, so a link is enough."""
    if Path(source).parent != folder:
        with suppress(OSError):  # another way than links, on a file system that has none
            os.link(source, target)
            return
    shutil.copy2(source, target)


def environment(data_key: str) -> dict[str, Any]:
    """What a number depends on beside the stanza: versions, machine, code and data."""
    return {
        "command": without_secrets(" ".join(sys.argv)),
        "python": platform.python_version(),
        "packages": {"fuxi_mtl": __version__, **{name: _version(name) for name in _PACKAGES}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "git_commit": _git_commit(),
        "data_key": data_key,
        "started": datetime.now().isoformat(timespec="seconds"),
    }


def append_results_line(config_dir: str | Path, expid: str, dataset_id: str, valid: str, test: str) -> None:
    """Adds FuxiCTR's line to ``{config folder's name}.csv`` in the working directory."""
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    command = without_secrets(f"python {' '.join(sys.argv)}")
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

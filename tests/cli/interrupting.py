"""Trainings that are interrupted and gone on with, beside the same ones undisturbed."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from fuxi_mtl.config import load_experiment
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.training.state.saving import Saving
from fuxi_mtl.workflow.resume import run_or_resume

# What depends on the clock; the checksum of a file that holds such numbers does, too.
TIMES = {"train_seconds", "rows_per_second", "finished", "seconds", "first_seconds", "crc32"}


class Killed(BaseException):
    """The process is gone: nothing behind the last save happens."""


def run(root: Path, *settings: str, expid: str = "Toy", resume: bool = False) -> Path:
    """Trains into a folder; the run's folder."""
    import_zoo()
    experiment = load_experiment("config", expid, [f"model_root={root}", *settings])
    return run_or_resume(experiment, resume=resume).folder


def interrupted(root: Path, step: int, *settings: str, expid: str = "Toy", resume: bool = False) -> None:
    """The same, killed right after a state was saved at a step."""
    pause = Saving.pause

    def killing(self):
        if self._state.position.step >= step:
            self.save()
            self.wait()
            raise Killed
        pause(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saving, "pause", killing)
        with pytest.raises(Killed):
            run(root, *settings, expid=expid, resume=resume)


def run_and_cut(root: Path, cut: Path, step: int, *settings: str, expid: str = "Toy") -> Path:
    """The same undisturbed; another folder gets what it would have left if it had been killed at a step."""
    pause = Saving.pause

    def saving(self):
        pause(self)
        if self._state.position.step >= step and not cut.exists():
            before = {name: values(part) for name, part in self._state.parts().items()}
            self.save()
            self.wait()
            for name, part in self._state.parts().items():  # to save changes nothing
                np.testing.assert_array_equal(values(part), before[name], err_msg=name)
            shutil.copytree(self._folder.path, cut / self._folder.path.relative_to(root))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saving, "pause", saving)
        return run(root, *settings, expid=expid)


def values(part) -> np.ndarray:
    """A copy of the numbers of a part of a training, of rows in order of their numbers."""
    return np.array(part.read(...) if part.rows is None else part.read(slice(0, part.shape[0])))


def assert_equal_runs(first: Path, second: Path) -> None:
    """Every number of two runs is the same to the last bit, but for times."""
    names = sorted(p.relative_to(first) for p in first.rglob("*") if p.suffix in (".h5", ".npz", ".json"))
    assert names == sorted(
        p.relative_to(second) for p in second.rglob("*") if p.suffix in (".h5", ".npz", ".json")
    )
    for name in names:
        if name.name == "environment.json":
            continue
        one, other = (content(folder / name) for folder in (first, second))
        assert one.keys() == other.keys(), name
        for key, value in one.items():
            assert np.array_equal(value, other[key], equal_nan=value.dtype.kind == "f"), (name, key)


def content(file: Path) -> dict[str, np.ndarray]:
    """The numbers of a file by name."""
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if file.suffix == ".h5":
        return numbers(file)
    return {name: np.array(value) for name, value in _flat(json.loads(file.read_text())).items()}


def numbers(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(file) as stored:
        stored.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def _flat(value, name: str = "") -> dict:
    if isinstance(value, dict):
        parts = [_flat(each, f"{name}/{key}") for key, each in value.items() if key not in TIMES]
    elif isinstance(value, list):
        parts = [_flat(each, f"{name}/{place}") for place, each in enumerate(value)]
    else:
        return {name: value if value is not None else np.nan}
    return {key: each for part in parts for key, each in part.items()}

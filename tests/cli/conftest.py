"""A copy of the configuration and the small data: nothing is ever written into the repository."""

import contextlib
import shutil
from pathlib import Path

import command_line
import graphs
import pytest

# Files that compare with what another process computed, to the last bit.
AS_OPTIMIZED = (
    "test_command_line",
    "test_interrupted",
    "test_interrupted_updates",
    "test_old_runs",
)


@pytest.fixture(scope="module", autouse=True)
def _graphs(request):
    """Runs take a few steps only: their graphs are not rewritten before."""
    with contextlib.nullcontext() if request.module.__name__.endswith(AS_OPTIMIZED) else graphs.as_traced():
        yield


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A working directory with config/ and data/."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(command_line.REPOSITORY / "config", place / "config")
    (place / "data" / "tiny_mtl").mkdir(parents=True)
    for file in (command_line.REPOSITORY / "data" / "tiny_mtl").glob("*.csv"):
        shutil.copy(file, place / "data" / "tiny_mtl")
    (place / "config" / "model_config" / "toy.yaml").write_text(command_line.MODEL_CONFIG)
    (place / "config" / "dataset_config" / "toy.yaml").write_text(command_line.DATASET_CONFIG)
    for seed, (split, rows) in enumerate({"train": 320, "valid": 160, "test": 160}.items()):
        command_line.write_csv(place / "data" / "toy" / f"{split}.csv", rows, seed)
    return place


@pytest.fixture(autouse=True)
def _workplace(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="session")
def in_place(place):
    """For fixtures that serve a whole session: the same working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


@pytest.fixture(scope="session")
def toy_run(in_place, tmp_path_factory) -> command_line.Trained:
    """The toy experiment, trained once."""
    return command_line.train(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def tiny_runs(in_place, tmp_path_factory) -> tuple[Path, command_line.Outcome]:
    """Every experiment on data/tiny_mtl, trained once; only one of them exports."""
    root = tmp_path_factory.mktemp("tiny")
    common = ("--set", f"model_root={root}", "export=false")
    with graphs.as_traced():
        return root, command_line.call("run", "--expid", *command_line.TINY, *common)

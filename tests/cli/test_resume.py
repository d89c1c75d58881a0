"""Which finished runs `run --resume` keeps, and what it makes anew for them."""

import os
import shutil
from pathlib import Path

import pytest
from command_line import call

from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset.cache import SOURCES
from fuxi_mtl.workflow.resume import finished_run, verify_data


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    """A copy of stanzas and data, and a short run on them."""
    folder = tmp_path_factory.mktemp("resume")
    for name in ("config", "data/toy"):
        shutil.copytree(place / name, folder / name, ignore=shutil.ignore_patterns("encoded-*", SOURCES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        set_times(10**18)
        done = call("run", "--expid", "Toy", "--set", "model_root=runs", "epochs=1")
        assert (done.status, done.err) == (0, "")
    return folder


@pytest.fixture
def own_place(trained, monkeypatch):
    """The same, as it was, to be changed by a test."""
    monkeypatch.chdir(trained)
    files = {file: file.read_bytes() for file in Path("data/toy").glob("*.csv")}
    shutil.copytree("runs", "kept")
    yield trained
    for file, content in files.items():
        file.write_bytes(content)
    set_times(10**18)
    shutil.rmtree("runs")
    shutil.move("kept", "runs")


def set_times(nanoseconds):
    for file in Path("data/toy").glob("*.csv"):
        os.utime(file, ns=(nanoseconds, nanoseconds))


def toy(*changes):
    return load_experiment("config", "Toy", ["model_root=runs", "epochs=1", *changes])


def test_verification_finds_what_size_and_time_hide(own_place, caplog):
    assert finished_run(toy()) is not None
    done = call("run", "--expid", "Toy", "--resume", "--verify", "--set", "model_root=runs", "epochs=1")
    assert "The files of toy are what their sizes and times say." in done.out
    assert "is finished" in done.out
    file = own_place / "data/toy/train.csv"
    rows = file.read_bytes()
    row = rows.splitlines(keepends=True)[1]
    file.write_bytes(rows.replace(row, row[:-2] + (b"0\n" if row.endswith(b"1\n") else b"1\n"), 1))
    os.utime(file, ns=(10**18, 10**18))
    assert finished_run(toy()) is not None
    verify_data(toy())
    assert "train.csv was changed, though its size and time are as before" in caplog.text
    assert finished_run(toy()) is None


def test_a_touched_file_keeps_the_run(own_place):
    set_times(2 * 10**18 + 7)
    for folder in own_place.glob("data/toy/encoded-*/"):  # nor are encodings needed
        if folder.is_dir():
            shutil.rmtree(folder)
    assert finished_run(toy()) is not None

"""`init_from` of a stanza and of `fit`: a run of another day, of another family, of a temporary folder."""

import json
from pathlib import Path

import h5py
import pytest
from command_line import by_hand, call

from fuxi_mtl.config import load_experiment
from fuxi_mtl.lineage import find_run
from fuxi_mtl.workflow import experiment
from fuxi_mtl.workflow.resume import finished_run


def test_yesterdays_model_goes_on_with_the_rows_of_today(toy_run, tmp_path, monkeypatch):
    lines = Path("data/toy/train.csv").read_text().splitlines(keepends=True)
    today = tmp_path / "today.csv"
    today.write_text("".join([lines[0], *lines[200:]]))
    parent = toy_run.folder
    settings = (f"model_root={tmp_path}", f"train_data={today}", "epochs=1", f"init_from={parent}")
    calibrated = []  # at which steps: weights of positives may change with the step
    monkeypatch.setattr(experiment, "calibrate_model", lambda *given: calibrated.append(given[-1]))
    done = call("run", "--expid", "Toy", "--set", *settings)
    assert (done.status, done.err) == (0, "")
    assert f"Starts from {parent} (warm): 7 parts of the network" in done.out
    run = tmp_path / "toy/Toy/seed_1"
    metrics, before = (json.loads((f / "metrics.json").read_text()) for f in (run, parent))
    assert metrics["parent"]["folder"] == str(parent.resolve())
    with h5py.File(parent / "checkpoint/state.h5") as file:
        steps = int(file["optimizer/dense/iterations"][()])
    assert metrics["steps_before"] == steps == before["best_step"]
    with h5py.File(run / "checkpoint/state.h5") as file:
        assert int(file["optimizer/dense/iterations"][()]) == steps + metrics["best_step"] == calibrated[0]
    # A finished run is kept as long as the run that it came from is the same one.
    stanza = load_experiment("config", "Toy", settings)
    assert finished_run(stanza) is not None
    by_hand(run / "metrics.json", (metrics["parent"]["finished"], "another time"))
    assert finished_run(stanza) is None


def test_a_run_that_is_not_there_is_said_before_data_are_read(toy_run):
    root = toy_run.folder.parents[2]
    done = call("run", "--expid", "Toy", "--set", f"model_root={root}", "init_from=Toi", "train_data=no.csv")
    assert done.status == 1
    assert "init_from: 'Toi' is neither the folder of a finished run nor one of" in done.err
    assert "Did you mean 'Toy'?" in done.err


def test_a_name_means_the_run_with_the_same_seed_or_the_only_one(tmp_path):
    for expid, seed in (("A", 1), ("B", 1), ("B", 2)):
        run = tmp_path / "d" / expid / f"seed_{seed}"
        run.mkdir(parents=True)
        (run / "metrics.json").write_text("{}")
    root = str(tmp_path)
    assert find_run("A", root, "d", 7) == tmp_path / "d/A/seed_1"
    assert find_run("B", root, "d", 2) == tmp_path / "d/B/seed_2"
    assert find_run(f"{root}/d/B/seed_1", root, "d", 2) == tmp_path / "d/B/seed_1"
    with pytest.raises(ValueError, match="'B' has no run with seed 7, but seed_1, seed_2"):
        find_run("B", root, "d", 7)
    with pytest.raises(ValueError, match="neither the folder of a finished run"):
        find_run("A", root, "other", 1)


def test_a_damaged_encoding_of_the_run_is_an_error_of_init_from(tmp_path):
    run = tmp_path / "run"
    (run / "features").mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", f"init_from={run}")
    assert done.status == 1
    assert "init_from: " in done.err
    assert "feature_map.json" in done.err

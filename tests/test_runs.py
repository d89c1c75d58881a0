"""Run folders: whole or not there."""

import os
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import fuxi_mtl
from fuxi_mtl import runs
from fuxi_mtl.files import LockedError
from fuxi_mtl.metrics import Truth


def test_a_run_appears_under_its_name_only_when_the_block_ends(tmp_path):
    folder = runs.run_folder(str(tmp_path), "data", "MMoE", 7)
    with runs.new_run(folder) as run:
        run.write_json(run.folder / "metrics.json", {"AUC": 0.5})
        assert not folder.exists()
    assert runs.Run(folder).read_json(folder / "metrics.json") == {"AUC": 0.5}
    assert [path.name for path in folder.parent.iterdir()] == ["seed_7"]


def test_a_failed_run_leaves_nothing_and_keeps_the_older_one(tmp_path):
    folder = runs.run_folder(str(tmp_path), "data", "MMoE", 7)
    with runs.new_run(folder) as run:
        run.write_json(run.folder / "metrics.json", {"AUC": 0.5})

    def interrupted():
        with runs.new_run(folder) as run:
            run.write_json(run.folder / "metrics.json", {"AUC": 0.9})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert runs.Run(folder).read_json(folder / "metrics.json") == {"AUC": 0.5}
    assert [path.name for path in folder.parent.iterdir()] == ["seed_7"]


def test_a_new_run_replaces_the_older_one_whole(tmp_path):
    folder = runs.run_folder(str(tmp_path), "data", "MMoE", 7)
    with runs.new_run(folder) as run:
        run.write_json(run.folder / "old.json", {})
    with runs.new_run(folder) as run:
        run.write_json(run.folder / "new.json", {})
    assert [path.name for path in folder.iterdir()] == ["new.json"]


def test_a_second_process_is_refused_by_name(tmp_path):
    folder = runs.run_folder(str(tmp_path), "data", "MMoE", 7)
    with runs.new_run(folder), ThreadPoolExecutor(1) as pool:
        second = pool.submit(lambda: runs.new_run(folder).__enter__())
        with pytest.raises(LockedError, match=rf"seed_7 is in use by process {os.getpid()} on "):
            second.result()
    assert [path.name for path in folder.parent.iterdir()] == ["seed_7"]


def test_a_run_whose_lock_was_taken_over_does_not_take_the_place_of_the_other(tmp_path):
    folder = runs.run_folder(str(tmp_path), "data", "MMoE", 7)

    def overtaken():
        with runs.new_run(folder):
            folder.with_name(".seed_7.lock").unlink()

    with pytest.raises(LockedError, match="another one took over. Run the command again"):
        overtaken()
    assert list(folder.parent.iterdir()) == []


def test_nan_is_written_as_null_and_numpy_numbers_as_numbers(tmp_path):
    run = runs.Run(tmp_path)
    run.write_json(
        run.folder / "x.json",
        {"a": np.float32("nan"), "b": np.float64(0.25), "c": [np.int64(3), float("inf")]},
    )
    assert run.read_json(tmp_path / "x.json") == {"a": None, "b": 0.25, "c": [3, None]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_model_root_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot write"), runs.new_run(tmp_path / "a" / "b"):
        pass


def test_a_model_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    folder = tmp_path / "checkpoints" / "data" / "MMoE" / "seed_1"
    with pytest.raises(ValueError, match="model_root: cannot write"), runs.new_run(folder):
        pass


def test_the_results_line_is_fuxictrs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run_expid.py", "--expid", "MMoE"])
    runs.append_results_line("some/config", "MMoE", "tiny", "AUC: 0.7", "")
    line = (tmp_path / "config.csv").read_text()
    assert line.partition(",")[2] == (
        "[command] python run_expid.py --expid MMoE,[exp_id] MMoE,[dataset_id] tiny,"
        "[train] N.A.,[val] AUC: 0.7,[test] N.A.\n"
    )
    assert len(line.partition(",")[0]) == len(" 20261122-112953")


def test_scores_are_read_as_they_were_written(tmp_path):
    run = runs.Run(tmp_path)
    assert run.read_scores("test") is None
    truth = {"cvr": Truth(np.array([0.25, 0.5]), np.array([0.0, 1.0]))}
    labels = {"ctr": np.array([1, 0], np.float32), "cvr": np.array([0, np.nan], np.float32)}
    predictions = {"ctr": np.array([0.5, 0.75]), "cvr": np.array([0.125, 0.25])}
    run.write_scores("test", runs.StoredScores.of(predictions, labels, truth, np.array([3, 4]), np.ones(2)))
    scores = run.read_scores("test")
    assert scores.rows == 2
    for task in labels:
        np.testing.assert_array_equal(scores.label(task), labels[task])
        np.testing.assert_array_equal(scores.prediction(task), predictions[task])
    assert scores.truth("cvr").outcome.tolist() == [0, 1]
    assert scores.groups.tolist() == [3, 4]
    assert scores.weights.tolist() == [1, 1]
    with pytest.raises(ValueError, match="saved no ctr_truth"):
        scores.truth("ctr")
    run.scores("test").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"test_scores\.npz cannot be read .*: run the experiment again"):
        run.read_scores("test")


def test_a_run_in_a_relative_folder_is_written_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runs.new_run(Path("root") / "run") as run:
        run.write_json(run.metrics, {"expid": "mine"})
    found = runs.Run(Path("root/run"))
    assert found.read_json(found.metrics) == {"expid": "mine"}
    assert found.expid == "mine"


@pytest.mark.parametrize("name", ["../up", ".", "", "a\nb", "x" * 201])
def test_a_run_cannot_leave_its_folder(tmp_path, name):
    for names in ((name, "MMoE"), ("data", name)):
        with pytest.raises(ValueError, match="names a folder, which it cannot"):
            runs.run_folder(str(tmp_path), *names, 7)


def test_the_home_folder_may_be_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs.run_folder("~/runs", "data", "MMoE", 7) == tmp_path / "runs/data/MMoE/seed_7"


def test_a_run_of_a_clone_that_is_not_installed_knows_its_version(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    packages = runs.environment("key")["packages"]
    assert (packages["fuxi_mtl"], packages["keras"]) == (fuxi_mtl.__version__, None)

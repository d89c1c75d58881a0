"""Which finished runs `run --resume` keeps, and what it makes anew for them."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import call

from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset.cache import SOURCES
from fuxi_mtl.files import held
from fuxi_mtl.files.locks import Holder, lock_file
from fuxi_mtl.files.processes import this_process
from fuxi_mtl.options import FusionOptions, FusionSection
from fuxi_mtl.workflow import amending
from fuxi_mtl.workflow.amending import calibrate_run, fuse_run
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
    Path("data/toy", SOURCES).unlink(missing_ok=True)  # sizes and times are now those of other contents
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
    for folder in own_place.glob("data/toy/encoded-*"):  # nor are encodings needed
        if folder.is_dir():
            shutil.rmtree(folder)
    assert finished_run(toy()) is not None


def resumed(*changes):
    done = call("run", "--expid", "Toy", "--resume", "--set", "model_root=runs", "epochs=1", *changes)
    assert (done.status, done.err) == (0, "")
    return done.out


def content_of(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_keys_that_do_not_train_keep_the_run(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    before = content_of(run)
    data = (f"{key}_data={own_place}/data/./toy/{key}.csv" for key in ("train", "valid", "test"))
    out = resumed("verbose=0", "num_workers=1", "log_every=3", "eval_batch_size=7", "export=false", *data)
    assert "is finished: it stays as it is" in out
    assert content_of(run) == before


@pytest.mark.parametrize(
    "changes",
    [
        ["batch_size=16"],
        ["metrics=[gAUC]", "monitor=gAUC", "group_id=user"],
        ["max_valid_steps=1"],
        ["split_seed=3"],
        ["save_best_only=false"],
    ],
)
def test_keys_that_train_train_again(own_place, changes):
    assert finished_run(toy(*changes)) is None


def test_what_the_monitor_is_made_of_trains_again(own_place):
    config = own_place / "runs/toy/Toy/seed_1/config.yaml"
    stored = yaml.safe_load(config.read_text())
    watched = {"metrics": ["F1", "gAUC"], "monitor": {"F1": 1, "click_gAUC": 1}, "group_id": "user"}
    config.write_text(yaml.safe_dump({**stored, **watched, "max_valid_steps": 2}, sort_keys=False))
    keys = ("metrics=[F1,gAUC]", "monitor={F1: 1, click_gAUC: 1}", "group_id=user", "max_valid_steps=2")
    assert finished_run(toy(*keys)) is not None
    assert finished_run(toy(*keys, "metrics_by=item", "metrics=[AUC,F1,gAUC]")) is not None
    for changed in ("threshold=0.5", "group_id=null", "gauc_weight=clicks", "eval_batch_size=9"):
        with suppress(ValueError):  # gAUC without groups is refused
            assert finished_run(toy(*keys, changed)) is None


def test_metrics_asked_for_otherwise_are_measured_on_the_model_that_is_kept(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    before, weights = json.loads((run / "metrics.json").read_text()), content_of(run / "checkpoint")
    changes = ("metrics=[AUC,logloss,F1]", "metrics_by=item", "threshold=0.4")
    out = resumed(*changes)
    assert "its model stays, and is measured anew (metrics, metrics_by, threshold)" in out
    after = json.loads((run / "metrics.json").read_text())
    assert content_of(run / "checkpoint") == weights
    same = [key for key in before["test"] if not key.endswith("F1")]
    assert {key: after["test"][key] for key in same} == {key: before["test"][key] for key in same}
    scores = np.load(run / "test_scores.npz")
    chosen, labels = scores["click_pred"] >= 0.4, scores["click_label"]
    hits = float((chosen & (labels == 1)).sum())
    assert after["test"]["click_F1"] == pytest.approx(2 * hits / (chosen.sum() + (labels == 1).sum()))
    assert after["metrics_by"]
    assert after["finished"] == before["finished"]
    assert "it stays as it is" in resumed(*changes)
    assert "it stays as it is" in resumed(*changes, "verbose=0")


def test_another_calibration_is_fitted_to_the_model_that_is_kept(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    assert "measured anew (calibration)" in resumed("calibration=platt")
    assert json.loads((run / "metrics.json").read_text())["calibration"] == "platt"
    assert (run / "calibration.json").exists()
    assert "measured anew (calibration)" in resumed()
    assert not (run / "calibration.json").exists()


def test_scores_that_were_not_kept_are_made(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    before = np.load(run / "valid_scores.npz")["click_pred"]
    (run / "valid_scores.npz").unlink()
    resumed()
    np.testing.assert_array_equal(np.load(run / "valid_scores.npz")["click_pred"], before)


def test_a_saved_model_that_is_damaged_is_written_again(own_place, caplog):
    run = own_place / "runs/toy/Toy/seed_1"
    resumed("export=true")
    file = run / "saved_model/variables/variables.data-00000-of-00001"
    before = content_of(run / "saved_model")
    assert "cannot be read" not in resumed("export=true")
    assert content_of(run / "saved_model") == before
    file.write_bytes(b"x" + file.read_bytes()[1:])
    out = resumed("export=true")
    told = "cannot be read (SHA256SUMS lists another checksum): export the run again."
    assert f"{file.relative_to(own_place)} {told}" in out
    assert "cannot be read" not in resumed("export=true")


FUSION = FusionSection(FusionOptions(method="product", weights="equal"))


@pytest.mark.parametrize(
    ("function", "change"),
    [
        ("calibrate_model", lambda folder: calibrate_run(folder, "platt")),
        ("measure_splits", lambda folder: calibrate_run(folder, "platt")),
        ("fuse_scores", lambda folder: fuse_run(folder, FUSION)),
        ("export_run", lambda folder: fuse_run(folder, FUSION)),
    ],
)
def test_a_change_that_is_stopped_half_way_leaves_the_run_as_it_was(own_place, monkeypatch, function, change):
    run = own_place / "runs/toy/Toy/seed_1"
    (run / "saved_model").mkdir()
    before, real = content_of(run), getattr(amending, function)

    def stopped(*arguments, **keywords):
        if function != "export_run":
            real(*arguments, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(amending, function, stopped)
    with pytest.raises(KeyboardInterrupt):
        change(run)
    assert content_of(run) == before
    assert [each.name for each in run.parent.iterdir() if each.is_dir()] == ["seed_1"]


def test_an_error_of_a_change_names_the_run_and_not_its_copy(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    (run / "test_scores.npz").write_text("")
    with pytest.raises(ValueError, match=r"toy/Toy/seed_1/test_scores.npz cannot be read"):
        fuse_run(run, FUSION)
    assert not list(run.parent.glob(".*"))


def test_what_killed_processes_left_beside_a_finished_run_goes(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    before = content_of(run)
    dead = replace(this_process(), start=1)
    (run.with_name(f".seed_1.partial-{dead.mark}-0123abcd") / "checkpoint").mkdir(parents=True)
    (run.with_name("seed_1.training") / "state_7").mkdir(parents=True)
    lock_file(run).write_text(Holder(dead, "2026-01-31 10:00:00", "token").to_json())
    assert "is finished: it stays as it is" in resumed()
    assert content_of(run) == before
    assert sorted(each.name for each in run.parent.iterdir()) == ["seed_1", "seed_1.log"]


def test_a_finished_run_that_another_process_holds_stays_too(own_place):
    run = own_place / "runs/toy/Toy/seed_1"
    left = run.with_name("seed_1.training") / "state_7"
    left.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        pool.submit(lambda: stack.enter_context(held(run))).result()
        assert "is finished: it stays as it is" in resumed()
        assert left.exists()
        pool.submit(stack.close).result()

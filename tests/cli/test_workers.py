"""Two processes train as one does: the same numbers and the same run, also where one goes on in between."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from command_line import REPOSITORY, call
from interrupting import content, interrupted
from pair_of_workers import FROM, LEFT_AT, SETTINGS

from fuxi_mtl.cli import processes
from fuxi_mtl.cluster import Cluster
from fuxi_mtl.training.state import stored_states
from fuxi_mtl.workflow.experiment import load_run

ALONE_UNTIL = 16  # of 24 steps, twelve of each pass; the last of a pass has one row, and worker 0 none
SPREAD_ALONE_UNTIL = 8  # so that both write the checkpoint of the first evaluation, the best
WITHOUT_TIMES = ("config.yaml", "environment.json")
OF_A_RUN = ("data_key", "expid", "folder")  # texts that differ between two runs


def write_today(path: Path) -> None:
    """The toy's training rows without one item and with a new one, so that others have other ids."""
    rows = pl.read_csv("data/toy/train.csv", infer_schema_length=0).filter(pl.col("item") != "2")
    rows.with_columns(pl.col("item").replace({"5": "new"})).write_csv(path)


@pytest.fixture(scope="module")
def trained(in_place, tmp_path_factory):
    """A training of two processes, then one, then two; the same one undisturbed; and what was told."""
    folder = tmp_path_factory.mktemp("workers")
    write_today(folder / "today.csv")
    addresses = processes._free_addresses(2)
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "cli")])
    pair = [
        subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests" / "cli" / "pair_of_workers.py"), str(folder)],
            env={**environment, "TF_CONFIG": Cluster(addresses, rank).tf_config()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        undisturbed = call("run", "--expid", "Toy", "--set", f"model_root={folder / 'one'}", *SETTINGS)
        assert undisturbed.status == 0, undisturbed.err
        while not all((folder / f"left_{rank}").exists() for rank in range(2)):
            assert all(each.poll() is None for each in pair), [each.communicate()[0] for each in pair]
            time.sleep(0.05)
        states = stored_states(folder / "runs" / "toy" / "Toy" / "seed_1.training")
        spread_states = stored_states(folder / "spread" / "toy" / "Toy" / "seed_1.training")
        files = [sorted(file.name for file in each.folder.iterdir()) for each in spread_states]
        interrupted(folder / "runs", ALONE_UNTIL, *SETTINGS, resume=True)
        interrupted(folder / "spread", SPREAD_ALONE_UNTIL, *SETTINGS, resume=True)
        (folder / "alone").touch()
        printed = [each.communicate(timeout=300)[0] for each in pair]
    finally:
        for each in pair:
            each.kill()
            each.wait()
    assert (folder / "lost").exists(), printed
    begins = (f"init_from={folder / 'spread/toy/Toy/seed_1'}", f"train_data={folder / 'today.csv'}", *FROM)
    begun = call("run", "--expid", "Toy", "--set", f"model_root={folder / 'from_one'}", *SETTINGS, *begins)
    assert begun.status == 0, begun.err
    told = [json.loads((folder / f"told_{rank}.json").read_text()) for rank in range(2)]
    runs = [folder / name / "toy" / "Toy" / "seed_1" for name in ("one", "runs", "spread")]
    return SimpleNamespace(
        folder=folder,
        told=told,
        states=states,
        one=runs[0],
        two=runs[1],
        spread=runs[2],
        files=files,
        begun=folder / "from" / "toy" / "Toy" / "seed_1",
        begun_alone=folder / "from_one" / "toy" / "Toy" / "seed_1",
        printed=printed,
    )


def test_a_run_looks_the_same_whoever_trained_it(trained):
    one, two = (sorted(p.relative_to(run) for p in run.rglob("*")) for run in (trained.one, trained.two))
    assert one == two
    assert sorted(p.name for p in trained.two.parent.iterdir()) == ["seed_1", "seed_1.log"]


@pytest.mark.parametrize(
    ("one", "run"), [("one", "two"), ("one", "spread"), ("begun_alone", "begun")], ids=lambda name: name
)
def test_every_number_is_that_of_one_process(trained, one, run):
    assert_same_numbers(getattr(trained, one), getattr(trained, run))


def assert_same_numbers(one_run: Path, other_run: Path) -> None:
    """But for times, and what says which run it was."""
    names = [p.relative_to(one_run) for p in one_run.rglob("*") if p.suffix in (".h5", ".npz", ".json")]
    assert names
    for name in names:
        if name.name in WITHOUT_TIMES:
            continue
        one, two = content(one_run / name), content(other_run / name)
        assert one.keys() == two.keys(), name
        for key, value in one.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(two[key], value, 1e-5, 1e-6, err_msg=f"{name} {key}")
            elif value.dtype.kind != "U" or key.rpartition("/")[2] not in OF_A_RUN:
                assert np.array_equal(two[key], value), (name, key)


def test_states_of_spread_tables_are_written_by_both_and_gone_on_from_by_one(trained):
    assert trained.files == [
        ["rows_0_of_2.h5", "rows_1_of_2.h5", "state.h5"],  # of the step at which worker 1 was terminated
        ["rows_0_of_2.h5", "rows_1_of_2.h5", "state.h5"],
    ]
    for rank in range(2):
        status, _, err = trained.told[rank]["spread interrupted"]
        assert status == 143, err
    chief = trained.told[0]["spread resumed"]
    assert chief[0] == 0, chief
    assert f"Going on from {trained.spread}.training/state_{SPREAD_ALONE_UNTIL}" in chief[1]
    assert "spread over 2 workers" in chief[1]


def test_the_checkpoint_of_spread_tables_is_written_by_both_and_read_by_one(trained):
    files = sorted(each.name for each in (trained.spread / "checkpoint").iterdir())
    assert files == ["rows_0_of_2.h5", "rows_1_of_2.h5", "state.h5"]
    model, _ = load_run(trained.spread)
    batch = {"ids": np.arange(1, 9, dtype=np.int32)[:, None], "numeric": np.ones((8, 1), np.float32)}
    expected = load_run(trained.one)[0].predict(batch, verbose=0)
    found = model.predict(batch, verbose=0)
    served = tf.saved_model.load(str(trained.spread / "saved_model")).signatures["from_ids"]
    exported = served(**{name: tf.constant(each) for name, each in batch.items()})
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, 1e-5)
        np.testing.assert_allclose(exported[f"{name}_pred"], found[name], 1e-6)


def test_a_training_that_begins_from_spread_tables_takes_their_rows(trained):
    chief, other = (told["spread begun"] for told in trained.told)
    assert (chief[0], other[0]) == (0, 0), (chief, other)
    assert f"Starts from {trained.spread} (warm)" in chief[1]
    assert "feature 'item': 6 of 7 ids are known there, 1 are new." in chief[1]
    assert "spread over 2 workers" in chief[1]


def test_one_process_does_with_spread_tables_what_it_does_with_its_own(trained, tmp_path):
    done = {name: on_one_process(getattr(trained, name), tmp_path / name) for name in ("one", "spread")}
    assert_same_numbers(done["one"], done["spread"])
    tables = [pl.read_csv(done[name] / "scored.csv") for name in ("one", "spread")]
    assert tables[0].columns == tables[1].columns
    np.testing.assert_allclose(tables[1].to_numpy(), tables[0].to_numpy(), 1e-5, 1e-6)


def on_one_process(run: Path, folder: Path) -> Path:
    """What follows a training, done with a copy of its run."""
    shutil.copytree(run.parents[2], folder)
    of_it = ("--expid", "Toy", "--set", f"model_root={folder}")
    test, today = "data/toy/test.csv", run.parents[3] / "today.csv"
    commands = [
        ("evaluate", *of_it, "--input", test, "--output", folder / "evaluated.json"),
        ("predict", *of_it, "--input", test, "--output", folder / "scored.csv"),
        ("calibrate", *of_it, "--method", "platt"),
        ("update", *of_it, "--train_data", today, "--day", "2026-11-08"),
    ]
    for command in commands:
        done = call(*command)
        assert (done.status, done.err) == (0, ""), done
    return folder


def test_all_stop_at_the_step_at_which_one_is_terminated_and_the_chief_saves(trained):
    (state,) = trained.states
    assert state.step == LEFT_AT
    for rank in range(2):
        status, _, err = trained.told[rank]["interrupted"]
        assert status == 143, err
        assert f"Saved at step {LEFT_AT}" in err


def test_only_the_chief_writes_a_log_and_the_others_say_whom_they_follow(trained):
    chief, other = (told["resumed"] for told in trained.told)
    assert (chief[0], chief[2], other[0], other[2]) == (0, "", 0, "")
    assert f"Going on from {trained.two}.training/state_{ALONE_UNTIL}" in chief[1]
    assert "Test evaluation" in chief[1]
    assert "Test evaluation" not in other[1]
    assert "worker 0 (127.0.0.1" in other[1]
    assert "decides, logs and writes" in other[1]


def test_a_finished_run_is_kept_by_all(trained):
    chief, other = (told["finished"] for told in trained.told)
    assert (chief[0], other[0]) == (0, 0)
    assert "is finished: it stays as it is" in chief[1]


def test_a_worker_that_is_gone_is_named(trained):
    told = (trained.folder / "lost").read_text()
    assert told.startswith("worker 1 (127.0.0.1:")
    assert "is gone: its own log says why. Start all workers again" in told

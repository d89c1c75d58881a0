"""`resume_path`: the training of a finished run goes on for more epochs."""

import json
import shutil

import graphs
import h5py
import pytest
from command_line import call
from interrupting import assert_equal_runs, run

from fuxi_mtl.config import load_experiment, load_resolved
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.runs import Run

ONE = ("steps_per_execution=1", "eval_steps=2", "batch_size=80", "epochs=1", "early_stop_patience=9")
TWO = (*ONE, "epochs=2", "learning_rate=0.3", "loss_weight=GN", "net_dropout=0.2")

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def finished(in_place, tmp_path_factory):
    """A run of one epoch that kept its last weights beside the best, not to be changed."""
    with graphs.without_graphs():
        return run(tmp_path_factory.mktemp("one"), *TWO, "epochs=1", "save_last=true")


def test_more_epochs_are_those_of_one_training(finished, tmp_path):
    longer = run(tmp_path / "more", *TWO, "save_last=true", f"resume_path={finished}")
    whole = run(tmp_path / "whole", *TWO, "save_last=true")
    assert_equal_runs(whole, longer)


def test_the_best_checkpoint_is_gone_on_from_where_the_last_is_not_there(finished, tmp_path, caplog):
    copy = shutil.copytree(finished, tmp_path / "seed_1")
    shutil.rmtree(copy / "checkpoint_last")
    step = json.loads((copy / "metrics.json").read_text())["best_step"]
    with caplog.at_level("INFO"):
        whole = run(tmp_path / "by_run", *TWO, f"resume_path={copy}")
    assert f"Going on from {copy / 'checkpoint'}: step {step}, the best so far: monitor 0." in caplog.text
    history = json.loads((whole / "history.json").read_text())["evaluations"]
    assert [each["step"] for each in history] == [2, 4, 6, 8]
    by_checkpoint = run(tmp_path / "by_checkpoint", *TWO, f"resume_path={finished / 'checkpoint'}")
    assert_equal_runs(whole, by_checkpoint)


def worsened(folder):
    """Has a run have been best at its first evaluation."""
    stored = Run(folder)
    history = stored.read_json(stored.history)
    for number, record in enumerate(history["evaluations"]):
        record["metrics"] = dict.fromkeys(record["metrics"], 1 - number / 10)
    stored.write_json(stored.history, history)


def test_where_the_last_weights_took_the_place_of_the_best_the_best_is_sought_from_there_on(
    finished, tmp_path, caplog
):
    copy = shutil.copytree(finished, tmp_path / "seed_1")
    worsened(copy)
    stored = Run(copy)
    stored.write_json(stored.metrics, {**stored.read_json(stored.metrics), "best_step": 4})
    stored.write_config(load_resolved(stored.config, "Toy", {"final_weights": "last"}).resolved())
    shutil.rmtree(copy / "checkpoint")
    (copy / "checkpoint_last").rename(copy / "checkpoint")
    with caplog.at_level("INFO"):
        folder = run(tmp_path / "more", *TWO, f"resume_path={copy}")
    assert "checkpoint: step 4, no best evaluation yet." in caplog.text
    assert json.loads((folder / "metrics.json").read_text())["best_step"] > 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["epochs=1"], "has taken 4 steps, and epochs and max_train_steps ask for 4. Ask for more."),
        (["learning_rate=1"], "is of another training: they differ in learning_rate (0.3 there, 1.0 here)."),
        (
            ["train_data=./data/toy/valid.csv"],
            "they differ in the data. To start another one from its weights",
        ),
        (["early_stop_patience=1"], "evaluations. Raise early_stop_patience (now 1)."),
    ],
)
def test_a_training_that_cannot_go_on_is_said(finished, tmp_path, changes, told):
    copy = shutil.copytree(finished, tmp_path / "seed_1")
    if "patience" in changes[0]:
        worsened(copy)
    settings = (f"model_root={tmp_path / 'more'}", *TWO, *changes, f"resume_path={copy}")
    done = call("run", "--expid", "Toy", "--set", *settings)
    assert done.status == 1
    assert told in done.err


def test_a_run_that_is_not_there_is_said_before_data_are_read(tmp_path):
    settings = (f"model_root={tmp_path}", "resume_path=nowhere/checkpoint", "train_data=nothing.csv")
    done = call("run", "--expid", "Toy", "--set", *settings)
    assert done.status == 1
    assert done.err.startswith(
        "ValueError: resume_path: 'nowhere' is neither the folder of a finished run nor"
    )


def test_a_damaged_checkpoint_is_said(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "seed_1")
    with h5py.File(copy / "checkpoint_last" / "state.h5", "r+") as file:
        file["network/embedding/item"][0, 0] += 1
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", *TWO, f"resume_path={copy}")
    assert done.status == 1
    assert "no state of the training can be read, of " in done.err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["lr_scheduler={type: cosine}"],
            "resume_path goes on with another number of steps, on which lr_sch",
        ),
        (["init_from=Toy"], "resume_path goes on with a training, and init_from starts another one."),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        load_experiment("config", "Toy", ["resume_path=Toy", *changes])
    load_experiment("config", "Toy", ["resume_path=Toy", "lr_scheduler={type: cosine, total_steps: 9}"])

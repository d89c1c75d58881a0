"""A search from the command line: trials, the winner as a stanza, trained anew, tested once."""

import json

import command_line
import pytest

pytest.importorskip("optuna", reason="the extra optuna is not installed")

from fuxi_mtl.config import load_experiment
from fuxi_mtl.workflow.tuning import winner
from fuxi_mtl.workflow.tuning.study import Trial

SPACE = """\
base_expid: Toy
tuner_space:
  learning_rate: [1.e-2, 1.e-9]
  min_categr_count: [2]
  epochs: 1
"""


@pytest.fixture(scope="module")
def tuned(in_place, tmp_path_factory):
    """A grid of two trials by FuxiCTR's file: interrupted in the second, gone on with, and that is pruned.

    The winner goes into a folder of its own.
    """
    root = tmp_path_factory.mktemp("tune")
    (root / "space.yaml").write_text(SPACE)
    command = ("tune", "--config", "config", "--space", root / "space.yaml", "--sampler", "grid")
    command += ("--retrain", 1, "--output", root / "mine", "--set", f"model_root={root}")

    def interrupt(trial, value, step):
        if trial.number == 1:
            raise KeyboardInterrupt
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "report", interrupt)
        stopped = command_line.call(*command)
        patch.setattr(Trial, "report", lambda trial, value, step: trial.number == 0 and 0 < value < 1 > step)
        return root, command, stopped, command_line.call(*command)


def test_who_interrupts_a_search_sees_the_trials_that_are_complete(tuned):
    root, _, stopped, done = tuned
    score = json.loads((root / "toy" / "Toy" / "tune" / "tuning.json").read_text())["attempts"][0]["scores"]
    assert stopped.status == 130
    assert "Toy on toy: 1 trial (1 complete)." in stopped.out
    assert f"* 0  AUC {score['AUC']:.6f}  learning_rate 0.01, min_categr_count 2" in stopped.out
    assert "Trials and runs that are whole are kept: the same command goes on." in stopped.err
    assert "Trial 0, 1 of 2" not in done.out, "what is complete is not trained again"
    assert "Trial 2, 2 of 2: learning_rate 1e-09" in done.out


def test_every_trial_is_judged_by_validation_rows_alone(tuned):
    root, _, _, done = tuned
    assert (done.status, done.err) == (0, "")
    folder = root / "toy" / "Toy" / "tune"
    first, second = json.loads((folder / "tuning.json").read_text())["attempts"]
    metrics = json.loads((folder / "trials" / "0" / "seed_1" / "metrics.json").read_text())
    assert first["scores"] == {"AUC": metrics["valid"]["AUC"]}
    assert "test" not in metrics
    assert not (folder / "trials" / "0" / "seed_1" / "checkpoint").exists()
    assert (second["state"], second["scores"]) == ("pruned", {})
    assert not (folder / "trials" / "2" / "seed_1").exists(), "a run is whole or not there"
    assert "Evaluation @epoch" in (folder / "trials" / "2" / "seed_1.log").read_text()
    assert done.out.count("Evaluation @epoch") == 1, "a search has a line a trial; the winner has its log"


def test_the_winner_is_a_stanza_that_was_trained_anew_and_tested_once(tuned):
    root, _, _, done = tuned
    found = json.loads((root / "toy" / "Toy" / "tune" / "tuning.json").read_text())
    assert found["winner"] == 0
    best = found["attempts"][0]
    winner, base = load_experiment(root / "mine", "Toy_tuned"), load_experiment("config", "Toy")
    assert winner.optimizer.learning_rate == best["values"]["learning_rate"]
    assert winner.options.dataset_id == "toy_Toy_tuned"
    given = {"learning_rate", "epochs", "min_categr_count", "dataset_id", "model_root"}
    differ = {key for key, value in winner.resolved().items() if value != base.resolved()[key]}
    assert differ <= given
    run = json.loads((root / "toy_Toy_tuned" / "Toy_tuned" / "seed_2" / "metrics.json").read_text())
    assert found["retrained"]["test"] == {"AUC": [run["test"]["AUC"]]}
    assert f"On test rows, which chose nothing: {run['test']['AUC']:.6f}" in done.out
    assert f"* 0  AUC {best['scores']['AUC']:.6f}  learning_rate 0.01, min_categr_count 2" in done.out


def test_the_same_command_goes_on_and_writes_over_nothing_unasked(tuned):
    root, command, _, _ = tuned
    again = command_line.call(*command)
    assert again.status == 1
    assert "Toy_tuned.yaml: there already. Give the winner another name with --as" in again.err
    file = root / "toy" / "Toy" / "tune" / "tuning.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "retrained": None}))  # as if killed before it was trained anew
    again = command_line.call(*command)
    assert (again.status, again.err) == (0, "")
    assert json.loads(file.read_text()) == stored
    again = command_line.call(*command, "--overwrite")
    assert (again.status, again.err) == (0, "")
    assert "Trial" not in again.out.replace("Trained", ""), "nothing is left to be tried"
    taken = command_line.call(
        *command[:-2], "--as", "Toy", "--output", "config", "--overwrite", *command[-2:]
    )
    assert "Toy is there already: give the winner another name with --as." in taken.err


def test_the_winner_goes_into_a_folder_that_has_no_stanzas_or_those_of_data_alone(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        assert (winner.folder_of(folder).experiments, winner.folder_of(folder).datasets) == ({}, {})
    (tmp_path / "dataset_config.yaml").write_text("toy: {data_format: csv}\n")
    assert [*winner.folder_of(tmp_path).datasets] == ["toy"]


def test_a_mistake_in_the_space_is_told_before_anything_is_trained(in_place, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("learning_rat: [0.1]\nnet_dropout: [2]\n")
    done = command_line.call("tune", "--expid", "Toy", "--space", space, "--set", f"model_root={tmp_path}")
    assert done.status == 1
    assert "space.yaml, line 1: unknown key 'learning_rat'" in done.err
    assert "Did you mean 'learning_rate'" in done.err
    assert "space.yaml, line 2: net_dropout is 2" in done.err
    assert not (tmp_path / "toy").exists()

"""Trainings that are interrupted and gone on with are those that were never interrupted, to the last bit."""

import json
import os
import shutil
import signal
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from command_line import call, in_process
from interrupting import assert_equal_runs, interrupted, run, run_and_cut

from fuxi_mtl import ShareBottom
from fuxi_mtl.dataset import batches
from fuxi_mtl.evaluation.memory import TrainingError
from fuxi_mtl.files import LockedError, lock_file
from fuxi_mtl.files.locks import Holder
from fuxi_mtl.files.processes import Process
from fuxi_mtl.interruption import Interruption, Terminated
from fuxi_mtl.objectives import supervised
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.runs import held_run
from fuxi_mtl.training.callbacks import Evaluation
from fuxi_mtl.training.checkpoint.naming import parts_of
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.state import folder, stored_states, training_folder
from fuxi_mtl.training.state.saving import SLOW_MEMORY, Saving

SHORT = ("steps_per_execution=2", "eval_steps=4", "epochs=1", "batch_size=32", "early_stop_patience=9")


# What a training may be made of, in as few of them as can be: (stanza, step of the interruption, keys).
TRAININGS = {
    "moves put off, norms, dropout, a rate that falls, some negatives, windows of blocks, diagnostics": (
        "Toy",
        6,
        (
            *("embedding_optimizer=dense_equivalent_adam", "loss_weight=GN", "net_dropout=0.3"),
            *("batch_norm=true", "learning_rate=1", "negative_sampling=plain", "neg_keep_prob_train=0.6"),
            *("grad_diag_enabled=true", "grad_diag_every=3", "save_best_only=false", "batch_size=16"),
        ),
    ),
    "bfloat16, reweighted negatives, gates that are watched, surgery, the middle of the last interval": (
        "ToyFunnel",
        5,
        (
            *("model=MMoE", "num_experts=2", "expert_hidden_units=[4]", "gate_hidden_units=[]"),
            *("precision=mixed_bfloat16", "negative_sampling=reweighted", "neg_keep_prob_train=0.5"),
            *("log_health_metrics=true", "surgery=pcgrad", "loss_weight=RLW"),
            *("epochs=2", "drop_last=true", "batch_size=60", "steps_per_execution=1"),
        ),
    ),
    "a fit beforehand, turns, a rate by plan": (
        "ToyFunnel",
        5,
        (
            *("model=DRJL", "tower_hidden_units=[4]", "propensity_epochs=1", "steps_per_execution=1"),
            *("optimizer=nadam", "lr_scheduler={type: cosine, warmup_steps: 2}"),
        ),
    ),
    "two levels, the last weights": (
        "ToyDomains",
        3,
        (
            *("final_weights=last", "batch_size=64", "eval_steps=2", "steps_per_execution=1"),
            "feature_cols=[{name: item, min_categr_count: 44}, {name: price, type: numeric}]",  # few domains
        ),
    ),
}
# To trace these takes far longer than their few steps; the others have the graphs.
EAGER = [name for name in TRAININGS if name.startswith(("bfloat16", "two levels"))]


@pytest.fixture(scope="module")
def whole(in_place, tmp_path_factory):
    """A run that was never interrupted."""
    return run(tmp_path_factory.mktemp("whole"), *SHORT)


@pytest.fixture(scope="module")
def cut(in_place, tmp_path_factory):
    """A training that was interrupted, not to be changed."""
    root = tmp_path_factory.mktemp("cut")
    interrupted(root, 6, *SHORT)
    return root


@pytest.fixture
def _windows(monkeypatch):
    """As where the training rows are larger than the memory that batches are drawn from."""
    monkeypatch.setattr(batches, "BLOCKS_IN_WINDOW", 4)


@pytest.mark.usefixtures("_windows")
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_goes_on_is_one_that_was_never_interrupted(request, tmp_path, name):
    if name in EAGER:
        request.getfixturevalue("eagerly")
    expid, step, own = TRAININGS[name]
    settings = (*SHORT, *own, "shuffle_window_gb=1.9e-6")
    often = (f"save_every_steps={step // 2}", "save_every_minutes=null")
    whole = run_and_cut(tmp_path / "whole", tmp_path / "cut", step, *settings, *often, expid=expid)
    kept = sorted(each.step for each in stored_states(tmp_path / "cut" / "toy" / expid / "seed_1.training"))
    assert len(kept) == 2
    assert kept[-1] >= step
    assert_equal_runs(whole, run(tmp_path / "cut", *settings, expid=expid, resume=True))
    assert not training_folder(tmp_path / "cut" / "toy" / expid / "seed_1").exists()


def test_a_scale_of_losses_that_overflows_before_and_behind_goes_on_with_a_decoder_that_was_fitted(
    tmp_path, monkeypatch
):
    class Scale(keras.optimizers.LossScaleOptimizer):
        def __init__(self, inner):
            super().__init__(inner, initial_scale=2.0**22, dynamic_growth_steps=1)

    scales, pause = [], Saving.pause

    def observed(self):
        scales.append(float(self._state.model.optimizer.dynamic_scale))
        pause(self)

    value = "{name: user, kind: value, decoder: log1p}"  # learns of the rows before and behind training
    data = (
        "feature_cols=[{name: item}, {name: price, type: numeric}]",
        f"label_col=[{{name: click}}, {value}]",
    )
    settings = (*SHORT, *data, "precision=mixed_float16", "steps_per_execution=1")
    monkeypatch.setattr(keras.optimizers, "LossScaleOptimizer", Scale)
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "pause", observed)
        whole = run_and_cut(tmp_path / "whole", tmp_path / "cut", 6, *settings)
    fallen = [step for step, (one, other) in enumerate(pairwise(scales)) if other < one]
    assert fallen[0] < 5 < fallen[-1]
    assert_equal_runs(whole, run(tmp_path / "cut", *settings, resume=True))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("again", [False, True])
def test_a_model_is_prepared_again_only_if_it_keeps_more_than_variables(tmp_path, monkeypatch, again):
    prepared = []

    def prepare(self, labels, batches):
        prepared.append(len(labels))
        self.embedding.blocks[0].rows.assign_add(self.embedding.blocks[0].rows * 0 + 0.5)
        if again:
            self.rate = float(np.nanmean(labels["click"]))

    def objectives(self):
        assert not again or self.rate > 0
        return [supervised(task) for task in self.tasks]

    monkeypatch.setattr(ShareBottom, "prepare", prepare)
    monkeypatch.setattr(ShareBottom, "training_objectives", objectives)
    interrupted(tmp_path, 2, *SHORT)
    assert len(prepared) == 1
    interrupted(tmp_path, 4, *SHORT, resume=True)
    assert len(prepared) == 1 + again
    newest, _ = stored_states(tmp_path / "toy/Toy/seed_1.training")
    assert newest.note["plain"]["prepares_again"] is again


def test_a_signal_in_the_middle_of_an_evaluation_loses_no_step(tmp_path, monkeypatch, whole):
    def measure(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("fuxi_mtl.training.train.measure", measure)
        with pytest.raises(KeyboardInterrupt, match=r"Saved at step 4 in .*state_4: --resume goes on"):
            run(tmp_path, *SHORT)
    (state,) = stored_states(tmp_path / "toy/Toy/seed_1.training")
    assert state.note["plain"]["position"] == {"step": 4, "evaluated": 0}
    assert_equal_runs(whole, run(tmp_path, *SHORT, resume=True))


def test_an_evaluation_while_a_state_is_written_is_no_part_of_it(tmp_path, monkeypatch, whole):
    evaluated, written, real = threading.Event(), folder.write, Evaluation.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        real(self, epoch, logs)
        evaluated.set()

    def write(path, *rest):
        assert evaluated.wait(60)
        written(path, *rest)

    once = (*SHORT, "steps_per_execution=1", "save_every_steps=3", "save_every_minutes=null")
    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "on_epoch_end", on_epoch_end)
        patch.setattr(folder, "write", write)
        interrupted(tmp_path, 5, *once)
    newest, before = stored_states(tmp_path / "toy/Toy/seed_1.training")
    assert (before.step, before.plain["members"]["Evaluation"]["history"]) == (3, [])
    shutil.rmtree(newest.folder)
    assert_equal_runs(whole, run(tmp_path, *once, resume=True))


STOPPED = ("learning_rate=1e-30", "batch_size=320", "epochs=5", "early_stop_patience=2")


@pytest.mark.usefixtures("eagerly")
def test_a_training_that_had_stopped_stays_so_unless_it_may_be_more_patient(tmp_path):
    interrupted(tmp_path, 3, *STOPPED)
    shutil.copytree(tmp_path / "toy", tmp_path / "patient" / "toy")
    stopped = run(tmp_path, *STOPPED, resume=True)
    assert [each["step"] for each in json.loads((stopped / "history.json").read_text())["evaluations"]] == [
        1,
        2,
        3,
    ]
    longer = (*STOPPED[:-1], "early_stop_patience=9")
    whole = run(tmp_path / "whole", *longer)
    assert_equal_runs(whole, run(tmp_path / "patient", *longer, resume=True))


def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_once(tmp_path, cut):
    shutil.copytree(cut, tmp_path / "cut")
    longer = (*SHORT, "max_train_steps=14", "epochs=2")
    assert_equal_runs(run(tmp_path / "whole", *longer), run(tmp_path / "cut", *longer, resume=True))


# ---- what is said, and what is refused ----


@pytest.mark.usefixtures("eagerly")
def test_without_the_flag_it_begins_anew_and_the_old_state_stays_until_the_first_new_one(
    cut, tmp_path, caplog
):
    place = tmp_path / "toy/Toy/seed_1.training"
    shutil.copytree(cut / "toy", tmp_path / "toy")
    (old,) = stored_states(place)
    with caplog.at_level("INFO"):
        interrupted(tmp_path, 2, *SHORT)
    assert f"An interrupted training is there: {old.folder}: step 6 of 10, saved " in caplog.text
    assert "--resume would go on with it. This one begins anew" in caplog.text
    (new,) = stored_states(place)
    assert new.step == 2
    assert new.note["training"] != old.note["training"]
    assert not old.folder.exists()


def test_what_is_taken_up_is_one_line_of_a_log_that_goes_on(cut, tmp_path, caplog):
    shutil.copytree(cut / "toy", tmp_path / "toy")
    log = tmp_path / "toy/Toy/seed_1.log"
    before = log.read_text()
    with caplog.at_level("INFO"):
        run(tmp_path, *SHORT, resume=True)
    assert log.read_text().startswith(before)
    assert "seed_1.training: states of the training, up to 0.1 MiB (2 kept and one that is" in log.read_text()
    (line,) = [line for line in log.read_text().splitlines() if "Going on from" in line]
    assert "state_6: step 6 of 10, saved " in line
    assert "the best so far: monitor 0." in line
    assert line.endswith("at step 4.")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["learning_rate=0.5"], "they differ in learning_rate (0.01 there, 0.5 here)."),
        (
            ["eval_steps=3", "loss_weight=UW"],
            "they differ in loss_weight ('EQ' there, 'UW' here), eval_steps",
        ),
        (["train_data=./data/toy/valid.csv"], "they differ in the data."),
    ],
)
def test_another_stanza_or_other_data_are_named_and_begin_anew_only_if_asked_to(cut, tmp_path, changes, told):
    shutil.copytree(cut / "toy", tmp_path / "toy")
    given = ("run", "--expid", "Toy", "--resume", "--set", f"model_root={tmp_path}", *SHORT, *changes)
    done = call(*given)
    assert done.status == 1
    assert told in done.err
    assert "seed_1.training/state_6 is of another training" in done.err
    assert "Begin anew with --restart." in done.err
    assert len(stored_states(tmp_path / "toy/Toy/seed_1.training")) == 1
    assert not (tmp_path / "toy/Toy/seed_1").exists()


def test_restart_begins_anew_where_the_training_is_another_one(cut, tmp_path):
    shutil.copytree(cut / "toy", tmp_path / "toy")
    changed = (f"model_root={tmp_path}", *SHORT, "learning_rate=0.5")
    done = call("run", "--expid", "Toy", "--resume", "--restart", "--set", *changed)
    assert (done.status, done.err) == (0, "")
    assert (
        "they differ in learning_rate (0.01 there, 0.5 here). Begin anew with --restart. It begins"
        in done.out
    )
    assert "Going on from" not in done.out


def test_keys_that_lengthen_or_watch_are_free_unless_the_rate_follows_from_them(cut, tmp_path):
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.workflow.interrupted import check_same, identity_of

    (state,) = stored_states(cut / "toy/Toy/seed_1.training")
    key = state.note["identity"]["data_key"]

    def checked(*changes):
        check_same(state, identity_of(load_experiment("config", "Toy", [*SHORT, *changes]), key))

    free = ("epochs=7", "max_train_steps=9", "early_stop_patience=3", "log_every=2", "save_every_steps=5")
    checked(*free, "final_weights=last", "grad_diag_enabled=true", "keep_checkpoints=4", "tensorboard=true")
    for changes in (["seed=4"], ["lr_scheduler={type: cosine}"], ["monitor=logloss"], ["batch_size=16"]):
        with pytest.raises(ValueError, match="is of another training"):
            checked(*changes)
    state.note["format"] = 0
    with pytest.raises(ValueError, match="has format 0, and this version goes on from 1. Begin anew with"):
        checked()


def test_epochs_are_not_free_where_the_plan_of_the_rate_has_no_steps_of_its_own(tmp_path):
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.workflow.keys import keys_of_going_on

    def keys(plan):
        return keys_of_going_on(load_experiment("config", "Toy", [f"lr_scheduler={plan}"]))

    assert {"epochs", "max_train_steps"} <= set(keys("{type: cosine}"))
    for plan in ("{type: cosine, total_steps: 99}", "{type: step, step_milestones: [3]}", "null"):
        assert not {"epochs", "max_train_steps"} & set(keys(plan))


def test_a_damaged_state_is_passed_over_for_the_one_before_it(tmp_path, caplog, whole):
    interrupted(tmp_path / "cut", 6, *SHORT, "save_every_steps=2")
    newest, before = stored_states(tmp_path / "cut/toy/Toy/seed_1.training")
    assert (newest.step, before.step) == (6, 4)
    shutil.copytree(tmp_path / "cut", tmp_path / "lost")
    damage(newest.file)
    with caplog.at_level("WARNING"):
        assert_equal_runs(whole, run(tmp_path / "cut", *SHORT, resume=True))
    assert "state_6: step 6 of 10, saved " in caplog.text
    assert "cannot be gone on from (the numbers of network/embedding/item are not those that" in caplog.text
    for state in stored_states(tmp_path / "lost/toy/Toy/seed_1.training"):
        damage(state.file)
    with pytest.raises(
        ValueError, match="no state of the training can be read, of .*state_6.* Begin anew with"
    ):
        run(tmp_path / "lost", *SHORT, resume=True)


def damage(file):
    """Changes a number of the network; what lies beside the numbers stays."""
    import h5py

    with h5py.File(file, "r+") as stored:
        stored["network/embedding/item"][0, 0] += 1


def test_a_state_that_cannot_be_written_is_said_and_training_goes_on(tmp_path, monkeypatch, caplog, whole):
    def write(*_, **__):
        raise OSError(28, "No space left on device")

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr("fuxi_mtl.training.state.folder.write", write)
    assert_equal_runs(whole, run(tmp_path, *SHORT, "save_every_steps=5"))
    assert "A state that finds no room is not saved, and the older ones stay." in caplog.text
    assert "could not be saved ([Errno 28] No space left on device): training goes on without" in caplog.text
    assert not (tmp_path / "toy/Toy/seed_1.training").exists()


def test_where_memory_lacks_a_state_is_written_while_training_waits(tmp_path, monkeypatch, caplog, whole):
    monkeypatch.setattr("fuxi_mtl.training.state.saving.free_memory", lambda: 1000)
    with caplog.at_level("INFO"):
        interrupted(tmp_path / "cut", 6, *SHORT)
    assert "Too little memory for a copy of the state" in caplog.text
    assert_equal_runs(whole, run(tmp_path / "cut", *SHORT, resume=True))


def test_a_second_process_is_refused_by_name_and_leaves_the_log_of_the_first(tmp_path):
    folder = tmp_path / "toy/Toy/seed_1"
    folder.parent.mkdir(parents=True)
    folder.with_suffix(".log").write_text("the first")
    begun, ended = threading.Event(), threading.Event()

    def first():
        with held_run(folder):
            begun.set()
            ended.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(60)
    done = call("run", "--expid", "Toy", "--resume", "--set", f"model_root={tmp_path}", *SHORT)
    ended.set()
    thread.join()
    assert done.status == 1
    assert done.err.startswith(f"LockedError: {folder} is in use by process {os.getpid()} on ")
    assert folder.with_suffix(".log").read_text() == "the first"


def test_a_training_of_another_host_is_gone_on_with_when_that_gives_no_sign_of_life(
    cut, tmp_path, caplog, whole
):
    shutil.copytree(cut / "toy", tmp_path / "toy")
    run_of = tmp_path / "toy/Toy/seed_1"
    far = Process("far", "11111111", 7, 5)
    lock_file(run_of).write_text(Holder(far, "2026-01-31 10:00:00", "token").to_json())
    state, log = stored_states(training_folder(run_of))[0].file, run_of.with_suffix(".log")
    before = state.read_bytes(), log.read_bytes()
    for age in (0, 90):
        os.utime(lock_file(run_of), (time.time() - age,) * 2)
        told = r"seed_1 is in use by process 7 on far since 2026-01-31 10:00:00 .last sign of life"
        with pytest.raises(LockedError, match=told):
            run(tmp_path, *SHORT, resume=True)
        assert (state.read_bytes(), log.read_bytes()) == before
    os.utime(lock_file(run_of), (time.time() - 150,) * 2)
    with caplog.at_level("INFO"):
        assert_equal_runs(whole, run(tmp_path, *SHORT, resume=True))
    assert "process 7 on far since 2026-01-31 10:00:00, which has given no sign of life for 15" in caplog.text
    assert sorted(each.name for each in run_of.parent.iterdir()) == ["seed_1", "seed_1.log"]


# ---- numbers that are not finite any more ----


def lose(monkeypatch, step):
    """Makes weights NaN behind a step, before its state may be saved."""
    real = Saving.pause

    def pause(self):
        if self._state.position.step == step:
            for name, part in parts_of(self._state.model).items():
                for chunk in part.chunks() if name.startswith("network/") else ():
                    part.write(chunk, part.read(chunk) * np.nan)
        real(self)

    monkeypatch.setattr(Saving, "pause", pause)


@pytest.mark.usefixtures("eagerly")
def test_a_training_that_diverges_keeps_its_good_states_and_goes_on_with_a_smaller_rate(
    tmp_path, monkeypatch, caplog
):
    settings = (*SHORT, "steps_per_execution=1", "save_every_steps=1", "learning_rate=0.02")
    place = tmp_path / "toy/Toy/seed_1.training"
    with monkeypatch.context() as patch:
        lose(patch, 6)
        told = (
            r"the loss of objective '.+' is not finite at step [78]\. Try a smaller learning_rate.+ States "
            r"from before are kept in \S+seed_1\.training, the last of step 5: --resume with a smaller "
            r"learning_rate or embedding_learning_rate or max_gradient_norm goes on from there\."
        )
        with pytest.raises(TrainingError, match=told):
            run(tmp_path, *settings)
    assert (
        "The state of step 6 could not be saved (network/embedding/item holds numbers that are" in caplog.text
    )
    assert [each.step for each in stored_states(place)] == [5, 4]
    shutil.copytree(tmp_path / "toy", tmp_path / "other" / "toy")

    for same in ((), ("early_stop_patience=3",)):
        told = "would come to the same end: the loss of objective .+ With a smaller learning_rate or"
        with pytest.raises(ValueError, match=told):
            run(tmp_path, *settings, *same, resume=True)
    with pytest.raises(ValueError, match=r"they differ in loss_weight \('EQ' there, 'UW' here\)"):
        run(tmp_path, *settings, "learning_rate=0.001", "loss_weight=UW", resume=True)

    interrupted(tmp_path, 7, *settings, "learning_rate=0.001", resume=True)
    newest, before = stored_states(place)
    assert (newest.step, newest.diverged, before.step) == (7, None, 6)
    finished = run(tmp_path, *settings, "learning_rate=0.001", resume=True)  # no rate changes any more
    rates = [
        each["learning_rate"] for each in json.loads((finished / "history.json").read_text())["evaluations"]
    ]
    assert rates == pytest.approx([0.02, 0.001, 0.001])
    again = run(tmp_path / "other", *settings, "learning_rate=0.001", resume=True)
    assert_equal_runs(finished, again)


def test_where_no_state_is_there_a_training_that_diverges_says_nothing_of_them(tmp_path, monkeypatch):
    lose(monkeypatch, 6)
    with pytest.raises(TrainingError, match=r"in the numeric features and labels\.$"):
        run(tmp_path, *SHORT)
    assert not training_folder(tmp_path / "toy/Toy/seed_1").exists()


# ---- when it is saved ----


class Pausing:
    """A :class:`Saving` without a training, whose clock and step are set by hand."""

    def __init__(self, monkeypatch, **options):
        self.now, self.saved = 0.0, []
        monkeypatch.setattr("fuxi_mtl.training.state.saving.time.monotonic", lambda: self.now)
        self.position = Position()
        options = TrainingOptions(**options)
        state = SimpleNamespace(position=self.position, parts=dict)
        self.saving = Saving(state, None, options, None, 99, Interruption())
        monkeypatch.setattr(self.saving, "save", self._save)

    def _save(self):
        self.saved.append((self.position.step, self.now))
        self.saving._saved_at, self.saving._saved_step = self.now, self.position.step

    def pauses(self, steps, seconds):
        for step in steps:
            self.position.step, self.now = step, self.now + seconds
            self.saving.pause()
        return self.saved


def test_states_are_saved_at_the_first_pause_behind_so_many_steps(monkeypatch):
    saved = Pausing(monkeypatch, save_every_steps=3, save_every_minutes=None).pauses(range(2, 13, 2), 1e6)
    assert [step for step, _ in saved] == [4, 6, 10, 12]


def test_states_are_saved_after_so_many_minutes_or_more_where_that_costs_above_a_hundredth(monkeypatch):
    pausing = Pausing(monkeypatch, save_every_minutes=2)
    assert pausing.pauses(range(10), 50.0) == [(2, 150.0), (5, 300.0), (8, 450.0)]
    pausing.saving.pauses.append(4.0)  # seconds that training stood still
    assert pausing.pauses(range(10, 20), 50.0)[3:] == [(16, 850.0)]


@pytest.mark.parametrize(
    ("options", "ready", "saved"),
    [
        ({"save_every_minutes": 2}, 150, (15, 150.0)),  # at the first pause behind at which there is memory
        (
            {"save_every_steps": 12, "save_every_minutes": None},
            150,
            (12, 120.0),
        ),  # at its step, whatever it takes
        ({"save_every_minutes": 2}, 100, (12, 120.0)),
    ],
)
def test_memory_for_a_copy_is_taken_while_training_goes_on(monkeypatch, options, ready, saved):
    asked = []

    class Slow:
        def __init__(self, parts):
            asked.append(pausing.now)

        @property
        def have_memory(self):
            return pausing.now >= ready

    monkeypatch.setattr("fuxi_mtl.training.state.saving.Copies", Slow)
    monkeypatch.setattr("fuxi_mtl.training.state.saving.free_memory", lambda: 1e12)
    pausing = Pausing(monkeypatch, **options)
    pausing.saving._size = 30 * SLOW_MEMORY  # given within 30 seconds
    assert pausing.pauses(range(1, 17), 10.0)[0] == saved
    assert asked[0] == 90.0


# ---- signals and kills ----


KILLED = """
import os, signal
from fuxi_mtl.cli.commands import main
from fuxi_mtl.training.state import folder

def write(path, parts, *rest, count=[]):
    count.append(path)
    if len(count) == 3:  # half of a file is there
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, parts, *rest)

real, folder.write = folder.write, write
main(["run", "--expid", "Toy", "--set", *SETTINGS])
"""


def test_a_process_that_is_killed_while_it_saves_loses_what_came_behind_the_state_before(tmp_path, whole):
    settings = [f"model_root={tmp_path}", *SHORT, "save_every_steps=2"]
    killed = in_process("-c", KILLED.replace("SETTINGS", repr(settings)))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    place = tmp_path / "toy/Toy"
    assert [each.step for each in stored_states(place / "seed_1.training")] == [4, 2]
    assert list((place / "seed_1.training").glob(".state_6.partial-*"))
    assert_equal_runs(whole, run(tmp_path, *SHORT, "save_every_steps=4", resume=True))
    assert sorted(each.name for each in place.iterdir()) == ["seed_1", "seed_1.log"]


def test_a_state_that_finds_no_room_when_a_training_is_left_is_said(tmp_path, monkeypatch):
    real, full = Saving.pause, []

    def pause(self):
        if self._state.position.step == 6:
            full.append(6)
            self._interruption._heard(signal.SIGTERM, None)
        real(self)

    def write(*arguments):
        if full:
            raise OSError(28, "No space left on device")
        written(*arguments)

    written = folder.write
    monkeypatch.setattr(Saving, "pause", pause)
    monkeypatch.setattr(folder, "write", write)
    told = r"The state could not be saved\. The last one is at step 4 in \S+state_4: --resume goes on from"
    with pytest.raises(Terminated, match=told):
        run(tmp_path, *SHORT, "save_every_steps=4")


def test_a_save_that_takes_longer_than_schedulers_wait_is_not_begun(tmp_path, monkeypatch):
    real = Saving.pause

    def slow(self):
        self._bytes_a_second = 1.0
        if self._state.position.step == 6:
            self._interruption._heard(signal.SIGTERM, None)
        real(self)

    monkeypatch.setattr(Saving, "pause", slow)
    with pytest.raises(Terminated, match=r"Saving would take \d+ s, longer than schedulers wait\.$"):
        run(tmp_path, *SHORT)
    assert not (tmp_path / "toy/Toy/seed_1.training").exists()


@pytest.mark.usefixtures("eagerly")
def test_the_second_signal_ends_a_training_at_once(tmp_path, monkeypatch):
    def twice(self):
        self._interruption._heard(signal.SIGINT, None)
        with pytest.raises(Terminated):
            self._interruption._heard(signal.SIGTERM, None)
        self._interruption._heard(signal.SIGINT, None)

    monkeypatch.setattr(Saving, "pause", twice)
    with pytest.raises(KeyboardInterrupt) as ended:
        run(tmp_path, *SHORT)
    assert not ended.value.args
    assert not (tmp_path / "toy/Toy/seed_1.training").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

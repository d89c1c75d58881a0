"""Updates that are interrupted and gone on with are those that were never interrupted, to the last bit."""

import os
import shutil
import signal
from pathlib import Path

import graphs
import polars as pl
import pytest
from command_line import by_hand, call, in_process
from interrupting import Killed, assert_equal_runs

from fuxi_mtl.lineage import days_of
from fuxi_mtl.runs import Run
from fuxi_mtl.training.state import stored_states
from fuxi_mtl.training.state.saving import Saving
from fuxi_mtl.workflow import experiment, resume, update
from fuxi_mtl.workflow import next_day as days_ahead
from fuxi_mtl.workflow.next_day import next_day
from fuxi_mtl.workflow.update import Update

DAY = "2026-11-08"
SMALL = ("epochs=1", "calibration=platt", "steps_per_execution=1", "save_predictions=true", "net_dropout=0.2")
pytestmark = pytest.mark.usefixtures("eagerly")
OFTEN = ["save_every_steps=1"]


@pytest.fixture(scope="module")
def world(in_place, tmp_path_factory):
    """A run, its twin of another seed, new rows, and its undisturbed update, which lies elsewhere."""
    root = tmp_path_factory.mktemp("world")
    rows = pl.read_csv("data/toy/train.csv", infer_schema_length=0).head(120)
    half = rows.with_columns(pl.col("item").replace({"1": "new"}))
    for number in (0, 1):
        half.slice(60 * number, 60).write_csv(root / f"new_{number}.csv")
    with graphs.without_graphs():
        done = call("run", "--expid", "Toy", "--seed", 1, "--set", f"model_root={root}", *SMALL)
    assert (done.status, done.err) == (0, "")
    other = Run(Path(shutil.copytree(root / "toy/Toy/seed_1", root / "toy/Toy/seed_2")))
    by_hand(other.config, ("\nseed: 1\n", "\nseed: 2\n"))
    by_hand(other.metrics, ('"seed": 1,', '"seed": 2,'))
    with graphs.without_graphs():
        updated(root)
    (root / "toy/Toy/days").rename(root / "whole")
    return root


@pytest.fixture
def root(world):
    """The same without any day, whatever a test does."""
    metrics = world / "toy/Toy/seed_1/metrics.json"
    content = metrics.read_bytes()
    yield world
    metrics.write_bytes(content)
    shutil.rmtree(world / "toy/Toy/days", ignore_errors=True)


def updated(root: Path, *, day=DAY, rows="new_*.csv", overrides=(), statistics="keep", **options) -> Path:
    given, how = (
        {"train": str(root / rows), "valid": "data/toy/valid.csv"},
        Update(day, statistics=statistics),
    )
    overrides = [*OFTEN, *overrides]
    return next_day(root / "toy/Toy/seed_1", None, given, how, overrides=overrides, **options).folder


def place(root: Path) -> Path:
    return root / "toy/Toy/days" / DAY / "seed_1"


def killed_at(monkeypatch, root: Path, owner, name: str, call: int = 1, **options) -> list:
    """An update that is gone at some call of a function; how often each evaluation was begun."""
    real, calls = getattr(owner, name), []

    def killing(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing)
        with pytest.raises(Killed):
            updated(root, **options)
    return calls


def saved_and_killed(self):
    """In the place of a pause of training."""
    if self._state.position.step >= 2:
        self.save()
        self.wait()
        raise Killed


STAGES = {
    "measuring new rows": (update, "measure", 1),
    "extending the encoder": (update.PlannedUpdate, "load", 2),
    "measuring new rows again": (update, "measure", 2),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_update_that_goes_on_is_one_that_was_never_interrupted(root, monkeypatch, caplog, stage):
    run = root / "toy/Toy/seed_1"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    killed_at(monkeypatch, root, *STAGES[stage])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert [day.name for day in days_of(run)] == ["first"]
    measured = []
    real = update.measure
    monkeypatch.setattr(update, "measure", lambda *given: measured.append(1) or real(*given))
    with caplog.at_level("INFO"):
        assert_equal_runs(root / "whole" / DAY / "seed_1", updated(root, resume=True))
    # What was measured before training is not measured again, and what was learnt is not learnt again.
    assert len(measured) == (2 if stage == "measuring new rows" else 1)
    assert ("Going on from" in caplog.text) == (stage not in list(STAGES)[:2])
    assert sorted(each.name for each in place(root).parent.iterdir()) == ["seed_1", "seed_1.log"]


def test_what_is_made_of_a_whole_update_is_made_later(root, monkeypatch):
    exported = []
    for module in (experiment, resume):
        monkeypatch.setattr(module, "export_run", lambda folder, output: exported.append(output))
    wanted = {"overrides": ["export=true"]}
    killed_at(monkeypatch, root, update, "finish_run", **wanted)
    assert [day.name for day in days_of(root / "toy/Toy/seed_1")] == ["first", DAY]
    before = (place(root) / "metrics.json").read_bytes()
    assert updated(root, resume=True, **wanted) == place(root)
    assert exported == [place(root) / "saved_model"]
    assert (place(root) / "metrics.json").read_bytes() == before


def test_without_the_flag_it_says_what_is_there_and_begins_anew(root, monkeypatch, caplog):
    def pause(self):
        os.kill(os.getpid(), signal.SIGINT)
        real(self)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    real = Saving.pause
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "pause", pause)
        rows = ("--train_data", root / "new_*.csv", "--valid_data", "data/toy/valid.csv")
        command = ("update", "--expid", "Toy", *rows, "--day", DAY, "--set", f"model_root={root}", *OFTEN)
        done = call(*command)
    assert done.status == 130
    assert f"Saved at step 1 in {place(root)}.training/state_1: --resume goes on from there." in done.err
    (state, *_) = stored_states(place(root).with_name("seed_1.training"))
    with monkeypatch.context() as patch:  # where no training says what is saved
        patch.setattr(days_ahead, "update_run", interrupt)
        assert f"{place(root)}.training holds what was done: --resume goes on" in call(*command).err
    with caplog.at_level("INFO"):
        killed_at(monkeypatch, root, update.PlannedUpdate, "load")
    assert f"An interrupted training is there: {state.folder}: step 1 of 4, saved " in caplog.text
    assert "--resume would go on with it. This one begins anew" in caplog.text
    assert "An interrupted update had measured the new rows: --resume would go on behind that." in caplog.text
    monkeypatch.setattr(days_ahead, "update_run", lambda *_, **__: [Run(root)])
    updated(root, day="2026-11-09")
    assert f"An interrupted update of day {DAY} is there: --day {DAY} --resume would go on" in caplog.text


def test_another_update_is_named_and_begins_anew_only_if_asked_to(root, monkeypatch, caplog):
    killed_at(monkeypatch, root, update, "_calibrate")
    for change, told in (
        ({"rows": "new_0.csv"}, "they differ in the data."),
        ({"overrides": ["learning_rate=0.5"]}, r"they differ in learning_rate \(0.01 there, 0.5 here\)."),
        ({"changes": {"new_rows": "oov"}}, r"they differ in new_rows \('random' there, 'oov' here\)."),
        ({"statistics": "update"}, r"they differ in statistics \('keep' there, 'update' here\)."),
    ):
        with pytest.raises(ValueError, match=told):
            updated(root, resume=True, **change)
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "pause", saved_and_killed)
        with pytest.raises(Killed), caplog.at_level("INFO"):
            updated(root, resume=True, restart=True, rows="new_0.csv")
    assert "they differ in the data. Begin anew with --restart. It begins anew." in caplog.text
    assert "Going on from" not in caplog.text
    # Nor does it go on from a run that was trained anew since.
    finished = days_of(root / "toy/Toy/seed_1")[0].content["finished"]
    by_hand(root / "toy/Toy/seed_1/metrics.json", (finished, "later"))
    with pytest.raises(ValueError, match="they differ in the run that it starts from"):
        updated(root, resume=True, rows="new_0.csv")


def test_a_finished_update_stays_and_another_one_needs_another_name(root, monkeypatch):
    shutil.copytree(root / "whole", root / "toy/Toy/days")
    monkeypatch.setattr(update, "train_run", None)  # nothing is trained
    assert updated(root, resume=True) == place(root)
    with pytest.raises(
        ValueError, match=rf"{DAY}/seed_1 is there, and this would be another update: they"
    ) as e:
        updated(root, resume=True, rows="new_0.csv", overrides=["learning_rate=0.5"])
    assert str(e.value).endswith(
        "they differ in learning_rate (0.01 there, 0.5 here), the rows. Name another day, or do it again "
        "from the day before: --expid Toy@first."
    )


def test_a_second_call_updates_the_seeds_that_are_missing(root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # else a slow machine's seconds may break the lines of the table
    given = ("--expid", "Toy", "--seed", 1, 2, "--train_data", root / "new_*.csv", "--day", DAY, "--resume")
    command = ("update", *given, "--valid_data", "data/toy/valid.csv", "--set", f"model_root={root}", *OFTEN)
    whole = update.train_run

    def failing(planned, *rest, **more):
        if planned.training.seed == 1:
            raise ValueError("no luck")
        return whole(planned, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(update, "train_run", failing)
        done = call(*command)
    assert done.status == 1
    assert (
        "1 of 2 runs failed; the others are whole, and the same command with --resume runs only" in done.err
    )
    assert "Toy, seed 1: no luck" in done.err
    trained = []
    monkeypatch.setattr(
        update,
        "train_run",
        lambda planned, *rest: trained.append(planned.training.seed) or whole(planned, *rest),
    )
    done = call(*command)
    assert (done.status, done.err) == (0, "")
    assert trained == [1]
    assert_equal_runs(root / "whole" / DAY / "seed_1", place(root))
    # Both seeds are of one day, in the table at the end as in that of compare.
    for table in (done.out, call("compare", "Toy", "--model_root", root).out):
        assert [line.split()[:2] for line in table.splitlines() if line.split()[:1] == ["Toy"]] == [
            ["Toy", "2"],
            ["Toy", "110"],
            ["Toy", DAY],
        ]
        assert "lacks" not in table


KILLED = """
import functools, os, signal
from fuxi_mtl.cli.commands import main
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.state.saving import Saving

MultiTaskModel.compile = functools.partialmethod(MultiTaskModel.compile, run_eagerly=True)  # as the others

def pause(self):
    if self._state.position.step == 3:
        self.wait()  # for what was saved behind the second step
        os.kill(os.getpid(), signal.SIGKILL)
    real(self)

real, Saving.pause = Saving.pause, pause
main(ARGUMENTS)
"""


def test_a_process_that_is_killed_in_its_training_goes_on_there(root):
    arguments = [
        "update",
        "--expid",
        "Toy",
        "--seed",
        "1",
        "--train_data",
        str(root / "new_*.csv"),
        "--day",
        DAY,
    ]
    arguments += ["--valid_data", "data/toy/valid.csv", "--set", f"model_root={root}", *OFTEN]
    killed = in_process("-c", KILLED.replace("ARGUMENTS", repr(arguments)))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [each.step for each in stored_states(place(root).with_name("seed_1.training"))] == [2, 1]
    done = call(*arguments, "--resume")
    assert (done.status, done.err) == (0, "")
    assert "Going on from" in done.out
    assert_equal_runs(root / "whole" / DAY / "seed_1", place(root))
    assert sorted(each.name for each in place(root).parent.iterdir()) == ["seed_1", "seed_1.log"]

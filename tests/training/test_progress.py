"""What is told of the progress of a training, without a network."""

import io
import logging
import sys

import pytest

from fuxi_mtl.training.progress import ProgressBar, ProgressLines
from fuxi_mtl.training.step_plan import StepPlan
from fuxi_mtl.workflow.log_file import DETAIL, TerminalHandler

# Three passes of twelve steps, measured every ten.
PLAN = StepPlan(batch_size=100, epochs=3, total_steps=36, steps=10, steps_per_epoch=12, most_per_execution=1)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("fuxi_mtl.training.progress.time.perf_counter", lambda: now[0])
    return now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


def test_the_bar_tells_epoch_loss_rows_a_second_and_the_time_left(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    bar = ProgressBar(PLAN)
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_begin(0)
    (task,) = bar._bar.tasks
    assert (task.total, task.description, task.fields["told"]) == (10, "epoch 1 of 3", "")
    clock[0] = 4.0
    bar.on_train_batch_end(3, {"loss": 0.25})
    # Four steps of a hundred rows in four seconds, and 32 steps to come.
    assert (task.completed, task.fields["told"]) == (4, "loss 0.2500, 100 rows/s, 0:00:32 left at most")
    bar.on_epoch_end(0)
    assert "loss 0.2500" in capsys.readouterr().err


def test_a_training_that_is_entered_in_the_middle_counts_its_own_steps(clock):
    bar = ProgressBar(PLAN)
    bar.on_train_begin()
    bar._bar.start = lambda: None
    bar.on_epoch_begin(1)
    bar.on_train_batch_begin(6)  # the seventeenth step
    clock[0] = 2.0
    bar.on_train_batch_end(7, {"loss": 0.25})
    (task,) = bar._bar.tasks
    # Two steps took two seconds; step 18 of 36 is in the second pass.
    assert (task.completed, task.description) == (8, "epoch 2 of 3")
    assert task.fields["told"] == "loss 0.2500, 100 rows/s, 0:00:18 left at most"
    bar.on_epoch_begin(3)
    assert bar._bar.tasks[0].total == 6  # the last interval is shorter


def test_time_left_counts_evaluations_and_rows_a_second_do_not(clock):
    bar = ProgressBar(PLAN)
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_begin(0)
    clock[0] = 10.0
    bar.on_train_batch_end(9, {"loss": 0.25})
    clock[0] = 20.0  # an evaluation of ten seconds
    bar.on_epoch_begin(1)
    bar.on_train_batch_begin(0)
    clock[0] = 22.0
    bar.on_train_batch_end(1, {"loss": 0.25})
    bar.stop()
    assert bar._bar.tasks[0].fields["told"] == "loss 0.2500, 100 rows/s, 0:00:44 left at most"


def test_an_interrupted_bar_gives_the_cursor_back(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = ProgressBar(PLAN)
    bar.on_epoch_begin(0)
    bar.stop()
    bar.stop()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    shown = capsys.readouterr().err
    assert shown.count(hide) == shown.count(show)


def test_without_a_terminal_there_is_a_line_a_minute(clock, caplog):
    caplog.set_level(logging.INFO)
    lines = ProgressLines(PLAN)
    lines.on_train_begin()
    lines.on_epoch_begin(0)
    lines.on_train_batch_begin(0)
    for batch, clock[0] in enumerate((50.0, 61.0, 100.0, 122.0)):
        lines.on_train_batch_end(batch, {"loss": 0.5})
    assert caplog.messages == [
        "Step 2 of 36, epoch 1 of 3: loss 0.500000, 3 rows/s, 0:17:17 left at most.",
        "Step 4 of 36, epoch 1 of 3: loss 0.500000, 3 rows/s, 0:16:16 left at most.",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_the_log_stand_above_a_bar_on_a_terminal_and_are_left_alone_elsewhere(terminal, monkeypatch):
    out, err = (Terminal() if terminal else io.StringIO()), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    log = logging.Logger("of this test")
    log.addHandler(TerminalHandler())
    bar = ProgressBar(PLAN)
    bar.on_epoch_begin(0)
    log.warning("a line")
    bar.stop()
    assert sys.stdout is out
    # Both are one terminal: the console that draws the bar prints the line.
    above, alone = (err, out) if terminal else (out, err)
    assert "WARNING a line" in above.getvalue()
    assert "a line" not in alone.getvalue()


@pytest.mark.parametrize(("verbose", "shown"), [(False, ["a line"]), (True, ["all keys", "a line"])])
def test_details_are_on_the_terminal_if_they_are_asked_for(capsys, verbose, shown):
    log = logging.Logger("of this test")
    log.addHandler(TerminalHandler(verbose))
    log.info("all keys", extra=DETAIL)
    log.info("a line")
    assert [line.split("INFO ")[1] for line in capsys.readouterr().out.splitlines()] == shown

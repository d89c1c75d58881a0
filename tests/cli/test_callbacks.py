"""What Keras calls between steps, without a network."""

from fuxi_mtl.training.callbacks import ProgressBar


def test_the_progress_bar_shows_loss_and_rows_a_second(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    bar = ProgressBar(batch_size=32)
    bar.set_params({"steps": 10})
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(4, {"loss": 0.25})
    (task,) = bar._bar.tasks
    assert (task.completed, task.total, task.description) == (5, 10, "epoch 1")
    assert task.fields["loss"] == 0.25
    assert task.fields["speed"] > 0
    bar.on_epoch_end(0)
    assert "loss 0.2500" in capsys.readouterr().err


def test_the_progress_bar_of_an_interval_that_is_entered_in_its_middle_counts_its_own_rows(monkeypatch):
    bar = ProgressBar(batch_size=100)
    bar.set_params({"steps": 10})
    seconds = iter([0.0, 2.0])
    monkeypatch.setattr("fuxi_mtl.training.callbacks.time.perf_counter", lambda: next(seconds, 9.0))
    bar._bar.start = lambda: None
    bar._started, bar._task = next(seconds), bar._bar.add_task("x", total=10, loss=0.0, speed=0.0)
    bar.on_train_batch_begin(6)
    bar.on_train_batch_end(7, {"loss": 0.25})
    (task,) = bar._bar.tasks
    assert (task.completed, task.fields["speed"]) == (8, 100.0)


def test_an_interrupted_progress_bar_gives_the_cursor_back(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = ProgressBar(batch_size=32)
    bar.set_params({"steps": 10})
    bar.on_epoch_begin(0)
    bar.stop()
    bar.stop()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    shown = capsys.readouterr().err
    assert shown.count(hide) == shown.count(show)

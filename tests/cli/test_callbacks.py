"""What Keras calls between steps, without a network."""

import keras
import numpy as np
import pytest

from fuxi_mtl.training.callbacks import LastInterval, ProgressBar


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


class Count(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps, self.stops = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps[-1] += 1

    def on_epoch_end(self, epoch, logs=None):
        self.stops.append(self.model.stop_training)


def test_the_last_stretch_may_be_shorter_and_is_no_early_stop(model):
    count = Count()
    x = np.zeros((10, 1), np.float32)
    model.fit(x, x, batch_size=1, epochs=3, steps_per_epoch=4, callbacks=[LastInterval(2), count], verbose=0)
    assert count.steps == [4, 4, 2]
    assert count.stops == [False, False, False]


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

"""What happens at each evaluation: measure, log, keep the best, and tell Keras's own callbacks."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fuxi_mtl.evaluate import Scores, is_better, log_lines, monitor_value

logger = logging.getLogger(__name__)


class Evaluation(keras.callbacks.Callback):
    """Measures the model, writes the log, saves the best weights and records the history.

    Keras's "epoch" is the stretch between two evaluations. The watched value is put into Keras's logs
    as ``monitor`` for the callbacks behind this one; an undefined value goes there as the worst
    possible one, so that it is never an improvement.

    Args:
        measure: Gives the scores of the model as it is now.
        save_best: Saves the model as it is now.
        monitor: The stanza's ``monitor``.
        direction: ``max`` or ``min``.
        evaluations_per_epoch: To number the epochs.
    """

    def __init__(
        self,
        measure: Callable[[], Scores],
        save_best: Callable[[], None],
        monitor: str | Mapping[str, float],
        direction: str,
        evaluations_per_epoch: float,
    ):
        super().__init__()
        self._measure, self._save_best = measure, save_best
        self._monitor, self._direction = monitor, direction
        self._evaluations_per_epoch = evaluations_per_epoch
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.seconds_training = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock of training; evaluation is not training."""
        if epoch / self._evaluations_per_epoch % 1 == 0:
            logger.info("************ Epoch=%d start ************", self._epoch(epoch))
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """One evaluation."""
        self.seconds_training += time.perf_counter() - self._started
        scores = self._measure()
        value = monitor_value(self._monitor, scores.values)
        record = self._record(epoch, logs, scores)
        self.history.append(record)
        logger.info("Train loss: %.6f", record["loss"])
        logger.info("Losses: %s", _line(record["losses"]))
        logger.info("Weights: %s", _line(record["weights"]))
        if record["gradient_norms"]:
            logger.info("Gradient norms: %s", _line(record["gradient_norms"]))
        logger.info("Evaluation @epoch %d - batch %d:", self._epoch(epoch), record["step"])
        for line in log_lines(self.model.tasks, scores):
            logger.info("%s", line)
        if is_better(value, None if self.best is None else self.best["monitor"], self._direction):
            logger.info("Save best model: monitor(%s)=%.6f", self._direction, value)
            self._save_best()
            self.best = {**record, "monitor": value}
        else:
            logger.info("Monitor(%s)=%.6f STOP!", self._direction, value)
        worst = -math.inf if self._direction == "max" else math.inf
        logs["monitor"] = worst if math.isnan(value) else value

    def _epoch(self, evaluation: int) -> int:
        return int(evaluation / self._evaluations_per_epoch) + 1

    def _record(self, evaluation: int, logs: Mapping[str, float], scores: Scores) -> dict[str, Any]:
        def those(kind: str) -> dict[str, float]:
            return {k.removeprefix(kind): float(v) for k, v in logs.items() if k.startswith(kind)}

        return {
            "step": int(self.model.optimizer.iterations),
            "epoch": (evaluation + 1) / self._evaluations_per_epoch,
            "loss": float(logs["loss"]),
            "losses": those("loss_"),
            "weights": those("weight_"),
            "gradient_norms": those("norm_") or None,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "metrics": scores.values,
            "undefined": scores.undefined,
        }


class LearningRateLog(keras.callbacks.Callback):
    """Says when the learning rate was reduced, and when training stopped early."""

    def on_train_begin(self, logs=None):
        """Remembers where the learning rate starts."""
        self._rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        """Comes after the callbacks that change either."""
        rate = float(self.model.optimizer.learning_rate)
        if rate < self._rate:
            logger.info("Reduce learning rate on plateau: %.6f", rate)
        self._rate = rate
        if self.model.stop_training:
            logger.info("********* Epoch=%d early stop *********", epoch + 1)


class ProgressBar(keras.callbacks.Callback):
    """Loss and rows a second on the terminal, on standard error.

    Args:
        batch_size: Rows in a step.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self._batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        """A new bar."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[speed]:,.0f} rows/s"),
            TimeRemainingColumn(),
        )
        self._started = time.perf_counter()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(
            f"epoch {epoch + 1}", total=self.params["steps"], loss=math.nan, speed=0.0
        )

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar; one call may stand for several steps."""
        speed = (batch + 1) * self._batch_size / (time.perf_counter() - self._started)
        self._bar.update(self._task, completed=batch + 1, loss=float(logs["loss"]), speed=speed)

    def on_epoch_end(self, epoch, logs=None):
        """Leaves the terminal to the log."""
        self._bar.stop()


def _line(numbers: Mapping[str, float]) -> str:
    return " - ".join(f"{name}: {value:.6f}" for name, value in numbers.items())

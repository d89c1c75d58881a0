"""Callbacks of training: evaluation, patience and step log."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras

from fuxi_mtl.evaluation.evaluate import Scores, is_better, log_lines, monitor_value
from fuxi_mtl.evaluation.monitor import undefined_parts
from fuxi_mtl.model.step_means import WATCHED
from fuxi_mtl.optimizers import is_scheduled, rate_of
from fuxi_mtl.training.loss_scales import LossScales
from fuxi_mtl.weighting import Weighting

logger = logging.getLogger(__name__)


class Evaluation(keras.callbacks.Callback):
    """Measures the model, writes the log, saves the best weights and records the history.

    Keras's "epoch" is the interval between two evaluations. The watched value is put into Keras's logs
    as ``monitor`` for the callbacks behind this one; an undefined value goes there as the worst
    possible one, so that it is never an improvement.

    Args:
        measure: Gives the scores of the model as it is now.
        loss_scales: Is told the losses.
        save_best: Saves the model as it is now.
        monitor: The stanza's ``monitor``.
        direction: ``max`` or ``min``.
        steps: Steps between two evaluations.
        steps_per_epoch: Steps of a pass over the data.
        total_steps: Steps of the whole run; the last evaluation may come after fewer than ``steps``.
    """

    def __init__(
        self,
        measure: Callable[[], Scores],
        loss_scales: LossScales,
        save_best: Callable[[], None],
        monitor: str | Mapping[str, float],
        direction: str,
        *,
        steps: int,
        steps_per_epoch: int,
        total_steps: int,
    ):
        super().__init__()
        self._measure, self.loss_scales, self._save_best = measure, loss_scales, save_best
        self._monitor, self._direction = monitor, direction
        self._steps, self._steps_per_epoch, self._total = steps, steps_per_epoch, total_steps
        self._announced = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.seconds_training = 0.0
        self._started: float | None = None

    def get_state(self) -> dict[str, Any]:
        """What was measured until now, and how long it took."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return {
            "history": self.history,
            "best": self.best,
            "announced": self._announced,
            "seconds_training": self.seconds_training + running,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.history, self.best = list(state["history"]), state["best"]
        self._announced, self.seconds_training = state["announced"], state["seconds_training"]

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock of training; evaluation is not training."""
        started = epoch * self._steps // self._steps_per_epoch + 1
        if started > self._announced:
            logger.info("************ Epoch=%d start ************", started)
            self._announced = started
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """One evaluation."""
        if self._started is not None:
            self.seconds_training += time.perf_counter() - self._started
            self._started = None
        scores = self._measure()
        value = monitor_value(self._monitor, scores.values)
        record = self._record(epoch, logs, scores)
        self.history.append(record)
        logger.info("Train loss: %.6f", record["loss"])
        logger.info("Losses: %s", _line(record["losses"]))
        logger.info("Weights: %s", _line(record["weights"]))
        self.loss_scales.observe(record["losses"], record["weights"])
        _warn_of_weights(record, self.model.weighting)
        _warn_of_losses(self.history, self.model.weighting)
        if record["gradient_norms"]:
            logger.info("Gradient norms: %s", _line(record["gradient_norms"]))
        if record["watched"]:
            logger.info("Watched: %s", _line(record["watched"]))
        logger.info("Evaluation @epoch %d - batch %d:", math.ceil(record["epoch"]), record["step"])
        for line in log_lines(self.model.outputs, scores):
            logger.info("%s", line)
        undefined = undefined_parts(self._monitor, scores.values)
        if undefined and scores.undefined and len(undefined) < len(scores.values):
            reasons = "; ".join(f"{name}: {scores.undefined[name]}" for name in undefined)
            logger.warning("The monitor is undefined, which is no improvement (%s).", reasons)
        if is_better(value, None if self.best is None else self.best["monitor"], self._direction):
            logger.info("Save best model: monitor(%s)=%.6f", self._direction, value)
            self._save_best()
            self.best = {**record, "monitor": value}
        else:
            logger.info("Monitor(%s)=%.6f STOP!", self._direction, value)
        worst = -math.inf if self._direction == "max" else math.inf
        logs["monitor"] = worst if math.isnan(value) else value

    def _record(self, evaluation: int, logs: Mapping[str, float], scores: Scores) -> dict[str, Any]:
        def those(kind: str) -> dict[str, float]:
            return {k.removeprefix(kind): float(v) for k, v in logs.items() if k.startswith(kind)}

        step = min((evaluation + 1) * self._steps, self._total)
        return {
            "step": step,
            "epoch": step / self._steps_per_epoch,
            "loss": float(logs["loss"]),
            "losses": those("loss_"),
            "weights": those("weight_"),
            "gradient_norms": those("norm_") or None,
            "watched": those(WATCHED),
            "learning_rate": rate_of(self.model.optimizer),
            "metrics": scores.values,
            "undefined": scores.undefined,
        }


def _warn_of_losses(history: Sequence[Mapping[str, Any]], weighting: Weighting) -> None:
    """Says of each loss that falls below 0 that the weighting makes nothing of it; not again later."""
    *earlier, now = history
    for name, loss in now["losses"].items():
        known = any(record["losses"].get(name, 0) < 0 for record in earlier)
        if weighting.needs_positive_losses and loss < 0 and not known:
            logger.warning(
                "The loss of %s is %.6g, and weighting %s compares losses by ratios or logarithms, which say "
                "nothing below 0: its weights are not those of the method. Likelihoods of poisson and ziln "
                "may be negative. Take EQ, weights of your own or a surgery, or decoder tweedie or log1p.",
                name,
                loss,
                type(weighting).__name__,
            )


def _warn_of_weights(record: Mapping[str, Any], weighting: Weighting) -> None:
    least, cure = weighting.starves
    for name, weight in record["weights"].items():
        if weight > 0.5 * weighting.largest and record["losses"].get(name, 0) >= 0:
            logger.warning(
                "The weight of %s is near its bound, %.3g: its loss is all but 0. Is its label constant?",
                name,
                weighting.largest,
            )
        if weight < least:
            logger.warning(
                "The weight of %s is %.3g: it is all but untrained. %s",
                name,
                weight,
                cure,
            )


class _Counting:
    """A callback of Keras's whose counters can be taken and given; Keras begins them anew with each fit."""

    counters: ClassVar[tuple[str, ...]]

    def get_state(self) -> dict[str, Any]:
        """The counters."""
        return {name: getattr(self, name) for name in self.counters}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on counting."""
        vars(self).update({name: state[name] for name in self.counters})


class EarlyStopping(_Counting, keras.callbacks.EarlyStopping):
    """Keras's, with a state: a training that it stopped stays so, unless it may now be more patient."""

    counters = ("wait", "best", "best_epoch", "stopped_epoch")

    def get_state(self):
        """The counters, and whether training is over."""
        return {**super().get_state(), "stopped": self.model.stop_training}

    def set_state(self, state):
        """Goes on counting, or not at all."""
        super().set_state(state)
        self.model.stop_training = state["stopped"] and self.wait >= self.patience


class ReduceLROnPlateau(_Counting, keras.callbacks.ReduceLROnPlateau):
    """Keras's, with a state."""

    counters = ("wait", "best", "cooldown_counter")


class LearningRateLog(keras.callbacks.Callback):
    """Says when the learning rate was reduced, and when training stopped early.

    Args:
        evaluation: Knows the epoch.
    """

    def __init__(self, evaluation: Evaluation):
        super().__init__()
        self._evaluation = evaluation

    def on_train_begin(self, logs=None):
        """Remembers where the learning rate starts."""
        self._rate = rate_of(self.model.optimizer)

    def on_epoch_end(self, epoch, logs=None):
        """Comes after the callbacks that change either."""
        rate = rate_of(self.model.optimizer)
        if rate < self._rate and not is_scheduled(self.model.optimizer):
            logger.info("Reduce learning rate on plateau: %.6f", rate)
        self._rate = rate
        if self.model.stop_training:
            epochs = math.ceil(self._evaluation.history[-1]["epoch"])
            logger.info("********* Epoch=%d early stop *********", epochs)


class StepLog(keras.callbacks.Callback):
    """Puts the losses into the log every so many steps, as means since the last evaluation.

    Args:
        every: Steps between two lines; where one call of the graph makes several, the first after them.
        steps: Steps between two evaluations.
    """

    def __init__(self, every: int, steps: int):
        super().__init__()
        self._every, self._steps = every, steps
        self._start = self._last = 0

    def get_state(self) -> dict[str, Any]:
        """The last step that it saw."""
        return {"last": self._last}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._last = state["last"]

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers how many steps came before."""
        self._start = epoch * self._steps

    def on_train_batch_end(self, batch, logs=None):
        """A line, if it is time."""
        step = self._start + batch + 1
        if step // self._every > self._last // self._every:
            losses = {k.removeprefix("loss_"): float(v) for k, v in logs.items() if k.startswith("loss_")}
            logger.info("Step %d: loss %.6f (%s)", step, float(logs["loss"]), _line(losses))
        self._last = step


def _line(numbers: Mapping[str, float]) -> str:
    return " - ".join(f"{name}: {value:.6f}" for name, value in numbers.items())

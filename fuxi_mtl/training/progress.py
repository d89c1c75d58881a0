"""How far a training is and how long it still takes: a bar on a terminal, elsewhere a line now and then."""

import logging
import math
import time
from datetime import timedelta

import keras
from rich.progress import BarColumn, Progress, TextColumn

from fuxi_mtl.dataset.progress import make_progress
from fuxi_mtl.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


class _Pace(keras.callbacks.Callback):
    """Counts the steps of a whole training, and the time that they and the evaluations between them take.

    Args:
        plan: How many steps there are.
    """

    def __init__(self, plan: StepPlan):
        super().__init__()
        self._plan = plan
        self._first: int | None = None  # the first step that is seen, of a training that is gone on with too
        self._start = 0
        self._entered: int | None = None
        self._begun = self._started = 0.0

    def on_train_begin(self, logs=None):
        """Starts the clock of the training."""
        self._begun = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock of an interval, and notes how many steps came before."""
        self._start = epoch * self._plan.steps
        self._started, self._entered = time.perf_counter(), None

    def on_train_batch_begin(self, batch, logs=None):
        """Notes where the training, and the interval, is entered, perhaps in its middle."""
        if self._entered is None:
            self._entered = batch
        if self._first is None:
            self._first = self._start + batch

    def step(self, batch: int) -> int:
        """Steps taken when a batch of an interval is done."""
        return self._start + batch + 1

    def speed(self, batch: int) -> float:
        """Rows a second of this interval; evaluations are none of it."""
        rows = (batch + 1 - (self._entered or 0)) * self._plan.batch_size
        return rows / (time.perf_counter() - self._started)

    def epoch(self, step: int) -> str:
        """The pass over the data in which a step lies, and how many there are."""
        return f"epoch {math.ceil(step / self._plan.steps_per_epoch)} of {self._plan.epochs}"

    def left(self, step: int) -> str:
        """How long the rest takes, if it goes on as until now and nothing stops it early."""
        taken = time.perf_counter() - self._begun
        rest = taken / (step - (self._first or 0)) * (self._plan.total_steps - step)
        return f"{timedelta(seconds=math.ceil(rest))} left at most"


class ProgressBar(_Pace):
    """Epoch, loss, rows a second and the time that is left, on standard error."""

    def __init__(self, plan: StepPlan):
        super().__init__(plan)
        self._bar = _bar()

    def on_epoch_begin(self, epoch, logs=None):
        """A new bar."""
        super().on_epoch_begin(epoch, logs)
        self._bar = _bar()
        self._bar.start()
        steps = min(self._plan.steps, self._plan.total_steps - self._start)
        self._task = self._bar.add_task(self.epoch(self._start + 1), total=steps, told="")

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar; one call may stand for several steps."""
        step = self.step(batch)
        told = f"loss {float(logs['loss']):.4f}, {self.speed(batch):,.0f} rows/s, {self.left(step)}"
        self._bar.update(self._task, description=self.epoch(step), completed=batch + 1, told=told)

    def on_epoch_end(self, epoch, logs=None):
        """Leaves the terminal to the log."""
        self.stop()

    def stop(self):
        """Gives the cursor back; also when training is interrupted."""
        self._bar.stop()


class ProgressLines(_Pace):
    """The same in a line of the log a minute, where no terminal shows a bar."""

    def on_train_begin(self, logs=None):
        """Starts the clock of lines, too."""
        super().on_train_begin(logs)
        self._told = self._begun

    def on_train_batch_end(self, batch, logs=None):
        """A line, if it is time."""
        now, step = time.perf_counter(), self.step(batch)
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        logger.info(
            "Step %d of %d, %s: loss %.6f, %s rows/s, %s.",
            step,
            self._plan.total_steps,
            self.epoch(step),
            float(logs["loss"]),
            f"{self.speed(batch):,.0f}",
            self.left(step),
        )


def _bar() -> Progress:
    steps = TextColumn("{task.completed}/{task.total}")
    return make_progress(
        TextColumn("{task.description}"), BarColumn(bar_width=20), steps, TextColumn("{task.fields[told]}")
    )

"""The loop over training steps, which may begin at any of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from fuxi_mtl.model import MultiTaskModel


@dataclass
class Position:
    """A place in a training, between two steps.

    Attributes:
        step: Steps taken, which is the number of the next batch; a step that float16 skips counts, too.
        evaluated: The step of the last evaluation, 0 before the first.
    """

    step: int = 0
    evaluated: int = 0

    def next_evaluation(self, every: int, total: int) -> int:
        """The step of the next evaluation: a multiple of `every`, or the last step of all."""
        return min((self.evaluated // every + 1) * every, total)


class Steps(Protocol):
    """How steps are taken."""

    agreed: tuple[()] | tuple[bool, bool]
    """Whether to stop, and to save, behind the last step, if that was agreed with others."""

    def begin(self, first: int, end: int, resets: bool) -> None:
        """Begins or goes on with an interval between two evaluations.

        Args:
            first: The next step.
            end: The one behind the last.
            resets: Whether means begin anew.
        """

    def take(self) -> dict[str, Any]:
        """A call of the graph, which may make several steps; the means since the last evaluation."""

    def result(self) -> dict[str, Any]:
        """The means of the interval, at its end."""


class OwnSteps:
    """Steps of this process alone, on however many devices.

    Args:
        model: Compiled.
        batches: Those from the position on.
    """

    agreed: tuple[()] | tuple[bool, bool] = ()

    def __init__(self, model: MultiTaskModel, batches: tf.data.Dataset):
        self._model = model
        self._take = steps_at_once(model)
        self._iterator = iter(model.distribute_strategy.experimental_distribute_dataset(batches))

    def begin(self, first: int, end: int, resets: bool) -> None:
        """See :class:`Steps`."""
        if resets:
            self._model.reset_metrics()

    def take(self) -> dict[str, Any]:
        """See :class:`Steps`."""
        return self._take(self._iterator)

    def result(self) -> dict[str, Any]:
        """See :class:`Steps`."""
        return self._model.get_metrics_result()


def steps_at_once(model: MultiTaskModel) -> Callable[[Any], dict[str, Any]]:
    """A call of the graph: as many steps as the model is compiled for, and the means behind them.

    Keras's own asks before each step whether there is another batch, in a branch that is another graph within
    that of the loop. A plan ends calls where batches end: this takes three quarters of the time until the
    first step.

    Args:
        model: Compiled.
    """

    def step(batches: Any) -> None:
        model.distribute_strategy.run(model.train_step, args=(batches.get_next(),))

    def steps(batches: Any) -> dict[str, tf.Tensor]:
        def body(taken: tf.Tensor) -> list[tf.Tensor]:
            step(batches)
            return [taken + 1]

        if model.steps_per_execution == 1:
            step(batches)
        else:
            tf.while_loop(lambda taken: taken < model.steps_per_execution, body, [tf.constant(0)])
        return model.means.result()

    return steps if model.run_eagerly else tf.function(steps, autograph=False, reduce_retracing=True)


def run_steps(
    model: MultiTaskModel,
    steps: Steps,
    callbacks: Sequence[keras.callbacks.Callback],
    position: Position,
    *,
    every: int,
    total: int,
    pause: Callable[[], None],
) -> None:
    """Trains until the steps are done, or a callback stops the model.

    To callbacks an "epoch" is what lies between two evaluations, and :meth:`on_epoch_end` is the evaluation;
    batches count from the last one. Means are reset where an interval begins, and only there.

    Args:
        model: Compiled; its means are those of the interval that is gone on with.
        steps: From the position on.
        callbacks: Keras's and ours.
        position: Where to begin; it moves along.
        every: Steps between two evaluations; the last may come after fewer.
        total: Steps of the whole training. Calls of the graph make as many steps as the model is compiled
            for, and must end where intervals do.
        pause: Called where a training may be saved or left: after each call of the graph, and after each
            evaluation.
    """
    listeners = keras.callbacks.CallbackList(
        list(callbacks), add_history=False, add_progbar=False, model=model, steps=every
    )
    model.stop_training = False
    listeners.on_train_begin()
    while position.evaluated < total and not model.stop_training:
        interval = position.evaluated // every
        end = position.next_evaluation(every, total)
        steps.begin(position.step, end, resets=position.step == position.evaluated)
        listeners.on_epoch_begin(interval)
        while position.step < end:
            listeners.on_train_batch_begin(position.step - interval * every)
            logs = steps.take()
            position.step += model.steps_per_execution
            listeners.on_train_batch_end(position.step - interval * every - 1, logs)
            pause()
        listeners.on_epoch_end(interval, steps.result())
        position.evaluated = position.step
        pause()
    listeners.on_train_end()

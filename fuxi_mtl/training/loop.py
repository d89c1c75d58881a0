"""The loop over training steps, which may begin at any of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def run_steps(
    model: MultiTaskModel,
    batches: tf.data.Dataset,
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
        batches: Those from the position on.
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
    model.make_train_function()
    model.stop_training = False
    iterator = iter(model.distribute_strategy.experimental_distribute_dataset(batches))
    listeners.on_train_begin()
    while position.evaluated < total and not model.stop_training:
        interval = position.evaluated // every
        end = position.next_evaluation(every, total)
        if position.step == position.evaluated:
            model.reset_metrics()
        listeners.on_epoch_begin(interval)
        while position.step < end:
            listeners.on_train_batch_begin(position.step - interval * every)
            logs = model.train_function(iterator)
            position.step += model.steps_per_execution
            listeners.on_train_batch_end(position.step - interval * every - 1, logs)
            pause()
        listeners.on_epoch_end(interval, model.get_metrics_result())
        position.evaluated = position.step
        pause()
    listeners.on_train_end()

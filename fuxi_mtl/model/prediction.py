"""Predictions batch by batch, by a graph that is traced once for batches of any size."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

ROWS_PER_STEP = 8192


class Prediction:
    """Predicts on one device, without Keras's loop, which takes a sixth of the time of a small network.

    Args:
        step: A batch to ``(batch,)`` tensors by name.
        eagerly: Whether no graph is made of it.

    Attributes:
        graph: What is called; None before the first batch.
    """

    def __init__(self, step: Callable[[Any], dict[str, tf.Tensor]], eagerly: bool = False):
        self._step = step
        self.graph: Callable[[Any], dict[str, tf.Tensor]] | None = step if eagerly else None

    def __call__(self, batches: Iterable[Any]) -> dict[str, np.ndarray]:
        """The predictions of all batches by name, one behind the other; nothing without a batch."""
        parts = [self._of(batch) for batch in batches]
        names = parts[0] if parts else ()
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in names}

    def _of(self, batch: Any) -> dict[str, tf.Tensor]:
        if self.graph is None:
            self.graph = graph = tf.function(self._step, autograph=False, reduce_retracing=True)
            if not tf.config.functions_run_eagerly():
                graph.get_concrete_function(tf.nest.map_structure(_any_rows, batch))
        return self.graph(batch)


def batches_of(inputs: Mapping[str, np.ndarray], size: int | None) -> Iterator[dict[str, np.ndarray]]:
    """Encoded rows in parts; one without rows if there are none.

    Parts are copies: TensorFlow takes an array as it is, and may write into a slice of it, so into a map of
    a file.
    """
    rows, size = len(inputs["ids"]), size or ROWS_PER_STEP
    for start in range(0, max(rows, 1), size):
        yield {name: np.array(array[start : start + size]) for name, array in inputs.items()}


def is_on_one_device(model: Any) -> bool:
    """Whether a Keras model has its variables once."""
    return model.distribute_strategy.num_replicas_in_sync == 1


def needs_no_loop(model: Any, x: Any, options: Mapping[str, Any]) -> bool:
    """Whether a model can predict without Keras's loop: on one device, without progress or callbacks."""
    return options == {"verbose": 0} and isinstance(x, Mapping | tf.data.Dataset) and is_on_one_device(model)


def trace_predictions(model: Any, batches: Any) -> None:
    """Traces for the shapes that a dataset declares; Keras traces for the first batch and again for the last.

    Args:
        model: A Keras model. One that has its graph, runs eagerly or lies on several devices is left alone.
        batches: Inputs; only a `tf.data.Dataset` says what shapes its batches may have.
    """
    wanted = model.predict_function is None and not model.run_eagerly and isinstance(batches, tf.data.Dataset)
    if wanted and is_on_one_device(model):
        model.make_predict_function()
        model.predict_function.get_concrete_function([batches.element_spec])


def _any_rows(array: Any) -> tf.TensorSpec:
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

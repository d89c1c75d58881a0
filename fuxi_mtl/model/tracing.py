"""The graph of predictions, traced once for batches of any size."""

from typing import Any

import tensorflow as tf


def trace_predictions(model: Any, batches: Any) -> None:
    """Traces for the shapes that a dataset declares; Keras traces for the first batch and again for the last.

    Args:
        model: A Keras model. One that has its graph, runs eagerly or lies on several devices is left alone.
        batches: Inputs; only a `tf.data.Dataset` says what shapes its batches may have.
    """
    wanted = model.predict_function is None and not model.run_eagerly and isinstance(batches, tf.data.Dataset)
    if wanted and model.distribute_strategy.num_replicas_in_sync == 1:
        model.make_predict_function()
        model.predict_function.get_concrete_function([batches.element_spec])

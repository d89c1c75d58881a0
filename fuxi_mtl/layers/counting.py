"""Counts by comparison, for what is served: no runtime but TensorFlow searches ordered numbers."""

import tensorflow as tf


def count_up_to(x: tf.Tensor, ordered: tf.Tensor) -> tf.Tensor:
    """How many of some numbers are at most x, as ``tf.searchsorted(ordered, x, side="right")``.

    Args:
        x: ``(batch,)``, none of them NaN.
        ordered: ``(numbers,)``, or ``(batch, numbers)``, ascending or not.

    Returns:
        ``(batch,)`` int32.

    >>> count_up_to(tf.constant([0.5, 2.0]), tf.constant([1.0, 2.0, 3.0])).numpy().tolist()
    [0, 2]
    """
    return tf.math.count_nonzero(ordered <= x[:, None], axis=-1, dtype=tf.int32)

"""Encoders that treat all events alike."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.sequences.base import SequenceEncoder
from fuxi_mtl.options.encoders import Empty


@keras.saving.register_keras_serializable("fuxi_mtl")
class MeanSequence(SequenceEncoder):
    """Mean of the events, ``sum_l k_l / n``.

    >>> import tensorflow as tf
    >>> history = {"keys": tf.ones((1, 3, 2)), "present": tf.constant([[True, True, False]])}
    >>> MeanSequence()(history).numpy().tolist()
    [[1.0, 1.0]]
    """

    keeps_columns = True

    def __init__(self, *, empty: Empty = "zeros", **kwargs):
        super().__init__(empty, **kwargs)

    def encode(self, keys, present, query, training):
        """See the class."""
        count = tf.reduce_sum(tf.cast(present, tf.float32), axis=1, keepdims=True)
        return tf.reduce_sum(keys, axis=1) / tf.maximum(count, 1.0)


@keras.saving.register_keras_serializable("fuxi_mtl")
class SumSequence(SequenceEncoder):
    """Sum of the events, ``sum_l k_l``: more of them are a longer vector."""

    keeps_columns = True

    def __init__(self, *, empty: Empty = "zeros", **kwargs):
        super().__init__(empty, **kwargs)

    def encode(self, keys, present, query, training):
        """See the class."""
        return tf.reduce_sum(keys, axis=1)


@keras.saving.register_keras_serializable("fuxi_mtl")
class MaxSequence(SequenceEncoder):
    """Largest number among the events, in each dimension."""

    keeps_columns = True

    def __init__(self, *, empty: Empty = "zeros", **kwargs):
        super().__init__(empty, **kwargs)

    def encode(self, keys, present, query, training):
        """See the class."""
        return tf.reduce_max(tf.where(present[..., None], keys, keys.dtype.min), axis=1)

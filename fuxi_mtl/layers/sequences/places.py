"""Positions and times of events, and which events are read."""

import keras
import numpy as np
import tensorflow as tf

TARGET_TIME = 1  # the id of a gap of no time, which is the target's own


def newer_events(present: tf.Tensor, newest_first: bool = False) -> tf.Tensor:
    """How many newer events each event has, which no padding on either side changes.

    Args:
        present: ``(batch, length)`` booleans.
        newest_first: Whether events come in that order; oldest first otherwise.

    Returns:
        ``(batch, length)`` int32; at padding, a number that means nothing.
    """
    count = tf.cast(present, tf.int32)
    return tf.cumsum(count, axis=1, exclusive=True, reverse=not newest_first)


def newest(present: tf.Tensor, newer: tf.Tensor, keep: int) -> tf.Tensor:
    """The columns of the newest events, in the order in which they come.

    Args:
        present: ``(batch, length)`` booleans: the events to choose from.
        newer: See :func:`newer_events`.
        keep: How many columns, at most the length.

    Returns:
        ``(batch, keep)`` int32; where there are fewer events, columns of padding are among them.
    """
    lowest = tf.where(present, -newer, newer.dtype.min)
    return tf.sort(tf.math.top_k(lowest, keep).indices, axis=1)


class RowTable(keras.layers.Layer):
    """A small table of float32 rows whose gradient is one of the whole table.

    Args:
        rows: How many.
        width: Of a row.

    Shapes:
        Integers ``(...)`` to ``(..., width)`` float32.
    """

    def __init__(self, rows: int, width: int, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.rows, self.width = rows, width
        self.built = True
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.table = self.add_weight((rows, width), normal, name="rows", autocast=False)

    def call(self, places):
        """The row of each place."""
        return _rows(tf.convert_to_tensor(self.table), places)

    def compute_output_shape(self, places_shape):
        """See the class."""
        return (*places_shape, self.width)


@tf.custom_gradient
def _rows(table: tf.Tensor, places: tf.Tensor):
    def gradient(upstream):
        flat = tf.reshape(upstream, (-1, table.shape[1]))
        return tf.math.unsorted_segment_sum(flat, tf.reshape(places, [-1]), table.shape[0]), None

    return tf.gather(table, places), gradient


def sinusoids(count: int, width: int) -> np.ndarray:
    """``(count, width)``: ``sin(p / 10000^(2i/width))`` in column 2i and its cosine behind it (Vaswani 2017).

    An odd width ends in a sine.
    """
    angles = np.arange(count)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    table = np.empty((count, width), np.float32)
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)[:, : width // 2]
    return table

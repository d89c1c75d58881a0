"""Positions and times of events, and which events are read."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.row_sums import row_sums
from fuxi_mtl.features import PAD

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


def cut_to_shortest(columns: Mapping[str, tf.Tensor], cuts_front: bool) -> dict[str, tf.Tensor]:
    """Lists of ids, each as long as the shortest of its row: their first members, padding behind.

    Where the first members of long lists were left out and one list fills its places, nobody knows which
    members of the others belong to its own: there are none of such a row.

    Args:
        columns: ``(batch, length)`` ids of each list, padding on one side.
        cuts_front: Whether lists that are too long have lost their first members, not their last ones.
    """
    present = {name: tf.cast(ids != PAD, tf.int32) for name, ids in columns.items()}
    counts = tf.stack([tf.reduce_sum(each, axis=1) for each in present.values()], axis=1)
    shortest, longest = tf.reduce_min(counts, axis=1), tf.reduce_max(counts, axis=1)
    places = tf.range(next(iter(columns.values())).shape[1])
    if cuts_front:
        shortest = tf.where((shortest < longest) & (longest == tf.size(places)), 0, shortest)

    def cut(ids: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
        first = tf.argmax(there, axis=1, output_type=tf.int32)
        from_first = tf.gather(ids, tf.minimum(first[:, None] + places, tf.size(places) - 1), batch_dims=1)
        return tf.where(places < shortest[:, None], from_first, PAD)

    return {name: cut(ids, present[name]) for name, ids in columns.items()}


class RowTable(keras.layers.Layer):
    """A small table of float32 rows whose gradient is one of the whole table.

    Args:
        rows: How many.
        width: Of a row.
        start: Keras's initializer of them.

    Shapes:
        Integers ``(...)`` to ``(..., width)`` float32.
    """

    def __init__(self, rows: int, width: int, start: Any = None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.rows, self.width = rows, width
        self.built = True
        start = start or keras.initializers.RandomNormal(stddev=0.01)
        self.table = self.add_weight((rows, width), start, name="rows", autocast=False)

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
        return row_sums(flat, tf.reshape(places, [-1]), table.shape[0]), None

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

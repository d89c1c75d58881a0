"""Blocks of equal size that all workers exchange at once: what each has for each other one.

A collective of TensorFlow remembers the shape of its first run by its key, and all of its blocks are of one
size. Blocks therefore come in sizes a sixteenth apart, each with a key of its own: what is sent is at most a
sixteenth more than if all were as full as the fullest, and a training meets a few sizes and no more.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.cluster.replicas import only_paths_wanted, own_variables
from fuxi_mtl.cluster.row_sums import row_sums

_GROUP, _KEYS = 0x4D54_4C01, 0x5000_0000  # of these collectives; those of `workers` lie below
_PURPOSES = ("most", "rows", "vectors", "gradients")
_numbers = itertools.count()


def block_sizes(most: int = 2**30) -> tuple[int, ...]:
    """The sizes of blocks, each a sixteenth above the one before it, and 1 at least.

    >>> block_sizes(40)[-12:]
    (25, 26, 27, 28, 29, 30, 31, 32, 34, 36, 38, 40)
    """
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(max(sizes[-1] + 1, 17 * sizes[-1] // 16))
    return tuple(sizes)


SIZES = block_sizes()


def block_size(count: int) -> int:
    """The least size that holds so many.

    >>> [block_size(count) for count in (0, 1, 33, 1000)]
    [1, 1, 34, 1027]
    """
    return SIZES[bisect_left(SIZES, count)]


@dataclass(frozen=True)
class Blocks:
    """Blocks of one exchange, one for each worker.

    Attributes:
        number: The number of their size among :data:`SIZES`.
        size: What each block holds.
    """

    number: tf.Tensor
    size: tf.Tensor


class Exchange:
    """What all workers exchange about one table; made by all, in the same order.

    Each of its calls is a call of all workers, in the same order. They work in replica context and outside of
    any, in graphs and without.

    Args:
        rank: The number of this worker.
        size: How many there are.

    Attributes:
        counts: What was asked for and what was sent since the start, see :meth:`traffic`.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self._first_key = _KEYS + next(_numbers) * len(_PURPOSES) * len(SIZES)
        with own_variables():
            self.counts = tf.Variable(tf.zeros(3, tf.int64), trainable=False, name="traffic")

    def blocks(self, counts: tf.Tensor) -> Blocks:
        """Blocks that hold what any worker has for any other one.

        Args:
            counts: ``(workers,)`` how much this one has for each.
        """
        own = tf.fill([self.size, 1], tf.cast(tf.reduce_max(counts), tf.int32))
        most = tf.reduce_max(self._all_to_all(own, "most", 0))
        number = tf.searchsorted(tf.constant(SIZES, tf.int32), most[None])[0]
        blocks = Blocks(number, tf.gather(tf.constant(SIZES, tf.int32), number))
        told = [1, tf.reduce_sum(tf.cast(counts, tf.int64)), self.size * tf.cast(blocks.size, tf.int64)]
        self.counts.assign_add(tf.stack([tf.cast(each, tf.int64) for each in told]))
        return blocks

    def rows(self, wanted: tf.Tensor, blocks: Blocks) -> tf.Tensor:
        """The rows that are wanted of this worker.

        Args:
            wanted: ``(workers x size,)`` the rows that this one wants of each, -1 where a block is not full.
            blocks: Those of :meth:`blocks`.

        Returns:
            The same of what each other wants of this one.
        """
        return self._sent(wanted, "rows", blocks)

    def vectors(self, given: tf.Tensor, blocks: Blocks) -> tf.Tensor:
        """The vectors of the rows that this worker wanted; gradients go the same way back.

        Args:
            given: ``(workers x size, width)`` those of the rows that are wanted of it.
            blocks: Those of :meth:`blocks`.
        """

        @tf.custom_gradient
        def exchanged(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def back(slope: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
                if isinstance(slope, tf.IndexedSlices):
                    slope = row_sums(slope.values, slope.indices, tf.shape(x)[0])
                return slope if only_paths_wanted() else self._sent(slope, "gradients", blocks)

            return self._sent(x, "vectors", blocks), back

        return exchanged(given)

    def traffic(self) -> tuple[int, int, int]:
        """Exchanges since the start, the rows that this worker asked for, and the room of its blocks."""
        exchanges, asked, sent = self.counts.numpy().tolist()
        return exchanges, asked, sent

    def _sent(self, x: tf.Tensor, purpose: str, blocks: Blocks) -> tf.Tensor:
        shape = tf.shape(x)
        apart = tf.reshape(x, tf.concat([[self.size, blocks.size], shape[1:]], axis=0))
        together = tf.reshape(self._all_to_all(apart, purpose, blocks.number), shape)
        return tf.ensure_shape(together, (None, *x.shape[1:]))

    def _all_to_all(self, x: tf.Tensor, purpose: str, number: tf.Tensor | int) -> tf.Tensor:
        """``(workers, ...)``: part j goes to worker j, and comes from it."""
        key = self._first_key + _PURPOSES.index(purpose) * len(SIZES) + number
        with tf.device(f"/job:worker/replica:0/task:{self.rank}/device:CPU:0"):
            return tf.raw_ops.CollectiveAllToAllV2(
                input=tf.identity(x),
                group_size=self.size,
                group_key=_GROUP,
                instance_key=key,
                ordering_token=[],
                communication_hint="auto",
            )

"""The rows of a spread table that workers ask each other for, and their vectors.

Each row is asked of its worker, in the block that is sent there. Where blocks would be more than a quarter
of padding, see :mod:`fuxi_mtl.cluster.blocks`, they are too small for some rows, and these lie in blocks of
other workers. Who gets them asks their own workers in a second, small exchange, and gives back what it
hears::

    ids         this worker -> another one -> the row's own
    vectors     the row's own -> another one -> this worker
    gradients   as ids
"""

from typing import NamedTuple

import tensorflow as tf

from fuxi_mtl.cluster.blocks import Asked, BlockExchange, Blocks


class Wanted(NamedTuple):
    """What workers want of each other.

    Attributes:
        rows: Those that are wanted of this worker and are its own, once for each who asks.
        asked: What each worker asks in the first exchange.
        passed: Where what this worker passes on lies among what is asked of it, ``(rows, 1)``.
        onward: What each worker asks in the second one, of nobody where there is none.
        held: Where `rows` lie among what is asked of this worker in both.
    """

    rows: tf.Tensor
    asked: Asked
    passed: tf.Tensor
    onward: Asked
    held: tuple[tf.Tensor, tf.Tensor]


class Exchange:
    """What all workers exchange about one table, whose row ``g`` is worker ``g mod workers``'s.

    It is made by all, in the same order, and each of its calls is a call of all, in the same order. They work
    in replica context and outside of any, in graphs and without.

    Args:
        rank: The number of this worker.
        size: How many there are.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self._first, self._second = (BlockExchange(rank, size, may_be_even=each) for each in (True, False))

    def ask(self, rows: tf.Tensor) -> Wanted:
        """Tells all workers which rows this one wants, and hears what they want of it.

        Args:
            rows: ``(rows,)`` their numbers in the whole table.
        """
        asked = self._first.ask(rows, self._owner(rows))
        passed = tf.where((asked.wanted >= 0) & (self._owner(asked.wanted) != self.rank))
        others = tf.gather_nd(asked.wanted, passed)
        onward = tf.cond(
            asked.blocks.even,
            lambda: self._second.ask(others, self._owner(others)),
            lambda: _nothing(rows.dtype),
        )
        # Where a block is not full nobody asks for a row, and none has a gradient.
        both = (asked.wanted, onward.wanted)
        held = [tf.where((each >= 0) & (self._owner(each) == self.rank)) for each in both]
        wanted = [tf.gather_nd(each, at) for each, at in zip(both, held, strict=True)]
        return Wanted(tf.concat(wanted, axis=0), asked, passed, onward, (held[0], held[1]))

    def vectors(self, given: tf.Tensor, wanted: Wanted) -> tf.Tensor:
        """The vectors of the rows that this worker asked for; gradients go the same way back.

        Args:
            given: ``(rows, width)`` those of `wanted.rows`, which this worker gives.
            wanted: What :meth:`ask` returned.

        Returns:
            ``(rows, width)``.
        """
        asked, passed, onward = wanted.asked, wanted.passed, wanted.onward
        own = tf.split(given, [tf.shape(each)[0] for each in wanted.held])
        first, second = (
            tf.scatter_nd(at, vectors, tf.stack([tf.size(each.wanted, tf.int64), given.shape[1]]))
            for at, vectors, each in zip(wanted.held, own, (asked, onward), strict=True)
        )

        def with_passed() -> tf.Tensor:
            vectors = tf.gather(self._second.vectors(second, onward.blocks), onward.slots)
            return tf.tensor_scatter_nd_update(first, passed, vectors)

        first = tf.cond(asked.blocks.even, with_passed, lambda: first)
        return tf.gather(self._first.vectors(first, asked.blocks), asked.slots)

    def traffic(self) -> tuple[int, int, int]:
        """Calls since the start, the rows that this worker asked for, and the room of all its blocks."""
        (calls, asked, room), (_, _, more) = self._first.counts.numpy(), self._second.counts.numpy()
        return int(calls), int(asked), int(room + more)

    def _owner(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.cast(rows % self.size, tf.int32)


def _nothing(dtype: tf.DType) -> Asked:
    number = tf.zeros((), tf.int32)
    return Asked(tf.zeros(0, tf.int32), tf.zeros(0, dtype), Blocks(number, number, tf.constant(False)))

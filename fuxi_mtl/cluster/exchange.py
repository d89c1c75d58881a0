"""The rows of a spread table that workers ask each other for, and their vectors.

Each row is asked of its worker, in the block that is sent there. Where blocks would be more than a quarter
of padding, see :mod:`fuxi_mtl.cluster.blocks`, they are too small for some rows, and these lie in blocks of
other workers. Who gets them asks their own workers in a further exchange, which is small, and gives back what
it hears::

    ids         this worker -> another one -> the row's own
    vectors     the row's own -> another one -> this worker
    gradients   as ids

What finds no room in the further exchange, either, is sent on in one more, and so on.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from fuxi_mtl.cluster.blocks import SENT_ON, Asked, BlockExchange, Blocks
from fuxi_mtl.cluster.replicas import only_paths_wanted
from fuxi_mtl.cluster.row_sums import row_sums


class Heard(NamedTuple):
    """What workers want of each other in one exchange.

    Attributes:
        asked: What each worker asks; of nobody where the exchange is not needed.
        held: Where this worker's own rows lie among what is asked of it, ``(rows, 1)``.
        passed: Where those lie that it passes on.
    """

    asked: Asked
    held: tf.Tensor
    passed: tf.Tensor


class Wanted(NamedTuple):
    """What workers want of each other.

    Attributes:
        rows: Those that are wanted of this worker and are its own, once for each who asks.
        heard: Of each exchange.
    """

    rows: tf.Tensor
    heard: tuple[Heard, ...]


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
        self._exchanges = [BlockExchange(rank, size, sent_on) for sent_on in (*SENT_ON, None)]

    def ask(self, rows: tf.Tensor) -> Wanted:
        """Tells all workers which rows this one wants, and hears what they want of it.

        Args:
            rows: ``(rows,)`` their numbers in the whole table.
        """
        heard = self._asked(rows)
        own = [tf.gather_nd(each.asked.wanted, each.held) for each in heard]
        return Wanted(tf.concat(own, axis=0), heard)

    def vectors(self, given: tf.Tensor, wanted: Wanted) -> tf.Tensor:
        """The vectors of the rows that this worker asked for; gradients go the same way back.

        Args:
            given: ``(rows, width)`` those of `wanted.rows`, which this worker gives.
            wanted: What :meth:`ask` returned.

        Returns:
            ``(rows, width)``.
        """

        # TensorFlow's own gradients of branches would let exchanges with the same key run at the same time.
        @tf.custom_gradient
        def found(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def back(slope: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
                if only_paths_wanted():
                    return tf.zeros_like(x)
                if isinstance(slope, tf.IndexedSlices):
                    slope = row_sums(slope.values, slope.indices, tf.size(wanted.heard[0].asked.slots))
                return self._given_back(slope, wanted.heard)

            own = tf.split(tf.stop_gradient(x), [tf.shape(each.held)[0] for each in wanted.heard])
            return self._found(own, wanted.heard), back

        return found(given)

    def traffic(self) -> tuple[int, int, int]:
        """Calls since the start, the rows that this worker asked for, and the room of all its blocks."""
        counts = [exchange.counts.numpy() for exchange in self._exchanges]
        calls, asked, _ = counts[0]
        return int(calls), int(asked), sum(int(room) for _, _, room in counts)

    def _owner(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.cast(rows % self.size, tf.int32)

    def _asked(self, rows: tf.Tensor, number: int = 0, spare: tf.Tensor | None = None) -> tuple[Heard, ...]:
        """What workers want of each other from one of the exchanges on.

        Args:
            rows: ``(rows,)`` the numbers of those that this worker asks for in that exchange.
            number: Of the exchange.
            spare: See :meth:`BlockExchange.ask`.
        """
        asked = self._exchanges[number].ask(rows, self._owner(rows), spare)
        # Where a block is not full nobody asks for a row, and none has a gradient.
        mine, somebody = self._owner(asked.wanted) == self.rank, asked.wanted >= 0
        heard = Heard(asked, tf.where(somebody & mine), tf.where(somebody & ~mine))
        left = len(self._exchanges) - number - 1
        if not left:
            return (heard,)
        others = tf.gather_nd(asked.wanted, heard.passed)
        further = tf.cond(
            asked.blocks.even,
            lambda: self._asked(others, number + 1, asked.blocks.spare),
            lambda: (_nothing(rows.dtype),) * left,
        )
        return (heard, *further)

    def _found(self, own: Sequence[tf.Tensor], heard: Sequence[Heard], number: int = 0) -> tf.Tensor:
        """The vectors of what this worker asks for in one of the exchanges.

        Args:
            own: ``(rows, width)`` its own that others want, of each exchange.
            heard: What each exchange has brought.
            number: Of the exchange.
        """
        asked, held, passed = heard[number]
        shape = tf.stack([tf.size(asked.wanted, tf.int64), own[number].shape[1]])
        given = tf.scatter_nd(held, own[number], shape)

        def with_passed() -> tf.Tensor:
            return tf.tensor_scatter_nd_update(given, passed, self._found(own, heard, number + 1))

        if number + 1 < len(heard):
            given = tf.cond(asked.blocks.even, with_passed, lambda: given)
        return tf.gather(self._exchanges[number].vectors(given, asked.blocks), asked.slots)

    def _given_back(self, slope: tf.Tensor, heard: Sequence[Heard], number: int = 0) -> tf.Tensor:
        """The gradients of what this worker gives from one of the exchanges on, as others found them.

        Args:
            slope: ``(rows, width)`` those of what it asked for in that exchange.
            heard: What each exchange has brought.
            number: Of the exchange.
        """
        asked, held, passed = heard[number]
        slope = tf.scatter_nd(asked.slots[:, None], slope, tf.stack([tf.size(asked.wanted), slope.shape[1]]))
        back = self._exchanges[number].vectors(slope, asked.blocks, back=True)
        own = tf.gather_nd(back, held)
        if number + 1 == len(heard):
            return own

        def with_passed() -> tf.Tensor:
            further = self._given_back(tf.gather_nd(back, passed), heard, number + 1)
            return tf.concat([own, further], axis=0)

        return tf.cond(asked.blocks.even, with_passed, lambda: own)


def _nothing(dtype: tf.DType) -> Heard:
    none, nowhere = tf.zeros((), tf.int32), tf.zeros((0, 1), tf.int64)
    blocks = Blocks(none, none, tf.constant(False), tf.zeros((), tf.int64))
    return Heard(Asked(tf.zeros(0, tf.int32), tf.zeros(0, dtype), blocks), nowhere, nowhere)

"""Blocks of equal size that all workers exchange at once: what each has for each other one.

A collective of TensorFlow remembers the shape of its first run by its key, and all of its blocks are of one
size. Blocks therefore come in sizes a sixteenth apart, each with a key of its own: what is sent is at most a
sixteenth more than if all were as full as the fullest, and a training meets a few sizes and no more.

Of many blocks with few rows in each the fullest has many more than the mean. Where blocks of its size would
be more than a quarter of padding, they are hardly larger than the mean, and rows that find no room lie in
those of other workers, see :mod:`fuxi_mtl.cluster.exchange`.
"""

import itertools
import math
from bisect import bisect_left
from typing import NamedTuple

import tensorflow as tf

from fuxi_mtl.cluster.replicas import own_variables

_GROUP, _KEYS = 0x4D54_4C01, 0x5000_0000  # of these collectives; those of `workers` lie below
PURPOSES = ("most", "rows", "vectors", "gradients")
MOST_PADDING = (5, 4)  # the quotient of blocks as large as the fullest, at which rows are sent on
SENT_ON = (5, 2, 1)  # rows that a block of each further exchange has, about
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
_PARTS = 256


def largest_mean(size: int) -> int:
    """The largest m with ``m + .3 sqrt(m) <= size``, in 256ths.

    Counts of what falls anywhere lie about as far from their mean as its root: in blocks with so much room
    more than the mean there is little padding, and no more to send on than the other blocks have room for.

    >>> [largest_mean(size) / 256 for size in (1, 20, 181)]
    [0.73828125, 18.69921875, 177.0078125]
    """
    root = math.sqrt(0.0225 + size) - 0.15
    return int(_PARTS * root * root)


MEANS = tuple(map(largest_mean, SIZES))


def block_size(count: int) -> int:
    """The least size that holds so many.

    >>> [block_size(count) for count in (0, 1, 33, 1000)]
    [1, 1, 34, 1027]
    """
    return SIZES[bisect_left(SIZES, count)]


class Blocks(NamedTuple):
    """Blocks of one exchange, one for each worker.

    Attributes:
        number: The number of their size among :data:`SIZES`.
        size: What each block holds.
        even: Whether some hold rows of other workers, because these have more than there is room for.
        spare: What blocks of further exchanges may hold until all have a quarter of padding.
    """

    number: tf.Tensor
    size: tf.Tensor
    even: tf.Tensor
    spare: tf.Tensor


class Asked(NamedTuple):
    """Rows that workers ask each other for.

    Attributes:
        slots: ``(rows,)`` where each that this worker asked for lies among its blocks, side by side.
        wanted: ``(workers x size,)`` the rows that are wanted of this worker, -1 where a block is not full.
        blocks: The blocks of both.
    """

    slots: tf.Tensor
    wanted: tf.Tensor
    blocks: Blocks


class BlockExchange:
    """What all workers send each other in blocks; made by all, in the same order.

    Each of its calls is a call of all workers, in the same order. They work in replica context and outside of
    any, in graphs and without.

    Args:
        rank: The number of this worker.
        size: How many there are.
        sent_on: The rows that a block has, about, of what lies in another worker's block and is sent on from
            there; None if nobody sends anything on.

    Attributes:
        counts: Exchanges since the start, the rows that this worker asked for, and the room of its blocks.
    """

    def __init__(self, rank: int, size: int, sent_on: int | None):
        self.rank, self.size, self.sent_on = rank, size, sent_on
        self._first_key = _KEYS + next(_numbers) * len(PURPOSES) * len(SIZES)
        with own_variables():
            self.counts = tf.Variable(tf.zeros(3, tf.int64), trainable=False, name="traffic")

    def ask(self, rows: tf.Tensor, owner: tf.Tensor, spare: tf.Tensor | None = None) -> Asked:
        """Asks each worker for rows, and hears what the others want of this one.

        Args:
            rows: ``(rows,)`` their numbers, 0 and above.
            owner: ``(rows,)`` int32, who has each.
            spare: What the exchange before left of a quarter of padding; None if this is the first.
        """
        members = tf.dynamic_partition(tf.range(tf.size(rows)), owner, self.size)
        counts, order = tf.stack([tf.size(each) for each in members]), tf.concat(members, axis=0)
        blocks = self._blocks(counts, spare)
        places = tf.range(tf.size(rows)) - tf.repeat(tf.cumsum(counts, exclusive=True), counts)
        slots = tf.gather(owner, order) * blocks.size + places

        def evened() -> tf.Tensor:
            """Rows without a place in their block fill the room of all, from behind the own one on."""
            late = tf.where(places >= blocks.size)
            room = tf.roll(blocks.size - counts, -self.rank, axis=0)
            free = tf.where(tf.range(blocks.size)[:, None] < room)[: tf.size(late)]
            last, worker = tf.unstack(tf.cast(free, tf.int32), axis=1)
            worker = (worker + self.rank) % self.size
            return tf.tensor_scatter_nd_update(slots, late, (worker + 1) * blocks.size - 1 - last)

        slots = tf.cond(blocks.even, evened, lambda: slots)
        slots = tf.scatter_nd(order[:, None], slots, tf.shape(order))
        nobody = tf.fill([self.size * blocks.size], tf.constant(-1, rows.dtype))
        wanted = self._sent(tf.tensor_scatter_nd_update(nobody, slots[:, None], rows), "rows", blocks)
        return Asked(slots, wanted, blocks)

    def vectors(self, given: tf.Tensor, blocks: Blocks, back: bool = False) -> tf.Tensor:
        """The vectors of the rows that this worker asked for.

        Args:
            given: ``(workers x size, width)`` those of what is wanted of it.
            blocks: The blocks in which it was asked for.
            back: Whether these are gradients of what it got, which go back.

        Returns:
            ``(workers x size, width)``, of each row at its slot.
        """
        return self._sent(given, "gradients" if back else "vectors", blocks)

    def _blocks(self, counts: tf.Tensor, spare: tf.Tensor | None) -> Blocks:
        asked = tf.reduce_sum(counts)
        own = tf.tile(tf.stack([tf.reduce_max(counts), asked])[None], [self.size, 1])
        told = tf.reduce_max(self._all_to_all(own, "most", 0), axis=0)
        # Integers alone: processors differ in how they round, and all workers must find the same.
        fullest, most = tf.unstack(tf.cast(told, tf.int64))
        needed = ((SIZES, fullest), (MEANS, -(-_PARTS * most // self.size)))
        numbers = tf.concat(
            [tf.searchsorted(tf.constant(at, tf.int64), each[None]) for at, each in needed], axis=0
        )
        sizes = tf.gather(tf.constant(SIZES, tf.int64), numbers)
        if spare is None:
            more, of = MOST_PADDING
            spare = more * most // (of * self.size)
        even = tf.constant(False)
        if self.sent_on is not None:
            even = (sizes[0] > spare) & (sizes[1] + self.sent_on < sizes[0])
        which = tf.cast(even, tf.int32)
        size = tf.cast(sizes[which], tf.int32)
        blocks = Blocks(numbers[which], size, even, spare - sizes[which])
        counted = [tf.cast(each, tf.int64) for each in (1, asked, self.size * blocks.size)]
        self.counts.assign_add(tf.stack(counted))
        return blocks

    def _sent(self, x: tf.Tensor, purpose: str, blocks: Blocks) -> tf.Tensor:
        shape = tf.shape(x)
        apart = tf.reshape(x, tf.concat([[self.size, blocks.size], shape[1:]], axis=0))
        together = tf.reshape(self._all_to_all(apart, purpose, blocks.number), shape)
        return tf.ensure_shape(together, (None, *x.shape[1:]))

    def _all_to_all(self, x: tf.Tensor, purpose: str, number: tf.Tensor | int) -> tf.Tensor:
        """``(workers, ...)``: part j goes to worker j, and comes from it."""
        key = self._first_key + PURPOSES.index(purpose) * len(SIZES) + number
        with tf.device(f"/job:worker/replica:0/task:{self.rank}/device:CPU:0"):
            return tf.raw_ops.CollectiveAllToAllV2(
                input=tf.identity(x),
                group_size=self.size,
                group_key=_GROUP,
                instance_key=key,
                ordering_token=[],
                communication_hint="auto",
            )

"""Tables whose rows are spread over all workers of a training: each has some of them and their slots."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf

from fuxi_mtl.cluster.exchange import Exchange
from fuxi_mtl.cluster.workers import connected
from fuxi_mtl.layers.absent_rows import are_elsewhere

_Chosen = Callable[[int, int, bool], bool]
_CHOSEN: ContextVar[_Chosen | None] = ContextVar("spread", default=None)


@contextmanager
def spreading(chosen: _Chosen | None) -> Iterator[None]:
    """Inside, tables that are made under the strategy of all workers may be spread over them.

    Args:
        chosen: Of the rows of a table, their width and whether they are trained, whether it is; None spreads
            none.
    """
    token = _CHOSEN.set(chosen)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def shard_of(rows: int, width: int, trainable: bool) -> "Shard | None":
    """The share that this worker has of a table that is made here; None if it has the whole.

    Args:
        rows: Of the table.
        width: Numbers in a row.
        trainable: Whether they are trained.
    """
    workers, chosen = connected(), _CHOSEN.get()
    if workers is None or chosen is None or tf.distribute.get_strategy() is not workers.strategy:
        return None
    return Shard(workers.rank, workers.size, rows) if chosen(rows, width, trainable) else None


def most_shares() -> float:
    """How many workers may share tables that are made here; infinity where their rows are elsewhere."""
    if are_elsewhere():
        return math.inf
    workers = connected()
    if workers is None or _CHOSEN.get() is None or tf.distribute.get_strategy() is not workers.strategy:
        return 1
    return workers.size


class Shard:
    """One worker's share of a table: the rows whose number modulo that of the workers is its own.

    Row ``g`` of the table is row ``g div workers`` of worker ``g mod workers``. All workers have variables of
    the same shape, of which the last row may belong to no row of the table.

    Args:
        rank: The number of this worker.
        size: How many there are.
        rows: Of the whole table.
    """

    def __init__(self, rank: int, size: int, rows: int):
        self.rank, self.size, self.rows = rank, size, rows
        self.exchange = Exchange(rank, size)

    @property
    def held(self) -> int:
        """Rows of the variable of each worker."""
        return -(-self.rows // self.size)

    def range_of(self, first: int, last: int) -> tuple[int, int]:
        """Where this worker's rows of a range lie in its variable: the first, and behind the last."""
        return -(-(first - self.rank) // self.size), -(-(last - self.rank) // self.size)

    def first_of(self, first: int) -> int:
        """How far behind a row of the table the first one of this worker is."""
        return (self.rank - first) % self.size

    def look_up(
        self,
        variable: tf.Variable,
        rows: tf.Tensor,
        distinct: bool = True,
        before: Callable[[tf.Tensor], None] | None = None,
    ) -> tf.Tensor:
        """The vectors of some rows of the table; all workers call it at once.

        Each worker asks every other one for the distinct rows that it needs, and gives the vectors of those
        that it is asked for. What gradients say of a row is added up on the way back.

        Args:
            variable: This worker's rows.
            rows: ``(look-ups,)`` numbers of rows of the whole table.
            distinct: False asks for each as often as it is looked up, so that single gradients arrive.
            before: Told the rows of the variable that are about to be read, or None.

        Returns:
            ``(look-ups, width)``.
        """
        if distinct:
            rows, position = tf.unique(rows)
        wanted = self.exchange.ask(rows)
        local = wanted.rows // self.size
        if before is not None:
            before(local)
        found = self.exchange.vectors(tf.gather(variable, local), wanted)
        return tf.gather(found, position) if distinct else found

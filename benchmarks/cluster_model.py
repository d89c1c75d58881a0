"""What a step costs on clusters that are not here, on paper: bytes and memory of a worker by their number.

Every worker has as many rows of a batch as one has here, so the global batch grows with the workers. With
D dense weights, u distinct rows of tables that a worker looks up, d numbers in a row and W workers, each
sends in a step::

    dense weights, as a ring sums them                  2 * 4 D (W - 1) / W
    whole tables: its rows' gradients, to all others    (W - 1) u (4 d + 4)
    rows spread: ids there, vectors to whom asks,       (W - 1) / W u (4 + 4 d + 4 d) p
        gradients back; p for blocks not full

All blocks are as large as the fullest of W^2, rounded up by a sixteenth at most. Of m = u / W rows on average
it has, if rows fall anywhere, some sqrt(2 log(W^2)) standard deviations more. Where that is more than a
quarter, blocks hold .3 standard deviations more than the mean, some 8 rows of each are sent on by others::

    p = (1 + sqrt(4 log(W) / m)) 17 / 16
    p = (1 + .3 / sqrt(m)) 17 / 16 + 8 / m      if that is less, and the first more than 5/4

Assumed: nothing of the exchange is hidden behind the computation, every worker sends at the full bandwidth, a
round of the exchange costs its delay once, and the optimizer has s slots for each number of a table.
"""

import math
from dataclasses import dataclass

ROUNDED = 17 / 16  # at most: blocks come in sizes a sixteenth apart
MOST_PADDING = 1.25  # of blocks as large as the fullest
SENT_ON = 8  # rows of a block, by all further exchanges


@dataclass(frozen=True)
class Step:
    """A step of one worker.

    Attributes:
        dense: Dense weights.
        distinct: Distinct rows of tables that a worker's rows of a batch look up.
        width: Numbers in a row of a table.
        slots: Numbers of the optimizer for each number of a table.
        seconds: What the work on its own rows takes.
    """

    dense: int
    distinct: int
    width: int = 16
    slots: int = 2
    seconds: float = 0.0

    def padding(self, workers: int) -> float:
        """Room of the blocks of an exchange, over the rows in them.

        >>> [round(Step(dense=0, distinct=23_177).padding(workers), 2) for workers in (2, 16, 128)]
        [1.08, 1.16, 1.13]
        """
        mean = self.distinct / workers
        fullest = (1 + math.sqrt(4 * math.log(workers) / mean)) * ROUNDED
        even = (1 + 0.3 / math.sqrt(mean)) * ROUNDED + SENT_ON / mean
        return fullest if fullest <= MOST_PADDING else min(fullest, even)

    def sent(self, workers: int, spread: bool) -> float:
        """Bytes that a worker sends.

        >>> step = Step(dense=1000, distinct=100)
        >>> [round(step.sent(2, spread), 1) for spread in (False, True)]
        [10800.0, 12663.8]
        """
        others = (workers - 1) / workers
        dense = 2 * 4 * self.dense * others
        if spread:
            return dense + others * self.distinct * (4 + 8 * self.width) * self.padding(workers)
        return dense + (workers - 1) * self.distinct * (4 * self.width + 4)

    def exchange(self, workers: int, spread: bool, gigabits: float) -> float:
        """Seconds of the exchange without delays."""
        return self.sent(workers, spread) * 8 / (gigabits * 1e9)

    def memory(self, ids: float, workers: int, spread: bool) -> float:
        """Bytes of tables and slots in a worker."""
        return ids * self.width * 4 * (1 + self.slots) / (workers if spread else 1)

"""How many steps a training takes, and where it is measured."""

import logging
import math
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import batches_per_epoch
from fuxi_mtl.training.loop import Position

logger = logging.getLogger(__name__)


AUTO = "auto"
STEPS = 200  # of a pass, about, where the size of a batch is left open
FEWEST, MOST = 64, 1024  # rows in such a batch


def rows_in_a_step(asked: int | str, rows: int) -> int:
    """The size of a batch, which is not larger than the data.

    Few rows are taken in small batches: an epoch in a dozen steps learns little, and early stopping then ends
    a training that has hardly begun.

    Args:
        asked: What ``batch_size`` says.
        rows: Rows of a pass.
    """
    if asked != AUTO:
        return min(int(asked), rows)
    nearest = 2 ** round(math.log2(max(rows / STEPS, 1)))
    return min(max(nearest, FEWEST), MOST, rows)


@dataclass(frozen=True)
class StepPlan:
    """How many steps, in intervals between evaluations; the last one may be shorter.

    Attributes:
        batch_size: Rows in a step; not more than there are.
        epochs: Passes over the data that are begun.
        total_steps: Steps of the run.
        steps: Steps of an interval.
        steps_per_epoch: Steps of a pass.
        most_per_execution: Steps in one call of the graph at most.
    """

    batch_size: int
    epochs: int
    total_steps: int
    steps: int
    steps_per_epoch: int
    most_per_execution: int

    @classmethod
    def of(cls, rows: int, experiment: Experiment) -> "StepPlan":
        """The plan of an experiment whose passes have so many rows."""
        options = experiment.training
        batch_size = rows_in_a_step(options.batch_size, rows)
        if options.batch_size == AUTO:
            logger.info("batch_size: auto is %d for %s training rows.", batch_size, f"{rows:,}")
        elif batch_size != options.batch_size:
            logger.warning("batch_size %s: the training data have only %d rows.", options.batch_size, rows)
        per_epoch = batches_per_epoch(rows, batch_size, options.drop_last)
        total = min(per_epoch * options.epochs, options.max_train_steps or per_epoch * options.epochs)
        steps = min(options.eval_steps or per_epoch, total)
        most = options.steps_per_execution
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            most = 1  # Keras's loop over steps fails inside TensorFlow on several devices.
        return cls(batch_size, math.ceil(total / per_epoch), total, steps, per_epoch, most)

    def steps_per_execution(self, position: Position) -> int:
        """Steps in one call of the graph, so that calls end where intervals do.

        A training that is gone on with makes as many as it made before.
        """
        last = (self.total_steps - 1) % self.steps + 1
        first = position.next_evaluation(self.steps, self.total_steps) - position.step
        common = math.gcd(self.steps, last, first)
        return max(n for n in range(1, self.most_per_execution + 1) if common % n == 0)

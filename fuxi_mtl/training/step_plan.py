"""From rows, epochs and options to a number of steps."""

import logging
import math
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import batches_per_epoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepPlan:
    """How many steps, in how many intervals between evaluations; the last one may be shorter.

    Attributes:
        batch_size: Rows in a step; not more than there are.
        epochs: Passes over the data that are begun.
        total_steps: Steps of the run.
        steps: Steps of a interval.
        last_steps: Steps of the last one.
        evaluations: Stretches.
        steps_per_epoch: Steps of a pass.
        steps_per_execution: Steps in one call of the graph.
    """

    batch_size: int
    epochs: int
    total_steps: int
    steps: int
    last_steps: int
    evaluations: int
    steps_per_epoch: int
    steps_per_execution: int

    @classmethod
    def of(cls, rows: int, experiment: Experiment) -> "StepPlan":
        """The plan of an experiment whose passes have so many rows."""
        options = experiment.training
        batch_size = min(options.batch_size, rows)
        if batch_size < options.batch_size:
            logger.warning("batch_size %d: the training data have only %d rows.", options.batch_size, rows)
        per_epoch = batches_per_epoch(rows, batch_size)
        total = min(per_epoch * options.epochs, options.max_train_steps or per_epoch * options.epochs)
        steps = min(options.eval_steps or per_epoch, total)
        evaluations = math.ceil(total / steps)
        last = total - (evaluations - 1) * steps
        # Keras runs whole executions: only a common divisor ends where both kinds of interval end.
        common = math.gcd(steps, last)
        most = options.steps_per_execution
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            most = 1  # Keras's loop over steps fails inside TensorFlow on several devices.
        executed = max(n for n in range(1, most + 1) if common % n == 0)
        epochs = math.ceil(total / per_epoch)
        return cls(batch_size, epochs, total, steps, last, evaluations, per_epoch, executed)

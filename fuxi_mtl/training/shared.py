"""Steps that all workers of a training take at once, each on its rows of the global batch."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.layers import lookup_of
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.checkpoint.naming import Part, parts_of
from fuxi_mtl.training.checkpoint.spread import spread_parts
from fuxi_mtl.training.feed import Feed
from fuxi_mtl.training.state.training_state import TrainingState

logger = logging.getLogger(__name__)

BEGIN, SHARE, STEPS, CHECK, END = "begin", "share", "steps", "check", "end"


class SharedSteps:
    """The steps of a training under the workers' strategy; each worker has one, and all take a step together.

    What a worker wants behind a step (to stop, because a signal came; to save, because it is time) goes along
    with it, in one small sum with the means that the log shows, so that all stop or save at the same step.

    Args:
        model: Compiled under the strategy.
        feed: What it learns from.
        workers: The workers.
        first: The number of the step to begin with.
    """

    def __init__(self, model: MultiTaskModel, feed: Feed, workers: Workers, first: int):
        self._model, self._workers = model, workers
        self._iterator = iter(feed.steps(first, workers))
        self._names: list[str] = []
        self._graph = tf.function(self._everywhere, autograph=False, reduce_retracing=True)

    def take(self, stops: bool, saves: bool) -> tuple[dict[str, np.ndarray], bool, bool]:
        """One step.

        Args:
            stops: Whether this worker wants to stop behind it.
            saves: Whether this worker wants a state saved behind it.

        Returns:
            The means since the last evaluation over all workers, and whether any wants to stop, and to save.
        """
        wanted = tf.constant([stops, saves], tf.float32)
        with self._workers.watched():
            found = self._graph(self._iterator, wanted).numpy()
        *means, stopping, saving = found
        logs = dict(zip(self._names, means, strict=True))
        if stopping or saving:
            self.agree(logs)
        return logs, bool(stopping), bool(saving)

    def agree(self, logs: Mapping[str, np.ndarray]) -> None:
        """Sets the means of this worker to those of all, so that each has what one process would have."""
        for mean in self._model.means.metrics:
            total, count = here(mean.total), here(mean.count)
            total.assign(logs[mean.name] * count)

    def means(self) -> dict[str, np.ndarray]:
        """The means of this worker, which are those of all behind :meth:`agree`."""
        found = {}
        for mean in self._model.means.metrics:
            total, count = (np.float32(here(each).numpy()) for each in (mean.total, mean.count))
            found[mean.name] = total / count if count else np.float32(0)
        return found

    def _everywhere(self, iterator: Iterator[Any], wanted: tf.Tensor) -> tf.Tensor:
        return self._workers.strategy.run(self._one, args=(next(iterator), wanted))

    def _one(self, batch: Any, wanted: tf.Tensor) -> tf.Tensor:
        logs = self._model.train_step(batch)
        self._names = list(logs)
        own = tf.stack([tf.cast(mean, tf.float32) for mean in logs.values()]) / self._workers.size
        together = tf.concat([own, wanted], axis=0)
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, together)


def here(variable: Any) -> Any:
    """The part of a Keras variable of means that lies in this process; reading the whole waits for all."""
    return tf.distribute.get_strategy().experimental_local_results(variable.value)[0]


def share_numbers(workers: Workers, state: TrainingState) -> None:
    """Gives all workers the numbers that the chief's training has, but rows that each has for itself."""
    workers.tell(SHARE, global_seed=state.has_global_seed)
    workers.share(common_parts(state))


def tell_traffic(model: MultiTaskModel) -> None:
    """Says what this worker asked others for, of tables that are spread, and what was sent for it."""
    for shard in (lookup.shard for v in model.variables if (lookup := lookup_of(v)) and lookup.shard):
        exchanges, asked, sent = shard.exchange.traffic()
        logger.info(
            "The table of %s rows, spread over %d workers: a look-up asked for %.0f rows on average, blocks "
            "had room for %.0f (%.2f times as many); %d look-ups.",
            f"{shard.rows:,}",
            shard.size,
            asked / max(exchanges, 1),
            sent / max(exchanges, 1),
            sent / max(asked, 1),
            exchanges,
        )


def rows_are_finite(workers: Workers, model: MultiTaskModel) -> bool:
    """Whether the rows that other workers have are finite, of tables that are spread; of the chief."""
    if not spread_parts(parts_of(model)):
        return True
    workers.tell(CHECK)
    return all(workers.collect(True))


def common_parts(state: TrainingState) -> list[Part]:
    """The numbers that all workers of a training have."""
    return [part for part in state.parts().values() if part.shard is None]

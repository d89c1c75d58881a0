"""Which tables of a model are spread over the workers of its training."""

import logging
from collections.abc import Callable

from fuxi_mtl.cluster.workers import Workers, connected
from fuxi_mtl.config import Experiment
from fuxi_mtl.layers.tables import GIB

logger = logging.getLogger(__name__)

LARGE = 0.1  # of a worker's memory: a table that takes more, with its slots, is spread by `auto`
# Numbers beside each one of a row.
SLOTS = {"adam": 2, "dense_equivalent_adam": 2, "adagrad": 1, "rowwise_adagrad": 0, "sgd": 0, "ftrl": 2}


def chosen_tables(experiment: Experiment, memory: float) -> Callable[[int, int, bool], bool] | None:
    """What ``embedding_sharding`` says of a table: of its rows, their width and whether they are trained.

    Args:
        experiment: What is trained.
        memory: Bytes of the machine of the chief, which all workers go by, so that all choose alike.

    Returns:
        None if none is, or there is nobody to share with.
    """
    mode, workers = experiment.training.embedding_sharding, connected()
    if mode == "none" or workers is None:
        return None
    share = memory / _neighbours(workers)
    slots = _slots(experiment)

    def chosen(rows: int, width: int, trainable: bool) -> bool:
        size = 4 * rows * width * (1 + slots * trainable)
        spread = mode == "row" or size > LARGE * share
        logger.info(
            "embedding_sharding %s: the table of %s rows of %d numbers takes %.2f GiB with its slots, and a "
            "worker has %.1f: %s.",
            mode,
            f"{rows:,}",
            width,
            size / GIB,
            share / GIB,
            f"spread over {workers.size} workers, {size / workers.size / GIB:.2f} GiB each"
            if spread
            else "whole in each",
        )
        return spread

    return chosen


def _neighbours(workers: Workers) -> int:
    """How many workers share the machine of the chief."""
    hosts = [address.rpartition(":")[0] for address in workers.cluster.addresses]
    return hosts.count(hosts[0])


def _slots(experiment: Experiment) -> int:
    """Slots of a trained row, by the optimizer that moves it."""
    options = experiment.optimizer
    return SLOTS.get(options.embedding_optimizer or options.optimizer, SLOTS["adam"])

"""A run as the workers see it that are not the chief: they train and predict with it, and leave nothing."""

import logging
from collections.abc import Sequence

import keras

from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.layers.shards import spreading
from fuxi_mtl.training.following import follow
from fuxi_mtl.training.precision import AUTO, use_precision
from fuxi_mtl.workflow.chief import (
    BYE,
    DATA,
    KEPT,
    LATER,
    PRECISION,
    TRAIN,
    command_of,
    differing,
)
from fuxi_mtl.workflow.experiment import as_planned, make_model
from fuxi_mtl.workflow.spread import chosen_tables

logger = logging.getLogger(__name__)


def follow_runs(experiments: Sequence[Experiment], workers: Workers) -> None:
    """Takes part in the runs of the chief, one after the other, until it says that all is done.

    Args:
        experiments: The same as the chief's.
        workers: The workers.

    Raises:
        WorkerError: Another worker is gone or has failed.
        KeyboardInterrupt: A training was interrupted.
    """
    for experiment in experiments:
        what, told = workers.hear(TRAIN, KEPT)
        if what == TRAIN:
            found = differing(told, command_of(experiment))
            workers.say(found)
            if found:
                workers.hear()  # that the chief ends
            _follow_run(as_planned(experiment), workers)
    workers.hear(BYE)


def _follow_run(experiment: Experiment, workers: Workers) -> None:
    keras.utils.clear_session()
    use_precision(experiment.training.precision)
    logger.info(
        "%s: %s, seed %d. %s decides, logs and writes.",
        workers.cluster.name(),
        experiment.expid,
        experiment.training.seed,
        workers.cluster.name(0),
    )
    workers.hears(LATER)
    dataset = load_dataset(
        experiment.dataset,
        experiment.tasks,
        experiment.options.dataset_id,
        threads=experiment.training.num_workers,
        encode_workers=experiment.training.encode_workers,
        progress=False,
    )
    _, told = workers.hear(DATA)
    workers.say(dataset.key)
    if experiment.training.precision == AUTO:
        _, chosen = workers.hear(PRECISION)
        use_precision(chosen["policy"])
    keras.utils.set_random_seed(experiment.training.seed)
    with workers.strategy.scope(), spreading(chosen_tables(experiment, told["memory"])):
        follow(make_model(experiment, dataset.feature_map), dataset, experiment, workers)

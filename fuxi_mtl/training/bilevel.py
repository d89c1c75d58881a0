"""Rows, batches and optimizer of a model's bilevel variables, which validation batches alone may move."""

import logging
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset, Split, training_batches
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.optimizers import by_few_operations

logger = logging.getLogger(__name__)

ENDLESS = 10**6  # passes
SEED = 2**31 - 1  # behind the run's seed: other orders than those of the training batches


def rows_of_both(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment
) -> tuple[Split, Split | None]:
    """The rows that train the network, and those that train its bilevel variables, if it has any.

    Raises:
        ValueError: The model needs validation rows, and there are none; a share that leaves none; or an
            optimizer of tables that would leave stale rows to look up.
    """
    share, name = experiment.optimizer.bilevel_share, type(model).__name__
    if not model.bilevel_variables():
        if share:
            raise ValueError(f"bilevel_share is {share:g}, but {name} learns nothing on validation batches.")
        return dataset.train, None
    if experiment.optimizer.embedding_optimizer == "dense_equivalent_adam":
        raise ValueError(
            f"{name} looks rows up on validation batches, while dense_equivalent_adam has put off moves that "
            "they missed. Use embedding_optimizer: adam."
        )
    if share:
        kept = int(dataset.train.rows * (1 - share))
        if not 0 < kept < dataset.train.rows:
            raise ValueError(
                f"bilevel_share {share:g} leaves {kept} of {dataset.train.rows} rows to train on."
            )
        return _part(dataset.train, slice(kept)), _part(dataset.train, slice(kept, None))
    if dataset.valid is None:
        raise ValueError(
            f"{name} learns {_names(model)} on validation rows, and there are none. Give the dataset "
            "valid_data or valid_size, or set bilevel_share: 0.1 to keep training rows for that."
        )
    logger.info(
        "%s learns %s on the validation rows, which therefore flatter it; bilevel_share keeps training "
        "rows for that instead.",
        name,
        _names(model),
    )
    return dataset.train, dataset.valid


def make_bilevel_optimizer(
    model: MultiTaskModel, experiment: Experiment
) -> keras.optimizers.Optimizer | None:
    """Adam for the bilevel variables of a model that has any."""
    if not model.bilevel_variables():
        return None
    optimizer = keras.optimizers.Adam(experiment.optimizer.bilevel_learning_rate)
    by_few_operations(optimizer)
    return optimizer


def beside(
    batches: tf.data.Dataset, split: Split, experiment: Experiment, batch_size: int, first: int = 0
) -> tf.data.Dataset:
    """Pairs of batches: each of training rows with as many of a split that is shuffled and never ends.

    Several devices cut both batches of a pair in the same places, so that neither may be shorter: where the
    split's batch is, its first rows come once more. ``first`` is the number of the batch to begin with.
    """
    size = min(batch_size, split.rows)
    options = experiment.training
    others = training_batches(
        split,
        experiment.tasks,
        size,
        epochs=ENDLESS,
        seed=options.seed + SEED,
        window_bytes=options.shuffle_window_bytes,
        first=first,
    )

    @tf.autograph.experimental.do_not_convert
    def pair(training: Any, other: Any) -> Any:
        return training, _as_many(other, training)

    return tf.data.Dataset.zip((batches, others)).map(pair, num_parallel_calls=1)


def _as_many(batch: Any, other: Any) -> Any:
    """The rows of a batch, cut or repeated to as many as another has."""
    rows = tf.range(tf.shape(tf.nest.flatten(other)[0])[0])
    return tf.nest.map_structure(lambda column: tf.gather(column, rows % tf.shape(column)[0]), batch)


def _part(split: Split, rows: slice) -> Split:
    """Some of the rows, without what is only carried along."""
    weights = None if split.sample_weight is None else split.sample_weight[rows]
    return replace(
        split,
        ids=split.ids[rows],
        numeric=split.numeric[rows],
        events=split.events[rows],
        sample_weight=weights,
    )


def _names(model: MultiTaskModel) -> str:
    return ", ".join(variable.path.split("/", 1)[-1] for variable in model.bilevel_variables())

"""The rows that a training learns from, and its batches."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster import part_of
from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset, NegativeSample, Split, random_batch, training_batches
from fuxi_mtl.dataset.histories import check_histories
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.bilevel import beside, rows_of_both
from fuxi_mtl.training.decoding import check_labels
from fuxi_mtl.training.diagnostics import Diagnostics
from fuxi_mtl.training.step_plan import StepPlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feed:
    """What a training learns from.

    Attributes:
        split: The rows of the network.
        bilevel: The rows of its bilevel variables, if it has any.
        sample: The rows of each pass, if some negatives are left out.
        plan: How many steps there are.
        experiment: How batches are made.
    """

    split: Split
    bilevel: Split | None
    sample: NegativeSample | None
    plan: StepPlan
    experiment: Experiment

    @classmethod
    def of(cls, model: MultiTaskModel, dataset: Dataset, experiment: Experiment) -> "Feed":
        """The feed of a model that is built.

        Raises:
            ValueError: The model needs rows that are not there, or a decoder takes no such labels.
            DataError: Columns of the same events have several lengths in a row.
        """
        check_labels(model, (dataset.valid, dataset.test))
        split, bilevel = rows_of_both(model, dataset, experiment)
        sequences = experiment.model_options.get("sequences")
        for rows, part in (("training", split), ("validation", dataset.valid), ("test", dataset.test)):
            if part is not None:
                check_histories(part.ids, model.features, sequences, rows)
        sample = _sample(split, experiment)
        plan = StepPlan.of(split.rows if sample is None else sample.rows, experiment)
        return cls(split, bilevel, sample, plan, experiment)

    @property
    def rows(self) -> int:
        """Rows of a pass."""
        return self.split.rows if self.sample is None else self.sample.rows

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels as the model will see them, by task."""
        labels = self.split.labels(self.experiment.tasks)
        if self.sample is not None and self.experiment.imbalance.negative_sampling == "plain":
            labels = {name: y[self.sample.of_pass(0)] for name, y in labels.items()}
        return labels

    def batches(
        self, epochs: int, first: int = 0, part: Callable[[int], slice] | None = None
    ) -> tf.data.Dataset:
        """Batches of the training rows; see :func:`~fuxi_mtl.dataset.training_batches`."""
        options = self.experiment.training
        return training_batches(
            self.split,
            self.experiment.tasks,
            self.plan.batch_size,
            epochs=epochs,
            shuffle=options.shuffle,
            seed=options.seed,
            window_bytes=options.shuffle_window_bytes,
            sample=self.sample,
            drop_last=options.drop_last,
            first=first,
            part=part,
        )

    def steps(self, first: int, workers: Workers | None = None) -> tf.data.Dataset:
        """What the steps of the training take, from one of them on.

        Args:
            first: The number of the step.
            workers: Of which each takes its rows of every batch; one process takes all.
        """
        part = None if workers is None else partial(part_of, rank=workers.rank, size=workers.size)
        if self.bilevel is None:
            return self.batches(self.plan.epochs, first, part)
        pairs = beside(
            self.batches(self.plan.epochs, first), self.bilevel, self.experiment, self.plan.batch_size, first
        )
        return pairs if workers is None else workers.own_rows(pairs)

    def diagnostics(self) -> Diagnostics:
        """What is measured beside the steps."""
        total = self.plan.total_steps
        return Diagnostics(
            self.experiment.diagnostics, self.batch_to_measure, steps=self.plan.steps, total_steps=total
        )

    def batch_to_measure(self, number: int) -> tuple:
        """A batch outside of any pass, for measurements beside the training."""
        key = (self.experiment.training.seed, 2**31, number)  # no pass over the data has this number
        return random_batch(self.split, self.experiment.tasks, self.plan.batch_size, key, self.sample)


def _sample(split: Split, experiment: Experiment) -> NegativeSample | None:
    """The rows of each pass, if some negatives are left out."""
    options = experiment.imbalance
    if options.negative_sampling == "none":
        return None
    reweighted = options.negative_sampling == "reweighted"
    sample = NegativeSample(
        split, experiment.tasks, options.neg_keep_prob_train, reweighted, experiment.training.seed
    )
    logger.info(
        "negative_sampling %s: %d of %d negative rows in a pass of %d rows.",
        options.negative_sampling,
        sample.kept,
        sample.negatives,
        sample.rows,
    )
    if not reweighted and options.calibration == "none":
        logger.warning(
            "negative_sampling plain: probabilities are those of the sample. Undo it by calibration: "
            "closed_form, platt or isotonic."
        )
    return sample

"""Predictions of a split, and its metrics."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from fuxi_mtl.cluster.workers import together
from fuxi_mtl.dataset import Split, evaluation_batches
from fuxi_mtl.dataset.raw import is_missing
from fuxi_mtl.evaluation.evaluate import Scores, evaluate
from fuxi_mtl.evaluation.memory import CURE, TrainingError, enough_memory
from fuxi_mtl.evaluation.shared import predict_together
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import Task


def predict(model: MultiTaskModel, split: Split, batch_size: int) -> dict[str, np.ndarray]:
    """Probabilities (values of a regression) of every row of a split, by task, and what is served beside."""
    workers = together(model)
    with enough_memory("eval_batch_size", batch_size):
        if workers is not None:
            return predict_together(workers, model, split, batch_size)
        several = model.distribute_strategy.num_replicas_in_sync > 1
        rows = {
            "ids": split.ids,
            "numeric": split.numeric,
        }  # cut without tf.data, which takes a while to start
        inputs = evaluation_batches(split, batch_size) if several else rows
        scores = model.predict(inputs, batch_size=None if several else batch_size, verbose=0)
    return {name: np.asarray(values, np.float32) for name, values in scores.items()}


def measure(
    model: MultiTaskModel,
    split: Split,
    tasks: Sequence[Task],
    options: EvaluationOptions,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[Scores, dict[str, np.ndarray]]:
    """The metrics of a split and the predictions they were computed from.

    Args:
        model: The model.
        split: The rows.
        tasks: Its tasks.
        options: Which metrics, and how.
        thresholds: Those that validation chose; None for the validation itself. See
            :func:`~fuxi_mtl.evaluation.evaluate.evaluate`.
    """
    predictions = predict(model, split, options.eval_batch_size)
    scores = evaluate(
        tasks,
        split.labels(tasks),
        predictions,
        options,
        groups=groups(split, options.group_id),
        thresholds=thresholds,
        truth=split.truth(tasks),
        weights=sample_weights(split, options),
        parts=model.parts(predictions),
    )
    return scores, predictions


def sample_weights(split: Split, options: EvaluationOptions) -> np.ndarray | None:
    """The weight of each row in metrics, ``(rows,)``; None where all rows count alike.

    Raises:
        ValueError: ``eval_sample_weight`` asks for weights that the data do not have.
    """
    if not options.eval_sample_weight:
        return None
    if split.sample_weight is None:
        raise ValueError("eval_sample_weight needs sample_weight, the column with the rows' weights.")
    return np.asarray(split.sample_weight)


def groups(split: Split, name: str | None) -> np.ndarray | None:
    """The group of each row for gAUC, as numbers, from the meta column ``group_id``; None without one."""
    if name is None:
        return None
    entries = split.meta([name])[name]
    # A dense rank numbers the groups; a missing one (null, NaN, empty text) belongs to none.
    entries = entries.set(pl.Series(is_missing(entries)), None)
    return entries.rank("dense").cast(pl.Float64).to_numpy()


def check_finite(predictions: Mapping[str, np.ndarray], rows: str) -> None:
    """Raises if a model predicts nothing.

    Args:
        predictions: ``(rows,)`` by task.
        rows: What the rows are, for the message.

    Raises:
        TrainingError: A prediction is NaN or infinite.
    """
    for name, values in predictions.items():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise TrainingError(
                f"{bad} of {len(values)} predictions of {name!r} for {rows} are not finite. {CURE}",
                diverges=True,
            )

"""Predictions of a split that several workers make in common, each of some of its batches.

The chief has all of them in the end, in the order of the rows; no other worker keeps more than its own. A
batch is predicted as one process predicts it, so that the numbers are the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster import batches_of
from fuxi_mtl.cluster.replicas import is_own
from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.dataset import Split, evaluation_batches
from fuxi_mtl.evaluation.calibration import Calibration
from fuxi_mtl.model import MultiTaskModel

PREDICT, GIVE = "predict", "give"


def predict_together(
    workers: Workers, model: MultiTaskModel, split: Split, batch_size: int
) -> dict[str, np.ndarray]:
    """The predictions of a split, by what is served; of the chief, while the others follow.

    Args:
        workers: Those that train the model.
        model: The model.
        split: The rows, which are the first of a split of the dataset.
        batch_size: Rows in a step.
    """
    calibration = model.calibration.plain() if isinstance(model.calibration, Calibration) else None
    about = {"split": split.name, "rows": split.rows, "batch_size": batch_size}
    workers.tell(PREDICT, **about, calibration=calibration)
    own = _predicted(workers, model, split, batch_size)
    workers.collect(None)  # until then this one may be interrupted, and tell the others something else
    workers.tell(GIVE)
    whole = np.concatenate(workers.gather(own, _shapes(workers, own, split.rows, batch_size)), axis=1)
    return dict(zip(_names(model), whole, strict=True))


def predict_share(
    workers: Workers, model: MultiTaskModel, splits: Mapping[str, Split], told: Mapping[str, Any]
) -> np.ndarray:
    """What another worker predicts when the chief wants a split predicted; it is to be given away.

    Args:
        workers: Those that train the model.
        model: The model.
        splits: Those of the dataset, by name.
        told: What the chief told.

    Returns:
        ``(served, rows)`` predictions.
    """
    plain = told["calibration"]
    known = model.calibration.plain() if isinstance(model.calibration, Calibration) else None
    if plain != known:
        model.calibrate(None if plain is None else Calibration.of(plain))
    split = splits[told["split"]].head(told["rows"])
    own = _predicted(workers, model, split, told["batch_size"])
    workers.say(None)
    return own


def give_share(workers: Workers, own: np.ndarray, told: Mapping[str, Any]) -> None:
    """Gives the chief what :func:`predict_share` predicted, when it wants it."""
    workers.gather(own, _shapes(workers, own, told["rows"], told["batch_size"]))


def _predicted(workers: Workers, model: MultiTaskModel, split: Split, batch_size: int) -> np.ndarray:
    numbers = batches_of(split.rows, batch_size, workers.rank, workers.size)
    own = np.zeros((len(_names(model)), 0), np.float32)
    if numbers:
        found = model.predict(evaluation_batches(split, batch_size, numbers))
        own = np.stack([np.asarray(found[name], np.float32) for name in _names(model)])
    if any(is_own(variable) for variable in model.variables):  # what others look up comes from here, too
        most = max(len(batches_of(split.rows, batch_size, r, workers.size)) for r in range(workers.size))
        for _ in range(most - len(numbers)):
            model.predict(tf.data.Dataset.from_tensors(_no_rows(split)))
    return own


def _no_rows(split: Split) -> dict[str, np.ndarray]:
    """A batch without rows."""
    return {"ids": split.ids[:0], "numeric": split.numeric[:0]}


def _names(model: MultiTaskModel) -> list[str]:
    """What is served, in an order that all workers have."""
    return list(model.served_columns.values())


def _shapes(workers: Workers, own: np.ndarray, rows: int, batch_size: int) -> list[tuple[int, ...]]:
    """The shape of what each worker predicts."""
    shapes: list[tuple[int, ...]] = []
    for rank in range(workers.size):
        numbers = batches_of(rows, batch_size, rank, workers.size)
        count = min(numbers.stop * batch_size, rows) - min(numbers.start * batch_size, rows)
        shapes.append((len(own), count))
    return shapes

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
    whole = _together(workers, model, split, batch_size, heads=False)
    return dict(zip(_names(model), whole, strict=True))


def heads_together(
    workers: Workers, model: MultiTaskModel, split: Split, batch_size: int
) -> dict[str, np.ndarray]:
    """The raw heads of a split by task, as `MultiTaskModel.logits` gives them; likewise."""
    whole, found, start = _together(workers, model, split, batch_size, heads=True), {}, 0
    for task in model.tasks:
        width = model.head_widths.get(task.name)
        found[task.name] = whole[start] if width is None else whole[start : start + width].T
        start += width or 1
    return found


def _together(
    workers: Workers, model: MultiTaskModel, split: Split, batch_size: int, heads: bool
) -> np.ndarray:
    """``(columns, rows)`` of all workers."""
    calibration = model.calibration.plain() if isinstance(model.calibration, Calibration) else None
    about = {"split": split.name, "rows": split.rows, "batch_size": batch_size, "heads": heads}
    workers.tell(PREDICT, **about, calibration=calibration)
    own = _predicted(workers, model, split, batch_size, heads)
    workers.collect(None)  # until then this one may be interrupted, and tell the others something else
    workers.tell(GIVE)
    return np.concatenate(workers.gather(own, _shapes(workers, own, split.rows, batch_size)), axis=1)


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
        ``(columns, rows)``: predictions of what is served, or the numbers of heads.
    """
    plain = told["calibration"]
    known = model.calibration.plain() if isinstance(model.calibration, Calibration) else None
    if plain != known:
        model.calibrate(None if plain is None else Calibration.of(plain))
    split = splits[told["split"]].head(told["rows"])
    own = _predicted(workers, model, split, told["batch_size"], told["heads"])
    workers.say(None)
    return own


def give_share(workers: Workers, own: np.ndarray, told: Mapping[str, Any]) -> None:
    """Gives the chief what :func:`predict_share` predicted, when it wants it."""
    workers.gather(own, _shapes(workers, own, told["rows"], told["batch_size"]))


def _predicted(
    workers: Workers, model: MultiTaskModel, split: Split, batch_size: int, heads: bool
) -> np.ndarray:
    numbers = batches_of(split.rows, batch_size, workers.rank, workers.size)
    names = [task.name for task in model.tasks] if heads else _names(model)
    ask = model.logits if heads else model.predict
    own = np.zeros((sum(model.head_widths.get(n, 1) for n in names) if heads else len(names), 0), np.float32)
    if numbers:
        found = ask(evaluation_batches(split, batch_size, numbers))
        columns = [np.asarray(found[name], np.float32) for name in names]
        own = np.concatenate([each.reshape(len(each), -1).T for each in columns])
    if any(is_own(variable) for variable in model.variables):  # what others look up comes from here, too
        most = max(len(batches_of(split.rows, batch_size, r, workers.size)) for r in range(workers.size))
        for _ in range(most - len(numbers)):
            ask(tf.data.Dataset.from_tensors(_no_rows(split)))
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

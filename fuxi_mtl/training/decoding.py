"""What the decoders of a model learn from rows: before the first step, and once training is over."""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from fuxi_mtl.cluster.workers import together
from fuxi_mtl.dataset import Split, evaluation_batches
from fuxi_mtl.evaluation.shared import heads_together
from fuxi_mtl.layers import Towers
from fuxi_mtl.model import MultiTaskModel

logger = logging.getLogger(__name__)


def fit_decoders(model: MultiTaskModel, labels: Mapping[str, np.ndarray], numeric: np.ndarray) -> None:
    """Has decoders learn from the training labels, and starts the heads where these are on average.

    Args:
        model: Built.
        labels: ``(rows,)`` labels of all training rows, by task; NaN where not defined. Leaving negatives out
            would move what is learnt.
        numeric: ``(rows, numeric columns)`` of the same rows.

    Raises:
        ValueError: Labels that a decoder cannot learn.
    """
    towers = [layer for layer in model._flatten_layers() if isinstance(layer, Towers)]
    for name, decoder in model.decoders.items():
        known = np.flatnonzero(~np.isnan(labels[name]))
        start = decoder.fit(labels[name][known].astype(np.float64), numeric[known])
        for layer in towers:
            if start is not None and name in layer.names:
                layer.start_at({name: start})


def check_labels(model: MultiTaskModel, splits: Iterable[Split | None]) -> None:
    """No label of other rows is one that a decoder would refuse in training.

    Raises:
        ValueError: One is: what is measured on it, and learnt from validation rows, would mean nothing.
    """
    for split in filter(None, splits if model.decoders else ()):
        labels = split.labels(model.tasks)
        for name, decoder in model.decoders.items():
            known = labels[name][~np.isnan(labels[name])]
            decoder.check_least(known, f" of a row of {split.name}")


def settle_decoders(model: MultiTaskModel, valid: Split | None, batch_size: int) -> list[str]:
    """Has decoders learn from validation rows what training rows would tell too well.

    Args:
        model: Trained.
        valid: The rows; without any it is said what stays as it is.
        batch_size: Rows in a step.

    Returns:
        Tasks whose values have changed.
    """
    waiting = {name: decoder for name, decoder in model.decoders.items() if decoder.settles}
    if valid is None:
        for name, decoder in waiting.items():
            logger.warning(
                "%s: there are no validation rows to put its values right on: %s. Give the dataset "
                "valid_data or valid_size.",
                name,
                decoder.unsettled,
            )
        return []
    if not waiting:
        return []
    labels, workers = valid.labels(model.tasks), together(model)
    if workers is None:
        heads = model.logits(evaluation_batches(valid, batch_size))
    else:
        heads = heads_together(workers, model, valid, batch_size)
    for name, decoder in waiting.items():
        known = np.flatnonzero(~np.isnan(labels[name]))
        decoder.settle(heads[name][known], labels[name][known].astype(np.float64))
    logger.info("Values of %s are put right on the validation rows.", ", ".join(waiting))
    return list(waiting)

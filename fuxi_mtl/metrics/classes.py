"""Metrics of one of several classes: labels are ids from 0, and each class has a probability.

``predictions`` are what is served, the most probable class; these metrics look at ``chances``.
"""

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.ranking import auc, auc_sums
from fuxi_mtl.metrics.rows import NAN, observed, weighted_mean
from fuxi_mtl.metrics.sums import Sums, mean_of


def macro_auc(
    labels: ArrayLike, predictions: ArrayLike, chances: np.ndarray, weights: ArrayLike | None = None
) -> float:
    """Mean over the classes that some rows are of and others not: AUC of the one against the rest."""
    ids, _, weight_rows, kept = _rows(labels, predictions, weights)
    values = [auc(ids == c, chances[kept, c], weight_rows) for c in _there(ids)]
    return float(np.mean(values)) if values else NAN


def macro_auc_sums(labels, predictions, chances, weights=None) -> Sums:  # noqa: ARG001
    """AUC of each class against the rest as it is linearised; of the classes that all rows have."""
    parts = [auc_sums(labels == c, chances[:, c].astype(np.float64), weights) for c in _there(labels)]

    def finish(s: np.ndarray) -> np.ndarray:
        each = np.split(s, len(parts), axis=1)
        return np.mean([part.finish(own) for part, own in zip(parts, each, strict=True)], axis=0)

    return Sums(np.concatenate([part.columns for part in parts], axis=1), finish)


def class_logloss(
    labels: ArrayLike, predictions: ArrayLike, chances: np.ndarray, weights: ArrayLike | None = None
) -> float:
    """Mean cross-entropy, ``-log p`` of the label's class; p is kept one machine epsilon away from 0."""
    ids, _, weight_rows, kept = _rows(labels, predictions, weights)
    return weighted_mean(_cross_entropy(ids, chances[kept]), weight_rows)


def class_logloss_sums(labels, predictions, chances, weights=None) -> Sums:  # noqa: ARG001
    """Cross-entropies over rows."""
    return mean_of(_cross_entropy(labels, chances), weights)


def class_accuracy(
    labels: ArrayLike, predictions: ArrayLike, chances: np.ndarray, weights: ArrayLike | None = None
) -> float:
    """Share of rows whose most probable class is the label's; of equal ones the first counts."""
    ids, _, weight_rows, kept = _rows(labels, predictions, weights)
    return weighted_mean(_right(ids, chances[kept]), weight_rows)


def class_accuracy_sums(labels, predictions, chances, weights=None) -> Sums:  # noqa: ARG001
    """Right decisions over rows."""
    return mean_of(_right(labels, chances), weights)


def _rows(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None) -> list:
    return observed(labels, predictions, weights, np.arange(len(np.asarray(labels))))


def _there(ids: np.ndarray) -> np.ndarray:
    """The classes that some rows are of and others not."""
    found = np.unique(ids).astype(np.int64)
    return found if len(found) > 1 else found[:0]


def _cross_entropy(ids: np.ndarray, chances: np.ndarray) -> np.ndarray:
    epsilon = np.finfo(np.float32).eps  # of the scores as a run stores them
    own = chances[np.arange(len(ids)), ids.astype(np.int64)].astype(np.float64)
    return -np.log(np.clip(own, epsilon, 1.0))


def _right(ids: np.ndarray, chances: np.ndarray) -> np.ndarray:
    right = (chances.argmax(axis=1) == ids).astype(np.float64)
    return np.where(np.isnan(chances).any(axis=1), NAN, right)

"""Metrics of yes-or-no decisions, and ways to choose their threshold.

A row is predicted positive when ``prediction >= threshold``. A threshold of 0.5 says nothing about an
event that happens on half a percent of the rows; choose one with :func:`base_rate_threshold` or, on
validation rows, with :func:`best_f1_threshold`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.rows import NAN, binary_rows


@dataclass(frozen=True)
class Confusion:
    """Rows (or their weight) by decision and label."""

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float


def confusion(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> Confusion:
    """Counts of the four cases; all NaN if the threshold or a prediction is NaN."""
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if np.isnan(threshold) or np.isnan(scores).any():
        return Confusion(NAN, NAN, NAN, NAN)
    case = 2 * (scores >= threshold) + positive
    false_no, missed, false_yes, hit = np.bincount(case, weight_rows, minlength=4)
    return Confusion(float(hit), float(false_yes), float(missed), float(false_no))


def precision(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Share of positives among the rows predicted positive; NaN when none is."""
    cases = confusion(labels, predictions, threshold, weights)
    return _ratio(cases.true_positives, cases.true_positives + cases.false_positives)


def recall(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Share of the positive rows that are predicted positive."""
    cases = confusion(labels, predictions, threshold, weights)
    return _ratio(cases.true_positives, cases.true_positives + cases.false_negatives)


def f1(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; NaN without a positive row."""
    cases = confusion(labels, predictions, threshold, weights)
    if not cases.true_positives + cases.false_negatives > 0:
        return NAN
    wrong = cases.false_positives + cases.false_negatives
    return _ratio(2 * cases.true_positives, 2 * cases.true_positives + wrong)


def accuracy(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Share of right decisions."""
    cases = confusion(labels, predictions, threshold, weights)
    right = cases.true_positives + cases.true_negatives
    return _ratio(right, right + cases.false_positives + cases.false_negatives)


def base_rate_threshold(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The threshold that predicts as many positives as there are: the n1-th highest score.

    Rows tied with the n1-th are predicted positive too. Without ties precision, recall and F1 are then
    one number. NaN without a positive row.
    """
    positive, scores, _ = binary_rows(labels, predictions)
    count = int(positive.sum())
    if not count or np.isnan(scores).any():
        return NAN
    place = len(scores) - count
    return float(np.partition(scores, place)[place])


def best_f1_threshold(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The score at which F1 is highest, the higher one of equals; NaN without a positive row.

    Choose it on validation rows and apply it to test rows: on the rows it was chosen on, F1 flatters.
    """
    positive, scores, _ = binary_rows(labels, predictions)
    if not positive.any() or np.isnan(scores).any():
        return NAN
    # Only the score of a positive row can be the best threshold: just below one, F1 falls.
    ones, zeros = np.sort(scores[positive]), np.sort(scores[~positive])
    hits = len(ones) - np.searchsorted(ones, ones, "left")
    predicted = hits + len(zeros) - np.searchsorted(zeros, ones, "left")
    f1_at = 2 * hits / (predicted + len(ones))
    return float(ones[len(ones) - 1 - np.argmax(f1_at[::-1])])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else NAN

"""Metrics of yes-or-no decisions, and ways to choose their threshold.

A row is predicted positive when ``prediction >= threshold``. A threshold of 0.5 says nothing about an
event that happens on half a percent of the rows; choose one with :func:`base_rate_threshold` or, on
validation rows, with :func:`best_f1_threshold`. With sample weights a count of rows is the sum of their
weights.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.rows import NAN, binary_rows
from fuxi_mtl.metrics.sums import Sums, sums_of


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


def precision_sums(labels, predictions, threshold, weights=None) -> Sums:
    """True positives over predicted positives."""
    yes, positive = predictions >= threshold, labels == 1
    return sums_of(yes & positive, yes, weights=weights)


def no_decision(labels: np.ndarray, predictions: np.ndarray, threshold: float) -> str:  # noqa: ARG001
    """Why precision has no value on rows that have labels; empty where it has one."""
    reached = (predictions >= threshold).any()
    return "" if reached else f"no prediction reaches the threshold {threshold:g}"


def recall(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Share of the positive rows that are predicted positive."""
    cases = confusion(labels, predictions, threshold, weights)
    return _ratio(cases.true_positives, cases.true_positives + cases.false_negatives)


def recall_sums(labels, predictions, threshold, weights=None) -> Sums:
    """True positives over positives."""
    positive = labels == 1
    return sums_of((predictions >= threshold) & positive, positive, weights=weights)


def f1(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; NaN without a positive row."""
    cases = confusion(labels, predictions, threshold, weights)
    if not cases.true_positives + cases.false_negatives > 0:
        return NAN
    wrong = cases.false_positives + cases.false_negatives
    return _ratio(2 * cases.true_positives, 2 * cases.true_positives + wrong)


def f1_sums(labels, predictions, threshold, weights=None) -> Sums:
    """Twice the true positives over predicted positives plus positives."""
    yes, positive = predictions >= threshold, labels == 1
    return sums_of(2.0 * (yes & positive), yes.astype(float) + positive, weights=weights)


def accuracy(
    labels: ArrayLike, predictions: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> float:
    """Share of right decisions."""
    cases = confusion(labels, predictions, threshold, weights)
    right = cases.true_positives + cases.true_negatives
    return _ratio(right, right + cases.false_positives + cases.false_negatives)


def accuracy_sums(labels, predictions, threshold, weights=None) -> Sums:
    """Right decisions over rows."""
    return sums_of((predictions >= threshold) == (labels == 1), np.ones(len(labels)), weights=weights)


def base_rate_threshold(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The threshold that predicts as many positives as there are: the n1-th highest score.

    Rows tied with the n1-th are predicted positive too. Without ties precision, recall and F1 are then
    one number. With sample weights it is the highest score that leaves rows of at least the positives'
    weight at or above it. NaN without a positive row.
    """
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    count = int(positive.sum())
    if not count or np.isnan(scores).any():
        return NAN
    if weight_rows is not None:
        order = np.argsort(-scores, kind="stable")
        reached = np.cumsum(weight_rows[order])
        wanted = np.cumsum(np.where(positive, weight_rows, 0)[order])[-1]
        return float(scores[order][np.argmax(reached >= wanted)])
    place = len(scores) - count
    return float(np.partition(scores, place)[place])


def best_f1_threshold(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The score at which F1 is highest, the higher one of equals; NaN without a positive row.

    Choose it on validation rows and apply it to test rows: on the rows it was chosen on, F1 flatters.
    """
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if not positive.any() or np.isnan(scores).any():
        return NAN
    # Only the score of a positive row can be the best threshold: just below one, F1 falls.
    if weight_rows is None:
        ones, zeros = np.sort(scores[positive]), np.sort(scores[~positive])
        hits = len(ones) - np.searchsorted(ones, ones, "left")
        predicted = hits + len(zeros) - np.searchsorted(zeros, ones, "left")
        f1_at = 2 * hits / (predicted + len(ones))
    else:
        ones = np.sort(scores[positive])
        hit = _weight_from(scores[positive], weight_rows[positive], ones)
        predicted = hit + _weight_from(scores[~positive], weight_rows[~positive], ones)
        f1_at = 2 * hit / (predicted + hit[0])
    return float(ones[len(ones) - 1 - np.argmax(f1_at[::-1])])


def _weight_from(scores: np.ndarray, weights: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The weight of the rows at or above each threshold."""
    order = np.argsort(scores)
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    return above[np.searchsorted(scores[order], thresholds, "left")]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else NAN

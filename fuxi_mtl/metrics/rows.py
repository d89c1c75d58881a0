"""Rows of a metric: those with a label and a weight, checked once."""

import numpy as np
from numpy.typing import ArrayLike

NAN = float("nan")


def observed(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None, *others: ArrayLike | None
) -> list:
    """The rows that count: labels, predictions, sample weights and any further arrays (None stays None).

    A row without a label does not count, nor does one whose weight is 0.

    Raises:
        ValueError: The arrays differ in length or are not one-dimensional, or a weight is negative or NaN.
    """
    label_rows = np.asarray(labels)
    arrays: list[np.ndarray | None] = [label_rows, np.asarray(predictions)]
    arrays += [None if other is None else np.asarray(other) for other in (weights, *others)]
    shapes = [array.shape for array in arrays if array is not None]
    if label_rows.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(
            "labels, predictions (and weights or groups) need the same length, one value a row. "
            f"Shapes given: {', '.join(map(str, shapes))}."
        )
    out = np.isnan(label_rows)
    weight_rows = arrays[2]
    if weight_rows is not None:
        strange = ~(weight_rows >= 0)
        if strange.any():
            raise ValueError(f"a sample weight is {weight_rows[strange][0]:g}: it must be 0 or more.")
        out |= weight_rows == 0
    if not out.any():
        return arrays
    return [None if array is None else array[~out] for array in arrays]


def binary_rows(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Observed rows with the labels as booleans and the weights in float64."""
    label_rows, scores, weight_rows = observed(labels, predictions, weights)
    positive = label_rows == 1
    strange = ~positive & (label_rows != 0)
    if strange.any():
        raise ValueError(
            f"a binary metric needs labels 0 and 1 (NaN where missing), not {label_rows[strange][0]}."
        )
    return positive, scores, None if weight_rows is None else weight_rows.astype(np.float64)


def weighted_mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean in float64, ``sum w x / sum w``; NaN without rows or without weight."""
    total = len(values) if weights is None else weights.sum(dtype=np.float64)
    if total <= 0:
        return NAN
    if weights is None:
        return float(values.mean(dtype=np.float64))
    return float((values * weights.astype(np.float64)).sum() / total)

"""Metrics of the predicted values themselves: log-loss, calibration and regression errors.

With sample weights every mean is a weighted one, ``sum w x / sum w``, and bins hold equal weight.
"""

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.bins import equal_bins
from fuxi_mtl.metrics.rows import NAN, binary_rows, observed, weighted_mean
from fuxi_mtl.metrics.sums import Sums, mean_of, ratio, sums_of


def logloss(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean binary cross-entropy; probabilities are kept one machine epsilon away from 0 and 1."""
    positive, chance, weight_rows = binary_rows(labels, predictions, weights)
    chance = chance if chance.dtype.kind == "f" else chance.astype(np.float64)
    epsilon = np.finfo(chance.dtype).eps
    chance = np.clip(chance, epsilon, 1 - epsilon).astype(np.float64)
    return weighted_mean(-np.log(np.where(positive, chance, 1 - chance)), weight_rows)


def logloss_sums(labels, predictions, weights=None) -> Sums:
    """Cross-entropies over rows."""
    epsilon = np.finfo(np.float32).eps  # of the scores as a run stores them
    chance = np.clip(predictions, epsilon, 1 - epsilon)
    return mean_of(-np.log(np.where(labels == 1, chance, 1 - chance)), weights)


def pcoc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Predicted over observed, ``mean(prediction) / mean(label)``; 1 is calibrated on average."""
    positive, chance, weight_rows = binary_rows(labels, predictions, weights)
    rate = weighted_mean(positive, weight_rows)
    return weighted_mean(chance, weight_rows) / rate if rate > 0 else NAN


def ratio_sums(labels, predictions, weights=None) -> Sums:
    """Predictions over labels."""
    return sums_of(predictions, labels, weights=weights)


def ece(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None, bins: int = 10) -> float:
    """Expected calibration error: mean over ten bins of ``|mean prediction - mean label|``, by bin weight.

    The bins hold equally many rows or equal weight (ties stay together), because with equal widths a rare
    event has all its rows in the first bin.
    """
    positive, chance, weight_rows = binary_rows(labels, predictions, weights)
    return bin_gap(positive.astype(np.float64), chance, weight_rows, bins)


def bin_gap(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None, bins: int = 10) -> float:
    """Mean over bins of ``|mean prediction - mean label|``, by bin weight; NaN for a NaN prediction."""
    if not len(predictions) or np.isnan(predictions).any():
        return NAN
    bin_of = equal_bins(predictions, bins, weights)
    row_weights = np.ones(len(predictions)) if weights is None else weights.astype(np.float64)
    gap = np.bincount(bin_of, row_weights * (predictions.astype(np.float64) - labels))
    return float(np.abs(gap).sum() / row_weights.sum())


def gap_sums(labels, predictions, weights=None) -> Sums:
    """The gap of each bin; resamples keep the bins of all rows."""
    bin_of = equal_bins(predictions, weights=weights)
    gaps = [np.where(bin_of == i, predictions - labels, 0) for i in range(int(bin_of.max(initial=0)) + 1)]
    return sums_of(
        np.ones(len(labels)),
        *gaps,
        weights=weights,
        finish=lambda s: np.abs(s[:, 1:]).sum(axis=1) / s[:, 0],
    )


def mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    return weighted_mean(np.abs(predicted.astype(np.float64) - values), weight_rows)


def mae_sums(labels, predictions, weights=None) -> Sums:
    """Absolute errors over rows."""
    return mean_of(np.abs(predictions - labels), weights)


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    return float(np.sqrt(weighted_mean((predicted.astype(np.float64) - values) ** 2, weight_rows)))


def rmse_sums(labels, predictions, weights=None) -> Sums:
    """The root of squared errors over rows."""
    squares = mse_sums(labels, predictions, weights)
    return Sums(squares.columns, lambda s: np.sqrt(ratio(s)))


def bias(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean prediction minus mean label."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    return weighted_mean(predicted.astype(np.float64) - values, weight_rows)


def bias_sums(labels, predictions, weights=None) -> Sums:
    """Signed errors over rows."""
    return mean_of(predictions - labels, weights)


def mse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared error."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    return weighted_mean((predicted.astype(np.float64) - values) ** 2, weight_rows)


def mse_sums(labels, predictions, weights=None) -> Sums:
    """Squared errors over rows."""
    return mean_of((predictions - labels) ** 2, weights)

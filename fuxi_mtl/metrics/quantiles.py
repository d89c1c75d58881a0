"""Metrics of predicted quantiles: how near they are, and whether as many labels lie below as they say."""

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.rows import NAN, observed, weighted_mean
from fuxi_mtl.metrics.sums import Sums, mean_of, ratio


def pinball(
    labels: ArrayLike,
    predictions: ArrayLike,
    quantiles: np.ndarray,
    taus: tuple[float, ...],
    weights: ArrayLike | None = None,
) -> float:
    """Mean over quantiles of the quantile loss ``max(tau r, (tau - 1) r)``, r the label less the quantile."""
    values, _, weight_rows, kept = _rows(labels, predictions, weights)
    return weighted_mean(_losses(values, quantiles[kept], taus), weight_rows)


def pinball_sums(labels, predictions, quantiles, taus, weights=None) -> Sums:  # noqa: ARG001
    """Losses over rows."""
    return mean_of(_losses(labels, quantiles, taus), weights)


def coverage_gap(
    labels: ArrayLike,
    predictions: ArrayLike,
    quantiles: np.ndarray,
    taus: tuple[float, ...],
    weights: ArrayLike | None = None,
) -> float:
    """Share of labels inside the widest interval of quantiles, ends included, less the share it promises.

    Of quantiles .1 to .9 the interval promises .8: a gap of -.05 is a coverage of .75.
    """
    values, _, weight_rows, kept = _rows(labels, predictions, weights)
    promised = taus[-1] - taus[0]
    return weighted_mean(_inside(values, quantiles[kept]), weight_rows) - promised if promised else NAN


def coverage_gap_sums(labels, predictions, quantiles, taus, weights=None) -> Sums:  # noqa: ARG001
    """Labels inside over rows."""
    inside = mean_of(_inside(labels, quantiles), weights)
    return Sums(inside.columns, lambda s: ratio(s) - (taus[-1] - taus[0]))


def no_interval(labels: np.ndarray, predictions: np.ndarray, taus: tuple[float, ...]) -> str:  # noqa: ARG001
    """Why a coverage has no value; empty where it has one."""
    return "" if len(taus) > 1 else f"the quantile {taus[0]:g} alone makes no interval"


def _rows(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None) -> list:
    return observed(labels, predictions, weights, np.arange(len(np.asarray(labels))))


def _losses(labels: np.ndarray, quantiles: np.ndarray, taus: tuple[float, ...]) -> np.ndarray:
    away = labels[:, None].astype(np.float64) - quantiles
    parts = np.asarray(taus, np.float64)
    return np.maximum(parts * away, (parts - 1) * away).mean(axis=1)


def _inside(labels: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    inside = ((quantiles[:, 0] <= labels) & (labels <= quantiles[:, -1])).astype(np.float64)
    return np.where(np.isnan(quantiles).any(axis=1), NAN, inside)

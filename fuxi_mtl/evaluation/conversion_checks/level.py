"""The check of inherent estimation bias: the level of pCVR over all exposures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NAN = float("nan")


@dataclass(frozen=True)
class Level:
    """Mean predictions beside the rate that was seen.

    Attributes:
        exposures: Mean pCVR over all rows, the D of the papers.
        clicks: Over the clicked rows, O.
        nonclicks: Over the others, N*.
        rate: Conversions over clicks with a known conversion, the CVR on O.
    """

    exposures: float
    clicks: float
    nonclicks: float
    rate: float

    @property
    def bias(self) -> float:
        """Mean pCVR over exposures minus the clicked rate."""
        return self.exposures - self.rate

    @property
    def ratio(self) -> float:
        """Mean pCVR over exposures divided by the clicked rate."""
        return self.exposures / self.rate if self.rate > 0 else NAN


def level(predictions: ArrayLike, clicked: ArrayLike, conversions: ArrayLike) -> Level:
    """Mean pCVR over exposures, clicks and non-clicks, and the clicked conversion rate.

    If those who click would convert more often than those who do not, the clicked rate is an upper bound of
    the conversion rate over all exposures, and a larger mean is too high. That premise is plausible and
    untested: the unclicked rows have no outcome. Predictions of weighted or down-sampled rows are too high by
    construction; undo that first.

    Args:
        predictions: ``(rows,)`` pCVR of every exposure.
        clicked: ``(rows,)`` booleans.
        conversions: ``(rows,)`` labels, NaN where unknown; those of clicked rows count.

    Reference:
        Wang et al., ESCM2, SIGIR 2022, section 4.4 (IEB).
    """
    scores, clicked = np.asarray(predictions, np.float64), np.asarray(clicked, bool)
    labels = np.asarray(conversions, np.float64)
    known = clicked & ~np.isnan(labels)
    return Level(_mean(scores), _mean(scores[clicked]), _mean(scores[~clicked]), _mean(labels[known]))


def calibration(predictions: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean prediction, mean label and rows of bins with equally many rows, by increasing prediction.

    Rows without a label (NaN) are left out; equal predictions share a bin.

    Raises:
        ValueError: `bins` is below 1.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; the least is 1.")
    scores, truth = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    if not len(scores):
        return []
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, scores, "left")
    rows = np.bincount(bin_of)
    sums = np.bincount(bin_of, scores), np.bincount(bin_of, truth)
    return [(float(sums[0][i] / n), float(sums[1][i] / n), int(n)) for i, n in enumerate(rows) if n]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN

"""The check of potential independence: dependence of pCVR on the click beyond the propensity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl import metrics
from fuxi_mtl.evaluation.conversion_checks.matching import Matches

NAN = float("nan")


@dataclass(frozen=True)
class RiskRatio:
    """A ratio of mean predictions and what is known of it.

    Attributes:
        value: The ratio; NaN if the matched rows have a mean of 0, or none is matched.
        low: Lower end of the bootstrap interval; NaN without one.
        high: Its upper end.
        matched: Share of the treated rows that have a match.
    """

    value: float
    low: float
    high: float
    matched: float


def causal_risk_ratio(
    treated_values: ArrayLike,
    pool_values: ArrayLike,
    matches: Matches,
    *,
    groups: ArrayLike | None = None,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 2026,
) -> RiskRatio:
    """The mean prediction of the treated rows over that of the rows matched to them.

    ::

        CRR = mean_i r(x_i) / mean_i mean_{j in M(i)} r(x_j),      i over treated rows with a match

    near 1: at equal propensity, clicked and unclicked rows have the same pCVR.

    The name says more than the number does. The prediction ``r(x)`` is a function of the inputs and never
    sees the click: the ratio measures how far the inputs of clicked rows still differ, in the direction that
    `r` responds to, from those of unclicked rows of the same propensity. It is no effect of a click.

    The interval resamples treated rows, each with its matches (whole groups, if given), and holds the
    matching and the models fixed.

    Args:
        treated_values: ``(treated,)`` predictions.
        pool_values: ``(pool,)`` predictions.
        matches: From :func:`fuxi_mtl.evaluation.conversion_checks.match`.
        groups: ``(treated,)`` a label of rows that belong together, such as the user; one without
            a label stands for itself.
        resamples: Bootstrap resamples; 0 leaves the interval out.
        level: Its coverage.
        seed: Seed of the resamples.

    Reference:
        Wang et al., ESCM2, SIGIR 2022, section 4.4 (PIP), by propensity score matching.
    """
    found = matches.found
    if not found.any():
        return RiskRatio(NAN, NAN, NAN, 0.0)
    ours = np.asarray(treated_values, np.float64)[found]
    theirs = matches.means(pool_values)[found]
    value = _ratio(ours.sum(), theirs.sum())
    low = high = NAN
    if resamples and not np.isnan(value):
        if groups is not None:
            codes = metrics.group_units(np.asarray(groups)[found])
            ours, theirs = np.bincount(codes, ours), np.bincount(codes, theirs)
        ratios = _resampled(ours, theirs, resamples, np.random.default_rng(seed))
        low, high = np.nanquantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return RiskRatio(value, float(low), float(high), float(found.mean()))


def _resampled(ours: np.ndarray, theirs: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    ratios = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(0, len(ours), len(ours))
        ratios[i] = _ratio(ours[drawn].sum(), theirs[drawn].sum())
    return ratios


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else NAN

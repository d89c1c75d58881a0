"""Average effects of a treatment from observed rows: inverse propensity weighting and its augmented form.

With treatment ``T`` (a click), outcome ``Y``, propensity ``e(x) = P(T = 1 | x)`` and outcome regressions
``mu1(x) = E[Y | x, T = 1]`` and ``mu0(x) = E[Y | x, T = 0]``. All of them need ``T`` to be as good as random
given ``x`` and ``0 < e < 1``; no number tells whether the first holds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Effect:
    """An average effect.

    Attributes:
        value: ``E[Y(1) - Y(0)]``.
        error: Its standard error, the models taken as given.
    """

    value: float
    error: float


def inverse_weights(
    propensity: ArrayLike, treated: ArrayLike, *, clip: float = 0.0, stabilised: bool = False
) -> np.ndarray:
    """``1/e`` for treated rows and ``1/(1 - e)`` for the others.

    Each arm's weights add up to about the number of rows.

    Args:
        propensity: ``(rows,)`` probabilities.
        treated: ``(rows,)`` booleans.
        clip: Propensities are kept within ``[clip, 1 - clip]``, before the inverse.
        stabilised: Multiply by the share of the row's arm: smaller weights, the same weighted means.

    Raises:
        ValueError: The clip is out of range, or a propensity leaves a weight infinite or negative.
    """
    if not 0 <= clip < 0.5:
        raise ValueError(f"clip is {clip:g}; it is at least 0 and below 0.5.")
    treated = np.asarray(treated, bool)
    chance = np.clip(np.asarray(propensity, np.float64), clip, 1 - clip) if clip else np.asarray(propensity)
    own = np.where(treated, chance, 1 - np.asarray(chance, np.float64))
    if not (own > 0).all():
        raise ValueError("a propensity is 0, 1, NaN or no probability at all: weights need a clip above 0.")
    share = treated.mean()
    return np.where(treated, share, 1 - share) / own if stabilised else 1 / own


def winsorise(weights: ArrayLike, low: float = 0.01, high: float = 0.99) -> np.ndarray:
    """Weights below and above their quantiles are set to those quantiles; every row stays."""
    given = np.asarray(weights, np.float64)
    return np.clip(given, *np.quantile(given, [low, high]))


def trim(weights: ArrayLike, low: float = 0.01, high: float = 0.99) -> np.ndarray:
    """Weights outside their quantiles become 0: those rows are left out, and the population changes."""
    given = np.asarray(weights, np.float64)
    ends = np.quantile(given, [low, high])
    return np.where((given < ends[0]) | (given > ends[1]), 0.0, given)


def ipw_effect(outcome: ArrayLike, treated: ArrayLike, propensity: ArrayLike, *, clip: float = 0.0) -> Effect:
    """``mean[Y (T - e) / (e (1 - e))]``: unbiased if the propensity is right, and only then.

    Raises:
        ValueError: A propensity of 0 or 1 without a clip.
    """
    treated, outcome = np.asarray(treated, bool), np.asarray(outcome, np.float64)
    weights = inverse_weights(propensity, treated, clip=clip)
    return _effect(np.where(treated, weights, -weights) * outcome)


def self_normalised_effect(
    outcome: ArrayLike, treated: ArrayLike, propensity: ArrayLike, *, clip: float = 0.0
) -> Effect:
    """Hajek's form: the difference of the weighted means of the two arms.

    Row i of an arm has the weight ``(1/e_i) / sum_j (1/e_j)`` over the rows j of that arm. A little biased,
    much less variable, and always within the range of the outcome.

    Raises:
        ValueError: An arm is empty, or a propensity is 0 or 1 without a clip.
    """
    treated, outcome = np.asarray(treated, bool), np.asarray(outcome, np.float64)
    if treated.all() or not treated.any():
        raise ValueError(
            f"an effect needs both arms; {int(treated.sum())} of {len(treated)} rows are treated."
        )
    weights = inverse_weights(propensity, treated, clip=clip)
    means = [np.average(outcome[arm], weights=weights[arm]) for arm in (treated, ~treated)]
    rows = len(outcome)
    total = [weights[arm].sum() / rows for arm in (treated, ~treated)]
    scores = np.where(
        treated, weights * (outcome - means[0]) / total[0], -weights * (outcome - means[1]) / total[1]
    )
    return Effect(float(means[0] - means[1]), _effect(scores).error)


def aipw_effect(
    outcome: ArrayLike,
    treated: ArrayLike,
    propensity: ArrayLike,
    treated_outcome: ArrayLike,
    control_outcome: ArrayLike,
    *,
    clip: float = 0.0,
) -> Effect:
    """Augmented IPW: right if the propensity is, or if the outcome regressions are.

    ::

        mean[ T (Y - mu1) / e + mu1 ]  -  mean[ (1 - T) (Y - mu0) / (1 - e) + mu0 ]

    ``mu1`` and ``mu0`` are what each row's outcome would be on average with and without treatment; they are
    regressions, not effects, and need predictions for the rows of both arms.

    Raises:
        ValueError: A propensity of 0 or 1 without a clip.

    Reference:
        Robins, Rotnitzky and Zhao, JASA 89, 1994.
    """
    treated, outcome = np.asarray(treated, bool), np.asarray(outcome, np.float64)
    with_it, without = np.asarray(treated_outcome, np.float64), np.asarray(control_outcome, np.float64)
    weights = inverse_weights(propensity, treated, clip=clip)
    correction = np.where(treated, weights * (outcome - with_it), -weights * (outcome - without))
    return _effect(with_it - without + correction)


def _effect(scores: np.ndarray) -> Effect:
    return Effect(float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(len(scores))))

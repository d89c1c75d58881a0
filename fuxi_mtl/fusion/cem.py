"""The cross-entropy method: samples, their best, and a normal distribution that moves there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        mean: Of the last round's distribution.
        deviation: Its deviation.
        best: The best sample that was seen; the mean if none was measured.
        value: Its measure; NaN if none was measured.
        history: The means after each round, ``(rounds, dimensions)``.
    """

    mean: np.ndarray
    deviation: np.ndarray
    best: np.ndarray
    value: float
    history: np.ndarray


def cross_entropy_method(
    measure: Callable[[np.ndarray], np.ndarray],
    mean: np.ndarray,
    deviation: np.ndarray,
    *,
    rounds: int = 30,
    samples: int = 64,
    elites: int = 10,
    smoothing: float = 0.7,
    least_deviation: Sequence[float] = (0.1, 0.01),
    seed: int = 2026,
    maximise: bool = True,
) -> Found:
    """Searches a vector whose measure is large.

    In each round ``samples`` vectors are drawn from ``N(mean, deviation^2)``, independently by dimension,
    and the ``elites`` best of them move the distribution::

        mean      = (1 - a) mean      + a mean(elites)
        deviation = max((1 - a) deviation + a std(elites), floor)

    The floor falls linearly over the rounds. Without it the distribution collapses before it has arrived.

    Args:
        measure: Of vectors ``(samples, dimensions)``, ``(samples,)``; NaN is never among the best.
        mean: Where to start, ``(dimensions,)``.
        deviation: How far to look at the start.
        rounds: Number of rounds.
        samples: Vectors in a round; some ten a dimension are a good number.
        elites: A tenth to a fifth of them.
        smoothing: a, above 0 to 1.
        least_deviation: The floor in the first and in the last round.
        seed: The same seed gives the same numbers.
        maximise: False looks for a small measure.

    Raises:
        ValueError: There are more elites than samples, or none.

    Reference:
        Rubinstein and Kroese. The Cross-Entropy Method. Springer 2004.

    Differs from the book: the floor of the deviation.
    """
    if not 1 <= elites <= samples:
        raise ValueError(f"elites is {elites}; it lies from 1 to samples, {samples}.")
    rng = np.random.default_rng(seed)
    mean, deviation = np.array(mean, np.float64), np.array(deviation, np.float64)
    best, value, history = mean.copy(), -np.inf, []
    first, last = least_deviation
    for floor in np.linspace(first, last, rounds) if rounds > 1 else [last]:
        drawn = mean + deviation * rng.standard_normal((samples, len(mean)))
        measured = np.asarray(measure(drawn), np.float64) * (1 if maximise else -1)
        known = np.flatnonzero(~np.isnan(measured))
        order = known[np.argsort(-measured[known], kind="stable")][:elites]
        if len(order):
            chosen = drawn[order]
            mean = (1 - smoothing) * mean + smoothing * chosen.mean(axis=0)
            deviation = (1 - smoothing) * deviation + smoothing * chosen.std(axis=0)
            if measured[order[0]] > value:
                best, value = drawn[order[0]], float(measured[order[0]])
        deviation = np.maximum(deviation, floor)
        history.append(mean)
    found = float("nan") if value == -np.inf else value if maximise else -value
    return Found(mean, deviation, best, found, np.array(history))

"""Matching on a score: for every treated row the nearest rows of a pool, with replacement.

Sorted by score, the nearest rows of any row are neighbours: each match is a window of the sorted pool,
found by binary search. The whole costs ``O(n log n)``; no matrix of distances is ever formed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NAN = float("nan")


@dataclass(frozen=True)
class Matches:
    """Which rows of the pool stand for each treated row; all rows of a window count the same.

    Attributes:
        order: Rows of the pool by increasing score.
        first: ``(treated,)`` start of each treated row's window in that order.
        last: ``(treated,)`` its end, exclusive; equal to `first` where the caliper leaves nothing.
    """

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """``(treated,)``: whether a row has a match."""
        return self.last > self.first

    def means(self, values: ArrayLike) -> np.ndarray:
        """The mean of the pool's `values` over each window, ``(treated,)``; NaN without a match."""
        sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64)[self.order])])
        counts = self.last - self.first
        with np.errstate(invalid="ignore"):
            return np.where(counts > 0, (sums[self.last] - sums[self.first]) / counts, NAN)

    def weights(self) -> np.ndarray:
        """How often each row of the pool stands for a treated row, ``(pool,)``; each treated row gives 1."""
        found = self.found
        share = 1.0 / (self.last - self.first)[found]
        steps = np.zeros(len(self.order) + 1)
        np.add.at(steps, self.first[found], share)
        np.subtract.at(steps, self.last[found], share)
        weights = np.empty(len(self.order))
        # What begins and ends inside cancels up to rounding, which must not become a tiny weight.
        weights[self.order] = np.where(self._covered(), np.cumsum(steps[:-1]), 0.0)
        return weights

    def _covered(self) -> np.ndarray:
        starts = np.bincount(self.first[self.found], minlength=len(self.order) + 1)
        ends = np.bincount(self.last[self.found], minlength=len(self.order) + 1)
        return np.cumsum(starts - ends)[:-1] > 0


def match(treated: ArrayLike, pool: ArrayLike, matches: int = 1, caliper: float | None = None) -> Matches:
    """The `matches` nearest rows of the pool for each treated row, by ``|score - score'|``.

    Rows of the pool that are as far away as the last of these count too, so that the result does not depend
    on the order of rows. A row of the pool may stand for many.

    Args:
        treated: ``(treated,)`` scores, such as propensities.
        pool: ``(pool,)`` scores.
        matches: How many, the K of top-K.
        caliper: Largest distance allowed; none unless said.

    Raises:
        ValueError: The pool is smaller than `matches`, a score is NaN, or a number is out of range.
    """
    scores, others = np.asarray(treated, np.float64), np.asarray(pool, np.float64)
    if np.isnan(scores).any() or np.isnan(others).any():
        raise ValueError("a score is NaN: rows cannot be matched by it.")
    if matches < 1 or (caliper is not None and caliper < 0):
        raise ValueError(f"matches ({matches}) is 1 or more, caliper ({caliper}) is 0 or more.")
    if len(others) < matches:
        raise ValueError(f"{matches} matches are wanted, and the pool has {len(others)} rows.")
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    first = _window_start(scores, ordered, matches)
    first, last = _with_ties(scores, ordered, first, first + matches)
    if caliper is not None:
        # Distances are compared as they were above: score + caliper would round differently.
        first = _bisected(first, last, lambda place: scores - ordered[place] > caliper)
        last = _bisected(first, last, lambda place: ordered[place] - scores <= caliper)
    return Matches(order, first, last)


def _window_start(scores: np.ndarray, ordered: np.ndarray, size: int) -> np.ndarray:
    """Start of the nearest `size` neighbours, by bisection between the two possible extremes."""
    at = np.searchsorted(ordered, scores)
    most = len(ordered) - size
    extremes = np.clip(at - size, 0, most), np.clip(at, 0, most)
    # A place below `most` has a row just behind its window; the window moves on while that row is nearer.
    behind = np.minimum(np.arange(len(ordered)) + size, len(ordered) - 1)
    return _bisected(*extremes, lambda place: scores - ordered[place] > ordered[behind[place]] - scores)


def _with_ties(
    scores: np.ndarray, ordered: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The windows with every neighbour that is as far away as their farthest row."""
    farthest = np.maximum(np.abs(scores - ordered[first]), np.abs(ordered[last - 1] - scores))
    size = len(ordered)
    while True:
        before, after = np.maximum(first - 1, 0), np.minimum(last, size - 1)
        left = (first > 0) & (np.abs(scores - ordered[before]) <= farthest)
        right = (last < size) & (np.abs(ordered[after] - scores) <= farthest)
        if not (left.any() or right.any()):
            return first, last
        # A whole run of equal scores at once.
        first = np.where(left, np.searchsorted(ordered, ordered[before], "left"), first)
        last = np.where(right, np.searchsorted(ordered, ordered[after], "right"), last)


def _bisected(first: np.ndarray, last: np.ndarray, holds: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """For each window the first place where a condition that holds at its start, if anywhere, does not."""
    low, high = first, last
    while (low < high).any():
        # Where a search is over, the middle may lie behind the end; its answer does not count.
        middle = (low + high) // 2
        searching = low < high
        right = searching & holds(np.where(searching, middle, 0))
        low, high = np.where(right, middle + 1, low), np.where(searching & ~right, middle, high)
    return low

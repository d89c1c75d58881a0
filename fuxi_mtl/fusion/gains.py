"""NDCG inside requests, and the graded label that it and learning to rank need."""

from collections.abc import Iterable, Mapping

import numpy as np

from fuxi_mtl.fusion.ranks import requests
from fuxi_mtl.tasks import Task


def graded_label(
    labels: Mapping[str, np.ndarray], values: Mapping[str, float], tasks: Iterable[Task]
) -> np.ndarray:
    """What a row is worth: ``sum_k value_k label_k``.

    There is no label of the order that users want; this one is what the business says. A conditional label
    that is not defined counts 0: its condition did not happen, or nothing is known of it. Any other missing
    label leaves the row without a grade.

    Args:
        labels: ``(rows,)`` by task, NaN where not defined.
        values: The value of each label, from 0 up.
        tasks: The tasks.

    Returns:
        float64 ``(rows,)``, NaN where unknown.
    """
    conditional = {task.name for task in tasks if task.given}
    total = np.zeros(len(next(iter(labels.values()))))
    for name, value in values.items():
        label = np.asarray(labels[name], np.float64)
        total += value * (np.nan_to_num(label) if name in conditional else label)
    return total


class Gains:
    """The NDCG of any score on the same rows.

    ``DCG = sum_rows gain / log2(1 + place)``, over the first places of a request; NDCG is its share of the
    best order's, averaged over the requests in which the order matters: those with two different gains.
    Equal scores share the mean discount of their places, the expectation over their order.

    Args:
        gains: ``(rows,)`` from 0 up, NaN to leave a row out.
        groups: Request of each row.
        at: Places that count; all unless said.

    Reference:
        Jarvelin and Kekalainen. Cumulated gain-based evaluation of IR techniques. TOIS 2002.

    Differs from the paper: gains are the values themselves, not 2 to their power: they are values already.
    """

    def __init__(self, gains: np.ndarray, groups: np.ndarray | None, at: int | None = None):
        codes = requests(groups, len(gains))
        known = np.flatnonzero(~np.isnan(gains))
        _, inside = np.unique(codes[known], return_inverse=True)
        count = int(inside.max(initial=-1)) + 1
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, inside, gains[known])
        np.maximum.at(high, inside, gains[known])
        matters = (high > low)[inside]
        self.rows = known[matters]
        _, self._codes = np.unique(inside[matters], return_inverse=True)
        self._gains = np.asarray(gains, np.float64)[self.rows]
        sizes = np.bincount(self._codes)
        self._starts = np.cumsum(sizes) - sizes
        place = np.arange(len(self.rows)) - np.repeat(self._starts, sizes)
        self._discount = np.where(place < (at or np.inf), 1 / np.log2(place + 2.0), 0.0)
        self._best = self._sums(self._gains)

    def by_request(self, scores: np.ndarray) -> np.ndarray:
        """The NDCG of each request in which the order matters; NaN everywhere for a NaN among the scores."""
        used = np.asarray(scores, np.float64)[self.rows]
        return self._sums(used) / self._best if not np.isnan(used).any() else np.full(len(self._best), np.nan)

    def first_rows(self) -> np.ndarray:
        """A row of each of those requests."""
        return self.rows[np.unique(self._codes, return_index=True)[1]]

    def __call__(self, scores: np.ndarray) -> float:
        """The mean over requests; NaN if the order matters in none."""
        return float(self.by_request(scores).mean()) if len(self._best) else float("nan")

    def _sums(self, scores: np.ndarray) -> np.ndarray:
        if not len(scores):
            return np.zeros(0)
        order = np.lexsort((-scores, self._codes))
        codes, ordered = self._codes[order], scores[order]
        new = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(ordered, prepend=np.nan) != 0))
        sizes = np.diff(np.append(new, len(scores)))
        shared = np.add.reduceat(self._discount, new) / sizes
        return np.add.reduceat(self._gains[order] * np.repeat(shared, sizes), self._starts)

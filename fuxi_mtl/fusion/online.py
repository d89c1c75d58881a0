"""Trials of weights on live traffic, simulated on logged requests."""

from dataclasses import dataclass

import numpy as np

from fuxi_mtl.fusion.cem import Found, cross_entropy_method
from fuxi_mtl.fusion.formulas import Fusion
from fuxi_mtl.fusion.ranks import ranks, requests
from fuxi_mtl.options import SearchOptions


@dataclass(frozen=True)
class OnlineTrial:
    """What a simulated search on live traffic found.

    Attributes:
        found: Where it ended.
        business: The metric of the mean weights after each round on all requests, without noise.
        at_start: That of equal weights.
    """

    found: Found
    business: list[float]
    at_start: float


class Traffic:
    """Requests that are sorted by one of several weights, and what that brings.

    In each round the requests are dealt out to as many groups as there are weights. A group's metric is the
    mean, over its requests, of the grades of the first ``top`` rows in its order, plus noise: what it would
    have earned if the first rows were all that was shown. Two groups with the same weights differ, because
    they have other requests, as in a trial on live traffic.

    Args:
        fusion: The formula; its weights do not matter.
        terms: ``(rows, weights)`` of :meth:`Fusion.terms`.
        grades: ``(rows,)`` value of a row; NaN counts 0.
        groups: Request of each row.
        options: ``top``, ``noise`` and ``seed``.
    """

    def __init__(
        self,
        fusion: Fusion,
        terms: np.ndarray,
        grades: np.ndarray,
        groups: np.ndarray | None,
        options: SearchOptions,
    ):
        self._fusion, self._terms, self._grades = fusion, terms, np.nan_to_num(grades)
        self._codes = np.unique(requests(groups, len(grades)), return_inverse=True)[1]
        self._count = int(self._codes.max(initial=-1)) + 1
        self._top, self._noise = options.top, options.noise
        self._rng = np.random.default_rng((options.seed, 1))  # not the samples' own numbers

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """The noisy metric of each row of weights in one round, ``(groups,)``; NaN without a request."""
        group_of = (self._rng.permutation(self._count) % len(weights))[self._codes]  # (rows,)
        total = np.einsum("rk,rk->r", self._terms, weights[group_of])
        earned = np.bincount(group_of, self._earned(total), minlength=len(weights))
        sizes = np.bincount(np.arange(self._count) % len(weights), minlength=len(weights))
        with np.errstate(invalid="ignore"):
            return earned / sizes + self._noise * self._rng.standard_normal(len(weights))

    def everywhere(self, weights: np.ndarray) -> float:
        """The metric of one vector of weights on all requests, without noise."""
        return float(self._earned(self._terms @ weights).sum() / self._count)

    def _earned(self, total: np.ndarray) -> np.ndarray:
        """The grade of rows in the first places, 0 elsewhere. Only the order of scores counts.

        Rows of equal score share what places are left, the expectation over their order.
        """
        first = ranks(total, self._codes)
        size = 2 * (ranks(total, self._codes, "average") - first) + 1
        return self._grades * np.clip(self._top + 1 - first, 0, size) / size


def search_online(traffic: Traffic, options: SearchOptions, dimensions: int, of) -> OnlineTrial:
    """The cross-entropy method on noisy metrics of traffic groups.

    Args:
        traffic: The requests.
        options: Numbers of groups, rounds and elites.
        dimensions: Number of weights.
        of: From what is searched ``(..., dimensions)`` to weights.
    """
    found = cross_entropy_method(
        lambda drawn: traffic(of(drawn)),
        np.zeros(dimensions),
        np.ones(dimensions),
        rounds=options.rounds,
        samples=options.samples,
        elites=options.elites,
        smoothing=options.smoothing,
        least_deviation=options.least_deviation,
        seed=options.seed,
    )
    business = [traffic.everywhere(of(mean)) for mean in found.history]
    return OnlineTrial(found, business, traffic.everywhere(of(np.zeros(dimensions))))

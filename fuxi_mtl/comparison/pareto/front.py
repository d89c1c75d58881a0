"""Non-dominated points, their hypervolume, and the choice of one. Larger is better."""

import numpy as np

from fuxi_mtl.options import RULES

Array = np.ndarray


def non_dominated(points: Array) -> Array:
    """``(n,)`` whether no other point is at least as good everywhere and better somewhere.

    Args:
        points: ``(n, K)``.
    """
    as_good = (points[:, None] >= points[None]).all(axis=2)
    better = (points[:, None] > points[None]).any(axis=2)
    return np.logical_not((as_good & better).any(axis=0))


def hypervolume(points: Array, reference: Array) -> float:
    """The volume between a reference point and all that the points reach.

    ``|union_i [r, p_i]|``, by slices along the last column; a point that is not above the reference
    everywhere adds nothing. Meant for a few dozen points.

    Args:
        points: ``(n, K)``.
        reference: ``(K,)``.
    """
    reach = np.asarray(points, float) - reference
    return _volume(reach[(reach > 0).all(axis=1)])


def _volume(reach: Array) -> float:
    if not len(reach):
        return 0.0
    if reach.shape[1] == 1:
        return float(reach.max())
    falling = reach[np.argsort(-reach[:, -1])]
    depths = falling[:, -1] - np.append(falling[1:, -1], 0.0)
    return sum(depth * _volume(falling[: i + 1, :-1]) for i, depth in enumerate(depths) if depth > 0)


def gains(points: Array) -> Array:
    """Each column from 0 at the worst point to 1 at the best; 1 where all are equal.

    Args:
        points: ``(n, K)``, larger is better.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    return np.where(high > low, (points - low) / spread, 1.0)


def chosen(points: Array, rule: str, importance: Array | None = None) -> int:
    """The place of the point that a rule chooses.

    By the gains g of :func:`gains`::

        fairness        least variance of g_k over the objectives (Xiao et al., RecSys 2017)
        least_misery    largest min_k g_k
        weighted        largest sum_k v_k g_k

    Of equals the one with the largest sum. Choosing by fairness or least misery among runs with several
    preferences is what PE-LTR does (Lin et al., RecSys 2019).

    Args:
        points: ``(n, K)`` points of a front, larger is better.
        rule: One of these.
        importance: ``(K,)`` the v of ``weighted``; equal unless said.

    Raises:
        ValueError: Unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"choose is {rule!r}. Rules: {', '.join(RULES)}.")
    gain = gains(points)
    merit = {
        "fairness": -gain.var(axis=1),
        "least_misery": gain.min(axis=1),
        "weighted": gain @ (np.ones(points.shape[1]) if importance is None else importance),
    }[rule]
    return int(np.lexsort((gain.sum(axis=1), merit.round(12)))[-1])

"""Which points no other beats, and how much they cover. Larger is better in every column."""

import numpy as np

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

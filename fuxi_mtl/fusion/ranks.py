"""Ranks inside a request, and places that equal scores share."""

import numpy as np

from fuxi_mtl import metrics
from fuxi_mtl.options.fusion import TIES


def ranks(scores: np.ndarray, groups: np.ndarray | None = None, ties: str = "min") -> np.ndarray:
    """The rank of each row inside its request; 1 is the highest score.

    Args:
        scores: ``(rows,)``.
        groups: Request of each row; a row without one is a request of its own. All rows are
            one request unless said.
        ties: Rank of equal scores: the ``min`` of their places, their ``average``, or ``dense``, without
            gaps behind them.

    Raises:
        ValueError: Unknown ties.
    """
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}. It can be: {', '.join(TIES)}.")
    scores = np.asarray(scores)
    codes = requests(groups, len(scores))
    order = np.lexsort((-scores, codes))
    sorted_codes, sorted_scores = codes[order], scores[order]
    new_request = np.diff(sorted_codes, prepend=-1) != 0
    new_score = new_request | (np.diff(sorted_scores, prepend=np.nan) != 0)
    start = np.maximum.accumulate(np.where(new_request, np.arange(len(scores)), 0))
    block = np.cumsum(new_score) - 1  # the block of equal scores that each row lies in
    first = np.flatnonzero(new_score)
    if ties == "dense":
        ranked = block - block[start] + 1.0
    else:
        sizes = np.diff(np.append(first, len(scores)))
        ranked = first[block] - start + 1.0 + ((sizes[block] - 1) / 2 if ties == "average" else 0)
    found = np.empty(len(scores))
    found[order] = ranked
    return found


def requests(groups: np.ndarray | None, rows: int) -> np.ndarray:
    """The request of each row as an integer from 0 up; a row without one has its own."""
    if groups is None:
        return np.zeros(rows, np.int64)
    return metrics.group_units(groups)

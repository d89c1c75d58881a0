"""Metrics of the order of the scores: AUC, AUC inside groups, KS. Exact, ties included."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.rows import NAN, binary_rows, observed


def auc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that a positive row scores above a negative one; a tie counts half.

    The rank form ``(sum of positive mid-ranks - n1 (n1 + 1) / 2) / (n1 n0)``, exact at any base rate:
    thresholds on a fixed grid see nothing at a base rate of 1e-4.
    """
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if np.isnan(scores).any():
        return NAN
    ones, zeros = scores[positive], np.sort(scores[~positive])
    if not len(ones) or not len(zeros):
        return NAN
    if weight_rows is None:
        ones = np.sort(ones)  # searching in order is many times faster
        below = np.searchsorted(zeros, ones, "left").sum(dtype=np.int64)
        not_above = np.searchsorted(zeros, ones, "right").sum(dtype=np.int64)
        return float((below + not_above) / (2 * len(ones) * len(zeros)))
    order = np.argsort(scores[~positive])
    running = np.concatenate([[0.0], np.cumsum(weight_rows[~positive][order], dtype=np.float64)])
    wins = running[np.searchsorted(zeros, ones, "left")] + running[np.searchsorted(zeros, ones, "right")]
    one_weights = weight_rows[positive].astype(np.float64)
    total = 2 * one_weights.sum() * running[-1]
    return float((one_weights * wins).sum() / total) if total > 0 else NAN


@dataclass(frozen=True)
class GroupedAUC:
    """AUC inside groups.

    Attributes:
        value: Weighted mean of the groups' AUCs; NaN if no group has both classes.
        groups: Number of groups with both classes.
        coverage: Share of the labelled rows that lie in those groups.
    """

    value: float
    groups: int
    coverage: float


def gauc(
    labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, weight: str = "exposures"
) -> GroupedAUC:
    """AUC inside each group (a user, a request), averaged over the groups that have both classes.

    One sort of a 64-bit key (group, score, label) gives every group's AUC at once.

    Args:
        labels: 0, 1 or NaN.
        predictions: Scores; only their order inside a group matters.
        groups: Group of each row: integers, strings, or None or NaN for no group (the row is left out).
        weight: What weighs a group: its ``exposures`` (rows) or its ``clicks`` (positive rows).
    """
    if weight not in ("exposures", "clicks"):
        raise ValueError(f"gauc_weight is {weight!r}. It can be: exposures, clicks.")
    label_rows, scores, codes = observed(labels, predictions, group_codes(groups))
    by_group = group_aucs(label_rows, scores, codes)
    if not len(by_group.auc):
        return GroupedAUC(NAN, 0, 0.0)
    weights = by_group.positives if weight == "clicks" else by_group.rows
    value = float(np.average(by_group.auc, weights=weights))
    return GroupedAUC(value, len(weights), float(by_group.rows.sum() / len(scores)))


class GroupAUCs(NamedTuple):
    """One entry for each group with both classes."""

    code: np.ndarray
    auc: np.ndarray
    rows: np.ndarray
    positives: np.ndarray


def group_aucs(labels: ArrayLike, predictions: ArrayLike, codes: np.ndarray) -> GroupAUCs:
    """The AUC of each group that has both classes; none at all where a prediction is NaN.

    Args:
        labels: 0 or 1.
        predictions: Scores.
        codes: From :func:`group_codes`.
    """
    positive, scores, _ = binary_rows(labels, predictions)
    inside = codes >= 0
    if np.isnan(scores).any():
        inside = np.zeros_like(inside)
    key = (codes[inside].astype(np.uint64) << np.uint64(33)) | (
        _score_order(scores[inside]).astype(np.uint64) << np.uint64(1)
    )
    key |= positive[inside]
    key.sort()
    code, wins, ones, rows = _group_sums(key)
    zeros = rows - ones
    both = (ones > 0) & (zeros > 0)
    value = wins[both] / (2.0 * ones[both] * zeros[both])
    return GroupAUCs(code[both], value, rows[both], ones[both])


def _group_sums(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each group's code, twice its won pairs, its positives and its rows, from sorted keys."""
    if not len(key):
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, empty
    tie = key >> np.uint64(1)
    tie_start = np.flatnonzero(np.concatenate([[True], tie[1:] != tie[:-1]]))
    ones = np.add.reduceat((key & np.uint64(1)).astype(np.int64), tie_start)
    rows = np.diff(np.append(tie_start, len(key)))
    zeros = rows - ones
    group = tie[tie_start] >> np.uint64(32)
    group_start = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    zeros_below = np.cumsum(zeros) - zeros
    sizes = np.diff(np.append(group_start, len(group)))
    zeros_below -= np.repeat(zeros_below[group_start], sizes)
    wins = ones * (2 * zeros_below + zeros)
    won, positives, total = (np.add.reduceat(values, group_start) for values in (wins, ones, rows))
    return group[group_start].astype(np.int64), won, positives, total


def group_codes(groups: ArrayLike) -> np.ndarray:
    """Groups as integers from 0, -1 for a missing one (None or NaN).

    Integers are fast; ten million strings take a quarter of a minute, so code them beforehand.
    """
    values = np.asarray(groups)
    if values.dtype.kind in "iu":
        if not len(values) or int(values.max()) - int(values.min()) >= 2**31:
            return np.unique(values, return_inverse=True)[1]
        return (values - values.min()).astype(np.int64)
    missing = np.zeros(len(values), bool)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.array([v is None or (isinstance(v, float) and math.isnan(v)) for v in values], bool)
        values = values.astype(str)
    codes = np.full(len(values), -1, np.int64)
    codes[~missing] = np.unique(values[~missing], return_inverse=True)[1]
    return codes


def _score_order(scores: np.ndarray) -> np.ndarray:
    """32-bit integers in the order of the scores, equal where the scores are equal."""
    if scores.dtype != np.float32:
        return np.unique(scores, return_inverse=True)[1].astype(np.uint32)
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(0x80000000))


def ks(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Kolmogorov-Smirnov distance ``max |TPR - FPR|`` over thresholds at distinct scores."""
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if np.isnan(scores).any() or positive.all() or not positive.any():
        return NAN
    order = np.argsort(-scores)
    scores = scores[order]
    true, false = _sums(positive[order], None if weight_rows is None else weight_rows[order])
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    if true[-1] <= 0 or false[-1] <= 0:  # all the weight lies on one class
        return NAN
    return float(np.abs(true / true[-1] - false / false[-1])[last_of_tie].max())


def _sums(positive: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Running weight of the positive and of the negative rows, as exact integers without weights."""
    if weights is None:
        return np.cumsum(positive, dtype=np.int64), np.cumsum(~positive, dtype=np.int64)
    weights = weights.astype(np.float64)
    return np.cumsum(np.where(positive, weights, 0)), np.cumsum(np.where(positive, 0, weights))

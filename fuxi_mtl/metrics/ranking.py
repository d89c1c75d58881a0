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

    The negative rows, sorted once by a 64-bit key (group, score), answer for every positive row how many of
    its group it beats.

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
    if np.isnan(scores).any() or not len(scores):
        return GroupAUCs(*(np.zeros(0, dtype) for dtype in (np.int64, np.float64, np.int64, np.int64)))
    inside = codes >= 0
    if not inside.all():
        positive, scores, codes = positive[inside], scores[inside], codes[inside]
    named, compact = _compact(codes)
    # Most groups of a rare event have one class only: their rows are not worth sorting.
    rows = np.bincount(compact)
    ones = np.bincount(compact[positive], minlength=len(rows))
    both = (ones > 0) & (ones < rows)
    kept = both[compact]
    order = _score_order(scores[kept]).astype(np.uint64)
    key = compact[kept].astype(np.uint64) << np.uint64(32) | order
    code, rows, ones = np.flatnonzero(both), rows[both], ones[both]
    wins = _wins(np.sort(key[positive[kept]]), np.sort(key[~positive[kept]]), ones, rows - ones)
    value = wins / (2.0 * ones * (rows - ones))
    return GroupAUCs(code if named is None else named[code], value, rows, ones)


def _wins(one_keys: np.ndarray, zero_keys: np.ndarray, ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """Twice the won pairs of each group, from its sorted keys and its numbers of rows by class."""
    if not len(ones):
        return np.zeros(0, np.int64)
    beaten = np.searchsorted(zero_keys, one_keys, "left") + np.searchsorted(zero_keys, one_keys, "right")
    zeros_of_groups_before = np.cumsum(zeros) - zeros
    return np.add.reduceat(beaten, np.cumsum(ones) - ones) - 2 * ones * zeros_of_groups_before


def _compact(codes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Codes that can be counted in a table, and what they stand for unless they are the same."""
    if not len(codes) or int(codes.max()) < 4 * len(codes) + 1000:
        return None, codes
    return np.unique(codes, return_inverse=True)


def group_codes(groups: ArrayLike) -> np.ndarray:
    """Groups as integers from 0, -1 for a missing one (None or NaN).

    Integers are fast, also as floats; ten million strings take a quarter of a minute, so code them
    beforehand.
    """
    values = np.asarray(groups)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        whole = np.where(missing, 0, values)
        if (np.abs(whole) < 2**53).all() and (whole == np.rint(whole)).all():
            return np.where(missing, -1, group_codes(whole.astype(np.int64)))
    if values.dtype.kind in "iu":
        if not len(values) or int(values.max()) - int(values.min()) >= 2**31:
            return np.unique(values, return_inverse=True)[1]
        return (values - values.min()).astype(np.int64, copy=False)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if values.dtype.kind == "O":
        missing = np.array([v is None or (isinstance(v, float) and math.isnan(v)) for v in values], bool)
        values = values.astype(str)
    codes = np.full(len(values), -1, np.int64)
    codes[~missing] = np.unique(values[~missing], return_inverse=True)[1]
    return codes


def _score_order(scores: np.ndarray) -> np.ndarray:
    """32-bit integers in the order of the scores, equal where the scores are equal."""
    if scores.dtype != np.float32:
        single = scores.astype(np.float32)
        if (single != scores).any():
            return np.unique(scores, return_inverse=True)[1].astype(np.uint32)
        scores = single
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(0x80000000))


def ks(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Kolmogorov-Smirnov distance ``max |TPR - FPR|`` over thresholds at distinct scores."""
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if np.isnan(scores).any() or positive.all() or not positive.any():
        return NAN
    if weight_rows is None:
        return _ks(np.sort(scores[positive]), np.sort(scores[~positive]))
    order = np.argsort(-scores)
    scores, positive, weight_rows = scores[order], positive[order], weight_rows[order].astype(np.float64)
    true, false = np.cumsum(np.where(positive, weight_rows, 0)), np.cumsum(np.where(positive, 0, weight_rows))
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    if true[-1] <= 0 or false[-1] <= 0:  # all the weight lies on one class
        return NAN
    return float(np.abs(true / true[-1] - false / false[-1])[last_of_tie].max())


def _ks(ones: np.ndarray, zeros: np.ndarray) -> float:
    """KS of sorted scores. The distance is largest at the score of a positive row, or just above one."""
    distance = 0.0
    for side in ("left", "right"):
        true = len(ones) - np.searchsorted(ones, ones, side)
        false = len(zeros) - np.searchsorted(zeros, ones, side)
        distance = max(distance, float(np.abs(true / len(ones) - false / len(zeros)).max()))
    return distance

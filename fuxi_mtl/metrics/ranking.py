"""Metrics of the order of the scores: AUC, AUC inside groups, KS. Exact, ties included.

With sample weights a count of rows is the sum of their weights, and a pair counts the product of its two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.bins import equal_edges
from fuxi_mtl.metrics.rows import NAN, binary_rows, observed
from fuxi_mtl.metrics.sums import Sums, sums_of, weighted

_KS_THRESHOLDS = 32


def auc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that a positive row scores above a negative one; a tie counts half.

    The rank form ``(sum of positive mid-ranks - n1 (n1 + 1) / 2) / (n1 n0)``, exact at any base rate:
    thresholds on a fixed grid see nothing at a base rate of 1e-4. With sample weights::

        AUC = sum_{i positive, j negative} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W1 W0)
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
    one_weights = weight_rows[positive]
    placements = _share_below(scores[~positive], ones, weight_rows[~positive])
    return float((one_weights * placements).sum() / one_weights.sum())


def auc_sums(labels, predictions, weights=None) -> Sums:
    """AUC linearised by its placement values.

    ``AUC + sum_pos w_i (V_i - AUC) / W1 + sum_neg w_j (U_j - AUC) / W0``. What is dropped is smaller than
    what is kept by a factor of about sqrt(1/n1 + 1/n0).

    Reference:
        E. R. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988.
    """
    positive = labels == 1
    placement = _placements(positive, predictions, weights)
    value = np.nan
    if positive.any():
        value = np.average(placement[positive], weights=None if weights is None else weights[positive])
    away = placement - value
    return sums_of(
        *(np.where(positive, away, 0), positive, np.where(positive, 0, away), ~positive),
        weights=weights,
        finish=lambda s: value + s[:, 0] / s[:, 1] + s[:, 2] / s[:, 3],
    )


def _placements(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The share (of the weight) of the other class that a row is on the right side of.

    Of a positive row these are the negatives below it, of a negative the positives above it. Ties count half.
    Without weights one sort answers for all rows.
    """
    placement = np.empty(len(scores))
    if weights is not None:
        ones, zeros = scores[positive], scores[~positive]
        placement[positive] = _share_below(zeros, ones, weights[~positive])
        placement[~positive] = 1 - _share_below(ones, zeros, weights[positive])
        return placement
    order = np.argsort(scores)
    ones = positive[order]
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]) + 1  # of equal scores
    ones_below = np.append(0, np.cumsum(ones, dtype=np.int32)[ends - 1])
    zeros_below = np.append(0, ends) - ones_below
    num_ones, num_zeros = int(ones_below[-1]), int(zeros_below[-1])
    # Rows of the other class below a run of equal scores and below its end: their mean counts a tie half.
    of_ones, of_zeros = zeros_below[:-1] + zeros_below[1:], ones_below[:-1] + ones_below[1:]
    if len(ends) < len(ordered):
        rows = np.diff(ends, prepend=0)
        of_ones, of_zeros = np.repeat(of_ones, rows), np.repeat(of_zeros, rows)
    with np.errstate(invalid="ignore"):  # a class without a row
        share = np.where(ones, of_ones, of_zeros) / np.where(ones, 2 * num_zeros, 2 * num_ones)
    placement[order] = np.where(ones, share, 1 - share)
    return placement


def _share_below(others: np.ndarray, values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Share (of the weight) of the others below each value, ties counting half."""
    if not len(others):
        return np.full(len(values), np.nan)
    if weights is None:
        ordered = np.sort(others)
        ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
        return ranks / (2 * len(ordered))
    order = np.argsort(others)
    ordered = others[order]
    running = np.concatenate([[0.0], np.cumsum(weights[order], dtype=np.float64)])
    below = running[np.searchsorted(ordered, values, "left")]
    return (below + running[np.searchsorted(ordered, values, "right")]) / (2 * running[-1])


@dataclass(frozen=True)
class GroupedAUC:
    """AUC inside groups.

    Attributes:
        value: Weighted mean of the groups' AUCs; NaN if no group has both classes.
        groups: Number of groups with both classes.
        coverage: Share of the labelled rows (or of their weight) that lie in those groups.
    """

    value: float
    groups: int
    coverage: float


def gauc(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    gauc_weight: str = "exposures",
    weights: ArrayLike | None = None,
) -> GroupedAUC:
    """AUC inside each group (a user, a request), averaged over the groups that have both classes.

    The negative rows, sorted once by a 64-bit key (group, score), answer for every positive row how many of
    its group it beats.

    Args:
        labels: 0, 1 or NaN.
        predictions: Scores; only their order inside a group matters.
        groups: Group of each row: integers or strings; None, NaN and empty text are no group, and the row
            is left out.
        gauc_weight: What weighs a group: its ``exposures`` (rows, or their weight) or its ``clicks``
            (positive rows, or their weight).
        weights: Sample weights, which count inside a group's AUC, too.
    """
    label_rows, scores, weight_rows, codes = observed(labels, predictions, weights, group_codes(groups))
    by_group = group_aucs(label_rows, scores, codes, weight_rows)
    value = by_group.mean(gauc_weight)
    if not len(by_group.auc):
        return GroupedAUC(value, 0, 0.0)
    total = len(scores) if weight_rows is None else weight_rows.sum(dtype=np.float64)
    return GroupedAUC(value, len(by_group.auc), float(by_group.rows.sum() / total))


def gauc_sums(labels, predictions, groups, gauc_weight="exposures", weights=None) -> Sums:
    """Each group's AUC times its weight, on one of its rows, so groups must be drawn as wholes."""
    codes = group_codes(groups)
    by_group = group_aucs(labels, predictions, codes, weights)
    row_of = np.zeros(codes.max(initial=0) + 1, np.int64)
    row_of[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    shares = by_group.weights(gauc_weight)
    columns = np.zeros((2, len(labels)))
    columns[:, row_of[by_group.code]] = by_group.auc * shares, shares
    return sums_of(*columns)


class GroupAUCs(NamedTuple):
    """One entry for each group with both classes; rows and positives are weights where rows have some."""

    code: np.ndarray
    auc: np.ndarray
    rows: np.ndarray
    positives: np.ndarray

    def weights(self, gauc_weight: str) -> np.ndarray:
        """What each group weighs.

        Raises:
            ValueError: It is neither ``exposures`` nor ``clicks``.
        """
        if gauc_weight not in ("exposures", "clicks"):
            raise ValueError(f"gauc_weight is {gauc_weight!r}. It can be: exposures, clicks.")
        return self.positives if gauc_weight == "clicks" else self.rows

    def mean(self, gauc_weight: str = "exposures") -> float:
        """gAUC: the weighted mean of the groups' AUCs; NaN without a group."""
        weights = self.weights(gauc_weight)
        return float(np.average(self.auc, weights=weights)) if len(self.auc) else NAN


def group_aucs(
    labels: ArrayLike, predictions: ArrayLike, codes: np.ndarray, weights: ArrayLike | None = None
) -> GroupAUCs:
    """The AUC of each group that has both classes; none at all where a prediction is NaN.

    Args:
        labels: 0 or 1.
        predictions: Scores.
        codes: From :func:`group_codes`.
        weights: Sample weights above 0.
    """
    positive, scores, weight_rows = binary_rows(labels, predictions, weights)
    if np.isnan(scores).any() or not len(scores):
        return GroupAUCs(*(np.zeros(0, dtype) for dtype in (np.int64, np.float64, np.int64, np.int64)))
    inside = codes >= 0
    if not inside.all():
        positive, scores, codes = positive[inside], scores[inside], codes[inside]
        weight_rows = None if weight_rows is None else weight_rows[inside]
    named, compact = _compact(codes)
    # Most groups of a rare event have one class only: their rows are not worth sorting.
    rows = np.bincount(compact)
    ones = np.bincount(compact[positive], minlength=len(rows))
    both = (ones > 0) & (ones < rows)
    kept = both[compact]
    order = _score_order(scores[kept]).astype(np.uint64)
    key = compact[kept].astype(np.uint64) << np.uint64(32) | order
    code, rows, ones = np.flatnonzero(both), rows[both], ones[both]
    one_keys, zero_keys = key[positive[kept]], key[~positive[kept]]
    if weight_rows is None:
        wins = _wins(np.sort(one_keys), np.sort(zero_keys), ones, rows - ones)
        value = wins / (2.0 * ones * (rows - ones))
        return GroupAUCs(code if named is None else named[code], value, rows, ones)
    held, weight_rows = positive[kept], weight_rows[kept]
    value, positives, negatives = _weighted_aucs(
        one_keys, zero_keys, weight_rows[held], weight_rows[~held], ones, rows - ones
    )
    return GroupAUCs(code if named is None else named[code], value, positives + negatives, positives)


def _wins(one_keys: np.ndarray, zero_keys: np.ndarray, ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """Twice the won pairs of each group, from its sorted keys and its numbers of rows by class."""
    if not len(ones):
        return np.zeros(0, np.int64)
    beaten = np.searchsorted(zero_keys, one_keys, "left") + np.searchsorted(zero_keys, one_keys, "right")
    zeros_of_groups_before = np.cumsum(zeros) - zeros
    return np.add.reduceat(beaten, np.cumsum(ones) - ones) - 2 * ones * zeros_of_groups_before


def _weighted_aucs(
    one_keys: np.ndarray,
    zero_keys: np.ndarray,
    one_weights: np.ndarray,
    zero_weights: np.ndarray,
    ones: np.ndarray,
    zeros: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted AUC of each group and the weight of its classes, from keys and numbers of rows by class."""
    if not len(ones):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    one_order, zero_order = np.argsort(one_keys), np.argsort(zero_keys)
    one_keys, one_weights = one_keys[one_order], one_weights[one_order]
    zero_keys, zero_weights = zero_keys[zero_order], zero_weights[zero_order]
    one_starts, zero_starts = np.cumsum(ones) - ones, np.cumsum(zeros) - zeros
    running = np.concatenate([[0.0], np.cumsum(zero_weights)])
    beaten = running[np.searchsorted(zero_keys, one_keys, "left")]
    beaten += running[np.searchsorted(zero_keys, one_keys, "right")]
    beaten -= 2 * np.repeat(running[zero_starts], ones)  # the weight of the groups before
    positives = np.add.reduceat(one_weights, one_starts)
    negatives = np.add.reduceat(zero_weights, zero_starts)
    wins = np.add.reduceat(one_weights * beaten, one_starts)
    return wins / (2 * positives * negatives), positives, negatives


def _compact(codes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Codes that can be counted in a table, and what they stand for unless they are the same."""
    if not len(codes) or int(codes.max()) < 4 * len(codes) + 1000:
        return None, codes
    return np.unique(codes, return_inverse=True)


def group_codes(groups: ArrayLike) -> np.ndarray:
    """Groups as integers from 0, -1 for a missing one (None, NaN or empty text).

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
    if values.dtype.kind in "SU":
        missing = missing | (values == values.dtype.type())
    codes = np.full(len(values), -1, np.int64)
    codes[~missing] = np.unique(values[~missing], return_inverse=True)[1]
    return codes


def group_units(groups: ArrayLike) -> np.ndarray:
    """Groups as integers from 0, where a row without a group is one of its own.

    >>> group_units(["b", "a", "", "b", None]).tolist()
    [1, 0, 2, 1, 3]
    """
    codes = np.array(group_codes(groups))
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return np.unique(codes, return_inverse=True)[1]


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
    return float(np.abs(_rate_gaps(positive, scores, weight_rows)[1]).max())


def ks_sums(labels, predictions, weights=None) -> Sums:
    """TPR and FPR at 32 thresholds of equal weight, and at the one that attains KS on all rows."""
    positive = labels == 1
    equal = equal_edges(predictions, _KS_THRESHOLDS, weights)
    edges = np.unique(np.append(equal, _widest(positive, predictions, weights)))
    above = predictions[:, None] >= edges  # (rows, thresholds)
    columns = np.column_stack([above & positive[:, None], above & ~positive[:, None], positive, ~positive])
    ends = len(edges)

    def finish(s: np.ndarray) -> np.ndarray:
        return np.abs(s[:, :ends] / s[:, -2:-1] - s[:, ends:-2] / s[:, -1:]).max(axis=1, initial=0)

    return Sums(weighted(columns.astype(np.float32), weights), finish)


def largest_gaps(values: np.ndarray, masses: Sequence[np.ndarray]) -> list[float]:
    """The KS distance of two groups by any values, under several weightings at the price of one sort.

    Args:
        values: ``(rows,)``.
        masses: Each ``(rows,)``: a row's share of its group, negative in the second group.
    """
    order = np.argsort(values)
    ordered = values[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return [float(np.abs(np.cumsum(mass[order])[ends]).max(initial=0)) for mass in masses]


def _ks(ones: np.ndarray, zeros: np.ndarray) -> float:
    """KS of sorted scores. The distance is largest at the score of a positive row, or just above one."""
    distance = 0.0
    for side in ("left", "right"):
        true = len(ones) - np.searchsorted(ones, ones, side)
        false = len(zeros) - np.searchsorted(zeros, ones, side)
        distance = max(distance, float(np.abs(true / len(ones) - false / len(zeros)).max()))
    return distance


def _rate_gaps(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores from the highest down, and TPR - FPR at each as a threshold."""
    order = np.argsort(-scores)
    scores, positive = scores[order], positive[order]
    mass = np.ones(len(scores), np.int64) if weights is None else weights[order]
    true, false = np.cumsum(mass * positive), np.cumsum(mass * ~positive)
    last_of_tie = np.append(np.diff(scores) != 0, True)
    return scores[last_of_tie], (true / true[-1] - false / false[-1])[last_of_tie]


def _widest(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The score at which the two classes' rates are furthest apart; empty without both classes."""
    if positive.all() or not positive.any():
        return scores[:0]
    thresholds, gaps = _rate_gaps(positive, scores, weights)
    return thresholds[[np.argmax(np.abs(gaps))]]

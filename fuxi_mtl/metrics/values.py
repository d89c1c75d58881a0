"""Metrics of predicted values, such as watch times and amounts: their order, their bias and their spread.

Exact, ties included. With sample weights a count of rows is the sum of their weights, and a pair counts the
product of its two.
"""

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.bins import equal_bins, equal_edges
from fuxi_mtl.metrics.errors import bin_gap, mse
from fuxi_mtl.metrics.ranking import GroupedAUC, group_codes
from fuxi_mtl.metrics.rows import NAN, observed, weighted_mean
from fuxi_mtl.metrics.sums import Sums, ratio, sums_of

_KL_BINS = 20


def xauc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that of two rows with different labels the larger one is predicted larger; a tie counts half.

    All pairs with ``y_i != y_j``, in O(n log n)::

        XAUC = sum_{y_i > y_j} w_i w_j ([v_i > v_j] + [v_i = v_j] / 2) / sum_{y_i > y_j} w_i w_j

    On labels of 0 and 1 it is AUC. Pairs with equal labels are not counted; libraries that count them as
    wrong (or as right) have other numbers.

    Reference:
        Zhan et al. Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation. KDD 2022.
    """
    values, predicted, weight_rows = observed(labels, predictions, weights)
    row_weights = _weights(values, weight_rows)
    whole = np.zeros(len(values), np.int64)
    won, pairs = _won_below(values, predicted, row_weights, whole), _below(values, row_weights, whole)
    total = (row_weights * pairs).sum()
    return float((row_weights * won).sum() / total) if total > 0 and _ordered(predicted) else NAN


def xauc_sums(labels, predictions, weights=None) -> Sums:
    """XAUC linearised as a U-statistic.

    With ``c_i`` the weight of the comparable pairs that row i wins (of a tie half) and ``d_i`` that of its
    comparable pairs, rows counted k times have ``(2 k.c - sum c) / (2 k.d - sum d)``.
    """
    row_weights, whole = _weights(labels, weights), np.zeros(len(labels), np.int64)
    won, pairs = _won(labels, predictions, row_weights, whole), _comparable(labels, row_weights, whole)
    least = [(row_weights * each).sum() for each in (won, pairs)]
    return sums_of(won, pairs, weights=weights, finish=lambda s: ratio(2 * s[:, :2] - least))


def xgauc(
    labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> GroupedAUC:
    """XAUC inside each group (a user, a request), averaged by rows over the groups with two different labels.

    Args:
        labels: Values, or NaN.
        predictions: Only their order inside a group matters.
        groups: Group of each row; None, NaN and empty text are no group, and the row is left out.
        weights: Sample weights, which count inside a group's XAUC, too.
    """
    values, predicted, weight_rows, codes = observed(labels, predictions, weights, group_codes(groups))
    row_weights = _weights(values, weight_rows)
    _, value, rows = _group_xaucs(values, predicted, codes, row_weights)
    if not len(value) or not _ordered(predicted):
        return GroupedAUC(NAN, 0, 0.0)
    total = row_weights.sum()
    return GroupedAUC(float(np.average(value, weights=rows)), len(value), float(rows.sum() / total))


def xgauc_sums(labels, predictions, groups, weights=None) -> Sums:
    """Each group's XAUC times its rows, on one of its rows, so groups must be drawn as wholes."""
    codes = group_codes(groups)
    code, value, rows = _group_xaucs(labels, predictions, codes, _weights(labels, weights))
    row_of = np.zeros(codes.max(initial=0) + 1, np.int64)
    row_of[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    columns = np.zeros((2, len(labels)))
    columns[:, row_of[code]] = value * rows, rows
    return sums_of(*columns)


def no_group_differs(labels: np.ndarray, predictions: np.ndarray, groups: ArrayLike) -> str:  # noqa: ARG001
    """Why XGAUC has no value on rows whose labels differ; empty where it has one."""
    codes = group_codes(groups)
    pairs = _below(labels[codes >= 0], np.ones((codes >= 0).sum()), codes[codes >= 0])
    return "" if pairs.any() else "no group has rows with different labels"


def spearman(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Spearman's rank correlation: Pearson's of the mid-ranks."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    row_weights = _weights(values, weight_rows)
    ranks = [_mid_ranks(each, row_weights) for each in (values, predicted)]
    away = [rank - weighted_mean(rank, row_weights) for rank in ranks]
    spread = np.sqrt((row_weights * away[0] ** 2).sum() * (row_weights * away[1] ** 2).sum())
    defined = spread > 0 and _ordered(predicted)
    return float((row_weights * away[0] * away[1]).sum() / spread) if defined else NAN


def one_prediction(labels: np.ndarray, predictions: np.ndarray) -> str:  # noqa: ARG001
    """Why a correlation has no value where labels differ; empty where it has one."""
    return "" if predictions.min() < predictions.max() else f"all predictions are {predictions[0]:g}"


def explained(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """R2, the share of the labels' variance that is explained: ``1 - mean (v - y)^2 / var y``."""
    values, _, weight_rows = observed(labels, predictions, weights)
    mean = weighted_mean(values.astype(np.float64), weight_rows)
    variance = weighted_mean((values - mean) ** 2, weight_rows)
    return 1 - mse(labels, predictions, weights) / variance if variance > 0 else NAN


def explained_sums(labels, predictions, weights=None) -> Sums:
    """Squared errors, labels and their squares over rows."""
    shifted = labels.astype(np.float64) - (labels.mean(dtype=np.float64) if len(labels) else 0.0)

    def finish(s: np.ndarray) -> np.ndarray:
        variance = s[:, 2] / s[:, 3] - (s[:, 1] / s[:, 3]) ** 2
        return 1 - s[:, 0] / s[:, 3] / variance

    squares = (predictions - labels) ** 2
    return sums_of(squares, shifted, shifted**2, np.ones(len(labels)), weights=weights, finish=finish)


def value_ratio(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Predicted over observed, ``mean(value) / mean(label)``; 1 is right on average."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    mean = weighted_mean(values.astype(np.float64), weight_rows)
    return weighted_mean(predicted.astype(np.float64), weight_rows) / mean if mean > 0 else NAN


def relative_mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error divided by the mean label."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    mean = weighted_mean(values.astype(np.float64), weight_rows)
    error = weighted_mean(np.abs(predicted.astype(np.float64) - values), weight_rows)
    return error / mean if mean > 0 else NAN


def relative_mae_sums(labels, predictions, weights=None) -> Sums:
    """Absolute errors over labels."""
    return sums_of(np.abs(predictions - labels), labels, weights=weights)


def bucket_bias(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean over ten bins of predictions of ``|mean prediction - mean label|``, over the mean label."""
    values, predicted, weight_rows = observed(labels, predictions, weights)
    mean = weighted_mean(values.astype(np.float64), weight_rows)
    return bin_gap(values.astype(np.float64), predicted, weight_rows) / mean if mean > 0 else NAN


def bucket_bias_sums(labels, predictions, weights=None) -> Sums:
    """The gap of each bin over the labels; resamples keep the bins of all rows."""
    bin_of = equal_bins(predictions, weights=weights)
    gaps = [np.where(bin_of == i, predictions - labels, 0) for i in range(int(bin_of.max(initial=0)) + 1)]

    def finish(s: np.ndarray) -> np.ndarray:
        return np.abs(s[:, 1:]).sum(axis=1) / s[:, 0]

    return sums_of(labels, *gaps, weights=weights, finish=finish)


def gini(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Normalised Gini: how much of the labels' sum the highest predictions hold, 1 for the labels' own order.

    With ``L`` the share of the sum of labels among the rows predicted highest, over their share of the rows,
    as straight lines between rows (one across a tie)::

        raw = 2 (area under L) - 1        Gini = raw(v) / raw(y)

    0 for an order by chance, below 0 for one that is worse.

    Reference:
        Wang, Liu and Miao. A Deep Probabilistic Model for Customer Lifetime Value Prediction. 2019; their
        program takes a sum over rows in place of the area, which depends on the number of rows.
    """
    values, predicted, weight_rows = observed(labels, predictions, weights)
    row_weights = _weights(values, weight_rows)
    if not (len(values) and values.min() >= 0 and values.max() > 0 and _ordered(predicted)):
        return NAN
    ideal = _lorenz(values, values, row_weights)
    return _lorenz(values, predicted, row_weights) / ideal if ideal > 0 else NAN


def divergence(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """KL divergence of the predictions' histogram from that of the labels, over 20 bins of the labels.

    The bins hold equally many labels (ties stay together); every bin has one row (a weight of 1) more,
    against empty ones: ``sum_b p_b log(p_b / q_b)``, p of labels and q of predictions.
    """
    values, predicted, weight_rows = observed(labels, predictions, weights)
    if not len(values) or not _ordered(predicted):
        return NAN
    row_weights = _weights(values, weight_rows)
    edges = equal_edges(values, _KL_BINS, weight_rows)
    shares = []
    for each in (values, predicted):
        held = 1 + np.bincount(np.searchsorted(edges, each, "right"), row_weights, len(edges) + 1)
        shares.append(held / held.sum())
    return float((shares[0] * np.log(shares[0] / shares[1])).sum())


# ---- rows and pairs ----------------------------------------------------------------------------------------


def _ordered(predictions: np.ndarray) -> bool:
    """Whether none is NaN."""
    return not np.isnan(predictions).any()


def _weights(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.ones(len(values)) if weights is None else weights.astype(np.float64)


def _won_below(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each row the weight of those of its group with a smaller label and a smaller value, of ties half.

    Rows are put in the order of group, label and falling value; those that come before a row and have a
    smaller value are then rows with a smaller label. They are counted bit by bit of the values' ranks (a
    wavelet tree): of the rows whose ranks agree in all higher bits, those before with a 0 are smaller than a
    row with a 1.
    """
    ties = _below(labels, weights, _joint(codes, values)) / 2
    order = np.lexsort((-values, labels, codes))
    # Distinct ranks by group and value; of equal values those with larger labels come first: no win.
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    by_value = np.lexsort((-position, values, codes))
    rank = np.empty(len(order), np.int64)
    rank[by_value] = np.arange(len(order))
    rank, rows = rank.astype(np.int32), order.astype(np.int32)
    won, count, equal = np.zeros(len(labels)), len(order), bool((weights == 1).all())
    for bit in reversed(range(max(count - 1, 1).bit_length())):
        ranks = rank[rows]
        zero = (ranks >> bit & 1) == 0
        zeros = np.concatenate([[0], np.cumsum(zero, dtype=np.int32)])
        start = ranks >> (bit + 1) << (bit + 1)  # ranks are 0 ... n - 1, so a part begins at its least rank
        before = zeros[:-1] - zeros[start]
        if equal:
            mass_before = before
        else:
            mass = np.concatenate([[0.0], np.cumsum(np.where(zero, weights[rows], 0.0))])
            mass_before = mass[:-1] - mass[start]
        ones = ~zero
        won[rows[ones]] += mass_before[ones]
        to = start + np.where(zero, before, (1 << bit) + np.arange(count, dtype=np.int32) - start - before)
        arranged = np.empty_like(rows)
        arranged[to] = rows
        rows = arranged
    return won - _mass_of_groups_before(weights, codes) + ties


def _won(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each row the weight of its comparable pairs that are in the right order, of ties half."""
    below = _won_below(labels, values, weights, codes)
    return below + _won_below(-labels, -values, weights, codes)


def _below(labels: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each row the weight of those of its group with a smaller label."""
    order = np.lexsort((labels, codes))
    running = np.concatenate([[0.0], np.cumsum(weights[order])])
    new_group = np.append(True, np.diff(codes[order]) != 0)
    new_label = new_group | np.append(True, np.diff(labels[order]) != 0)
    first = running[np.flatnonzero(new_label)][np.cumsum(new_label) - 1]
    start = running[np.flatnonzero(new_group)][np.cumsum(new_group) - 1]
    found = np.empty(len(labels))
    found[order] = first - start
    return found


def _comparable(labels: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each row the weight of those of its group with another label."""
    return _below(labels, weights, codes) + _below(-labels, weights, codes)


def _mass_of_groups_before(weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The weight of all rows in groups with smaller codes."""
    masses = np.bincount(codes, weights)
    return (np.cumsum(masses) - masses)[codes]


def _joint(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Codes of pairs of a group and a value."""
    of_value = np.unique(values, return_inverse=True)[1].astype(np.int64)
    joint = codes.astype(np.int64) * (of_value.max(initial=0) + 1) + of_value
    return np.unique(joint, return_inverse=True)[1]


def _group_xaucs(
    labels: np.ndarray, predictions: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code, XAUC and weight of the rows of each group with two different labels."""
    inside = codes >= 0
    named, compact = np.unique(codes[inside], return_inverse=True)
    y, v, w = labels[inside], predictions[inside], weights[inside]
    won = np.bincount(compact, w * _won_below(y, v, w, compact), len(named))
    pairs = np.bincount(compact, w * _below(y, w, compact), len(named))
    rows, some = np.bincount(compact, w, len(named)), pairs > 0
    return named[some], won[some] / pairs[some], rows[some]


def _mid_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weight below each value, and half of that at it."""
    whole = np.zeros(len(values), np.int64)
    return (_below(values, weights, whole) + weights.sum() - _below(-values, weights, whole)) / 2


def _lorenz(labels: np.ndarray, by: np.ndarray, weights: np.ndarray) -> float:
    """Twice the area under the share of the labels' sum, less one, from the highest of `by` down."""
    order = np.argsort(-by, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(by[order]) != 0, True))
    rows = np.append(0.0, np.cumsum(weights[order])[ends])
    held = np.append(0.0, np.cumsum((weights * labels)[order])[ends])
    area = (np.diff(rows) * (held[1:] + held[:-1]) / 2).sum()
    return float(2 * area / (rows[-1] * held[-1]) - 1)

"""Paired bootstrap over test rows, for every metric, as products of one matrix.

A resample is a count for each unit (row, or group of rows). Each metric is written as a function of a
few sums over rows, so that all resamples of all metrics of a model are one product
``counts (resamples, units) @ sums (units, columns)``. Two models measured with the same ``counts`` are
paired: the noise of the test rows that they share cancels in the difference.

AUC is not a function of sums over rows; it is linearised by its placement values (DeLong 1988):
``AUC + sum_pos w_i (V_i - AUC) / W1 + sum_neg w_j (U_j - AUC) / W0``. What is dropped is smaller than
what is kept by a factor of about sqrt(1/n1 + 1/n0). KS is searched on 32 thresholds, the one that attains
it on all rows among them, and ECE keeps the bins of all rows.

References:
    E. R. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988.
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fuxi_mtl import metrics

MAX_UNITS = 100_000
_BLOCK = 64
_KS_THRESHOLDS = 32


@dataclass(frozen=True)
class Resampling:
    """The same resamples for every model of a comparison.

    Attributes:
        unit_of_row: ``(rows,)`` unit of each row.
        surplus: ``(resamples, units)`` int8, how often each unit was drawn, less one. Sums over a
            resample are the whole sums plus this product, which float32 does not blur.
    """

    unit_of_row: np.ndarray
    surplus: np.ndarray


def resampling(
    rows: int, groups: np.ndarray | None = None, resamples: int = 1000, seed: int = 2026
) -> Resampling:
    """Draws rows with replacement, or whole groups, because the rows of a user are not independent.

    Above 100,000 units, units are first thrown together at random into that many. The sums of such
    bundles vary as those of single units do, and memory stays bounded at any number of rows.
    """
    rng = np.random.default_rng(seed)
    unit_of_row = np.arange(rows) if groups is None else _units_of_groups(groups)
    units = int(unit_of_row.max()) + 1 if rows else 0
    if units > MAX_UNITS:
        unit_of_row = (rng.permutation(units) % MAX_UNITS)[unit_of_row]
        units = MAX_UNITS
    surplus = np.empty((resamples, units), np.int8)
    for i in range(resamples):
        surplus[i] = np.bincount(rng.integers(0, units, units), minlength=units) - 1
    return Resampling(unit_of_row, surplus)


def _units_of_groups(groups: np.ndarray) -> np.ndarray:
    codes = metrics.group_codes(groups)
    alone = codes < 0  # a row without a group stands for itself
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return np.unique(codes, return_inverse=True)[1]


@dataclass(frozen=True)
class Statistic:
    """A metric as sums over rows.

    Attributes:
        columns: ``(rows, k)``, what is summed.
        finish: Turns sums ``(resamples, k)`` into values ``(resamples,)``.
    """

    columns: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]

    def value(self) -> float:
        """The metric on the rows themselves."""
        return float(self.finish(self.columns.sum(axis=0, keepdims=True, dtype=np.float64))[0])


def replicates(statistics: dict[str, Statistic], drawn: Resampling) -> dict[str, np.ndarray]:
    """The values of every statistic on every resample, ``(resamples,)`` by key; NaN where undefined."""
    if not statistics:
        return {}
    units = drawn.surplus.shape[1]
    parts = [_by_unit(s.columns, drawn.unit_of_row, units) for s in statistics.values()]
    whole = np.concatenate([part.sum(axis=0, dtype=np.float64) for part in parts])
    table = np.concatenate(parts, axis=1, dtype=np.float32)  # (units, all columns)
    sums = np.empty((len(drawn.surplus), table.shape[1]))
    for start in range(0, len(sums), _BLOCK):
        block = slice(start, start + _BLOCK)
        sums[block] = whole + drawn.surplus[block].astype(np.float32) @ table
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            key: statistics[key].finish(part)
            for key, part in zip(statistics, np.split(sums, ends, axis=1), strict=True)
        }


def _by_unit(columns: np.ndarray, unit_of_row: np.ndarray, units: int) -> np.ndarray:
    if len(columns) == units and np.array_equal(unit_of_row, np.arange(units)):
        return columns
    sums = [np.bincount(unit_of_row, column, minlength=units) for column in columns.T]
    return np.stack(sums, axis=1)


def statistic(
    name: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    threshold: float | None = None,
    gauc_weight: str = "exposures",
) -> Statistic:
    """Writes a metric as sums over all rows; a row without a label adds nothing.

    Raises:
        ValueError: The metric needs a threshold or groups that are not given.
    """
    seen = ~np.isnan(labels)
    labels, predictions = labels[seen], predictions[seen].astype(np.float64)
    if name in ("precision", "recall", "F1", "accuracy"):
        if threshold is None:
            raise ValueError(f"the threshold of {name} was not stored with the run")
        columns, finish = _decision(name, labels, predictions, threshold)
    elif name == "gAUC":
        if groups is None:
            raise ValueError("the groups of gAUC were not stored with the run")
        columns, finish = _grouped(labels, predictions, groups[seen], gauc_weight)
    else:
        columns, finish = _STATISTICS[name](labels, predictions)
    whole = np.zeros((len(seen), columns.shape[1]), columns.dtype)
    whole[seen] = columns
    return Statistic(whole, finish)


_Sums = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]


def _columns(*columns: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _auc(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    positive = labels == 1
    ones, zeros = np.sort(predictions[positive]), np.sort(predictions[~positive])
    placement = np.empty(len(labels))
    placement[positive] = _share_below(zeros, predictions[positive])
    placement[~positive] = 1 - _share_below(ones, predictions[~positive])
    value = placement[positive].mean() if len(ones) else np.nan
    away = placement - value
    columns = _columns(np.where(positive, away, 0), positive, np.where(positive, 0, away), ~positive)
    return columns, lambda s: value + s[:, 0] / s[:, 1] + s[:, 2] / s[:, 3]


def _share_below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of the ordered values below each value, ties counting half."""
    if not len(ordered):
        return np.full(len(values), np.nan)
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return ranks / (2 * len(ordered))


def _ks(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    positive = labels == 1
    edges = np.unique(np.append(_equal_edges(predictions), _widest(positive, predictions)))
    above = predictions[:, None] >= edges  # (rows, thresholds)
    columns = np.column_stack([above & positive[:, None], above & ~positive[:, None], positive, ~positive])
    ends = len(edges)

    def finish(s: np.ndarray) -> np.ndarray:
        return np.abs(s[:, :ends] / s[:, -2:-1] - s[:, ends:-2] / s[:, -1:]).max(axis=1, initial=0)

    return columns.astype(np.float32), finish


def _equal_edges(predictions: np.ndarray) -> np.ndarray:
    if not len(predictions):
        return predictions
    cuts = np.arange(1, _KS_THRESHOLDS) * len(predictions) // _KS_THRESHOLDS
    return np.partition(predictions, cuts)[cuts]


def _widest(positive: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The score at which the two classes' rates are furthest apart; empty without both classes."""
    if positive.all() or not positive.any():
        return predictions[:0]
    order = np.argsort(-predictions)
    gap = np.cumsum(positive[order]) / positive.sum() - np.cumsum(~positive[order]) / (~positive).sum()
    last_of_tie = np.append(np.diff(predictions[order]) != 0, True)
    return predictions[order][last_of_tie][[np.argmax(np.abs(gap[last_of_tie]))]]


def _logloss(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    epsilon = np.finfo(np.float32).eps
    chance = np.clip(predictions, epsilon, 1 - epsilon)
    return _columns(-np.log(np.where(labels == 1, chance, 1 - chance)), np.ones(len(labels))), _ratio


def _pcoc(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    return _columns(predictions, labels), _ratio


def _mae(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    return _columns(np.abs(predictions - labels), np.ones(len(labels))), _ratio


def _bias(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    return _columns(predictions - labels, np.ones(len(labels))), _ratio


def _mse(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    return _columns((predictions - labels) ** 2, np.ones(len(labels))), _ratio


def _rmse(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    return _columns((predictions - labels) ** 2, np.ones(len(labels))), lambda s: np.sqrt(_ratio(s))


def _ece(labels: np.ndarray, predictions: np.ndarray) -> _Sums:
    bin_of = metrics.equal_bins(predictions)
    gaps = [np.where(bin_of == i, predictions - labels, 0) for i in range(int(bin_of.max(initial=0)) + 1)]
    columns = _columns(np.ones(len(labels)), *gaps)
    return columns, lambda s: np.abs(s[:, 1:]).sum(axis=1) / s[:, 0]


_STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], _Sums]] = {
    "AUC": _auc,
    "KS": _ks,
    "logloss": _logloss,
    "PCOC": _pcoc,
    "MAE": _mae,
    "RMSE": _rmse,
    "bias": _bias,
    "MSE": _mse,
    "ECE": _ece,
}


def _decision(name: str, labels: np.ndarray, predictions: np.ndarray, threshold: float) -> _Sums:
    yes, positive = predictions >= threshold, labels == 1
    part, whole = {
        "precision": (yes & positive, yes),
        "recall": (yes & positive, positive),
        "F1": (2.0 * (yes & positive), yes.astype(float) + positive),
        "accuracy": (yes == positive, np.ones(len(labels))),
    }[name]
    return _columns(part, whole), _ratio


def _grouped(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray, weight: str) -> _Sums:
    """Each group's AUC is put on one of its rows, so groups must be drawn as wholes."""
    codes = metrics.group_codes(groups)
    by_group = metrics.group_aucs(labels, predictions, codes)
    row_of = np.zeros(codes.max(initial=0) + 1, np.int64)
    row_of[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    weights = by_group.positives if weight == "clicks" else by_group.rows
    columns = np.zeros((len(labels), 2))
    columns[row_of[by_group.code]] = _columns(by_group.auc * weights, weights)
    return columns, _ratio

"""Paired bootstrap over test rows, for every metric.

A resample is a count for each unit (row, or group of rows). A metric that is a function of a few sums over
rows (:class:`fuxi_mtl.metrics.Sums`) is resampled by products: all resamples of all such metrics of a model
are one product ``counts (resamples, units) @ sums (units, columns)``. Any other is computed anew on the rows
of each resample, on fewer of them. Two models measured with the same ``counts`` are paired: the noise of the
test rows that they share cancels in the difference.

AUC is not a function of sums over rows; it is linearised. KS is searched on 32 thresholds, and ECE keeps the
bins of all rows.

References:
    E. R. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988.
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fuxi_mtl import metrics
from fuxi_mtl.metrics import NO_PARTS, Metric, Observations, Parts, Sums

Key = TypeVar("Key", bound=Hashable)

MAX_UNITS = 100_000
MOST_DIRECT = 200  # resamples of a metric that is no function of sums: its end points vary little beyond
_BLOCK = 64


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
    unit_of_row = np.arange(rows) if groups is None else metrics.group_units(groups)
    units = int(unit_of_row.max()) + 1 if rows else 0
    if units > MAX_UNITS:
        unit_of_row = (rng.permutation(units) % MAX_UNITS)[unit_of_row]
        units = MAX_UNITS
    surplus = np.empty((resamples, units), np.int8)
    for i in range(resamples):
        surplus[i] = np.bincount(rng.integers(0, units, units), minlength=units) - 1
    return Resampling(unit_of_row, surplus)


@dataclass(frozen=True)
class Direct:
    """A metric that is computed on the rows of each resample.

    Attributes:
        metric: What is measured.
        rows: The rows that it sees.
        seen: ``(all rows,)`` booleans: which those are.
    """

    metric: Metric
    rows: Observations
    seen: np.ndarray

    def value(self) -> float:
        """The metric on the rows themselves."""
        return self.metric.measure(self.rows).value

    def replicates(self, drawn: Resampling) -> np.ndarray:
        """The values on the first resamples, at most :data:`MOST_DIRECT`; NaN where undefined.

        A unit that is drawn twice gives its rows twice, and each time other groups: the second drawing of a
        user is another user.
        """
        unit_of_row, groups = drawn.unit_of_row[self.seen], None
        codes = None if self.rows.groups is None else metrics.group_codes(self.rows.groups)
        values = np.empty(min(MOST_DIRECT, len(drawn.surplus)))
        for i in range(len(values)):
            counts = drawn.surplus[i].astype(np.int64)[unit_of_row] + 1
            chosen = np.repeat(np.arange(len(counts)), counts)
            if codes is not None:
                drawing = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
                apart = codes[chosen] + drawing * (codes.max(initial=0) + 1)
                groups = np.where(codes[chosen] < 0, np.nan, apart)
            values[i] = self.metric.measure(self.rows.take(chosen, groups)).value
        return values


def statistic(
    metric: Metric,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    threshold: float | None = None,
    gauc_weight: str = "exposures",
    parts: Parts = NO_PARTS,
) -> Sums | Direct:
    """A metric as it is resampled: as sums over all rows if it has such a form.

    A row without a label or a weight adds nothing.

    Raises:
        ValueError: The metric is not to be resampled, or needs a threshold or groups that are not given.
    """
    seen = ~np.isnan(labels)
    if weights is not None:
        seen &= weights > 0
    rows = Observations(
        labels[seen],
        predictions[seen],
        None if weights is None else weights[seen].astype(np.float64),
        None if groups is None else groups[seen],
        threshold,
        gauc_weight,
        parts.take(seen),
    )
    sums = metric.resampled(rows)
    if sums is None:
        return Direct(metric, rows, seen)
    whole = np.zeros((len(seen), sums.columns.shape[1]), sums.columns.dtype)
    whole[seen] = sums.columns
    return Sums(whole, sums.finish)


def replicates(statistics: Mapping[Key, Sums | Direct], drawn: Resampling) -> dict[Key, np.ndarray]:
    """The values of every statistic on every resample by key, ``(resamples,)``; NaN where undefined.

    Those of a :class:`Direct` one are of the first resamples only.
    """
    sums = {key: each for key, each in statistics.items() if isinstance(each, Sums)}
    of_sums = _products(sums, drawn) if sums else {}
    return {
        key: of_sums[key] if isinstance(each, Sums) else each.replicates(drawn)
        for key, each in statistics.items()
    }


def interval(values: np.ndarray, level: float) -> tuple[float, float] | None:
    """The percentile interval of resampled values; None where a tenth of them or more is undefined."""
    defined = values[~np.isnan(values)]
    if len(defined) < 0.9 * len(values):
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def _products(statistics: Mapping[Key, Sums], drawn: Resampling) -> dict[Key, np.ndarray]:
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

"""Paired bootstrap over test rows, for every metric.

A resample is a count for each unit (row, or group of rows). A metric that is a function of a few sums over
rows (:class:`fuxi_mtl.metrics.Sums`) is resampled by products: all resamples of all such metrics of some
models are one product ``counts (resamples, units) @ sums (units, columns)``, and what they share, which is
all that the labels alone say, is a column of it once. Any other is computed anew on the rows of each
resample, on fewer of them. Two models measured with the same ``counts`` are paired: the noise of the
test rows that they share cancels in the difference.

AUC is not a function of sums over rows; it is linearised. KS is searched on 32 thresholds, and ECE keeps the
bins of all rows.

References:
    E. R. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988.
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993.
"""

import os
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from fuxi_mtl import metrics
from fuxi_mtl.metrics import NO_PARTS, Metric, Observations, Parts, Sums

Key = TypeVar("Key", bound=Hashable)

MAX_UNITS = 100_000
MOST_DIRECT = 200  # resamples of a metric that is no function of sums: its end points vary little beyond
_BLOCK = 128  # resamples that are multiplied at once
_MOST_WORKERS = 8  # each has a block of up to 50 MB


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
    every = bool(seen.all())
    which: np.ndarray | slice = slice(None) if every else seen
    rows = Observations(
        labels[which],
        predictions[which],
        None if weights is None else weights[which].astype(np.float64),
        None if groups is None else groups[which],
        threshold,
        gauc_weight,
        parts if every else parts.take(seen),
    )
    sums = metric.resampled(rows)
    if sums is None:
        return Direct(metric, rows, seen)
    if every:
        return sums
    whole = np.zeros((sums.columns.shape[1], len(seen)), sums.columns.dtype).T
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
    parts = [_by_unit(each, drawn.unit_of_row, units) for each in statistics.values()]
    table, places = _distinct(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        products = _product(drawn.surplus, table)
        return {
            key: statistics[key].finish(part.totals + products[:, own])
            for key, part, own in zip(statistics, parts, places, strict=True)
        }


def _distinct(parts: Sequence[Sums]) -> tuple[np.ndarray, list[list[int]]]:
    """The columns of all parts, each once, ``(columns, units)`` float32, and which of them are a part's.

    What is summed of labels alone is the same in all runs.
    """
    kept: list[np.ndarray] = []
    places: list[list[int]] = []
    alike: dict[float, list[int]] = {}
    for part in parts:
        places.append([])
        for column, total in zip(part.columns.T, part.totals.tolist(), strict=True):
            known = alike.setdefault(total, [])
            place = next((i for i in known if np.array_equal(kept[i], column)), len(kept))
            if place == len(kept):
                kept.append(column)
                known.append(place)
            places[-1].append(place)
    table = np.zeros((max(len(kept), 2), len(kept[0])), np.float32)  # one alone is multiplied in another way
    for row, column in zip(table, kept, strict=False):
        row[:] = column
    return table, places


def _product(surplus: np.ndarray, table: np.ndarray) -> np.ndarray:
    """``surplus @ table.T`` in float32, blocks of resamples side by side.

    Threads of the matrix library would wait for each other by spinning, where others use the machine, too.
    """
    products = np.empty((len(surplus), len(table)), np.float32)

    def multiply(start: int) -> None:
        block = slice(start, start + _BLOCK)
        np.matmul(surplus[block].astype(np.float32), table.T, out=products[block])

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers()) as pool:
        for _ in pool.map(multiply, range(0, len(surplus), _BLOCK)):
            pass
    return products


def workers() -> int:
    """How many threads work side by side: one a processor, but no more than their blocks have room for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


def _by_unit(each: Sums, unit_of_row: np.ndarray, units: int) -> Sums:
    if len(each.columns) == units and np.array_equal(unit_of_row, np.arange(units)):
        return each
    sums = [np.bincount(unit_of_row, column, minlength=units) for column in each.columns.T]
    return Sums(np.stack(sums).T, each.finish)

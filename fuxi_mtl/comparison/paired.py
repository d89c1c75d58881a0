"""Differences to a baseline on the same test rows."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fuxi_mtl import metrics
from fuxi_mtl.comparison.bootstrap import (
    MOST_DIRECT,
    Direct,
    Resampling,
    interval,
    replicates,
    resampling,
    statistic,
    workers,
)
from fuxi_mtl.comparison.runs import StoredRun
from fuxi_mtl.comparison.table import Difference
from fuxi_mtl.metrics import METRICS, TRUTH_METRICS, Sums, TruthMetric
from fuxi_mtl.runs import StoredScores

NAN = float("nan")
# Predictions are float32, and the stored value was computed from the same ones.
_TOLERANCE = 1e-4
# Runs that are resampled by one product of matrices, as that of a single one is narrow, which is slow; fewer
# where they have many rows, for the sums of all are in memory.
_TOGETHER = 32
_ROWS_TOGETHER = 2_000_000


@dataclass(frozen=True)
class _Tested:
    """A run with its test scores."""

    run: StoredRun
    scores: StoredScores


@dataclass(frozen=True)
class _Measured:
    """One run on every resample.

    Attributes:
        values: ``(resamples,)`` by column, of the first resamples where the metric is no function of sums.
        reasons: Why a column has none.
    """

    values: dict[str, np.ndarray]
    reasons: dict[str, str]


class Paired:
    """Compares experiments with a baseline; the resamples are drawn once and shared.

    Args:
        baseline: The baseline's runs, one a seed.
        columns: Columns of the table.
        split: Split of the stored values; intervals exist for ``test`` only.
        resamples: Number of resamples; 0 leaves the intervals out.
        level: Coverage of the interval.
        seed: Seed of the resamples.
    """

    def __init__(
        self,
        baseline: Sequence[StoredRun],
        columns: Sequence[str],
        split: str = "test",
        resamples: int = 1000,
        level: float = 0.95,
        seed: int = 2026,
    ):
        self._baseline = {run.seed: run for run in baseline}
        self._columns, self._split = tuple(columns), split
        self._resamples, self._level, self._seed = resamples, level, seed
        self._reference: tuple[_Tested, Resampling] | None = None
        self._measured: dict[int, _Measured | ValueError] = {}  # by the run's object
        self.resampled = ""
        self.direct: set[str] = set()

    def prepare(self, runs: Iterable[StoredRun]) -> None:
        """Resamples many runs, of any experiments, and the baseline's of the same seeds.

        :meth:`differences` does it for those that are left.
        """
        if self._no_interval:
            return
        theirs = [run for run in runs if run.seed in self._baseline]
        seeds = dict.fromkeys(run.seed for run in theirs)
        wanted = {id(run): run for run in (*(self._baseline[seed] for seed in seeds), *theirs)}
        left = [run for key, run in wanted.items() if key not in self._measured]
        while left and self._reference is None:
            self._measure([left.pop(0)])
        if self._reference is None:
            return
        many = min(max(_ROWS_TOGETHER // max(self._reference[0].scores.rows, 1), 1), _TOGETHER)
        for start in range(0, len(left), many):
            self._measure(left[start : start + many])

    def differences(self, runs: Sequence[StoredRun]) -> dict[str, Difference]:
        """The difference of every column, averaged over the seeds that both have."""
        theirs = {run.seed: run for run in runs}
        seeds = tuple(sorted(theirs.keys() & self._baseline.keys()))
        if not seeds:
            none = Difference(NAN, reason="no seed in common with the baseline")
            return dict.fromkeys(self._columns, none)
        pairs: list[tuple[_Measured, _Measured]] = []
        reason = self._no_interval
        self.prepare(theirs[seed] for seed in seeds)
        for seed in () if reason else seeds:
            old, new = (self._measured[id(run)] for run in (self._baseline[seed], theirs[seed]))
            if isinstance(old, ValueError) or isinstance(new, ValueError):
                reason = str(old if isinstance(old, ValueError) else new)
                break
            pairs.append((new, old))
        return {column: self._difference(column, seeds, theirs, pairs, reason) for column in self._columns}

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the intervals that were made."""
        if not self.direct or self._resamples <= MOST_DIRECT:
            return []
        names = ", ".join(sorted(self.direct))
        return [
            f"Intervals of {names} rest on {MOST_DIRECT} resamples, on each of which it is computed anew."
        ]

    @property
    def _no_interval(self) -> str:
        """Why no experiment can have intervals; empty if some may."""
        if not self._resamples:
            return "intervals were not asked for"
        return "" if self._split == "test" else "intervals need test rows"

    def _difference(
        self,
        column: str,
        seeds: tuple[int, ...],
        theirs: Mapping[int, StoredRun],
        pairs: Sequence[tuple[_Measured, _Measured]],
        reason: str,
    ) -> Difference:
        values = [
            theirs[seed].metrics[self._split].get(column, NAN)
            - self._baseline[seed].metrics[self._split].get(column, NAN)
            for seed in seeds
        ]
        value = float(np.mean(values))
        other = next(iter(theirs.values()))
        if np.isnan(value):
            return Difference(NAN, seeds=seeds, reason="not defined for both")
        if column in METRICS and other.tasks != next(iter(self._baseline.values())).tasks:
            return Difference(NAN, seeds=seeds, reason="means over different tasks")
        if any(theirs[seed].weighted != self._baseline[seed].weighted for seed in seeds):
            return Difference(NAN, seeds=seeds, reason="sample weights count in one of the two only")
        if decides(column) and any(theirs[seed].oracle != self._baseline[seed].oracle for seed in seeds):
            return Difference(NAN, seeds=seeds, reason="the threshold of one of the two is an oracle")
        if reason:
            return Difference(value, seeds=seeds, reason=reason)
        reasons = [one.reasons[column] for pair in pairs for one in pair if column in one.reasons]
        if reasons:
            return Difference(value, seeds=seeds, reason=reasons[0])
        drawn = np.mean([new.values[column] - old.values[column] for new, old in pairs], axis=0)
        ends = interval(drawn, self._level)
        if ends is None:
            return Difference(value, seeds=seeds, reason="too few labels of one class to resample")
        return Difference(value, *ends, seeds)

    def _measure(self, runs: Sequence[StoredRun]) -> None:
        """Resamples every column of some runs, or notes why a run has none.

        Once there is a reference, the runs are read and brought into sums side by side.
        """

        def built(run: StoredRun) -> tuple[dict[str, Sums | Direct], dict[str, str]] | ValueError:
            try:
                return self._resampled(run)
            except ValueError as error:
                return error

        with ThreadPoolExecutor(workers()) as pool:
            found = dict(enumerate(pool.map(built, runs)))
        whole = {i: each for i, each in found.items() if not isinstance(each, ValueError)}
        together = {(i, key): each for i, (sums, _) in whole.items() for key, each in sums.items()}
        values = replicates(together, self._reference[1]) if self._reference else {}
        for i, run in enumerate(runs):
            each = found[i]
            if isinstance(each, ValueError):
                self._measured[id(run)] = each
            else:
                own = {key: values[i, key] for key in each[0]}
                self._measured[id(run)] = self._with_means(run, own, each[1])

    def _resampled(self, run: StoredRun) -> tuple[dict[str, Sums | Direct], dict[str, str]]:
        """What is resampled of a run, and why some columns are not, by column.

        Raises:
            ValueError: Its scores were not saved, or it was tested on other rows than the baseline.
        """
        scores = run.read_test_scores()
        if scores is None:
            raise ValueError(f"{run.expid} seed {run.seed} has no saved test scores (save_predictions)")
        tested = _Tested(run, scores)
        if self._reference is None:
            self._reference = tested, self._draw(tested.scores)
        elif problem := _other_rows(self._reference[0], tested):
            raise ValueError(problem)
        return self._statistics(tested)

    def _with_means(
        self, run: StoredRun, values: dict[str, np.ndarray], reasons: dict[str, str]
    ) -> _Measured:
        """A run on every resample, with the means of its tasks."""
        for mean in (column for column in self._columns if column in METRICS):
            parts = [key for key in run.metrics["test"] if _is_part(key, mean, run)]
            if missing := [key for key in parts if key not in values]:
                reasons[mean] = reasons[missing[0]]
            elif parts:
                values[mean] = np.mean([values[key] for key in parts], axis=0)
        return _Measured(values, reasons)

    def _statistics(self, tested: _Tested) -> tuple[dict[str, Sums | Direct], dict[str, str]]:
        """What is resampled of a run, and why some columns are not, by column."""
        run = tested.run
        found: dict[str, Sums | Direct] = {}
        reasons: dict[str, str] = {}
        for column in self._columns:
            task = task_of(column, run.tasks)
            if column in run.conversion_checks.get("values", {}):
                reasons[column] = "conversion checks are not resampled"
            elif column in run.metrics["test"] and metrics.split_key(column) == ("", ""):
                reasons[column] = f"no metric that is known measures {column} (--models)"
            if task is None or np.isnan(run.metrics["test"].get(column, NAN)):
                continue
            name = column.removeprefix(f"{task}_")
            try:
                found[column] = _statistic(tested, task, name)
            except ValueError as error:
                reasons[column] = str(error)
                continue
            if isinstance(found[column], Direct):
                self.direct.add(name)
        return found, reasons

    def _draw(self, scores: StoredScores) -> Resampling:
        units, what = scores.rows, "test rows"
        if scores.groups is not None:
            units, what = int(metrics.group_units(scores.groups).max(initial=-1)) + 1, "groups of test rows"
        self.resampled = f"{self._resamples:,} resamples of the {units:,} {what}"
        return resampling(scores.rows, scores.groups, self._resamples, self._seed)


def task_of(column: str, tasks: Mapping[str, str]) -> str | None:
    """The task of ``click_AUC``; None for a mean or another model's task."""
    return metrics.split_key(column, tasks)[0] or None


def decides(column: str) -> bool:
    """Whether a column is a metric of decisions at a threshold."""
    metric = metrics.find_metric_of_key(column)
    return metric is not None and "threshold" in metric.inputs


def _is_part(key: str, mean: str, run: StoredRun) -> bool:
    """Whether a column goes into a bare mean: one of its tasks' values that is defined."""
    task = task_of(key, run.tasks)
    return task is not None and key == f"{task}_{mean}" and not np.isnan(run.metrics["test"][key])


def _statistic(tested: _Tested, task: str, name: str) -> Sums | Direct:
    run, scores, metric = tested.run, tested.scores, TRUTH_METRICS.get(name) or METRICS[name]
    labels: np.ndarray | None
    try:
        labels, predictions = scores.label(task), scores.prediction(task)
        if isinstance(metric, TruthMetric):
            labels = metrics.target(metric, scores.truth(task), labels)
    except ValueError as error:
        raise ValueError(f"{run.expid} seed {run.seed} {error}") from error
    if labels is None:
        raise ValueError(f"{run.expid} seed {run.seed} saved no {task}_outcome")
    built = statistic(
        metric,
        labels,
        predictions,
        weights=scores.weights,
        groups=scores.groups,
        threshold=run.thresholds.get(task),
        gauc_weight=run.gauc_weight,
        parts=scores.parts(task),
    )
    stored = run.metrics["test"][f"{task}_{name}"]
    if abs(built.value() - stored) > _TOLERANCE * max(1.0, abs(stored)):
        raise ValueError(f"the saved test scores of {run.expid} seed {run.seed} do not give its {name}")
    return built


def _other_rows(reference: _Tested, tested: _Tested) -> str:
    """Why two runs were not tested on the same rows; empty if they were."""
    who = f"{tested.run.expid} seed {tested.run.seed}"
    rows, others = tested.scores.rows, reference.scores.rows
    if rows != others:
        return f"{who} was tested on {rows} rows, {reference.run.expid} on {others}"
    theirs = tested.scores.given
    for key, values in reference.scores.given.items():
        if key in theirs and not _are_equal(key, values, theirs[key]):
            return f"{who} was tested on rows with another {key} than {reference.run.expid}"
    return ""


def _are_equal(key: str, values: np.ndarray, others: np.ndarray) -> bool:
    """Whether stored values of the same rows are the same; a row without one has none in both."""
    if key == "group":
        return np.array_equal(metrics.group_codes(values), metrics.group_codes(others))
    return np.array_equal(values, others, equal_nan=True)

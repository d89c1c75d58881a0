"""Tables of a comparison as data: one table a dataset, a row an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fuxi_mtl.comparison.runs import StoredRun


@dataclass(frozen=True)
class Cell:
    """One metric of one experiment over its seeds.

    Attributes:
        by_seed: The value of each seed where the metric is defined.
        reason: Why there is no value, or why a seed is missing.
    """

    by_seed: Mapping[int, float]
    reason: str = ""

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN without any."""
        return float(np.mean(list(self.by_seed.values()))) if self.by_seed else float("nan")

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (n - 1); NaN below two seeds, where nothing is known of it."""
        if len(self.by_seed) < 2:
            return float("nan")
        return float(np.std(list(self.by_seed.values()), ddof=1))


@dataclass(frozen=True)
class Difference:
    """A metric minus the baseline's, averaged over their common seeds.

    Attributes:
        value: The difference; NaN if there is none.
        low: Lower end of the interval over resamples of the test rows; NaN without one.
        high: Its upper end.
        seeds: The common seeds.
        reason: Why there is no difference or no interval.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    seeds: tuple[int, ...] = ()
    reason: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Transfer:
    """What training the tasks together did to them, against single-task networks.

    Attributes:
        by_task: Relative change of each task's first metric, positive where better.
        metric_of: The metric behind each of them.
        reason: Why there is none.
    """

    by_task: Mapping[str, float] = field(default_factory=dict)
    metric_of: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def delta_m(self) -> float:
        """``1/T sum (M - M_single) / M_single``, each term signed so that positive is better."""
        return float(np.mean(list(self.by_task.values()))) if self.by_task else float("nan")


@dataclass(frozen=True)
class Row:
    """One experiment.

    Attributes:
        expid: Its key.
        model: Its model.
        seeds: The seeds that were run.
        cells: Its metrics, by column.
        differences: Against the baseline, by column; empty for the baseline itself.
        transfer: Against the single-task experiment.
        num_parameters: None where unknown.
        train_seconds: Mean over seeds, None where unknown.
        rows_per_second: Mean over seeds, None where unknown.
    """

    expid: str
    model: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell]
    differences: Mapping[str, Difference]
    transfer: Transfer
    num_parameters: int | None
    train_seconds: float | None
    rows_per_second: float | None


@dataclass(frozen=True)
class DayRow:
    """What the rows of one day were worth to an experiment before it was trained on them.

    Attributes:
        expid: The experiment.
        day: The day.
        rows: How many there were.
        cells: The metrics, by column.
    """

    expid: str
    day: str
    rows: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """All experiments on one dataset.

    Attributes:
        dataset_id: The dataset.
        split: ``test``, or ``valid`` where no run has a test split.
        columns: Metrics: those of each task in order, then the means.
        rows: The experiments in the order they were named.
        best: The experiments with the best mean of each column.
        baseline: Experiment of the differences, or None.
        single_task: Experiment of the transfer, or None.
        level: Coverage of the intervals.
        resampled: What was drawn for the intervals, or an empty text.
        notes: What a reader must know to read the numbers right.
        runs: The runs behind the rows.
        days: The days of experiments that were updated, in their order.
    """

    dataset_id: str
    split: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    best: Mapping[str, frozenset[str]]
    baseline: str | None
    single_task: str | None
    level: float
    resampled: str
    notes: tuple[str, ...]
    runs: tuple[StoredRun, ...]
    days: tuple[DayRow, ...] = ()

    @property
    def has_transfer(self) -> bool:
        """Whether any row is measured against the single-task experiment."""
        return any(row.transfer.by_task for row in self.rows)

"""Tables of a comparison, built from stored runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.comparison.paired import Paired, decides, task_of
from fuxi_mtl.comparison.runs import StoredRun, read_run
from fuxi_mtl.comparison.table import Cell, DayRow, Row, Table, Transfer
from fuxi_mtl.hints import among
from fuxi_mtl.lineage import days_of, first_of
from fuxi_mtl.metrics import METRICS, find_metric_of_key

SINGLE_TASK = "SingleTask"
_FEW_SEEDS = 5


def compare(
    runs: Sequence[StoredRun | str | Path],
    baseline: str | None = None,
    *,
    checks: bool = False,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 2026,
) -> list[Table]:
    """One table for each dataset, in the order in which the runs are given.

    Args:
        runs: Runs or their folders.
        baseline: Experiment that the others are compared with. Without it, a dataset's SingleTask
            experiment, else its first.
        checks: Whether the numbers of the conversion checks are columns, too.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        level: Coverage of the intervals, between 0 and 1.
        seed: Seed of the resamples.

    Raises:
        ValueError: There is no run, the baseline is not among them, an experiment and seed came twice,
            `resamples` or `level` is out of
            range, or `checks` are wanted and no run has any.
    """
    if resamples < 0 or not 0 < level < 1:
        raise ValueError(f"resamples ({resamples}) must be 0 or more and level ({level}) between 0 and 1.")
    stored = [run if isinstance(run, StoredRun) else read_run(run) for run in runs]
    if checks:
        stored = _checked(stored)
    if not stored:
        raise ValueError("there is no run to compare.")
    by_dataset: dict[str, dict[str, list[StoredRun]]] = {}
    for run in stored:
        of_expid = by_dataset.setdefault(run.dataset_id, {}).setdefault(run.expid, [])
        if any(run.seed == other.seed for other in of_expid):
            raise ValueError(f"expid {run.expid!r} with seed {run.seed} came twice: {run.folder}.")
        of_expid.append(run)
    expids = list(dict.fromkeys(run.expid for run in stored))
    if baseline is not None and baseline not in expids:
        raise ValueError(f"baseline {baseline!r} is not among the runs.{among(baseline, expids)}")
    return [
        _table(dataset_id, experiments, baseline, resamples, level, seed)
        for dataset_id, experiments in by_dataset.items()
    ]


def _checked(runs: Sequence[StoredRun]) -> list[StoredRun]:
    if not any(run.conversion_checks for run in runs):
        raise ValueError(
            "no run has conversion checks. Run an experiment with conversion_checks: true in its stanza."
        )
    return [run.with_checks() for run in runs]


def _table(
    dataset_id: str,
    experiments: Mapping[str, list[StoredRun]],
    baseline: str | None,
    resamples: int,
    level: float,
    seed: int,
) -> Table:
    runs = [run for of_expid in experiments.values() for run in of_expid]
    split = "test" if any(run.metrics["test"] for run in runs) else "valid"
    columns = _columns(runs, split)
    single_task = next((expid for expid, of in experiments.items() if of[0].model == SINGLE_TASK), None)
    if baseline not in experiments:
        baseline = single_task or next(iter(experiments))
    if len(experiments) == 1:
        baseline = None
    paired = Paired(experiments[baseline], columns, split, resamples, level, seed) if baseline else None
    if paired:
        paired.prepare(run for expid, of in experiments.items() if expid != baseline for run in of)
    unlike = _measured_otherwise(columns, runs, split)
    cells = {expid: {c: _cell(of, c, split) for c in columns} for expid, of in experiments.items()}
    rows = tuple(
        Row(
            expid=expid,
            model=of[0].model,
            seeds=tuple(run.seed for run in of),
            cells=cells[expid],
            differences=paired.differences(of) if paired and expid != baseline else {},
            transfer=_transfer(expid, single_task, experiments, cells, unlike),
            num_parameters=of[0].num_parameters,
            train_seconds=_mean([run.train_seconds for run in of]),
            rows_per_second=_mean([run.rows_per_second for run in of]),
        )
        for expid, of in experiments.items()
    )
    same_tasks = all(run.tasks == runs[0].tasks for run in runs)
    return Table(
        dataset_id=dataset_id,
        split=split,
        columns=columns,
        rows=rows,
        best={c: frozenset() if c in unlike else _best(c, rows, same_tasks) for c in columns},
        baseline=baseline,
        single_task=single_task,
        level=level,
        resampled=paired.resampled if paired else "",
        notes=(
            *_notes(rows, runs, split, baseline, single_task, same_tasks),
            *(paired.notes if paired else ()),
        ),
        runs=tuple(runs),
        days=tuple(row for expid, of in experiments.items() for row in _days(expid, of, columns)),
    )


def _days(expid: str, runs: Sequence[StoredRun], columns: Sequence[str]) -> Iterator[DayRow]:
    """The days behind an experiment, those of its seeds taken together."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for run in (run for run in runs if run.update):
        for day in days_of(first_of(run.folder)):
            if 0 < day.number <= run.update["number"]:
                found.setdefault(day.name, {})[run.seed] = day.content["update"]
    for name, of_seed in found.items():
        cells = {}
        for column in columns:
            values = {seed: update["progressive"]["before"].get(column) for seed, update in of_seed.items()}
            cells[column] = Cell({seed: value for seed, value in values.items() if value is not None})
        rows = next(iter(of_seed.values()))["rows"]["train"]
        yield DayRow(expid, name, rows, cells)


def _columns(runs: Sequence[StoredRun], split: str) -> tuple[str, ...]:
    """Every metric of the runs: by task in the order of the first run that has it, then the means."""
    keys = list(dict.fromkeys(key for run in runs for key in run.metrics[split]))
    keys += [key for run in runs for key in _before(run) if key not in keys]
    keys = list(dict.fromkeys(keys))
    tasks = {task: task for run in runs for task in run.tasks}
    of_tasks = [key for task in tasks for key in keys if task_of(key, tasks) == task]
    return (*of_tasks, *(key for key in keys if key not in of_tasks))


def _before(run: StoredRun) -> dict[str, float]:
    """What the rows of an update were worth before it was trained on them."""
    return run.update.get("progressive", {}).get("before", {})


def _cell(runs: Sequence[StoredRun], column: str, split: str) -> Cell:
    values = {run.seed: run.metrics[split].get(column, float("nan")) for run in runs}
    missing = [run for run in runs if np.isnan(values[run.seed])]
    reason = ""
    if missing:
        reason = missing[0].undefined.get(split, {}).get(column) or _absence(missing[0], column, split)
        if len(missing) < len(runs):
            reason = f"seed {', '.join(str(run.seed) for run in missing)}: {reason}"
    return Cell({s: value for s, value in values.items() if not np.isnan(value)}, reason)


def _absence(run: StoredRun, column: str, split: str) -> str:
    if not run.metrics[split]:
        return f"the run has no {split} split"
    return "undefined" if column in run.metrics[split] else "this experiment does not measure it"


def _best(column: str, rows: Sequence[Row], same_tasks: bool) -> frozenset[str]:
    """The experiments whose mean is best; none where means over different tasks would be compared."""
    metric = find_metric_of_key(column)
    defined = [row for row in rows if not np.isnan(row.cells[column].mean)]
    if metric is None or len(defined) < 2 or (column in METRICS and not same_tasks):
        return frozenset()
    top = max(metric.merit(row.cells[column].mean) for row in defined)
    return frozenset(row.expid for row in defined if metric.merit(row.cells[column].mean) == top)


def _transfer(
    expid: str,
    single_task: str | None,
    experiments: Mapping[str, list[StoredRun]],
    cells: Mapping[str, Mapping[str, Cell]],
    unlike: frozenset[str],
) -> Transfer:
    """Relative change of each task's first metric that has a direction, over the seeds of each."""
    if single_task is None:
        return Transfer(reason="no SingleTask experiment on this dataset")
    if expid == single_task:
        return Transfer(reason="this is the single-task experiment")
    ours, single = experiments[expid][0].tasks, experiments[single_task][0].tasks
    by_task: dict[str, float] = {}
    metric_of: dict[str, str] = {}
    for task in (task for task, expression in ours.items() if single.get(task) == expression):
        for column, cell in ((key, cell) for key, cell in cells[expid].items() if key not in unlike):
            metric = METRICS.get(column.removeprefix(f"{task}_")) if task_of(column, ours) == task else None
            reference = cells[single_task][column].mean
            if metric is None or metric.larger_is_better is None or not _comparable(cell.mean, reference):
                continue
            sign = 1 if metric.larger_is_better else -1
            by_task[task] = sign * (cell.mean - reference) / abs(reference)
            metric_of[task] = metric.name
            break
    return Transfer(
        by_task, metric_of, "" if by_task else "no task in common with the single-task experiment"
    )


def _measured_otherwise(columns: Sequence[str], runs: Sequence[StoredRun], split: str) -> frozenset[str]:
    """The columns that do not mean the same in all runs, for weights or thresholds."""
    if any(run.weighted != runs[0].weighted for run in runs):
        return frozenset(columns)
    if split == "test" and any(run.oracle != runs[0].oracle for run in runs):
        return frozenset(column for column in columns if decides(column))
    return frozenset()


def _comparable(value: float, reference: float) -> bool:
    return not np.isnan(value) and not np.isnan(reference) and reference != 0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _notes(
    rows: Sequence[Row],
    runs: Sequence[StoredRun],
    split: str,
    baseline: str | None,
    single_task: str | None,
    same_tasks: bool,
) -> list[str]:
    notes = []
    if split == "valid":
        notes.append(
            "No run has a test split: these are validation values, on which checkpoints were chosen."
        )
    counts = {len(row.seeds) for row in rows}
    if min(counts) == 1:
        notes.append("With one seed the spread over seeds is unknown: a rerun may change the order.")
    elif min(counts) < _FEW_SEEDS:
        notes.append(f"{min(counts)} seeds say little about the spread; use at least {_FEW_SEEDS}.")
    if len({row.seeds for row in rows}) > 1:
        notes.append("The experiments were not all run with the same seeds; differences use common seeds.")
    if single_task is None and len(rows) > 1:
        notes.append("Negative transfer is not shown: no SingleTask experiment is among the runs.")
    notes += _how_measured(runs, split)
    if not same_tasks:
        notes.append("The experiments have different tasks: means over tasks do not compare.")
    expressions: dict[str, set[str]] = {}
    for run in runs:
        for task, expression in run.tasks.items():
            expressions.setdefault(task, set()).add(expression)
    for task, meanings in expressions.items():
        if len(meanings) > 1:
            notes.append(f"Task {task} means different things here: {'; '.join(sorted(meanings))}.")
    return notes + _without_interval(rows, baseline)


def _how_measured(runs: Sequence[StoredRun], split: str) -> list[str]:
    """What counts in some runs otherwise than in others, or than a reader expects."""
    notes = []
    if weighted := {run.expid for run in runs if run.weighted}:
        those = "" if all(run.weighted for run in runs) else f" of {', '.join(sorted(weighted))}"
        notes.append(f"Sample weights count in the metrics{those}.")
    oracles = [run for run in runs if run.oracle]
    decisions = [
        find_metric_of_key(column) for run in oracles for column in run.metrics[split] if decides(column)
    ]
    if split == "test" and decisions:
        names = dict.fromkeys(metric.name for metric in decisions if metric is not None)
        whose = dict.fromkeys(run.expid for run in oracles)
        notes.append(
            f"{', '.join(names)} of {', '.join(whose)} are at a threshold that the test rows' own number of "
            "positives gave, as in version 0.1.0: an oracle. Validation chooses it now; run again to compare."
        )
    return notes


def _without_interval(rows: Sequence[Row], baseline: str | None) -> list[str]:
    """Why there is no interval, and of which columns where others have one, or another reason."""
    columns: dict[str, dict[str, None]] = {}
    for row in rows:
        for column, difference in row.differences.items():
            if difference.reason:
                columns.setdefault(difference.reason, {})[column] = None
    every = {column for row in rows for column in row.differences}
    return [
        f"No interval{'' if set(those) == every else ' of ' + ', '.join(those)} against {baseline}: {reason}."
        for reason, those in sorted(columns.items())
    ]

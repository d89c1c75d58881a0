"""Pictures of metrics, losses and weights: by experiment, over steps and over days."""

from collections.abc import Sequence

import numpy as np

from fuxi_mtl.comparison import StoredRun, Table
from fuxi_mtl.metrics import find_metric_of_key
from fuxi_mtl.report.pictures.panel import Curve, Dots, Panel, Picture

KINDS = {
    "metrics": (
        "Validation metrics over steps",
        "A line for each run; the diamond is the checkpoint that was kept.",
    ),
    "losses": ("Training losses over steps", "Unweighted, means since the evaluation before; a line a run."),
    "weights": ("Loss weights over steps", "At each evaluation; weights that never move are not drawn."),
}


def better_of(key: str) -> str:
    """Which values of a metric are good: ``high``, ``low``, or empty."""
    metric = find_metric_of_key(key)
    if metric is None or metric.larger_is_better is None:
        return ""
    return "high" if metric.larger_is_better else "low"


def metrics_by_experiment(table: Table) -> Picture:
    """One panel a metric: a point for each seed, a bar at the mean."""
    names = [row.expid for row in table.rows]
    panels = []
    for column in table.columns:
        dots = [Dots(i, i, list(row.cells[column].by_seed.values())) for i, row in enumerate(table.rows)]
        if any(len(each.values) for each in dots):
            panels.append(Panel(column, dots=dots, rows=names, better=better_of(column)))
    return Picture(
        "Metrics by experiment", f"On {table.split} rows: a dot for each seed, a bar at the mean.", panels
    )


def over_steps(
    runs: Sequence[StoredRun], kind: str, expids: Sequence[str], names: Sequence[str] | None = None
) -> Picture:
    """One panel a name: each run's curve over optimizer steps.

    Args:
        runs: Runs of one dataset.
        kind: What of the history: ``metrics``, ``losses`` or ``weights``.
        expids: Experiments in the order of the table, which is the order of the colours.
        names: Keys of it, a panel each; all unless given.
    """
    places = {expid: i for i, expid in enumerate(expids)}
    panels = []
    for name in names_over_steps(runs, kind) if names is None else names:
        curves = [curve for run in runs if (curve := _curve(run, kind, name, places[run.expid]))]
        if kind == "weights":
            curves = [curve for curve in curves if max(curve.y) > min(curve.y)]
        if curves:
            better = {"metrics": better_of(name), "losses": "low", "weights": ""}[kind]
            panels.append(Panel(name, curves, better=better))
    return Picture(*KINDS[kind], panels)


def names_over_steps(runs: Sequence[StoredRun], kind: str) -> list[str]:
    """The keys that the histories have of a kind, in order."""
    evaluations = [evaluation for run in runs for evaluation in run.evaluations]
    return list(dict.fromkeys(name for e in evaluations for name in e.get(kind) or {}))


def over_days(table: Table) -> Picture:
    """One panel a metric: the mean over seeds of each experiment, day by day, before training on the day."""
    days = list(dict.fromkeys(day.day for day in table.days))
    panels = []
    for column in table.columns:
        curves = []
        for place, row in enumerate(table.rows):
            own = [day for day in table.days if day.expid == row.expid and day.cells[column].by_seed]
            if own:
                at = [float(days.index(day.day)) for day in own]
                curves.append(Curve(place, "", at, [day.cells[column].mean for day in own], range(len(own))))
        if curves:
            panels.append(Panel(column, curves, columns=days, better=better_of(column)))
    return Picture("Metrics over days", "Means over seeds, of each day before it was trained on.", panels)


def _curve(run: StoredRun, kind: str, name: str, place: int) -> Curve | None:
    steps, values = [], []
    for evaluation in run.evaluations:
        value = (evaluation.get(kind) or {}).get(name)
        if value is not None and np.isfinite(value):
            steps.append(evaluation["step"])
            values.append(value)
    if not steps:
        return None
    kept = [steps.index(run.best_step)] if kind == "metrics" and run.best_step in steps else []
    return Curve(place, f"seed {run.seed}", steps, values, kept)

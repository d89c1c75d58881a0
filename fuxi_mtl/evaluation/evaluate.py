"""Metrics of every task on the rows where it is defined, and the value that training watches.

Values are keyed ``{task}_{metric}``; the bare ``{metric}`` is the mean over the tasks that have it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl import metrics
from fuxi_mtl.evaluation.monitor import is_better, monitor_direction, monitor_value
from fuxi_mtl.metrics import CLASS_METRICS, METRICS, REGRESSION_METRICS, Metric, Observations, find_metric
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import Task

NAN = float("nan")
_OF_KIND = {"regression": REGRESSION_METRICS, "classes": CLASS_METRICS}
_CHOOSE = {"base_rate": metrics.base_rate_threshold, "best_f1": metrics.best_f1_threshold}
__all__ = [
    "Scores",
    "evaluate",
    "is_better",
    "log_lines",
    "metric_keys",
    "metrics_of",
    "monitor_direction",
    "monitor_value",
    "summary",
]


@dataclass(frozen=True)
class Scores:
    """The result of one evaluation.

    Attributes:
        values: Every metric, NaN where it is undefined.
        undefined: The reason of every NaN.
        notes: What else is worth knowing: the ``groups`` and ``coverage`` behind ``click_gAUC``, the
            tasks behind a mean that leaves some out.
        thresholds: The decision threshold of each task that has one. Those of a validation are what the
            test evaluation takes.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str | dict[str, float]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


def metrics_of(task: Task, options: EvaluationOptions) -> tuple[str, ...]:
    """The metrics of one task, aliases resolved.

    A task's own list wins. Without one it takes those of the experiment's list that fit it; a regression
    finds MAE and RMSE when the list has none for it, and a task of classes those of classes.

    Raises:
        ValueError: A metric is unknown, the task's own list has one for the other kind, or the
            experiment's list has none for a binary task.
    """
    listed = [find_metric(name) for name in (options.metrics if task.metrics is None else task.metrics)]
    if task.metrics is not None:
        for metric in listed:
            if not metric.fits(task):
                what = f"{task.decoder} {task.kind}" if task.decoder else task.kind
                raise ValueError(
                    f"task {task.name!r} is {task.kind} and cannot have the metric {metric.name!r}. "
                    f"Metrics of a {what} task: {', '.join(_names_for(task))}."
                )
    names = tuple(dict.fromkeys(metric.name for metric in listed if metric.fits(task)))
    if not names and task.kind in _OF_KIND:
        return _OF_KIND[task.kind]
    if not names:
        raise ValueError(
            f"no metric for the {task.kind} task {task.name!r} in {[m.name for m in listed]}. "
            f"Metrics of a {task.kind} task: {', '.join(_names_for(task))}."
        )
    return names


def _names_for(task: Task) -> list[str]:
    return [metric.name for metric in METRICS.values() if metric.fits(task)]


def metric_keys(tasks: Iterable[Task], options: EvaluationOptions) -> tuple[str, ...]:
    """Every key that :func:`evaluate` fills, tasks first, then means; what a monitor may name."""
    by_task = {task.name: metrics_of(task, options) for task in tasks}
    keys = [f"{task}_{name}" for task, names in by_task.items() for name in names]
    return (*keys, *dict.fromkeys(name for names in by_task.values() for name in names))


def evaluate(
    tasks: Sequence[Task],
    labels: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
    options: EvaluationOptions,
    groups: ArrayLike | None = None,
    thresholds: Mapping[str, float] | None = None,
    truth: Mapping[str, metrics.Truth] | None = None,
    weights: ArrayLike | None = None,
    parts: Mapping[str, metrics.Parts] = MappingProxyType({}),
) -> Scores:
    """Every metric of every task on the task's own rows, and the means over tasks.

    A mean takes the tasks whose labels define the metric (the same ones at every evaluation of the
    same rows). If a task's predictions are to blame, the mean is NaN: it must not look better for it.

    Args:
        tasks: The tasks; their order is the order of the results.
        labels: ``(rows,)`` by task name, NaN where the task is not defined.
        predictions: ``(rows,)`` by task name, probabilities or values.
        options: Which metrics, and how.
        groups: Group of each row for gAUC.
        thresholds: What ``base_rate`` and ``best_f1`` chose on validation rows, by task name; a task without
            one has no decisions. None chooses on these very rows, as a validation does: on test rows that
            would be an oracle. A number never needs them.
        truth: The truth of the tasks that have one; see :mod:`fuxi_mtl.metrics.truth`. It has no means.
        weights: ``(rows,)`` sample weights, for every metric and threshold; a row of weight 2 counts as that
            row twice.
        parts: What is predicted beside values, by task.

    Raises:
        ValueError: A metric takes no sample weights, or the threshold is none.
    """
    scores = Scores()
    blamed: dict[str, str] = {}
    by_task = {task.name: metrics_of(task, options) for task in tasks}
    described = {task.name: task for task in tasks}
    for task, names in by_task.items():
        rows = Observations.of(
            labels[task],
            predictions[task],
            weights=weights,
            groups=groups,
            gauc_weight=options.gauc_weight,
            parts=parts.get(task),
        )
        if any("threshold" in METRICS[name].inputs for name in names):
            rule = described[task].threshold
            rule = options.threshold if rule is None else rule
            threshold, missing = _threshold(rule, task, rows, thresholds)
            if threshold is not None:
                scores.thresholds[task] = threshold
            rows = replace(rows, threshold=NAN if threshold is None else threshold)
        else:
            missing = ""
        for name in names:
            if _measure(scores, task, METRICS[name], rows, missing):
                blamed[name] = task
        if truth and task in truth:
            found = metrics.measure_truth(
                truth[task],
                labels[task],
                predictions[task],
                None if weights is None else np.asarray(weights),
                kind=described[task].kind,
                conditional=bool(described[task].given),
            )
            for name, value, reason in found:
                scores.values[f"{task}_{name}"] = value
                if reason:
                    scores.undefined[f"{task}_{name}"] = reason
    _add_means(scores, by_task, blamed)
    return scores


def _measure(scores: Scores, task: str, metric: Metric, rows: Observations, no_threshold: str) -> bool:
    """Adds one metric of one task; True if it is NaN and the predictions are to blame."""
    key = f"{task}_{metric.name}"
    measured = metric.measure(rows)
    scores.values[key] = measured.value
    if measured.notes:
        scores.notes[key] = dict(measured.notes)
    if not np.isnan(measured.value):
        return False
    lacking = metric.lacking_labels(rows)
    if not lacking and "threshold" in metric.inputs and not rows.nan_predictions:
        lacking = no_threshold
    scores.undefined[key] = lacking or metric.why_undefined(rows) or "it has no value on these rows"
    return not lacking


def _threshold(
    rule: float | str, task: str, rows: Observations, chosen: Mapping[str, float] | None
) -> tuple[float | None, str]:
    """The threshold of a task, None or NaN where there is none, and what the labels lack for it."""
    if rule not in _CHOOSE:
        try:
            return float(rule), ""
        except ValueError:
            raise ValueError(f"threshold is {rule!r}. It can be: a number, base_rate, best_f1.") from None
    if chosen is None:
        threshold = _CHOOSE[rule](rows.labels, rows.predictions, rows.weights)
        # Neither rule can place a threshold where nothing is positive.
        return threshold, METRICS["F1"].lacking_labels(rows) if np.isnan(threshold) else ""
    if task not in chosen:
        return None, f"threshold {rule} is chosen on validation rows, and there are none"
    reason = f"threshold {rule} is chosen on validation rows, which gave none"
    return chosen[task], reason if np.isnan(chosen[task]) else ""


def _add_means(scores: Scores, by_task: Mapping[str, Sequence[str]], blamed: Mapping[str, str]) -> None:
    for name in dict.fromkeys(name for names in by_task.values() for name in names):
        key_of = {task: f"{task}_{name}" for task, names in by_task.items() if name in names}
        defined = {task: key for task, key in key_of.items() if key not in scores.undefined}
        at_fault = [blamed[name]] if name in blamed else [] if defined else list(key_of)
        if at_fault:
            scores.values[name] = NAN
            scores.undefined[name] = "; ".join(f"{t}: {scores.undefined[key_of[t]]}" for t in at_fault)
            continue
        scores.values[name] = float(np.mean([scores.values[key] for key in defined.values()]))
        if len(defined) < len(key_of):
            scores.notes[name] = f"mean of {', '.join(defined)}"


def log_lines(tasks: Sequence[Task], scores: Scores) -> list[str]:
    """``[Task: click][Metrics] logloss: 0.556229 - AUC: 0.336879`` for every task, then the means.

    What is undefined prints as ``AUC: nan (all 512 labels are 0)``.
    """
    lines = []
    names = [task.name for task in tasks]
    of_task = {key: metrics.split_key(key, names)[0] for key in scores.values}
    means = [key for key, task in of_task.items() if not task]
    for task in tasks:
        own = [key for key, name in of_task.items() if name == task.name]
        shown = [_shown(key, key.removeprefix(f"{task.name}_"), scores) for key in own]
        lines.append(f"[Task: {task.name}][Metrics] {' - '.join(shown)}")
    if len(tasks) > 1:
        lines.append(f"[Metrics] {' - '.join(_shown(key, key, scores) for key in means)}")
    return lines


def summary(values: Mapping[str, float]) -> str:
    """All values in one line, as in FuxiCTR's results file: ``click_AUC: 0.700000 - AUC: 0.700000``."""
    return " - ".join(f"{key}: {value:.6f}" for key, value in values.items())


def _shown(key: str, name: str, scores: Scores) -> str:
    note = scores.undefined.get(key) or scores.notes.get(key)
    if isinstance(note, dict):
        note = f"{note['groups']} groups, {note['coverage']:.1%} of rows"
    return f"{name}: {scores.values[key]:.6f}" + (f" ({note})" if note else "")

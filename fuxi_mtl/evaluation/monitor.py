"""The value that early stopping and the best checkpoint watch: ``monitor`` and ``monitor_mode``."""

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from fuxi_mtl.hints import among
from fuxi_mtl.metrics import METRICS, Metric, canonical_key

NAN = float("nan")
PRIMARY = "auc_primary"
FEW_POSITIVES = 100  # below, the AUC of a task moves by chance


def monitor_value(monitor: str | Mapping[str, float], values: Mapping[str, float]) -> float:
    """The watched number: one value, or the weighted sum of several. NaN if any of them is NaN.

    Args:
        monitor: ``AUC``, ``click_AUC`` or ``{AUC: 2, logloss: -1}``.
        values: Values of an evaluation, by key.

    Raises:
        ValueError: The evaluation has no value of that name.
    """
    return float(sum(weight * _value(name, values) for name, weight in _terms(monitor).items()))


def watched_keys(monitor: str | Mapping[str, float]) -> set[str]:
    """The metrics, and metrics of one task, that the watched number is made of."""
    return set(_terms(monitor))


def undefined_parts(monitor: str | Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The parts of the watched number that have no value, as they are called in an evaluation."""
    return [canonical_key(name) for name in _terms(monitor) if math.isnan(_value(name, values))]


def primary_terms(
    tasks: Collection[str], coefficients: Mapping[str, float] | None = None
) -> dict[str, float]:
    """``monitor: auc_primary`` as weights by metric.

    ``1.0 ctcvr_AUC + 0.2 ctr_AUC + 0.2 cvr_AUC`` where there is a task ctcvr, so it lies between 0 and 1.4;
    the mean of ``ctr_AUC`` and ``cvr_AUC`` where there is none; or the coefficients that are given.

    Raises:
        ValueError: A task is missing.
    """
    if coefficients is None:
        coefficients = (
            {"ctcvr": 1.0, "ctr": 0.2, "cvr": 0.2} if "ctcvr" in tasks else {"ctr": 0.5, "cvr": 0.5}
        )
    for task in coefficients:
        if task not in tasks:
            raise ValueError(
                f"auc_primary names the task {task!r}.{among(task, tasks)} "
                f"Give coefficients by task, such as auc_primary: {{{next(iter(tasks))}: 1.0}}."
            )
    return {f"{task}_AUC": coefficient for task, coefficient in coefficients.items()}


def few_positives(
    monitor: str | Mapping[str, float], labels: Mapping[str, np.ndarray], keys: Iterable[str]
) -> dict[str, int]:
    """The number of positives behind each watched ``{task}_{metric}`` that rests on fewer than a hundred.

    Of a mean over tasks each part is watched. Metrics that have a value without positives do not count,
    nor do those of numbers.

    Args:
        monitor: As in :func:`monitor_value`.
        labels: ``(rows,)`` labels by task.
        keys: What the evaluation measures, from :func:`fuxi_mtl.evaluation.evaluate.metric_keys`.
    """
    measured, watched = tuple(keys), set(_terms(monitor))
    found = {}
    for task, y in labels.items():
        for key in measured:
            metric = METRICS.get(key.removeprefix(f"{task}_"))
            if metric is None or key == metric.name or metric.needs == "row" or "binary" not in metric.kinds:
                continue
            count = int(np.sum(y == 1))
            if watched & {key, metric.name} and count < FEW_POSITIVES:
                found[key] = count
    return found


def _value(name: str, values: Mapping[str, float]) -> float:
    key = canonical_key(name)
    if key not in values:
        raise ValueError(f"monitor names {name!r}, which is not measured.{among(name, values)}")
    value = values[key]
    return NAN if value is None else value


def monitor_direction(
    monitor: str | Mapping[str, float], mode: str | None = None, keys: Iterable[str] | None = None
) -> str:
    """Whether the watched number should grow (``max``) or fall (``min``).

    Args:
        monitor: As in :func:`monitor_value`.
        mode: ``monitor_mode``; None leaves it to the metric.
        keys: What the evaluation measures, from :func:`fuxi_mtl.evaluation.evaluate.metric_keys`. None
            accepts any task's name in front of a known metric.

    Raises:
        ValueError: A name is unknown, the mode is not max or min or is the wrong one for the metric,
            or no direction is known (PCOC; a dict whose parts pull apart) and no mode is given.
    """
    if mode not in (None, "max", "min"):
        raise ValueError(f"monitor_mode is {mode!r}. It can be: max, min.")
    terms = _terms(monitor)
    known = None if keys is None else tuple(keys)
    wanted = {_direction(name, weight, known) for name, weight in terms.items()}
    shown = monitor if isinstance(monitor, str) else ", ".join(f"{n}: {w:g}" for n, w in terms.items())
    own = wanted.pop() if len(wanted) == 1 else None
    if own is not None:
        if mode not in (None, own):
            raise ValueError(
                f"monitor {shown} improves towards {own}, but monitor_mode is {mode}. Leave monitor_mode out."
            )
        return own
    if mode is None:
        raise ValueError(
            f"monitor {shown} has no direction of its own: set monitor_mode to max or min, or give "
            "each part of a weighted monitor the sign that makes a larger sum better."
        )
    return mode


def is_better(value: float, best: float | None, direction: str) -> bool:
    """Whether a value improves on the best so far; NaN never does, and anything improves on none."""
    if math.isnan(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value > best if direction == "max" else value < best


def metric_of_key(key: str) -> Metric | None:
    """The metric behind ``AUC`` or ``click_AUC``; None if the key ends in no known metric."""
    key = canonical_key(key)
    fitting = [name for name in METRICS if key == name or key.endswith(f"_{name}")]
    return METRICS[max(fitting, key=len)] if fitting else None


def _terms(monitor: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(monitor, str):
        return {canonical_key(monitor): 1.0}
    terms = {}
    for name, weight in monitor.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ValueError(f"monitor gives {name!r} the weight {weight!r}, which is not a finite number.")
        if weight:
            terms[canonical_key(name)] = float(weight)
    if not terms:
        raise ValueError(
            "monitor has no metric with a weight. Write AUC, click_AUC or {AUC: 2, logloss: -1}."
        )
    return terms


def _direction(name: str, weight: float, keys: tuple[str, ...] | None) -> str | None:
    metric = metric_of_key(name)
    if metric is None or (keys is not None and canonical_key(name) not in keys):
        raise ValueError(f"monitor names the unknown metric {name!r}.{among(name, keys or METRICS)}")
    if metric.larger_is_better is None:
        return None
    return "max" if metric.larger_is_better == (weight > 0) else "min"

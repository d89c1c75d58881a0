"""The result of a search, made of runs and kept as ``pareto.json``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.comparison import StoredRun, Table
from fuxi_mtl.comparison.pareto.front import chosen, hypervolume, non_dominated
from fuxi_mtl.comparison.pareto.preferences import Preference
from fuxi_mtl.files import DamagedError, read_json
from fuxi_mtl.hints import among
from fuxi_mtl.metrics import METRICS, Metric, find_metric_of_key
from fuxi_mtl.options import ParetoOptions

FILE = "pareto.json"


@dataclass(frozen=True)
class Point:
    """One preference, and what it led to.

    Attributes:
        expid: The experiment of its runs.
        preference: The weight or bound of each objective.
        seeds: Seeds of its runs.
        valid: Mean over seeds of each metric on validation.
        by_seed: The same of each seed.
        test: The same on test, for the chosen point; empty for others and without a test split.
        on_front: Whether no other point beats it.
    """

    expid: str
    preference: dict[str, float]
    seeds: tuple[int, ...]
    valid: dict[str, float]
    by_seed: dict[str, list[float]]
    test: dict[str, float]
    on_front: bool


@dataclass(frozen=True)
class Front:
    """A finished search.

    Attributes:
        expid: The experiment that was varied.
        dataset_id: Its data.
        by: What a preference is.
        metrics: What is traded off.
        reference: Corner of the hypervolume, by metric.
        hypervolume: Of the front, on validation.
        rule: How `chosen` was chosen.
        chosen: Expid of that point.
        points: All of them.
    """

    expid: str
    dataset_id: str
    by: str
    metrics: tuple[str, ...]
    reference: dict[str, float]
    hypervolume: float
    rule: str
    chosen: str
    points: tuple[Point, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def make_front(
    expid: str,
    options: ParetoOptions,
    preferences: Mapping[str, Preference],
    runs: Sequence[StoredRun],
) -> Front:
    """The front of finished runs, from their validation metrics.

    Args:
        expid: The experiment that was varied.
        options: How to measure and choose.
        preferences: By expid of their runs.
        runs: All runs of all of them.

    Raises:
        ValueError: A metric is not measured on validation, or undefined there.
    """
    metrics = traded_metrics(options, runs[0])
    of = {name: [run for run in runs if run.expid == name] for name in preferences}
    by_seed = {name: {m: [_valid(run, m) for run in each] for m in metrics} for name, each in of.items()}
    means = {name: {m: float(np.mean(v)) for m, v in values.items()} for name, values in by_seed.items()}
    reference = _reference(options, metrics, list(means.values()))

    def merits(values: Mapping[str, float]) -> list[float]:
        return [metric.merit(values[key]) for key, metric in metrics.items()]

    names = list(preferences)
    points = np.array([merits(means[name]) for name in names])
    on_front = non_dominated(points)
    given = options.importance
    importance = None if given is None else np.array([given.get(m, 0.0) for m in metrics])
    place = chosen(points[on_front], options.choose, importance)
    best = [name for name, is_on in zip(names, on_front, strict=True) if is_on][place]
    tested = [m for m in metrics if _tested(of[best], m)]
    test = {m: float(np.mean([run.metrics["test"][m] for run in of[best]])) for m in tested}
    return Front(
        expid=expid,
        dataset_id=runs[0].dataset_id,
        by=options.by,
        metrics=tuple(metrics),
        reference=reference,
        hypervolume=hypervolume(points[on_front], np.array(merits(reference))),
        rule=options.choose,
        chosen=best,
        points=tuple(
            Point(
                expid=name,
                preference=dict(preferences[name]),
                seeds=tuple(run.seed for run in of[name]),
                valid=means[name],
                by_seed=by_seed[name],
                test=test if name == best else {},
                on_front=bool(is_on),
            )
            for name, is_on in zip(names, on_front, strict=True)
        ),
    )


def traded_metrics(options: ParetoOptions, run: StoredRun) -> dict[str, Metric]:
    """The metrics that are traded off, by what they are called in a run.

    Raises:
        ValueError: There is no validation split, or a name is not measured there or has no direction.
    """
    values = run.metrics["valid"]
    if not values:
        raise ValueError(f"{run.folder} has no validation metrics; a front is made of them. Give valid_data.")
    first = {task: next((k for k in values if _directed(k, task)), None) for task in run.tasks}
    traded = options.metrics or [key for key in first.values() if key is not None]
    known = {name: find_metric_of_key(name) for name in traded if name in values}
    metrics = {name: metric for name, metric in known.items() if metric is not None}
    for name in traded:
        if name not in metrics:
            raise ValueError(f"pareto names {name!r}, which is not measured.{among(name, values)}")
    for name in (*(options.reference or {}), *(options.importance or {})):
        if name not in traded:
            raise ValueError(f"pareto names {name!r}, which is not traded off: {', '.join(traded)} are.")
    return metrics


def read_front(path: Path) -> Front:
    """The content of such a file.

    Raises:
        ValueError: It is missing or damaged.
    """
    try:
        content = read_json(path, "run the search again.")
        points = tuple(Point(**{**each, "seeds": tuple(each["seeds"])}) for each in content["points"])
        return Front(**{**content, "metrics": tuple(content["metrics"]), "points": points})
    except DamagedError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): run the search again.") from error


def fronts_among(tables: Sequence[Table]) -> list[Front]:
    """The stored searches all of whose points are rows of the tables."""
    found = []
    for table in tables:
        expids = {row.expid for row in table.rows}
        places = dict.fromkeys(run.folder.parent.parent for run in table.runs)
        fronts = [read_front(path) for place in places for path in sorted(place.glob(f"*/{FILE}"))]
        found += [front for front in fronts if {point.expid for point in front.points} <= expids]
    return found


def _reference(
    options: ParetoOptions, metrics: Mapping[str, Metric], means: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    given = options.reference or {}
    corner = {}
    for name, metric in metrics.items():
        worst = min((values[name] for values in means), key=metric.merit)
        corner[name] = given.get(name, worst if metric.no_skill is None else metric.no_skill)
    return corner


def _directed(key: str, task: str) -> bool:
    metric = METRICS.get(key.removeprefix(f"{task}_")) if key.startswith(f"{task}_") else None
    return metric is not None and metric.larger_is_better is not None


def _valid(run: StoredRun, metric: str) -> float:
    value = run.metrics["valid"].get(metric, math.nan)
    if math.isnan(value):
        reason = run.undefined.get("valid", {}).get(metric, "it is not measured")
        raise ValueError(f"{run.folder}: {metric} is undefined on validation ({reason}).")
    return value


def _tested(runs: Sequence[StoredRun], metric: str) -> bool:
    return all(not math.isnan(run.metrics["test"].get(metric, math.nan)) for run in runs)

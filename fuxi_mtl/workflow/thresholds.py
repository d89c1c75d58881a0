"""The decision thresholds of a run, which its validation chose."""

import math
from collections.abc import Mapping
from dataclasses import replace

from fuxi_mtl.config import Experiment
from fuxi_mtl.evaluation.evaluate import Scores, evaluate
from fuxi_mtl.runs import Run


def thresholds_of(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Those of the last split that was measured, by task; empty before any is."""
    return next((scores[name].thresholds for name in ("test", "valid") if name in scores), {})


def chosen_thresholds(run: Run, experiment: Experiment) -> dict[str, float]:
    """Those of a finished run, by task, for rows that it is measured on now.

    Runs of 0.1.0 took ``base_rate`` from the test rows: theirs come from the validation scores that they
    kept.
    """
    stored = run.read_json(run.metrics)
    if stored.get("thresholds_chosen_on") == "valid":
        return {task: math.nan if value is None else value for task, value in stored["thresholds"].items()}
    kept = run.read_scores("valid")
    if kept is None:
        return {}
    tasks = [replace(task, metrics=("F1",)) for task in experiment.outputs if task.kind == "binary"]
    labels = {task.name: kept.label(task.name) for task in tasks}
    predictions = {task.name: kept.prediction(task.name) for task in tasks}
    return evaluate(tasks, labels, predictions, experiment.evaluation, weights=kept.weights).thresholds

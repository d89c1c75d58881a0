"""Pictures of stored scores: ROC, precision and recall, and calibration of binary tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fuxi_mtl.comparison import StoredRun
from fuxi_mtl.metrics import equal_bins
from fuxi_mtl.report.pictures.panel import Curve, Limits, Panel, Picture, within
from fuxi_mtl.runs import StoredScores

MOST_EXPERIMENTS = 20  # whose scores are drawn; every one takes the sorting of all its rows
POINTS = 200  # of a curve
BINS = 10
FEW_FOUND = 0.05


@dataclass(frozen=True)
class Scored:
    """The rows of a split on which a binary task is defined.

    Attributes:
        labels: ``(rows,)`` 0 or 1.
        predictions: ``(rows,)`` probabilities.
        weights: ``(rows,)``, ones where rows do not weigh.
        rows: ``(all rows,)`` which of the split they are.
    """

    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, scores: StoredScores, task: str) -> "Scored | None":
        """Those of stored scores; None of a task that is not binary, is not there, or has one class only."""
        label = scores.arrays.get(f"{task}_label")
        if label is None or f"{task}_chances" in scores.arrays or f"{task}_quantiles" in scores.arrays:
            return None
        known = np.isfinite(label)
        weights = np.ones(len(label)) if scores.weights is None else scores.weights.astype(np.float64)
        known &= weights > 0
        found = cls(label[known], scores.prediction(task)[known].astype(np.float64), weights[known], known)
        return found if np.array_equal(np.unique(found.labels), [0, 1]) else None


def roc(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives and of positives above each threshold; a tie is one step."""
    positives, negatives = _above(scored)
    return negatives / negatives[-1], positives / positives[-1]


def precision_recall(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at each threshold that finds a twentieth of the positives, the highest first.

    Above it, precision rests on few rows.
    """
    positives, negatives = (counts[1:] for counts in _above(scored))
    recall = positives / positives[-1]
    enough = recall >= FEW_FOUND
    return recall[enough], (positives / (positives + negatives))[enough]


def calibration(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Mean prediction and share of positives in ten bins of equally many rows."""
    bins = equal_bins(scored.predictions, BINS, scored.weights)
    weight = np.bincount(bins, scored.weights)
    there = weight > 0
    means = np.bincount(bins, scored.weights * scored.predictions)[there] / weight[there]
    return means, np.bincount(bins, scored.weights * scored.labels)[there] / weight[there]


def pictures(
    runs: Sequence[StoredRun], expids: Sequence[str], split: str, all_seeds: bool = False
) -> list[Picture]:
    """ROC, precision and recall, and calibration, a panel for each binary task.

    Args:
        runs: Runs of one dataset.
        expids: Experiments in the order of the colours.
        split: Whose rows, ``valid`` or ``test``.
        all_seeds: Whether to draw every seed; the first of each experiment unless said.
    """
    chosen = list(runs) if all_seeds else list({run.expid: run for run in reversed(runs)}.values())[::-1]
    chosen = sorted(chosen, key=lambda run: expids.index(run.expid))[:MOST_EXPERIMENTS]
    found: dict[str, dict[str, list[Curve]]] = {name: {} for name in _KINDS}
    for run in chosen:
        for task, scored in _scored(run, split):
            for name, (_, curve_of, _, _) in _KINDS.items():
                x, y = _thinned(*curve_of(scored), corner=name != "calibration")
                marks = range(len(x)) if name == "calibration" else ()
                curve = Curve(expids.index(run.expid), f"seed {run.seed}", x, y, marks)
                found[name].setdefault(task, []).append(curve)
    of_seeds = "every seed" if all_seeds else "the first seed of each experiment"
    least = "" if len(expids) <= MOST_EXPERIMENTS else f", of the first {MOST_EXPERIMENTS} experiments only"
    made = []
    for name, (heading, _, caption, (x_label, diagonal)) in _KINDS.items():
        panels = []
        for task, curves in found[name].items():
            across, up = _limits(name, curves)
            panels.append(Panel(task, curves, x_label=x_label, x=across, y=up, diagonal=diagonal))
        made.append(Picture(heading, f"{caption} {split.capitalize()} rows, {of_seeds}{least}.", panels))
    return made


def _limits(kind: str, curves: Sequence[Curve]) -> tuple[Limits, Limits]:
    unit = (-0.02, 1.02)
    if kind == "roc":
        return unit, unit
    if kind == "calibration":  # the same on both axes, so that the diagonal is one
        _, high = within([[0.0, *curve.x, *curve.y] for curve in curves], "low")
        return (0.0, 1.05 * high), (0.0, 1.05 * high)
    return unit, (0.0, min(1.02, 1.1 * max(max(curve.y) for curve in curves)))


def _scored(run: StoredRun, split: str) -> Iterator[tuple[str, Scored]]:
    scores = run.read_scores(split)
    if scores is None:
        return
    for task in run.tasks:
        scored = Scored.of(scores, task)
        if scored is not None and np.all(np.isfinite(scored.predictions)):
            yield task, scored


def _above(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at or above each distinct score, from none to all."""
    order = np.argsort(-scored.predictions, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scored.predictions[order])), len(order) - 1)
    weights, labels = scored.weights[order], scored.labels[order]
    positives, negatives = np.cumsum(weights * labels), np.cumsum(weights * (1 - labels))
    return np.append(0.0, positives[ends]), np.append(0.0, negatives[ends])


def _thinned(x: np.ndarray, y: np.ndarray, corner: bool) -> tuple[list[float], list[float]]:
    """At most so many points, evenly along the curve."""
    if corner and len(x) > POINTS:
        length = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
        places = np.unique(np.searchsorted(length, np.linspace(0, length[-1], POINTS)))
        x, y = x[np.minimum(places, len(x) - 1)], y[np.minimum(places, len(y) - 1)]
    return x.tolist(), y.tolist()


_Curve = Callable[[Scored], tuple[np.ndarray, np.ndarray]]
_KINDS: dict[str, tuple[str, _Curve, str, tuple[str, bool]]] = {
    "roc": (
        "ROC",
        roc,
        "Share of positives above a threshold over that of negatives; the diagonal is chance.",
        ("share of negatives", True),
    ),
    "precision": (
        "Precision and recall",
        precision_recall,
        "Precision over recall, from the threshold on that finds a twentieth of the positives.",
        ("recall", False),
    ),
    "calibration": (
        "Calibration",
        calibration,
        "Share of positives over mean prediction in ten bins of equally many rows; on the diagonal is right.",
        ("mean prediction", True),
    ),
}

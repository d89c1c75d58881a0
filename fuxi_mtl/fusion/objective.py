"""Objectives of a fusion: weighted sums of AUC, gAUC and NDCG of targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxi_mtl import metrics
from fuxi_mtl.comparison.bootstrap import Direct, statistic
from fuxi_mtl.fusion.gains import Gains, graded_label
from fuxi_mtl.metrics import METRICS, Sums, sums_of
from fuxi_mtl.options import FusionOptions
from fuxi_mtl.options.fusion import MEASURES
from fuxi_mtl.runs import StoredScores
from fuxi_mtl.tasks import Task

LABEL = "label"  # the graded label, as the name of a target


@dataclass(frozen=True)
class Rows:
    """The scores and labels of a split.

    Attributes:
        scores: ``(rows,)`` predictions by task; of classes their expected values, if they have some.
        labels: ``(rows,)`` labels by task, NaN where not defined.
        groups: Request of each row, or None.
    """

    scores: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    groups: np.ndarray | None

    @classmethod
    def stored(cls, stored: StoredScores, tasks: Sequence[Task]) -> "Rows":
        """The rows that a run has kept."""
        found = {task.name: stored.scalar(task.name) for task in tasks}
        scores = {name: each for name, each in found.items() if each is not None}
        return cls(scores, {task.name: stored.label(task.name) for task in tasks}, stored.groups)


def split_target(key: str) -> tuple[str, str]:
    """``("click", "gAUC")`` of ``click_gAUC``; two empty texts for what is no measure of a target."""
    target, _, measure = key.rpartition("_")
    return (target, measure) if target and measure in MEASURES else ("", "")


def default_objective(tasks: Sequence[Task], grouped: bool) -> dict[str, float]:
    """The gAUC of every binary task, or the AUC without groups."""
    return {f"{t.name}_{'gAUC' if grouped else 'AUC'}": 1.0 for t in _binary(tasks)}


def _binary(tasks: Sequence[Task]) -> list[Task]:
    """The events that the model predicts itself."""
    return [task for task in tasks if task.kind == "binary" and not task.product]


class FusionObjective:
    """Measures scores on the rows of one split.

    Args:
        rows: Labels and requests.
        options: With ``objective``, ``ndcg_at`` and ``label``.
        tasks: The tasks.
        gauc_weight: What weighs a group in gAUC.
    """

    def __init__(
        self, rows: Rows, options: FusionOptions, tasks: Sequence[Task], gauc_weight: str = "exposures"
    ):
        self._rows, self._gauc_weight = rows, gauc_weight
        self.coefficients = options.objective or default_objective(tasks, rows.groups is not None)
        self.grades = graded_label(rows.labels, options.label, tasks) if options.label else None
        self._gains: dict[str, Gains] = {}
        self._kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for key in self.coefficients:
            target, measure = split_target(key)
            labels = self._labels(target)
            if measure == "NDCG":
                self._gains[key] = Gains(labels, rows.groups, options.ndcg_at)
            elif measure == "gAUC":
                self._kept[key] = _rows_with_both(labels, rows.groups)

    def values(self, scores: np.ndarray) -> dict[str, float]:
        """Every part of the objective; NaN where it is not defined."""
        return {key: self._value(key, scores) for key in self.coefficients}

    def __call__(self, scores: np.ndarray) -> float:
        """The objective: larger is better."""
        return float(self.total(self.values(scores)))

    def total(self, values: Mapping[str, Any]) -> Any:
        """The weighted sum of the parts, of single numbers or of resamples."""
        return sum(weight * values[key] for key, weight in self.coefficients.items())

    def statistics(self, scores: np.ndarray) -> dict[str, Sums | Direct]:
        """Every part as sums over rows, for resamples of whole requests."""
        found: dict[str, Sums | Direct] = {}
        for key in self.coefficients:
            target, measure = split_target(key)
            if measure == "NDCG":
                gains, columns = self._gains[key], np.zeros((2, len(scores)))
                columns[0, gains.first_rows()] = gains.by_request(scores)
                columns[1, gains.first_rows()] = 1.0
                found[key] = sums_of(*columns)
            else:
                found[key] = statistic(
                    METRICS[measure],
                    self._labels(target),
                    scores,
                    groups=self._rows.groups,
                    gauc_weight=self._gauc_weight,
                )
        return found

    def _labels(self, target: str) -> np.ndarray:
        if target == LABEL and self.grades is not None:
            return self.grades
        return self._rows.labels[target]

    def _value(self, key: str, scores: np.ndarray) -> float:
        target, measure = split_target(key)
        if measure == "NDCG":
            return self._gains[key](scores)
        if measure == "AUC":
            return metrics.auc(self._labels(target), scores)
        kept, codes = self._kept[key]
        by_group = metrics.group_aucs(self._labels(target)[kept], scores[kept], codes)
        return by_group.mean(self._gauc_weight)


def _rows_with_both(labels: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The rows of groups with both classes, which are all that gAUC looks at, and their groups."""
    if groups is None:
        raise ValueError("fusion: gAUC needs group_id, and the run has stored no groups.")
    codes = metrics.group_codes(groups)
    seen = np.flatnonzero(~np.isnan(labels) & (codes >= 0))
    rows = np.bincount(codes[seen])
    ones = np.bincount(codes[seen], labels[seen] == 1)
    kept = seen[((ones > 0) & (ones < rows))[codes[seen]]] if len(seen) else seen
    return kept, codes[kept]

"""The metrics by the names that people write in YAML, and what each one needs to be defined."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.decisions import accuracy, f1, precision, recall
from fuxi_mtl.metrics.errors import ece, logloss, mae, pcoc, rmse
from fuxi_mtl.metrics.ranking import auc, gauc, ks
from fuxi_mtl.metrics.rows import observed


@dataclass(frozen=True)
class Metric:
    """A metric as evaluation sees it.

    Attributes:
        name: As it is written in YAML and in the results.
        function: ``(labels, predictions)``, then ``threshold`` or ``groups`` where it uses one.
        kind: The kind of task it measures.
        larger_is_better: None for PCOC, which is best at 1.
        needs: What the labels must hold: ``row``, ``positive`` or ``both`` classes.
        uses: ``threshold``, ``groups`` or nothing.
        doc: One line for people.
    """

    name: str
    function: Callable
    kind: str
    larger_is_better: bool | None
    needs: str
    uses: str
    doc: str

    def merit(self, value: float) -> float:
        """The value turned so that larger is better; for PCOC how little it is away from 1."""
        if self.larger_is_better is None:
            return -abs(value - 1.0)
        return value if self.larger_is_better else -value


METRICS = {
    metric.name: metric
    for metric in (
        Metric("AUC", auc, "binary", True, "both", "", "Chance that a positive row is ranked first."),
        Metric("gAUC", gauc, "binary", True, "both", "groups", "AUC inside the groups of group_id."),
        Metric("logloss", logloss, "binary", False, "row", "", "Mean binary cross-entropy."),
        Metric("KS", ks, "binary", True, "both", "", "Largest distance between TPR and FPR."),
        Metric("precision", precision, "binary", True, "row", "threshold", "Hits among the predicted."),
        Metric("recall", recall, "binary", True, "positive", "threshold", "Hits among the positives."),
        Metric("F1", f1, "binary", True, "positive", "threshold", "Harmonic mean of the two."),
        Metric("accuracy", accuracy, "binary", True, "row", "threshold", "Share of right decisions."),
        Metric("PCOC", pcoc, "binary", None, "positive", "", "Mean prediction over mean label; best at 1."),
        Metric("ECE", ece, "binary", False, "row", "", "Calibration error over ten bins of equal size."),
        Metric("MAE", mae, "regression", False, "row", "", "Mean absolute error."),
        Metric("RMSE", rmse, "regression", False, "row", "", "Root of the mean squared error."),
    )
}
ALIASES = {"binary_crossentropy": "logloss"}
REGRESSION_METRICS = ("MAE", "RMSE")


def find_metric(name: str) -> Metric:
    """The metric of that name; FuxiCTR's ``binary_crossentropy`` is ``logloss``.

    Raises:
        ValueError: Nothing has that name.
    """
    metric = METRICS.get(ALIASES.get(name, name))
    if metric is None:
        raise ValueError(f"unknown metric {name!r}{did_you_mean(name, METRICS)}")
    return metric


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``. Did you mean 'AUC'? Known: ...``, the first part only when something is near."""
    names = {str(each).lower(): str(each) for each in known}
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    guess = f" Did you mean {names[near[0]]!r}?" if near else ""
    return f".{guess} Known: {', '.join(names.values())}."


def why_undefined(
    name: str,
    labels: ArrayLike,
    predictions: ArrayLike,
    *,
    threshold: float | None = None,
    groups: ArrayLike | None = None,
) -> str:
    """Why a metric is NaN on these rows; empty where it is defined.

    Args:
        name: A metric, such as ``AUC``.
        labels: 0, 1 or NaN; any number for a regression.
        predictions: Probabilities, scores or values.
        threshold: Where the metric uses one.
        groups: Where the metric uses them.
    """
    metric = find_metric(name)
    reason = lacking_labels(metric, labels, groups)
    if reason:
        return reason
    scores = observed(labels, predictions)[1]
    nans = int(np.isnan(scores).sum())
    if nans:
        return f"{nans} of {len(scores)} predictions are NaN"
    if threshold is not None and np.isnan(threshold):
        return "no threshold could be chosen"
    if metric.name == "precision" and threshold is not None and not (scores >= threshold).any():
        return f"no prediction reaches the threshold {threshold:g}"
    return ""


def lacking_labels(metric: Metric, labels: ArrayLike, groups: ArrayLike | None = None) -> str:
    """What the labels lack for this metric, whatever is predicted; empty where nothing."""
    if metric.uses == "groups" and groups is None:
        return "group_id names no column of groups"
    values = observed(labels, labels)[0]
    if not len(values):
        return "no row has a label"
    if metric.needs in ("both", "positive"):
        ones = int((values == 1).sum())
        if not ones:
            return f"all {len(values)} labels are 0"
        if metric.needs == "both" and ones == len(values):
            return f"all {len(values)} labels are 1"
    if metric.uses == "groups" and groups is not None:
        constant = np.zeros(len(np.asarray(labels)), np.float32)
        if not gauc(labels, constant, groups).groups:
            return "no group has rows of both classes"
    return ""

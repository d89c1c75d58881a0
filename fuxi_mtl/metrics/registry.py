"""Metrics by the names that people write in YAML, and the registration of one's own."""

from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from fuxi_mtl.hints import among
from fuxi_mtl.metrics.classes import (
    class_accuracy,
    class_accuracy_sums,
    class_logloss,
    class_logloss_sums,
    macro_auc,
    macro_auc_sums,
)
from fuxi_mtl.metrics.decisions import (
    accuracy,
    accuracy_sums,
    f1,
    f1_sums,
    no_decision,
    precision,
    precision_sums,
    recall,
    recall_sums,
)
from fuxi_mtl.metrics.errors import (
    ece,
    gap_sums,
    logloss,
    logloss_sums,
    mae,
    mae_sums,
    pcoc,
    ratio_sums,
    rmse,
    rmse_sums,
)
from fuxi_mtl.metrics.metric import Metric, Observations
from fuxi_mtl.metrics.quantiles import coverage_gap, coverage_gap_sums, no_interval, pinball, pinball_sums
from fuxi_mtl.metrics.ranking import auc, auc_sums, gauc, gauc_sums, ks, ks_sums
from fuxi_mtl.metrics.sums import Sums
from fuxi_mtl.metrics.values import (
    bucket_bias,
    bucket_bias_sums,
    divergence,
    explained,
    explained_sums,
    gini,
    no_group_differs,
    one_prediction,
    relative_mae,
    relative_mae_sums,
    spearman,
    value_ratio,
    xauc,
    xauc_sums,
    xgauc,
    xgauc_sums,
)

_VALUES = ("regression",)
_CLASSES = ("classes",)
METRICS = {
    metric.name: metric
    for metric in (
        Metric("AUC", auc, "max", needs="both", sums=auc_sums, no_skill=0.5),
        Metric("gAUC", gauc, "max", needs="both", sums=gauc_sums, no_skill=0.5),
        Metric("logloss", logloss, "min", sums=logloss_sums),
        Metric("KS", ks, "max", needs="both", sums=ks_sums),
        Metric("precision", precision, "max", sums=precision_sums, undefined=no_decision),
        Metric("recall", recall, "max", needs="positive", sums=recall_sums),
        Metric("F1", f1, "max", needs="positive", sums=f1_sums),
        Metric("accuracy", accuracy, "max", sums=accuracy_sums),
        Metric("PCOC", pcoc, 1.0, needs="positive", sums=ratio_sums),
        Metric("ECE", ece, "min", sums=gap_sums),
        Metric("MAE", mae, "min", ("regression",), sums=mae_sums),
        Metric("RMSE", rmse, "min", ("regression",), sums=rmse_sums),
        Metric("XAUC", xauc, "max", _VALUES, needs="different", sums=xauc_sums, no_skill=0.5),
        Metric(
            "XGAUC",
            xgauc,
            "max",
            _VALUES,
            needs="different",
            sums=xgauc_sums,
            no_skill=0.5,
            undefined=no_group_differs,
        ),
        Metric("value_PCOC", value_ratio, 1.0, _VALUES, needs="positive", sums=ratio_sums),
        Metric("NMAE", relative_mae, "min", _VALUES, needs="positive", sums=relative_mae_sums),
        Metric("R2", explained, "max", _VALUES, needs="different", sums=explained_sums),
        Metric("Spearman", spearman, "max", _VALUES, needs="different", undefined=one_prediction),
        Metric("bucket_bias", bucket_bias, "min", _VALUES, needs="positive", sums=bucket_bias_sums),
        Metric("Gini", gini, "max", _VALUES, needs="different"),
        Metric("KL", divergence, "min", _VALUES),
        Metric("pinball", pinball, "min", _VALUES, sums=pinball_sums),
        Metric("coverage_gap", coverage_gap, 0.0, _VALUES, sums=coverage_gap_sums, undefined=no_interval),
        Metric("macro_AUC", macro_auc, "max", _CLASSES, needs="different", sums=macro_auc_sums, no_skill=0.5),
        Metric("class_logloss", class_logloss, "min", _CLASSES, sums=class_logloss_sums),
        Metric("class_accuracy", class_accuracy, "max", _CLASSES, sums=class_accuracy_sums),
    )
}
ALIASES = {"binary_crossentropy": "logloss"}
REGRESSION_METRICS = ("MAE", "RMSE")
CLASS_METRICS = ("macro_AUC", "class_logloss", "class_accuracy")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def register_metric(
    name: str,
    direction: str | float = "max",
    kinds: tuple[str, ...] = ("binary",),
    needs: str = "row",
    sums: Callable[..., Sums] | None = None,
    not_resampled: str = "",
    no_skill: float | None = None,
) -> Callable[[_Function], _Function]:
    """Makes a function known as a metric: in ``metrics``, ``monitor``, ``metrics_by``, tables and intervals.

        >>> @register_metric("Brier", direction="min")
        ... def brier(labels, predictions, weights=None):
        ...     '''Mean squared distance between the probability and the label.'''
        ...     return np.average((predictions - labels) ** 2, weights=weights)
        >>> METRICS["Brier"].measure(Observations.of([1, 0], [0.5, 0.5])).value
        0.25
        >>> find_metric("Brier").doc
        'Mean squared distance between the probability and the label.'

    Without sums, intervals come from fewer resamples; ``sums=lambda labels, predictions, weights=None:
    mean_of((predictions - labels) ** 2, weights)`` gives this one its sums.

    Args:
        name: As it is written in YAML and in the results.
        direction: See :class:`Metric`, as for the others.
        kinds: The kinds of task that it measures.
        needs: What the labels must hold.
        sums: Builds its sums.
        not_resampled: Why it has no interval.
        no_skill: The value of predictions that know nothing.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        ValueError: Another metric has that name, or see :class:`Metric`.
    """

    def register(function: _Function) -> _Function:
        add_metric(Metric(name, function, direction, kinds, needs, sums, not_resampled, no_skill))
        return function

    return register


def add_metric(metric: Metric) -> None:
    """Makes a metric known.

    Raises:
        ValueError: Another one has its name, also under an alias.
    """
    known = METRICS.get(ALIASES.get(metric.name, metric.name))
    if known is not None and _origin(known) != _origin(metric):
        one, other = (".".join(_origin(each)) for each in (known, metric))
        raise ValueError(f"two metrics are called {metric.name}: {one} and {other}. Rename one.")
    METRICS[metric.name] = metric


def _origin(metric: Metric) -> tuple[str, str]:
    """Where its value is defined; a file that is imported again gives the same."""
    return metric.function.__module__, metric.function.__qualname__


def find_metric(name: str) -> Metric:
    """The metric of that name, in any case; FuxiCTR's ``binary_crossentropy`` is ``logloss``.

    Raises:
        ValueError: Nothing has that name.
    """
    found = _spelled(name)
    if found is None:
        raise ValueError(f"unknown metric {name!r}.{among(name, METRICS)}")
    return METRICS[found]


def _spelled(name: str) -> str | None:
    """The name of a metric as it stands in results."""
    name = ALIASES.get(name, name)
    if name in METRICS:
        return name
    lowered = {each.lower(): each for each in METRICS} | ALIASES
    return lowered.get(name.lower())


def canonical_key(key: str) -> str:
    """``click_binary_crossentropy`` is measured under ``click_logloss``, ``auc`` under ``AUC``."""
    for place in [0, *(i + 1 for i, letter in enumerate(key) if letter == "_")]:
        found = _spelled(key[place:])
        if found is not None:
            return key[:place] + found
    return key


def why_undefined(
    name: str,
    labels: ArrayLike,
    predictions: ArrayLike,
    *,
    threshold: float | None = None,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> str:
    """Why a metric is NaN on these rows; empty where it is defined.

    Args:
        name: A metric, such as ``AUC``.
        labels: 0, 1 or NaN; any number for a regression.
        predictions: Probabilities, scores or values.
        threshold: Where the metric uses one.
        groups: Where the metric uses them.
        weights: Sample weights.
    """
    rows = Observations.of(labels, predictions, weights=weights, groups=groups, threshold=threshold)
    return find_metric(name).why_undefined(rows)

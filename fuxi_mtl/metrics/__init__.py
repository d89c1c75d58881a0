"""Metrics in plain numpy: exact, tie-aware, and NaN where a metric has no value.

Every function takes ``(labels, predictions)``, one-dimensional and of equal length, drops the rows
whose label is NaN (the task is not defined there) and returns a number. Where the remaining rows do not
define the metric (one class only, no positive, no row, NaN predictions) the result is NaN, never 0 or
0.5, and :func:`why_undefined` says why.

    >>> auc([1, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.3, 0.1])
    0.9166666666666666
    >>> auc([0, 0], [0.1, 0.2])
    nan
    >>> why_undefined("AUC", [0, 0], [0.1, 0.2])
    'all 2 labels are 0'
"""

from fuxi_mtl.metrics.decisions import (
    Confusion,
    accuracy,
    base_rate_threshold,
    best_f1_threshold,
    confusion,
    f1,
    precision,
    recall,
)
from fuxi_mtl.metrics.errors import ece, equal_bins, logloss, mae, pcoc, rmse
from fuxi_mtl.metrics.ranking import GroupAUCs, GroupedAUC, auc, gauc, group_aucs, group_codes, ks
from fuxi_mtl.metrics.registry import (
    ALIASES,
    METRICS,
    REGRESSION_METRICS,
    Metric,
    did_you_mean,
    find_metric,
    lacking_labels,
    why_undefined,
)
from fuxi_mtl.metrics.rows import observed
from fuxi_mtl.metrics.truth import (
    TRUTH_METRICS,
    Truth,
    TruthMetric,
    find_metric_of_key,
    measure_truth,
    read_truth,
    split_key,
    target,
)

__all__ = [
    "ALIASES",
    "METRICS",
    "REGRESSION_METRICS",
    "TRUTH_METRICS",
    "Confusion",
    "GroupAUCs",
    "GroupedAUC",
    "Metric",
    "Truth",
    "TruthMetric",
    "accuracy",
    "auc",
    "base_rate_threshold",
    "best_f1_threshold",
    "confusion",
    "did_you_mean",
    "ece",
    "equal_bins",
    "f1",
    "find_metric",
    "find_metric_of_key",
    "gauc",
    "group_aucs",
    "group_codes",
    "ks",
    "lacking_labels",
    "logloss",
    "mae",
    "measure_truth",
    "observed",
    "pcoc",
    "precision",
    "read_truth",
    "recall",
    "rmse",
    "split_key",
    "target",
    "why_undefined",
]

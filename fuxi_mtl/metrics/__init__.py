"""Metrics in plain numpy: exact, tie-aware, and NaN where a metric has no value.

Every function takes ``(labels, predictions)``, one-dimensional and of equal length, perhaps sample weights,
drops the rows whose label is NaN (the task is not defined there) or whose weight is 0, and returns a number.
A row of weight 2 counts as that row twice. Where the remaining rows do not define the metric (one class only,
no positive, no row, NaN predictions) the result is NaN, never 0 or 0.5, and :func:`why_undefined` says why.
:data:`METRICS` has what evaluation and comparison know of each; :func:`register_metric` adds one's own.

    >>> auc([1, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.3, 0.1])
    0.9166666666666666
    >>> auc([0, 0], [0.1, 0.2])
    nan
    >>> why_undefined("AUC", [0, 0], [0.1, 0.2])
    'all 2 labels are 0'
"""

from fuxi_mtl.metrics.bins import equal_bins
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
from fuxi_mtl.metrics.errors import ece, logloss, mae, pcoc, rmse
from fuxi_mtl.metrics.metric import INPUTS, NEEDS, NO_PARTS, Measured, Metric, Observations, Parts
from fuxi_mtl.metrics.ranking import (
    GroupAUCs,
    GroupedAUC,
    auc,
    gauc,
    group_aucs,
    group_codes,
    group_units,
    ks,
    largest_gaps,
)
from fuxi_mtl.metrics.registry import (
    ALIASES,
    CLASS_METRICS,
    METRICS,
    REGRESSION_METRICS,
    add_metric,
    canonical_key,
    find_metric,
    register_metric,
    why_undefined,
)
from fuxi_mtl.metrics.rows import observed
from fuxi_mtl.metrics.sums import Sums, mean_of, sums_of
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
    "CLASS_METRICS",
    "INPUTS",
    "METRICS",
    "NEEDS",
    "NO_PARTS",
    "REGRESSION_METRICS",
    "TRUTH_METRICS",
    "Confusion",
    "GroupAUCs",
    "GroupedAUC",
    "Measured",
    "Metric",
    "Observations",
    "Parts",
    "Sums",
    "Truth",
    "TruthMetric",
    "accuracy",
    "add_metric",
    "auc",
    "base_rate_threshold",
    "best_f1_threshold",
    "canonical_key",
    "confusion",
    "ece",
    "equal_bins",
    "f1",
    "find_metric",
    "find_metric_of_key",
    "gauc",
    "group_aucs",
    "group_codes",
    "group_units",
    "ks",
    "largest_gaps",
    "logloss",
    "mae",
    "mean_of",
    "measure_truth",
    "observed",
    "pcoc",
    "precision",
    "read_truth",
    "recall",
    "register_metric",
    "rmse",
    "split_key",
    "sums_of",
    "target",
    "why_undefined",
]

"""Predictions against the truth, where it is known: simulated data, or a randomised log.

The truth of a task is a column ``truth_{task}`` beside its labels: the probability (of a regression, the
expected value) of its event *on every row*, whether or not the row met the task's condition. For ``cvr:
conversion | click`` that is P(conversion | do(click), x). A column ``outcome_{task}`` has what did happen, or
would have: the realised counterfactual. Labels of a conditional task say which rows met its condition, the
*clicked* ones; all others are the *unclicked* ones. With prediction p and truth q::

    bias       mean (p - q)             truth_PCOC  mean p / mean q
    truth_MSE  mean (p - q)²            truth_ECE   mean over ten bins of equal size of |mean p - mean q|
    truth_AUC  AUC of p against the outcomes

``bias`` and ``truth_MSE`` of a conditional task are also taken over clicked and over unclicked rows. These
are numbers to report, not to choose by: nobody has them in production, so no monitor takes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.errors import bias, bias_sums, bin_gap, gap_sums, mse, mse_sums, ratio_sums
from fuxi_mtl.metrics.metric import Metric, Observations
from fuxi_mtl.metrics.ranking import auc, auc_sums
from fuxi_mtl.metrics.registry import METRICS
from fuxi_mtl.metrics.rows import NAN, observed, weighted_mean


class Truth(NamedTuple):
    """What is known of one task, ``(rows,)`` each, NaN where it is not.

    Attributes:
        expected: The true probability, or the expected value of a regression.
        outcome: What happened or would have happened, 0 or 1; None if the data do not say.
    """

    expected: np.ndarray
    outcome: np.ndarray | None = None


@dataclass(frozen=True)
class TruthMetric(Metric):
    """A metric whose value sees the truth in place of the labels.

    Attributes:
        rows: ``clicked``, ``unclicked``, or nothing for all of them.
        outcomes: Whether it sees what happened in place of what was expected.
    """

    rows: str = ""
    outcomes: bool = False

    @property
    def doc(self) -> str:
        """One sentence that says what it is."""
        against = "outcomes" if self.outcomes else "truth"
        return (
            f"{super().doc.rstrip('.')}; against the {against}{f' of {self.rows} rows' if self.rows else ''}."
        )


def ratio(expected: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean prediction over mean truth; NaN if that is 0."""
    true, predicted, weight_rows = observed(expected, predictions, weights)
    mean = weighted_mean(true, weight_rows)
    return weighted_mean(predicted, weight_rows) / mean if mean else NAN


def truth_ece(expected: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean over ten bins of equally many rows, by prediction, of |mean prediction - mean truth|."""
    true, predicted, weight_rows = observed(expected, predictions, weights)
    return bin_gap(true, predicted, weight_rows)


def _no_rate(expected: np.ndarray, predictions: np.ndarray) -> str:  # noqa: ARG001
    return "the mean truth is 0"


def _by_rows(name: str, function: Callable, direction: str | float, sums: Callable) -> Iterator[TruthMetric]:
    for rows in ("", "clicked", "unclicked"):
        full = f"{name}_{rows}" if rows else name
        yield TruthMetric(full, function, direction, ("binary", "regression"), sums=sums, rows=rows)


TRUTH_METRICS = {
    metric.name: metric
    for metric in (
        *_by_rows("bias", bias, 0.0, bias_sums),
        *_by_rows("truth_MSE", mse, "min", mse_sums),
        TruthMetric("truth_AUC", auc, "max", needs="both", sums=auc_sums, outcomes=True),
        TruthMetric("truth_PCOC", ratio, 1.0, sums=ratio_sums, undefined=_no_rate),
        TruthMetric("truth_ECE", truth_ece, "min", sums=gap_sums),
    )
}


def split_key(key: str, tasks: Iterable[str] | None = None) -> tuple[str, str]:
    """Task and metric of a result: ``("cvr", "truth_AUC")`` of ``cvr_truth_AUC``.

    Args:
        key: As in the values of an evaluation.
        tasks: The tasks there are; any name unless said.

    Returns:
        An empty task for a mean over tasks; both empty for what is no result of these tasks.
    """
    if key in METRICS:
        return "", key
    known = None if tasks is None else set(tasks)
    for name in sorted([*METRICS, *TRUTH_METRICS], key=len, reverse=True):
        task = key.removesuffix(f"_{name}")
        if task != key and (known is None or task in known):
            return task, name
    return "", ""


def find_metric_of_key(key: str) -> Metric | None:
    """The metric behind a column of a table, with or without a task in front; None if there is none."""
    name = split_key(key)[1]
    return METRICS.get(name) or TRUTH_METRICS.get(name)


def target(metric: TruthMetric, truth: Truth, labels: np.ndarray) -> np.ndarray | None:
    """What the predictions are held against: NaN on rows that do not count, None where it is not known.

    Args:
        metric: Says which rows, and whether the truth or the outcomes.
        truth: Of the task.
        labels: Of the task, NaN where its condition was not met.
    """
    values = truth.outcome if metric.outcomes else truth.expected
    if values is None or not metric.rows:
        return values
    return np.where(np.isnan(labels) == (metric.rows == "unclicked"), values, np.nan)


def measure_truth(
    truth: Truth,
    labels: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    kind: str = "binary",
    conditional: bool = True,
) -> Iterator[tuple[str, float, str]]:
    """Name, value and, where the value is NaN, the reason of each metric that a task and its truth allow.

    Args:
        truth: Of the task.
        labels: ``(rows,)``, NaN where the task's condition was not met.
        predictions: ``(rows,)``.
        weights: ``(rows,)`` sample weights.
        kind: Of the task.
        conditional: Whether it has a condition, which tells clicked from unclicked rows.
    """
    for metric in TRUTH_METRICS.values():
        if kind not in metric.kinds or (metric.rows and not conditional):
            continue
        against = target(metric, truth, labels)
        if against is None:
            continue
        rows = Observations.of(against, predictions, weights=weights)
        value = metric.measure(rows).value
        yield metric.name, value, _reason(metric, rows) if np.isnan(value) else ""


def _reason(metric: TruthMetric, rows: Observations) -> str:
    if not len(rows.labels):
        return f"no {metric.rows} row has a truth" if metric.rows else "no row has a truth"
    return metric.why_undefined(rows).replace("labels", "outcomes")


def read_truth(task: str, columns: Mapping[str, np.ndarray], kind: str = "binary") -> Truth | None:
    """The truth of a task among columns named ``truth_{task}`` and ``outcome_{task}``; None without it.

    Raises:
        ValueError: A probability is outside of [0, 1], or an outcome is neither 0 nor 1.
    """
    expected, outcome = columns.get(f"truth_{task}"), columns.get(f"outcome_{task}")
    if expected is None:
        return None
    if kind == "binary":
        _refuse(f"truth_{task}", expected, (expected < 0) | (expected > 1), "a probability")
        if outcome is not None:
            _refuse(f"outcome_{task}", outcome, (outcome != 0) & (outcome != 1), "0 or 1")
    return Truth(expected, outcome)


def _refuse(name: str, values: np.ndarray, strange: np.ndarray, wanted: str) -> None:
    strange &= ~np.isnan(values)
    if strange.any():
        row = int(np.argmax(strange))
        raise ValueError(f"{name} is {values[row]:g} in row {row + 1}: it must be {wanted}, or missing.")

"""Where the errors of a run are: rows by what was predicted, and by how many rows their group has."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fuxi_mtl.metrics import equal_bins
from fuxi_mtl.runs import StoredScores

BINS = 10
SIZES = (1, 2, 5, 10, 50, 200)  # rows of a group from which a slice begins
_LEAST = 1e-7


@dataclass(frozen=True)
class Slice:
    """Some of the rows on which a task is defined.

    Attributes:
        by: What it is a slice of: ``prediction``, or ``rows of the group``.
        name: Which.
        rows: Its rows.
        predicted: Mean prediction.
        observed: Mean label.
        error: Mean log loss of a binary task, else mean absolute error.
        share: Its part of the error of all rows.
    """

    by: str
    name: str
    rows: int
    predicted: float
    observed: float
    error: float
    share: float


def slices(scores: StoredScores, task: str, binary: bool) -> list[Slice]:
    """The slices of a task, tenths of the predictions first; empty where there is nothing to slice.

    Args:
        scores: Of a split. Sample weights do not count.
        task: A task of one number.
        binary: Whether it is a probability.
    """
    label = scores.arrays.get(f"{task}_label")
    if label is None or label.ndim > 1 or f"{task}_chances" in scores.arrays:
        return []
    known = np.isfinite(label)
    labels, predictions = label[known].astype(np.float64), scores.prediction(task)[known].astype(np.float64)
    if not len(labels):
        return []
    error = _errors(labels, predictions, binary)
    found = []
    for by, name, rows in (*_by_prediction(predictions), *_by_group(scores.groups, known)):
        found.append(
            Slice(
                by,
                name,
                int(rows.sum()),
                float(predictions[rows].mean()),
                float(labels[rows].mean()),
                float(error[rows].mean()),
                float(error[rows].sum() / error.sum()) if error.sum() else float("nan"),
            )
        )
    return found


def _errors(labels: np.ndarray, predictions: np.ndarray, binary: bool) -> np.ndarray:
    if not binary:
        return np.abs(labels - predictions)
    chances = np.clip(predictions, _LEAST, 1 - _LEAST)
    return -(labels * np.log(chances) + (1 - labels) * np.log1p(-chances))


def _by_prediction(predictions: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    bins = equal_bins(predictions, BINS)
    for number in np.unique(bins):
        rows = bins == number
        inside = predictions[rows]
        yield "prediction", f"{inside.min():.4g} to {inside.max():.4g}", rows


def _by_group(groups: np.ndarray | None, known: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    if groups is None:
        return
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sizes = counts[codes][known]
    for low, high in zip(SIZES, (*SIZES[1:], None), strict=True):
        rows = (sizes >= low) & ((sizes < high) if high else True)
        if rows.any():
            name = (
                f"{low} or more" if high is None else f"{low}" if high == low + 1 else f"{low} to {high - 1}"
            )
            yield "rows of the group", name, rows

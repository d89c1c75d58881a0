"""Metrics as functions of sums over rows, from which resamples are computed fast."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Sums:
    """A metric as sums over rows.

    Attributes:
        columns: ``(rows, k)``, what is summed. What belongs to a group lies on one of its rows.
        finish: Turns sums ``(resamples, k)`` into values ``(resamples,)``, NaN where they are undefined.
    """

    columns: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def totals(self) -> np.ndarray:
        """``(k,)`` sums over all rows."""
        return self.columns.sum(axis=0, dtype=np.float64)

    def value(self) -> float:
        """The metric on the rows themselves."""
        return float(self.finish(self.totals[None])[0])


def sums_of(
    *columns: np.ndarray,
    weights: np.ndarray | None = None,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Sums:
    """The sums of some columns ``(rows,)``, each row times its weight.

    Args:
        columns: What is summed.
        weights: ``(rows,)`` sample weights.
        finish: See :class:`Sums`; the first sum divided by the second unless said.

    Example:
        >>> sums_of(np.array([1.0, 2.0]), np.array([1.0, 1.0]), weights=np.array([1.0, 3.0])).columns.tolist()
        [[1.0, 1.0], [6.0, 3.0]]
    """
    table = np.stack([np.asarray(column, np.float64) for column in columns]).T  # each lies in one piece
    return Sums(weighted(table, weights), finish or ratio)


def mean_of(values: np.ndarray, weights: np.ndarray | None = None) -> Sums:
    """The (weighted) mean of values ``(rows,)`` as sums.

    Example:
        >>> mean_of(np.array([0.25, 0.75])).columns.tolist()
        [[0.25, 1.0], [0.75, 1.0]]
    """
    return sums_of(values, np.ones(len(values)), weights=weights)


def weighted(columns: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Columns ``(rows, k)``, each row times its weight."""
    return columns if weights is None else columns * weights[:, None].astype(columns.dtype)


def ratio(sums: np.ndarray) -> np.ndarray:
    """The first sum divided by the second."""
    return sums[:, 0] / sums[:, 1]

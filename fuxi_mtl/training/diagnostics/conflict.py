"""Gradient conflict of objectives on shared parameters: cosines, norms, and their summaries."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxi_mtl.training.diagnostics.gradients import Products

PARTS = ("dense", "sparse", "all")
EMA = 0.1  # share of a new measurement in the moving conflict rate
_QUANTILES = {"p10": 10, "p50": 50, "p90": 90}


@dataclass(frozen=True)
class Compared:
    """The gradients of one batch on a part of the shared parameters; NaN where there is none.

    Attributes:
        cosine: ``(objectives, objectives)``: ``<g_a, g_b> / (||g_a|| ||g_b||)``.
        ratio: ``(objectives, objectives)``: ``||g_b|| / ||g_a||``.
        norm: ``(objectives,)``: ``||g_a||`` on all shared parameters that it reaches.
    """

    cosine: np.ndarray
    ratio: np.ndarray
    norm: np.ndarray


def compared(found: Products, min_tasks: int = 2) -> dict[str, Compared]:
    """Cosines and norms on the shared parameters: on the dense ones, on the tables, and on all.

    A variable is shared if the gradients of at least `min_tasks` objectives reach it. One that is zero
    throughout does not: that is how the private gate of another task looks where gates share one product.
    Two objectives are compared where both reach, so a parameter that only one of them and a third
    reach does not turn them apart.

    Args:
        found: The inner products.
        min_tasks: How many objectives make a variable shared.

    Returns:
        By part.
    """
    products = np.asarray(found.products, np.float64)  # (variables, objectives, objectives)
    squares = np.einsum("vkk->vk", products)
    # An objective without its rows, or with a gradient that overflowed, says nothing.
    counted = found.counted & np.isfinite(squares).all(axis=0)
    reached = (squares > 0) & counted
    shared = reached & (reached.sum(axis=1, keepdims=True) >= min_tasks)
    parts = {"dense": ~found.sparse, "sparse": found.sparse, "all": np.ones_like(found.sparse)}
    return {part: _compared(products, squares, shared & inside[:, None]) for part, inside in parts.items()}


def _compared(products: np.ndarray, squares: np.ndarray, shared: np.ndarray) -> Compared:
    both = shared[:, :, None] & shared[:, None, :]  # (variables, objectives, objectives)
    inner = np.where(both, products, 0).sum(axis=0)
    first = np.where(both, squares[:, :, None], 0).sum(axis=0)  # of a, where b reaches too
    own = np.where(shared, squares, 0).sum(axis=0)
    some = both.any(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(some, inner / np.sqrt(first * first.T), np.nan)
        ratio = np.where(some, np.sqrt(first.T / first), np.nan)
    return Compared(np.clip(cosine, -1, 1), ratio, np.where(own > 0, np.sqrt(own), np.nan))


def summary(cosines: Sequence[float], ratios: Sequence[float]) -> dict[str, Any]:
    """What many batches say together; NaN are the batches that were skipped.

    Returns:
        ``measured`` and ``skipped`` batches; ``cosine``, their mean; ``conflict_rate``, the share of negative
        cosines, and ``conflict_rate_ema``, its moving average; ``neg_conflict_strength``, the mean of the
        negative cosines; ``p10``, ``p50``, ``p90`` of the cosine; ``norm_ratio``, the median ratio.
    """
    values = np.asarray(cosines, np.float64)
    known = values[~np.isnan(values)]
    numbers: dict[str, Any] = {"measured": len(known), "skipped": len(values) - len(known)}
    negative = known < 0
    moving = float(negative[0]) if len(known) else np.nan
    for each in negative[1:]:
        moving += EMA * (float(each) - moving)
    return {
        **numbers,
        "cosine": _mean(known),
        "conflict_rate": _mean(negative),
        "conflict_rate_ema": moving,
        "neg_conflict_strength": _mean(known[negative]),
        **{
            name: float(np.percentile(known, at)) if len(known) else np.nan for name, at in _QUANTILES.items()
        },
        "norm_ratio": float(np.nanmedian(ratios)) if len(known) else np.nan,
    }


class GradientConflict:
    """The measurements of a training, in order.

    Args:
        objectives: Their names, in the order of the products.
        min_tasks: How many objectives make a variable shared.
    """

    def __init__(self, objectives: Sequence[str], min_tasks: int = 2):
        self.objectives, self.min_tasks = tuple(objectives), min_tasks
        self.steps: list[int] = []
        self._found: list[dict[str, Compared]] = []

    def get_state(self) -> dict[str, Any]:
        """The measurements."""
        return {
            "steps": self.steps,
            "found": [{part: _listed(each) for part, each in found.items()} for found in self._found],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on behind these measurements."""
        self.steps = list(state["steps"])
        self._found = [
            {
                part: Compared(**{name: np.asarray(values) for name, values in each.items()})
                for part, each in found.items()
            }
            for found in state["found"]
        ]

    def add(self, step: int, found: Products) -> None:
        """One more batch, measured after a step."""
        self.steps.append(step)
        self._found.append(compared(found, self.min_tasks))

    def summaries(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        """:func:`summary` of each pair of objectives, by part."""
        return {
            (self.objectives[a], self.objectives[b]): {
                part: summary(self._of("cosine", part, a, b), self._of("ratio", part, a, b)) for part in PARTS
            }
            for a, b in itertools.combinations(range(len(self.objectives)), 2)
        }

    def content(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "objectives": self.objectives,
            "min_tasks": self.min_tasks,
            "steps": self.steps,
            "norms": {
                part: {name: _short(self._of("norm", part, k)) for k, name in enumerate(self.objectives)}
                for part in PARTS
            },
            "pairs": [self._pair(names, parts) for names, parts in self.summaries().items()],
        }

    def _pair(self, names: tuple[str, str], parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
        places = [self.objectives.index(name) for name in names]
        return {
            "objectives": names,
            "parts": {
                part: {
                    "cosine": _short(self._of("cosine", part, *places)),
                    "norm_ratio": _short(self._of("ratio", part, *places)),
                    "summary": numbers,
                }
                for part, numbers in parts.items()
            },
        }

    def _of(self, kind: str, part: str, *place: int) -> list[float]:
        return [float(getattr(each[part], kind)[place]) for each in self._found]


def _listed(record: Compared) -> dict[str, list]:
    return {name: values.tolist() for name, values in vars(record).items()}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _percentile(values: np.ndarray, at: int) -> float:
    return float(np.percentile(values, at)) if len(values) else float("nan")


def _short(values: Sequence[float]) -> list[float]:
    """Six digits: a file of a thousand measurements is to be read by a browser."""
    return [float(f"{value:.6g}") for value in values]

"""What base rates say before training: where output biases start, and what a constant prediction costs."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fuxi_mtl.tasks import Task

PosWeight = Callable[[str, float], float]
"""The weight of the positives of a task, by its name and rate."""


def weighted_rate(rate: float, weight: float) -> float:
    """``w p / (w p + 1 - p)``: where a loss whose positives weigh w has its least value."""
    return weight * rate / (weight * rate + 1 - rate)


def logit(rate: float) -> float:
    """``log(p / (1 - p))``."""
    return math.log(rate / (1 - rate))


def prior_logits(
    towers: Sequence[Task], tasks: Sequence[Task], labels: Mapping[str, np.ndarray], pos_weight: PosWeight
) -> dict[str, float]:
    """The logit at which each tower starts; towers without labels of their own, or of one class, have none.

    A tower of a task starts at the task's rate. A conditional tower of an entire-space model, which learns
    through products only, starts where the products of weighted rates put it: ``conversion | click`` at
    ``q(click & conversion) / q(click)``, q being the rate under the weight of positives.

    Args:
        towers: What is to start.
        tasks: What has labels.
        labels: ``(rows,)`` labels by task, NaN where not defined.
        pos_weight: The weight of a task's positives.
    """
    rates: dict[str, float] = {}
    joint: dict[frozenset[str], float] = {}
    for task in tasks:
        known = labels[task.name][~np.isnan(labels[task.name])]
        rate = float(known.mean(dtype=np.float64)) if len(known) else 0.0
        if task.kind == "binary" and 0 < rate < 1:
            rates[task.name] = weighted_rate(rate, pos_weight(task.name, rate))
            if not task.given:
                joint[frozenset(task.event)] = rates[task.name]
    found = {}
    for tower in towers:
        below, together = frozenset(tower.given), frozenset((*tower.given, *tower.event))
        rate = rates.get(tower.name, 0.0)
        if tower.given and below in joint and together in joint:
            rate = joint[together] / joint[below]
        if 0 < rate < 1:
            found[tower.name] = logit(rate)
    return found


def constant_losses(labels: Mapping[str, np.ndarray], kinds: Mapping[str, str]) -> dict[str, float]:
    """The loss of the best constant prediction, where a label tells it and it is above 0.

    ``-p log p - (1 - p) log(1 - p)`` for a binary objective with base rate p, the variance of a regression.

    Args:
        labels: ``(rows,)`` labels by name, as they are learnt; NaN where not defined.
        kinds: Kind of each objective, by name.
    """
    found = {}
    for name, kind in kinds.items():
        label = np.asarray(labels.get(name, ()))
        known = ~np.isnan(label)
        rows = int(np.count_nonzero(known))
        if kind == "binary" and 0 < (rate := _sum(label, known) / max(rows, 1)) < 1:
            found[name] = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
        elif kind == "regression" and rows and (variance := float(label[known].astype(np.float64).var())) > 0:
            found[name] = variance
    return found


def _sum(label: np.ndarray, known: np.ndarray) -> float:
    """In float64, without a copy: there may be billions of rows."""
    return float(np.sum(label, where=known, dtype=np.float64))


def check_priors(bias_prior: str | Mapping[str, float], names: Sequence[str]) -> dict[str, float] | None:
    """Rates by head from the option ``bias_prior``: None for ``auto``, no rate for ``none``.

    Raises:
        ValueError: Another word, an unknown head, or a rate that is none.
    """
    if isinstance(bias_prior, str):
        if bias_prior not in ("auto", "none"):
            raise ValueError(f"bias_prior is {bias_prior!r}. Use auto, none, or rates by head.")
        return None if bias_prior == "auto" else {}
    for name, rate in bias_prior.items():
        if name not in names:
            raise ValueError(f"bias_prior names {name!r}, which is no head. Heads: {', '.join(names)}.")
        if not 0 < rate < 1:
            raise ValueError(f"bias_prior of {name} is {rate:g}; a rate lies between 0 and 1.")
    return dict(bias_prior)

"""Objectives: named scalar losses of heads and labels, as data."""

from fuxi_mtl.objectives.objective import (
    CALIBRATOR,
    Heads,
    Labels,
    Losses,
    Objective,
    calibrator,
    losses_over_replicas,
    supervised,
    without_nan,
)
from fuxi_mtl.objectives.row_losses import (
    AbsoluteError,
    FocalLoss,
    HuberError,
    RowLoss,
    SquaredError,
    WeightedCrossEntropy,
)

__all__ = [
    "CALIBRATOR",
    "AbsoluteError",
    "FocalLoss",
    "Heads",
    "HuberError",
    "Labels",
    "Losses",
    "Objective",
    "RowLoss",
    "SquaredError",
    "WeightedCrossEntropy",
    "calibrator",
    "losses_over_replicas",
    "supervised",
    "without_nan",
]

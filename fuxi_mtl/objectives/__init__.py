"""From heads and labels to named scalar losses: what a model learns from, as data."""

from fuxi_mtl.objectives.objective import (
    CALIBRATOR,
    Heads,
    Labels,
    Objective,
    calibrator,
    over_replicas,
    supervised,
    without_nan,
)

__all__ = [
    "CALIBRATOR",
    "Heads",
    "Labels",
    "Objective",
    "calibrator",
    "over_replicas",
    "supervised",
    "without_nan",
]

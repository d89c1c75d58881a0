"""Diagnostics of training, which do not change a single bit of it."""

from fuxi_mtl.training.diagnostics.callback import Diagnostics
from fuxi_mtl.training.diagnostics.conflict import PARTS, GradientConflict, compared, summary
from fuxi_mtl.training.diagnostics.gates import GateHealth, dead_experts, divergence, health
from fuxi_mtl.training.diagnostics.gradients import GradientProducts, Products

__all__ = [
    "PARTS",
    "Diagnostics",
    "GateHealth",
    "GradientConflict",
    "GradientProducts",
    "Products",
    "compared",
    "dead_experts",
    "divergence",
    "health",
    "summary",
]

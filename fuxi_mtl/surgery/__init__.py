"""Gradient surgery: the direction of shared variables where objectives disagree."""

from fuxi_mtl.surgery.backward import Backward
from fuxi_mtl.surgery.combining import Surgery, make_surgery
from fuxi_mtl.surgery.methods import (
    ConflictAverse,
    MinNorm,
    ParetoEfficient,
    ProjectedConflicts,
    SurgeryMethod,
)
from fuxi_mtl.surgery.solvers import (
    conflict_averse_coefficients,
    min_norm_weights,
    pareto_weights,
    projected_coefficients,
)

__all__ = [
    "Backward",
    "ConflictAverse",
    "MinNorm",
    "ParetoEfficient",
    "ProjectedConflicts",
    "Surgery",
    "SurgeryMethod",
    "conflict_averse_coefficients",
    "make_surgery",
    "min_norm_weights",
    "pareto_weights",
    "projected_coefficients",
]

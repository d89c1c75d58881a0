"""One score out of several: formulas, the search of their weights, learning to rank, and their worth.

Everything but :mod:`fuxi_mtl.fusion.graph` and the learning to rank is numpy.
"""

from fuxi_mtl.fusion.cem import Found, cross_entropy_method
from fuxi_mtl.fusion.formulas import Fusion
from fuxi_mtl.fusion.gains import Gains, graded_label
from fuxi_mtl.fusion.objective import FusionObjective, Rows, default_objective, split_target
from fuxi_mtl.fusion.online import OnlineTrial, Traffic
from fuxi_mtl.fusion.ranks import ranks
from fuxi_mtl.fusion.reporting import report
from fuxi_mtl.fusion.searching import Searched, fused_tasks, search

__all__ = [
    "Found",
    "Fusion",
    "FusionObjective",
    "Gains",
    "OnlineTrial",
    "Rows",
    "Searched",
    "Traffic",
    "cross_entropy_method",
    "default_objective",
    "fused_tasks",
    "graded_label",
    "ranks",
    "report",
    "search",
    "split_target",
]

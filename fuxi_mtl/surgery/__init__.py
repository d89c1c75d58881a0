"""Gradient surgery: the direction of shared variables where objectives disagree."""

from fuxi_mtl.surgery.backward import Backward
from fuxi_mtl.surgery.combining import Surgery
from fuxi_mtl.surgery.factory import make_surgery
from fuxi_mtl.surgery.methods import SurgeryMethod

__all__ = ["Backward", "Surgery", "SurgeryMethod", "make_surgery"]

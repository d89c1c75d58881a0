"""Calibration: from the probabilities that a loss made to those that happen."""

from fuxi_mtl.evaluation.calibration.fitting import METHODS, closed_form, fitted
from fuxi_mtl.evaluation.calibration.maps import Calibration, Isotonic, Platt, Resampled, Unweighted

__all__ = ["METHODS", "Calibration", "Isotonic", "Platt", "Resampled", "Unweighted", "closed_form", "fitted"]

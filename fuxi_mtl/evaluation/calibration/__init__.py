"""Calibration: from the probabilities that a loss made to those that happen."""

from fuxi_mtl.evaluation.calibration.fitting import closed_form, fitted, fitted_values
from fuxi_mtl.evaluation.calibration.maps import Calibration, Isotonic, Map, Platt, Resampled, Unweighted

__all__ = [
    "Calibration",
    "Isotonic",
    "Map",
    "Platt",
    "Resampled",
    "Unweighted",
    "closed_form",
    "fitted",
    "fitted_values",
]

"""What a model is worth: metrics of a split, monitors, calibration, checks of conversion models."""

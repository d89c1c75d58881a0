"""Metrics of a split, monitors, calibration, and checks of conversion models."""

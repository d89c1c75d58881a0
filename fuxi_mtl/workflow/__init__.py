"""Applications of the mechanisms to a run: training, calibration, fusion, a search among several."""

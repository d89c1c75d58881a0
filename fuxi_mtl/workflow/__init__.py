"""What one does with a run: train it, calibrate it, fuse its scores, search among several."""

"""From a model and a dataset to trained weights: steps, callbacks, checkpoints, diagnostics."""

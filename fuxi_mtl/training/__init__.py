"""Training: steps, callbacks, checkpoints, diagnostics."""

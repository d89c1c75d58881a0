"""What every test needs before anything is imported."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_finish():
    """Every run begins with a garbage collection; what was imported is left out of it."""
    gc.collect()
    gc.freeze()

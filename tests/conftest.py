"""What every test needs before anything is imported."""

import gc
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_finish():
    """Every run begins with a garbage collection; what was imported is left out of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _what_a_file_leaves():
    """Likewise: else the collections of later files take longer and longer, a quarter of each run at last."""
    yield
    gc.collect()
    gc.freeze()

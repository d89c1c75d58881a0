"""What every test needs before anything is imported."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# A test process a core: threads of its own inside an operation would only wait for the others'.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

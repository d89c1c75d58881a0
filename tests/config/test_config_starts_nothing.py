"""Reading a stanza computes nothing: TensorFlow connects with other workers before that, or never."""

import subprocess
import sys

_READ = """
from tensorflow.python.eager import context
from fuxi_mtl.config import load_experiment
from fuxi_mtl.registry import import_zoo

import_zoo()
for expid, changes in {
    "MMoE_moco_test": {},
    "MMoE_test": {"loss_weight": "COV", "cov_decay": 0.9},
    "MMoE_with_GN": {"gradnorm_alpha": 1.0},
    "PLE_test": {"surgery": "cagrad", "surgery_mode": "full"},
}.items():
    load_experiment("config", expid, changes=changes)
    assert context.context()._context_handle is None, expid
"""


def test_options_of_weightings_and_surgery_are_judged_before_workers_are_joined():
    done = subprocess.run([sys.executable, "-c", _READ], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

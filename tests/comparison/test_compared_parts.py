"""Comparison of what decoders predict beside values: chances of classes, quantiles."""

import numpy as np
import pytest

from fuxi_mtl.comparison import compare, stored_runs
from fuxi_mtl.metrics import METRICS, Observations, Parts
from fuxi_mtl.runs import Run, StoredScores

ROWS = 400
OF_TASK = {
    "act": ("macro_AUC", "class_logloss", "class_accuracy"),
    "watch": ("pinball", "coverage_gap"),
}


def write(root, expid, noise, **change):
    """A run whose predictions are the labels beside so much noise."""
    rng = np.random.default_rng(0)
    act, watch = rng.integers(0, 3, ROWS).astype(np.float32), rng.random(ROWS).astype(np.float32)
    far = np.random.default_rng(len(expid)).random((ROWS, 3))
    chances = (act[:, None] == np.arange(3)) + noise * far
    quantiles = watch[:, None] + noise * np.sort(far - 0.5, axis=1)
    parts = {
        "act": Parts(chances=(chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)),
        "watch": Parts(quantiles=quantiles.astype(np.float32), taus=(0.25, 0.5, 0.75)),
    }
    predicted = {
        "act": chances.argmax(axis=1).astype(np.float32),
        "watch": quantiles[:, 1].astype(np.float32),
    }
    labels = {"act": act, "watch": watch} | change
    values = {
        f"{task}_{name}": METRICS[name]
        .measure(Observations.of(labels[task], predicted[task], parts=parts[task]))
        .value
        for task, names in OF_TASK.items()
        for name in names
    }
    run = Run(root / "toy" / expid / "seed_1")
    run.folder.mkdir(parents=True)
    content = {
        "expid": expid,
        "dataset_id": "toy",
        "model": "MMoE",
        "seed": 1,
        "test": values,
        "valid": values,
    }
    run.write_json(run.metrics, {**content, "tasks": {"act": "act", "watch": "watch"}})
    run.write_scores("test", StoredScores.of(predicted, labels, {}, parts=parts))
    return values


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    values = write(root, "A", 1.0), write(root, "BB", 2.0)
    (found,) = compare(stored_runs(root, ["A", "BB"]), baseline="A")
    return values, found


@pytest.mark.parametrize("column", [f"{task}_{name}" for task, names in OF_TASK.items() for name in names])
def test_metrics_of_classes_and_quantiles_have_intervals_around_their_difference(table, column):
    (a, b), found = table
    difference = found.rows[1].differences[column]
    assert difference.value == pytest.approx(b[column] - a[column])
    assert difference.low < difference.value < difference.high
    assert difference.reason == ""


def test_chances_and_quantiles_may_differ_between_runs_and_labels_may_not(tmp_path):
    write(tmp_path, "A", 1.0)
    write(tmp_path, "BB", 1.0, watch=np.zeros(ROWS, np.float32))
    (found,) = compare(stored_runs(tmp_path, ["A", "BB"]), baseline="A")
    reason = found.rows[1].differences["act_macro_AUC"].reason
    assert reason == "BB seed 1 was tested on rows with another watch_label than A"

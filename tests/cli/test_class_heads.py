"""A task of several classes from the stanza to the SavedModel, comparison and fusion."""

import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from command_line import call

STANZA = """
A:
  model: MMoE
  dataset_id: d
  expert_hidden_units: [8]
  tower_hidden_units: [4]
  num_experts: 2
  embedding_dim: 4
  epochs: 2
  batch_size: 64
  learning_rate: 0.01
  metrics: [AUC, pinball, coverage_gap]
  monitor: act_macro_AUC
  metrics_by: tab
  value_calibration: isotonic
  fusion: {method: sum, transform: identity, weights: {click: 1, act: 2}}
  verbose: 0
Base:
  model_root: ./runs/
  seed: 1
"""
DATASET = """
d:
  data_root: ./encoded/
  data_format: csv
  train_data: ./train.csv
  valid_data: ./valid.csv
  test_data: ./valid.csv
  feature_cols:
    - {name: item, type: categorical}
    - {name: tab, type: meta}
  label_col:
    - {name: click}
    - {name: act, kind: classes, decoder: {type: softmax, classes: [none, a like, 7], values: [0, 1, 5]}}
    - {name: watch, kind: value, decoder: quantile}
"""
NAMES = np.array(["none", "a like", "7"])


def rows(count, rng):
    item = rng.integers(0, 12, count)
    act = NAMES[np.where(rng.random(count) < 0.2, rng.integers(0, 3, count), item % 3)]
    watch = (rng.exponential(5, count) * (1 + item)).round(1)
    columns = {"item": item, "tab": item % 2, "click": act != "none", "act": act, "watch": watch}
    return pl.DataFrame(columns).with_columns(pl.col("click").cast(int))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, count in (("train", 600), ("valid", 200)):
        rows(count, rng).write_csv(tmp_path / f"{name}.csv")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text(STANZA)
    (tmp_path / "config" / "dataset_config.yaml").write_text(DATASET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_classes_are_trained_measured_stored_fused_and_served_alike(folder):
    done = call("run", "--config", "config", "--expid", "A")
    assert done.status == 0, done.err
    metrics = json.loads((folder / "runs/d/A/seed_1/metrics.json").read_text())
    with np.load("runs/d/A/seed_1/test_scores.npz") as stored:
        scores = dict(stored)
    assert metrics["test"]["act_macro_AUC"] > 0.7
    chances, label = scores["act_chances"], scores["act_label"].astype(int)
    by_hand = -np.log(chances[np.arange(len(label)), label]).mean()
    assert metrics["test"]["act_class_logloss"] == pytest.approx(by_hand, rel=1e-5)
    assert metrics["test"]["act_class_accuracy"] == (chances.argmax(axis=1) == label).mean()
    of_tabs = metrics["metrics_by"]["values"]
    assert {each["metrics"]["act_macro_AUC"] > 0.5 for each in of_tabs.values()} == {True}
    assert all(np.isfinite(each["metrics"]["watch_pinball"]) for each in of_tabs.values())
    inside = (scores["watch_quantiles"][:, 0] <= scores["watch_label"]) & (
        scores["watch_label"] <= scores["watch_quantiles"][:, -1]
    )
    assert metrics["test"]["watch_coverage_gap"] == pytest.approx(inside.mean() - 0.8, abs=1e-6)

    # The test rows are those that the values were fitted to.
    assert scores["watch_pred"].mean() == pytest.approx(scores["watch_label"].mean(), rel=1e-4)

    done = call("predict", "--config", "config", "--expid", "A", "--input", "valid.csv", "--output", "p.csv")
    assert done.status == 0, done.err
    predicted = pl.read_csv("p.csv")
    columns = [f"act_pred_{name}" for name in NAMES]
    assert predicted.columns[:7] == ["click_pred", "act_pred", "watch_pred", *columns, "act_value"]
    np.testing.assert_allclose(predicted.select(columns).to_numpy(), chances, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(predicted["act_pred"], chances.argmax(axis=1))
    np.testing.assert_allclose(predicted["act_value"], chances @ [0, 1, 5], rtol=1e-4)
    fused = predicted["click_pred"] + 2 * predicted["act_value"]
    np.testing.assert_allclose(predicted["fused_score"], fused, rtol=1e-5)

    served = tf.saved_model.load("runs/d/A/seed_1/saved_model").signatures["serving_default"]
    items = pl.read_csv("valid.csv")["item"].cast(str).to_list()
    outputs = served(item=tf.constant(items))
    assert set(outputs) == set(predicted.columns)
    for column in outputs:
        np.testing.assert_allclose(outputs[column], predicted[column], rtol=1e-4, atol=1e-6)

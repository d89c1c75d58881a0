"""A decoder of a stanza: trained, measured, stored, predicted with and served."""

import numpy as np
import pytest
import tensorflow as tf
from command_line import call

STANZA = """
W:
  model: MMoE
  dataset_id: d
  expert_hidden_units: [8]
  tower_hidden_units: [4]
  num_experts: 2
  embedding_dim: 4
  epochs: 2
  batch_size: 64
  metrics: [AUC, XAUC, MAE]
  monitor: watch_XAUC
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
    - {{name: item, type: categorical}}
    - {{name: length, type: numeric, normalizer: StandardScaler}}
  label_col:
    - {{name: click}}
    - {{name: watch, kind: value, mask_value: -1, decoder: {decoder}}}
"""


@pytest.mark.parametrize("decoder", ["ziln", "{type: log1p}", "{type: d2q, by: length, groups: 4}"])
def test_a_decoder_of_a_stanza_is_trained_measured_stored_and_served_alike(decoder, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, rows in (("train", 400), ("valid", 120)):
        item, length = rng.integers(0, 20, rows), rng.exponential(30, rows).round(1) + 1
        seen = np.where(rng.random(rows) < 0.2, -1, (length * rng.random(rows) * (item < 12)).round(1))
        click = (seen > 0).astype(int)
        lines = [",".join(map(str, row)) for row in zip(item, length, click, seen, strict=True)]
        (tmp_path / f"{name}.csv").write_text("item,length,click,watch\n" + "\n".join(lines) + "\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text(STANZA)
    (tmp_path / "config" / "dataset_config.yaml").write_text(DATASET.format(decoder=decoder))
    monkeypatch.chdir(tmp_path)
    done = call("run", "--config", "config", "--expid", "W")
    assert done.status == 0, done.err
    done = call("predict", "--config", "config", "--expid", "W", "--input", "valid.csv", "--output", "p.csv")
    assert done.status == 0, done.err
    predicted = np.genfromtxt("p.csv", delimiter=",", names=True)
    expected = ["click_pred", "watch_pred", *(["watch_prob"] if "ziln" in decoder else [])]
    assert list(predicted.dtype.names) == expected
    with np.load("runs/d/W/seed_1/test_scores.npz") as stored:
        np.testing.assert_allclose(predicted["watch_pred"], stored["watch_pred"], rtol=1e-5)
    served = tf.saved_model.load("runs/d/W/seed_1/saved_model").signatures["serving_default"]
    raw = np.genfromtxt("valid.csv", delimiter=",", names=True)
    specs = served.structured_input_signature[1]
    given = {
        "item": tf.constant([str(int(each)) for each in raw["item"]]),
        "length": tf.constant(raw["length"], specs["length"].dtype),
    }
    outputs = served(
        **{name: tf.cast(given[name], specs[name].dtype) if name != "item" else given[name] for name in specs}
    )
    for column in expected:
        np.testing.assert_allclose(outputs[column], predicted[column], rtol=1e-5, atol=1e-6)


def test_a_mistake_in_a_decoder_is_told_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text(STANZA)
    (tmp_path / "config" / "dataset_config.yaml").write_text(
        DATASET.format(decoder="{type: ziln, sigma_mn: 2}")
    )
    monkeypatch.chdir(tmp_path)
    done = call("run", "--config", "config", "--expid", "W")
    assert done.status != 0
    assert "sigma_mn" in done.err
    assert "sigma_min" in done.err

"""Interactions of a stanza: under a bottom, trained, stored, served, and the start of another run."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
import yaml
from command_line import call

import fuxi_mtl as fm
from fuxi_mtl.config import ConfigError, load_experiment

MODEL = """
Base:
  model_root: ./runs/
  seed: 1
  dataset_id: d
  embedding_dim: 4
  tower_hidden_units: [4]
  epochs: 1
  batch_size: 64
  metrics: [AUC]
  verbose: 0
  monitor: ctr_AUC
Crossed:
  model: ESMM
  tasks: {ctr: click, cvr: buy | click, ctcvr: click & buy}
  bottom: {type: MMoE, num_experts: 2, expert_hidden_units: [8]}
  interaction: {type: masknet, parallel_num_blocks: 2, parallel_block_dim: 4, dnn_hidden_units: [8]}
  sequences: {recent: {columns: {items: item}, encoder: din}}
DCNv2_of_theirs:
  model: DCNv2
  tasks: {ctr: click}
  sequences: {recent: {columns: {items: item}, encoder: mean}}
  export: False
  parallel_dnn_hidden_units: [8]
  num_cross_layers: 2
"""
DATASET = """
d:
  data_root: ./encoded/
  data_format: csv
  train_data: ./train.csv
  valid_data: ./valid.csv
  test_data: ./valid.csv
  feature_cols:
    - {name: [item, cate], type: categorical}
    - {name: items, type: sequence, share_embedding: item, max_len: 4, order: oldest_first}
    - {name: price, type: numeric, dtype: float}
  label_col:
    - {name: click}
    - {name: buy}
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frames = {}
    for name, count in (("train", 300), ("valid", 100)):
        item, click = rng.integers(1, 20, count), rng.integers(0, 2, count)
        frames[name] = pl.DataFrame(
            {
                "item": [f"i{each}" for each in item],
                "cate": [f"c{each % 4}" for each in item],
                "items": ["^".join(f"i{i}" for i in rng.integers(1, 20, 3)) for _ in item],
                "price": rng.normal(size=count),
                "click": click,
                "buy": click * rng.integers(0, 2, count),
            }
        )
        frames[name].write_csv(tmp_path / f"{name}.csv")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text(MODEL)
    (tmp_path / "config" / "dataset_config.yaml").write_text(DATASET)
    monkeypatch.chdir(tmp_path)
    return frames["valid"]


def test_a_bottom_over_an_interaction_is_trained_stored_and_served(rows, tmp_path):
    config = ("--config", "config")
    done = call("run", *config, "--expid", "Crossed")
    assert (done.status, done.err) == (0, "")
    done = call("predict", *config, "--expid", "Crossed", "--input", "valid.csv", "--output", "p.csv")
    assert (done.status, done.err) == (0, "")
    predicted = pl.read_csv("p.csv")
    loaded = tf.saved_model.load("runs/d/Crossed/seed_1/saved_model")
    columns = {name: tf.constant(rows[name].to_list()) for name in ("item", "cate", "items")}
    price = tf.constant(rows["price"].to_list(), tf.float32)
    found = loaded.signatures["serving_default"](**columns, price=price)
    for column in predicted.columns:
        np.testing.assert_allclose(found[column], predicted[column], rtol=1e-5, atol=1e-6)
    product = predicted["ctr_pred"] * predicted["cvr_pred"]
    np.testing.assert_allclose(predicted["ctcvr_pred"], product, rtol=1e-4)
    stored = yaml.safe_load((tmp_path / "runs/d/Crossed/seed_1/config.yaml").read_text())
    assert stored["interaction"]["parallel_num_blocks"] == 2


def test_a_dcnv2_of_fuxictr_is_trained_and_starts_another(rows):
    done = call("run", "--config", "config", "--expid", "DCNv2_of_theirs")
    assert (done.status, done.err) == (0, "")
    assert done.out.count("FuxiCTR's DCNv2 is interaction: {type: 'dcnv2'") == 1
    changes = {"init_from": "runs/d/DCNv2_of_theirs/seed_1", "learning_rate": 1e-12}
    again = fm.experiment("DCNv2_of_theirs", "config", **changes).fit(folder="again")
    before = fm.load_run("runs/d/DCNv2_of_theirs/seed_1")
    expected = before.predict(rows)["ctr"].to_numpy()
    np.testing.assert_allclose(again.predict(rows)["ctr"].to_numpy(), expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("dcn", "interaction is 'dcn'. Did you mean 'dcnv2'"),
        ("{num_tokens: 3}", "interaction needs the key 'type'. Choices: dcnv2, masknet, finalmlp, rankmixer"),
        (
            "{type: dcnv2, num_cross_layer: 3}",
            "unknown key 'num_cross_layer'.*Did you mean 'num_cross_layers'",
        ),
        (
            "{type: finalmlp, fs1_context: [items]}",
            "names 'items', which is no input. Did you mean 'item'. Inputs: item, cate, price, recent",
        ),
        ("{type: finalmlp, fs1_context: [recent, prise]}", "Did you mean 'price'"),
        ("{type: rankmixer, token_groups: {a: [item, recent], b: [cate]}}", "has no token for price"),
    ],
)
def test_a_mistake_in_the_block_is_told_with_its_line_before_data_are_read(block, told, rows):
    with pytest.raises(ConfigError, match=told):
        load_experiment("config", "Crossed", [f"interaction={block}"])

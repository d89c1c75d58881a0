"""Histories of a stanza: trained, stored, predicted with and served in every form of lists."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from command_line import call

MODEL = """
W:
  model: MMoE
  dataset_id: d
  expert_hidden_units: [8]
  tower_hidden_units: [4]
  num_experts: 2
  embedding_dim: 4
  epochs: 1
  batch_size: 64
  metrics: [AUC]
  monitor: click_AUC
  verbose: 0
  sequences:
    clicks:
      columns: {{{columns}}}
      time: gaps
      position: learned
      position_dim: 2
      encoder: {{type: din, hidden_units: [4]}}
    alike:
      columns: {{items: item, cates: cate}}
      filter: {{column: cates, keep: 2}}
      encoder: {{type: target_attention, heads: 2, width: 4}}
    all:
      columns: {{items: item}}
      encoder: transformer
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
    - {name: [item, cate], type: categorical}
    - {name: items, type: sequence, share_embedding: item, max_len: 4, order: oldest_first}
    - {name: cates, type: sequence, share_embedding: cate, max_len: 4, order: oldest_first}
    - {name: gaps, type: sequence, dtype: float, max_len: 4, order: oldest_first,
       category_processor: log2_bucket}
  label_col:
    - {name: click}
    - {name: like}
"""


def folder(tmp_path, columns="items: item, cates: cate"):
    rng = np.random.default_rng(0)
    frames = {}
    for name, rows in (("train", 300), ("valid", 100)):
        item = rng.integers(1, 20, rows)
        histories = [rng.integers(1, 20, rng.integers(0, 7)) for _ in range(rows)]
        frames[name] = pl.DataFrame(
            {
                "item": [f"i{each}" for each in item],
                "cate": [f"c{each % 4}" for each in item],
                "items": ["^".join(f"i{each}" for each in history) for history in histories],
                "cates": ["^".join(f"c{each % 4}" for each in history) for history in histories],
                "gaps": ["^".join(str(3.5 ** len(b[i:])) for i in range(len(b))) for b in histories],
                "click": [int(a % 4 in b % 4) for a, b in zip(item, histories, strict=True)],
                "like": rng.integers(0, 2, rows),
            }
        )
        frames[name].write_csv(tmp_path / f"{name}.csv")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text(MODEL.format(columns=columns))
    (tmp_path / "config" / "dataset_config.yaml").write_text(DATASET)
    return frames


def test_histories_are_trained_stored_and_served_alike(tmp_path, monkeypatch):
    rows = folder(tmp_path)["valid"]
    monkeypatch.chdir(tmp_path)
    done = call("run", "--config", "config", "--expid", "W")
    assert done.status == 0, done.err
    done = call("predict", "--config", "config", "--expid", "W", "--input", "valid.csv", "--output", "p.csv")
    assert done.status == 0, done.err
    predicted = pl.read_csv("p.csv")
    with np.load("runs/d/W/seed_1/test_scores.npz") as stored:
        np.testing.assert_allclose(predicted["click_pred"], stored["click_pred"], rtol=1e-5)
    loaded = tf.saved_model.load("runs/d/W/seed_1/saved_model")
    single = {name: tf.constant(rows[name].to_list()) for name in ("item", "cate")}
    texts = {name: rows[name].fill_null("").to_list() for name in ("items", "cates")}
    ragged = {
        name: tf.ragged.constant([each.split("^") if each else [] for each in column], ragged_rank=1)
        for name, column in texts.items()
    }
    texts["gaps"] = rows["gaps"].fill_null("").to_list()
    gaps = [[float(gap) for gap in each.split("^")] if each else [] for each in texts["gaps"]]
    ragged["gaps"] = tf.ragged.constant(gaps, tf.float64, ragged_rank=1)
    padded = {name: each.to_tensor(np.nan if name == "gaps" else "") for name, each in ragged.items()}
    for found in (
        loaded.signatures["serving_default"](**single, **{k: tf.constant(v) for k, v in texts.items()}),
        loaded.signatures["serve_lists"](**single, **padded),
        loaded.serve_ragged({**single, **ragged}),
    ):
        for column in predicted.columns:
            np.testing.assert_allclose(found[column], predicted[column], rtol=1e-5, atol=1e-6)
    # The newest four of a history are read, whatever lies before them.
    full = np.array([len(each.split("^")) >= 4 for each in texts["items"]])
    longer = {}
    for name, each in padded.items():
        before = tf.fill([len(rows), 2], tf.constant("i1" if name != "gaps" else 1.0, each.dtype))
        longer[name] = tf.concat([before, each], 1)
    found = loaded.signatures["serve_lists"](**single, **longer)["click_pred"]
    np.testing.assert_allclose(found[full], predicted["click_pred"].to_numpy()[full], rtol=1e-5)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("itms: item", "sequences.clicks names 'itms', which is no input. Did you mean 'items'?"),
        ("items: cate", "Give 'items' share_embedding: cate in feature_cols."),
        ("items: 3", "sequences.clicks.columns.items expects text or null, not 3."),
    ],
)
def test_a_mistake_in_a_group_is_told_with_its_line(columns, told, tmp_path, monkeypatch):
    folder(tmp_path, columns)
    monkeypatch.chdir(tmp_path)
    done = call("run", "--config", "config", "--expid", "W")
    assert done.status == 1
    assert told in done.err
    assert "model_config.yaml, line 1" in done.err


def test_times_of_a_history_are_those_of_events(tmp_path, monkeypatch):
    """Ids of anything else would be read as gaps, the first one as no time at all."""
    folder(tmp_path, "items: item")
    stanza = tmp_path / "config" / "model_config.yaml"
    stanza.write_text(stanza.read_text().replace("time: gaps", "time: cates"))
    monkeypatch.chdir(tmp_path)
    done = call("run", "--config", "config", "--expid", "W")
    assert done.status == 1
    assert "time names 'cates', which is no column of times" in done.err
    assert "category_processor: log2_bucket" in done.err

"""FuxiCTR's stanzas of DIN and BST, which are SingleTask with a block of sequences here."""

import pytest

from fuxi_mtl.config import load_experiment
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.registry import import_zoo

import_zoo()

DATASET = """
tiny_seq:
  data_root: ./encoded/
  data_format: csv
  train_data: ./train.csv
  valid_data: ./valid.csv
  feature_cols:
    - {name: [userid, adgroup_id, cate_id], active: True, dtype: str, type: categorical}
    - {name: click_sequence, active: True, dtype: str, type: sequence, source: "", splitter: ^, max_len: 50,
       padding: post, share_embedding: adgroup_id, feature_encoder: null}
    - {name: cate_sequence, active: True, dtype: str, type: sequence, max_len: 50, share_embedding: cate_id}
  label_col: {name: clk, dtype: float}
"""
DIN_TEST = """
DIN_test:
    model: DIN
    dataset_id: tiny_seq
    loss: 'binary_crossentropy'
    metrics: ['logloss', 'AUC']
    task: binary_classification
    optimizer: adam
    learning_rate: 1.0e-3
    embedding_regularizer: 0
    net_regularizer: 0
    batch_size: 128
    embedding_dim: 4
    dnn_hidden_units: [64, 32]
    dnn_activations: relu
    attention_hidden_units: [64]
    attention_hidden_activations: "Dice"
    attention_output_activation: null
    attention_dropout: 0
    din_target_field: adgroup_id
    din_sequence_field: click_sequence
    net_dropout: 0
    batch_norm: False
    epochs: 1
    shuffle: True
    seed: 2019
    monitor: 'AUC'
    monitor_mode: 'max'
"""
BST_TEST = """
BST_test:
    model: BST
    dataset_id: tiny_seq
    metrics: [AUC]
    monitor: AUC
    embedding_dim: 4
    dnn_hidden_units: [8]
    num_heads: 1
    stacked_transformer_layers: 2
    attention_dropout: 0.1
    layer_norm: True
    use_residual: True
    seq_pooling_type: target
    use_position_emb: True
    use_causal_mask: False
    bst_target_field: [[adgroup_id, cate_id]]
    bst_sequence_field: [[click_sequence, cate_sequence]]
"""


def loaded(tmp_path, stanza, expid, *overrides):
    (tmp_path / "model_config.yaml").write_text("Base:\n  model_root: ./runs/\n" + stanza)
    (tmp_path / "dataset_config.yaml").write_text(DATASET)
    return load_experiment(tmp_path, expid, overrides)


def test_din_test_of_fuxictr_is_read(tmp_path):
    experiment = loaded(tmp_path, DIN_TEST, "DIN_test")
    assert experiment.options.model == "SingleTask"
    options = experiment.model_options
    assert tuple(options["tower_hidden_units"]) == (64, 32)
    group = options["sequences"]["click_sequence"]
    assert group["columns"] == {"click_sequence": "adgroup_id"}
    assert group["encoder"] == {"type": "din", "hidden_units": [64], "activation": "Dice", "dropout": 0}
    assert any("FuxiCTR's DIN is sequences" in note for note in experiment.notes)


def test_a_softmax_and_several_groups_are_read(tmp_path):
    fields = "[adgroup_id, cate_id]", "[click_sequence, cate_sequence]"
    sets = [f"din_target_field={fields[0]}", f"din_sequence_field={fields[1]}", "din_use_softmax=True"]
    options = loaded(tmp_path, DIN_TEST, "DIN_test", *sets).model_options
    assert {name: group["columns"] for name, group in options["sequences"].items()} == {
        "click_sequence": {"click_sequence": "adgroup_id"},
        "cate_sequence": {"cate_sequence": "cate_id"},
    }
    assert all(group["encoder"]["normalizer"] == "softmax" for group in options["sequences"].values())


def test_bst_of_fuxictr_is_read(tmp_path):
    (group,) = loaded(tmp_path, BST_TEST, "BST_test").model_options["sequences"].values()
    assert group["columns"] == {"click_sequence": "adgroup_id", "cate_sequence": "cate_id"}
    assert (group["position"], group["position_dim"]) == ("learned", 4)
    expected = {
        "type": "transformer",
        "heads": 1,
        "blocks": 2,
        "dropout": 0.1,
        "causal": False,
        "pooling": "target",
    }
    assert group["encoder"] == expected


def test_a_bst_of_fuxictr_may_read_all_positions_side_by_side(tmp_path):
    options = loaded(tmp_path, BST_TEST, "BST_test", "seq_pooling_type=concat").model_options
    (group,) = options["sequences"].values()
    assert group["encoder"]["pooling"] == "concat"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("layer_norm=False", "every block of a transformer has it"),
        ("bst_target_field=adgroup_id", "each column has one"),
        ("bst_target_field=[[adgroup_id]]", "each column has one"),
    ],
)
def test_what_has_no_counterpart_of_a_bst_is_refused(override, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        loaded(tmp_path, BST_TEST, "BST_test", override)


def test_a_din_says_what_is_missing_or_differs(tmp_path):
    with pytest.raises(ConfigError, match="din_sequence_field needs din_target_field"):
        loaded(tmp_path, DIN_TEST.replace("    din_target_field: adgroup_id\n", ""), "DIN_test")
    with pytest.raises(ConfigError, match="one activation is for all layers"):
        loaded(tmp_path, DIN_TEST, "DIN_test", "attention_hidden_activations=[relu, dice]")
    with pytest.raises(ConfigError, match="have tables of their own"):
        loaded(tmp_path, DIN_TEST, "DIN_test", "din_target_field=cate_id")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("num_buckets: 3, category_processor: log2_bucket", "num_buckets has no effect with log2_bucket"),
        ("clip_negative_gaps: True", "clip_negative_gaps is of|clip_negative_gaps has no effect"),
    ],
)
def test_options_of_times_that_have_no_effect_are_refused(changed, told, tmp_path):
    feature = f"    - {{name: gap, type: sequence, {changed}}}\n  label_col"
    (tmp_path / "model_config.yaml").write_text("Base:\n  model_root: ./runs/\n" + DIN_TEST)
    (tmp_path / "dataset_config.yaml").write_text(DATASET.replace("  label_col", feature, 1))
    with pytest.raises(ConfigError, match=told):
        load_experiment(tmp_path, "DIN_test")

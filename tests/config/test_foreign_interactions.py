"""FuxiCTR's stanzas of DCNv2, MaskNet and FinalMLP, which are SingleTask with a block, and of PPNet."""

import pytest

from fuxi_mtl.config import load_experiment
from fuxi_mtl.config.converting import convert
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.registry import import_zoo

import_zoo()

DATASET = """
tiny:
  data_root: ./encoded/
  data_format: csv
  train_data: ./train.csv
  valid_data: ./valid.csv
  feature_cols:
    - {name: [userid, adgroup_id, cate_id], active: True, dtype: str, type: categorical}
  label_col: {name: clk, dtype: float}
"""
COMMON = """
    dataset_id: tiny
    loss: 'binary_crossentropy'
    metrics: ['logloss', 'AUC']
    task: binary_classification
    optimizer: adam
    learning_rate: 1.0e-3
    embedding_regularizer: 0
    net_regularizer: 0
    batch_size: 128
    embedding_dim: 40
    epochs: 1
    shuffle: True
    seed: 2019
    monitor: 'AUC'
    monitor_mode: 'max'
"""
OWN = {
    "DCNv2": """
    model_structure: parallel
    use_low_rank_mixture: False
    low_rank: 32
    num_experts: 4
    stacked_dnn_hidden_units: [64, 32]
    parallel_dnn_hidden_units: [64, 32]
    dnn_activations: tanh
    num_cross_layers: 3
    net_dropout: 0
    batch_norm: False
""",
    "MaskNet": """
    dnn_hidden_units: [64, 32]
    dnn_hidden_activations: relu
    model_type: SerialMaskNet
    parallel_num_blocks: 1
    parallel_block_dim: 64
    reduction_ratio: 1
    emb_layernorm: True
    net_layernorm: True
    net_dropout: 0
""",
    "FinalMLP": """
    mlp1_hidden_units: [64, 32]
    mlp1_hidden_activations: relu
    mlp1_dropout: 0
    mlp1_batch_norm: False
    mlp2_hidden_units: [64, 64, 64]
    mlp2_hidden_activations: relu
    mlp2_dropout: 0
    mlp2_batch_norm: False
    use_fs: True
    fs_hidden_units: [64, 64]
    fs1_context: ["userid"]
    fs2_context: ["adgroup_id", "cate_id"]
    num_heads: 2
""",
    "PPNet": """
    gate_priors: ["userid", "adgroup_id"]
    gate_emb_dim: 8
    gate_hidden_dim: 64
    hidden_units: [64, 32]
    hidden_activations: ReLU
    net_dropout: 0
    batch_norm: False
""",
}
BASE = "Base:\n  model_root: ./runs/\n"


def written(tmp_path, model, base=BASE, leave_out=(), more=""):
    own = "".join(
        f"{line}\n" for line in OWN[model].splitlines() if not line.strip().startswith(tuple(leave_out))
    )
    (tmp_path / "model_config.yaml").write_text(f"{base}Mine:\n    model: {model}{COMMON}{own}{more}")
    (tmp_path / "dataset_config.yaml").write_text(DATASET)
    return tmp_path


def loaded(tmp_path, model, *overrides, **changes):
    return load_experiment(written(tmp_path, model, **changes), "Mine", overrides)


def test_dcnv2_of_fuxictr_is_read(tmp_path):
    experiment = loaded(tmp_path, "DCNv2")
    assert experiment.options.model == "SingleTask"
    options = experiment.model_options
    assert options["interaction"] == {
        "type": "dcnv2",
        "cross_kernel": "full",
        "gates": "shared",
        "model_structure": "parallel",
        "use_low_rank_mixture": False,
        "low_rank": 32,
        "num_experts": 4,
        "num_cross_layers": 3,
        "stacked_dnn_hidden_units": [64, 32],
        "parallel_dnn_hidden_units": [64, 32],
    }
    assert (options["tower_hidden_units"], options["hidden_activations"]) == ([], "tanh")
    said = [note for note in experiment.notes if "FuxiCTR's DCNv2 is interaction: {type: 'dcnv2'" in note]
    assert len(said) == 1


def test_masknet_of_fuxictr_is_read(tmp_path):
    options = loaded(tmp_path, "MaskNet").model_options
    assert options["interaction"] == {
        "type": "masknet",
        "model_type": "SerialMaskNet",
        "parallel_num_blocks": 1,
        "parallel_block_dim": 64,
        "reduction_ratio": 1,
        "dnn_hidden_units": [64, 32],
        "emb_layernorm": True,
        "net_layernorm": True,
    }


def test_finalmlp_of_fuxictr_is_read_and_what_it_leaves_out_is_as_there(tmp_path):
    block = loaded(tmp_path, "FinalMLP").model_options["interaction"]
    assert (block["type"], block["output"], block["num_heads"]) == ("finalmlp", "streams", 2)
    assert (block["fs1_context"], block["fs2_context"]) == (["userid"], ["adgroup_id", "cate_id"])
    assert (block["mlp1_hidden_units"], block["mlp2_batch_norm"]) == ([64, 32], False)
    block = loaded(tmp_path, "FinalMLP", leave_out=("mlp", "num_heads")).model_options["interaction"]
    assert (block["mlp1_hidden_units"], block["mlp2_hidden_units"]) == ([64, 64, 64], [64, 64, 64])
    assert block["num_heads"] == 1


def test_ppnet_of_fuxictr_is_a_pepnet_without_epnet_whose_gates_have_tables_of_their_own(tmp_path):
    experiment = loaded(tmp_path, "PPNet")
    assert experiment.options.model == "PEPNet"
    options = experiment.model_options
    assert options["gate_features"] == ["userid", "adgroup_id"]
    assert (options["epnet"], options["gate_embedding_dim"], options["gate_hidden_units"]) == (False, 8, 64)
    assert options["tower_hidden_units"] == [64, 32]
    assert sum("PPNet is epnet: False, gate_embedding_dim: 8" in note for note in experiment.notes) == 1
    older = loaded(tmp_path, "PPNet", "gate_features=[cate_id]", leave_out=("gate_", "hidden_units"))
    options = older.model_options
    assert options["gate_features"] == ["cate_id"]
    assert (options["gate_embedding_dim"], options["gate_hidden_units"]) == (40, 64)
    assert options["tower_hidden_units"] == [64, 64, 64]


def test_what_base_says_for_other_models_is_none_of_the_block(tmp_path):
    base = f"{BASE}  num_experts: 8\n  tower_hidden_units: [5]\n"
    options = loaded(tmp_path, "DCNv2", base=base, leave_out=("num_experts",)).model_options
    assert "num_experts" not in options["interaction"]
    assert options["tower_hidden_units"] == []
    own = loaded(tmp_path, "DCNv2", "tower_hidden_units=[7]").model_options
    assert own["tower_hidden_units"] == [7]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("num_cross_layers=0", "interaction.num_cross_layers is 0; it lies from 1"),
        ("model_structure=serial", "interaction.model_structure is 'serial'"),
        ("num_cros_layers=2", "unknown key 'num_cros_layers'"),
    ],
)
def test_a_wrong_value_or_key_of_a_dcnv2_is_told(override, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        loaded(tmp_path, "DCNv2", override)


def test_the_block_is_not_said_twice(tmp_path):
    with pytest.raises(ConfigError, match="model is interaction here, which is given, too"):
        loaded(tmp_path, "DCNv2", more="    interaction: masknet\n")


def test_a_key_under_another_model_says_where_it_belongs(tmp_path):
    with pytest.raises(ConfigError, match=r"inside of interaction: \{type: dcnv2\}"):
        loaded(tmp_path, "MaskNet", "model_structure=parallel")
    with pytest.raises(ConfigError, match="names 'usrid', which is no input. Did you mean 'userid'"):
        loaded(tmp_path, "FinalMLP", "fs1_context=[usrid]")


@pytest.mark.parametrize("model", OWN)
def test_a_converted_stanza_says_the_same(model, tmp_path):
    there = loaded(tmp_path, model)
    converted = convert(tmp_path)
    assert not converted.problems
    new = tmp_path / "new"
    for name, text in converted.files.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text(text)
    here = load_experiment(new, "Mine")
    assert here.model_options == there.model_options
    assert not [note for note in here.notes if "interaction" in note or "PPNet" in note]

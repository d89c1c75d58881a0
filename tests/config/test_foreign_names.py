"""Every name that FuxiCTR, its fork and older stanzas use: taken under ours, or refused with what to do."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import registry
from fuxi_mtl.config import ConfigError
from fuxi_mtl.config.families import families_with
from fuxi_mtl.config.foreign_names import FEATURE_NAMES, FOREIGN_NAMES, FOREIGN_VALUES
from fuxi_mtl.config.routing import check_keys, model_name, owners
from fuxi_mtl.config.stanzas import Layer, read_folder
from fuxi_mtl.config.translating import translate
from fuxi_mtl.options import FeatureOptions
from fuxi_mtl.options.values import plain

ZOO = Path(__file__).parents[2] / "model_zoo"
APG = "condition_features: [product]\nrank_k: 16\noverparam_p: 64\nhypernet_config: {hidden_units: [32]}"
BLOCK = {"condition_features": ["product"], "rank_k": 16, "overparam_p": 64, "hypernet_hidden_units": [32]}


@pytest.fixture
def settings(tmp_path):
    """The keys of an experiment after translation, and what was said about them; without TensorFlow."""

    def read(model="MMoE", stanza="", dataset="", base="", overrides=()):
        def indented(text):
            return "".join(f"  {line}\n" for line in text.splitlines())

        (tmp_path / "model_config.yaml").write_text(
            (f"Base:\n{indented(base)}" if base else "")
            + f"Mine:\n  model: {model}\n  dataset_id: tiny\n{indented(stanza)}"
        )
        (tmp_path / "dataset_config.yaml").write_text(f"tiny:\n  train_data: data\n{indented(dataset)}")
        found = read_folder(tmp_path).settings("Mine", overrides)
        return found, translate(found)

    with registry.declared(ZOO):
        yield read


def given(settings):
    """The keys but those that every experiment here has."""
    keys = {key: plain(entry) for key, entry in settings.entries.items()}
    return {key: value for key, value in keys.items() if key not in ("model", "dataset_id", "train_data")}


TAKEN = [
    # older versions
    ("MMoE", "architecture_share: 0.25", {"bilevel_share": 0.25}),
    ("M3oE", "architecture_learning_rate: 0.1", {"bilevel_learning_rate": 0.1}),
    # DeepFM-MMoE files
    ("MMoE", "save_last: true", {"save_best_only": False}),
    ("MMoE", "auto_eval_ckpt: last", {"final_weights": "last"}),
    ("MMoE", "auto_eval_split: valid", {}),
    # FuxiCTR
    ("MMoE", "patience: 3", {"early_stop_patience": 3}),
    ("MMoE", "partition_block_size: 500", {"data_block_size": 500}),
    ("MMoE", "version: pytorch", {}),
    # its fork
    ("MMoE", "expert_num: 4", {"num_experts": 4}),
    ("MMoE", "infer_data: elsewhere", {}),
    ("PLE", "num_layers: 2", {"num_layers": 2}),
    ("APG_AITM_V2", "num_layers: 1", {}),
    ("APG_AITM_V2", "transfer_type: gated_residual", {"transfer": "gated"}),
    ("APG_AITM_V2", "transfer_type: attn", {"transfer": "attention"}),
    ("APG_AITM_V2", "transfer_gate_hidden_units: [64]", {"transfer_hidden_units": [64]}),
    ("APG_AITM_V2", "transfer_gate_net_type: dnn", {}),
    ("APG_AITM_V2", "use_prev_logit: True", {}),
    ("APG_AITM_V2", "tower_type: apg", {"generated_towers": True}),
    ("APG_AITM_V2", "tower_type: dnn", {"generated_towers": False}),
    ("APG_MMOE", f"condition_mode: group-wise\n{APG}", {"apg": BLOCK}),
    ("APG_MMOE", f"condition_mode: mix-wise\n{APG}", {"apg": BLOCK}),
    ("APG_MMOE", f"generate_bias: False\n{APG}", {"apg": BLOCK | {"generate_bias": False}}),
    ("APG_MMOE", f"condition_mix: mean\n{APG}", {"apg": BLOCK | {"condition_mix": "mean"}}),
    ("APG_AITM", f"new_condition_emb: False\n{APG}", {"apg": BLOCK | {"new_condition_emb": False}}),
    (
        "APG_SharedBottom",
        f"condition_participate_bottom: False\n{APG}",
        {"apg": BLOCK | {"condition_participate_bottom": False}},
    ),
    (
        "APG_MMOE",
        f"condition_mode: self-wise\nnew_condition_emb: True\n{APG}",
        {"apg": {key: BLOCK[key] for key in ("rank_k", "overparam_p", "hypernet_hidden_units")}},
    ),
    # its defaults are not ours
    ("APG_AITM", APG, {"apg": BLOCK | {"new_condition_emb": True}}),
    (
        "APG_MMOE",
        "condition_features: [product]",
        {
            "apg": {
                "condition_features": ["product"],
                "rank_k": 32,
                "overparam_p": 1024,
                "hypernet_hidden_units": [],
            }
        },
    ),
    ("APG_MMOE", "rank_k: null\noverparam_p: 64", {"apg": {"mode": "basic", "hypernet_hidden_units": []}}),
    (
        "APG_MMOE",
        "rank_k: 8\noverparam_p: null",
        {"apg": {"mode": "decomposed", "rank_k": 8, "hypernet_hidden_units": []}},
    ),
    (
        "APG_MMOE",
        "rank_k: 8\noverparam_p: 9\nhypernet_config: {hidden_activations: ReLU, dropout_rates: 0}",
        {"apg": {"rank_k": 8, "overparam_p": 9, "hypernet_hidden_units": []}},
    ),
    ("M3oE", "domain_feature: product", {"domain": "product"}),
    ("M3oE", "num_domains: 9\nsoftmax_type: 3\ntau: 1\ntau_step: 0.00005", {}),
    ("M3oE", "exp_d: 0\nexp_t: 0", {"fusion_start": {"domain_weight": 0.5, "task_weight": 0.5}}),
    (
        "M3oE",
        "bal_d: 0\nbal_t: 0",
        {"fusion_start": {"domain_balance": 0.5, "task_balance": 0.5}},
    ),
    (
        "M3oE",
        "expert_num: 4\nexpert_hidden_units: [128, 64, 32, 16]",
        {"num_experts": 4, "star_units": 128, "trunk_hidden_units": [64], "expert_hidden_units": [32, 16]},
    ),
    (
        "M3oE",
        "expert_num: 4\ntower_hidden_units: [32]",
        {"num_experts": 4, "tower_hidden_units": [32]},
    ),
    ("MMoE", "loss: [FocalLoss, binary_crossentropy]", {"loss": ["focal", "binary_crossentropy"]}),
    ("MMoE", "loss: FocalLoss", {"loss": "focal"}),
    (
        "MMoE",
        "loss: [{name: FocalLoss, params: {gamma: 1.5, alpha: 0.3, eps: 0.1}}, binary_crossentropy]",
        {"loss": ["focal", "binary_crossentropy"], "focal_gamma": 1.5, "focal_alpha": 0.3},
    ),
    ("MMoE", "loss: {name: FocalLoss, params: {gamma: 3}}", {"loss": "focal", "focal_gamma": 3}),
    # blocks of a DeepFM-MMoE file
    (
        "DeepFM_MMoE",
        "backbone: {return_logit_parts: True, deep_dropout: 0.1}\n"
        "mmoe: {gate_type: linear, input: deep_h, gate_stabilize: {log_stats: True, eps: 0.1}}",
        {"backbone": {"deep_dropout": 0.1}, "mmoe": {"gate_stabilize": {"eps": 0.1}}},
    ),
    ("MMoE", "gate_stabilize: {log_stats: True, enabled: True}", {"gate_stabilize": {"enabled": True}}),
    ("DeepFM_MMoE", "mmoe: {input: emb}", {"mmoe": {"input": "emb"}}),
    # ours stay
    ("M3oE", "expert_hidden_units: [128, 64, 32]", {"expert_hidden_units": [128, 64, 32]}),
]


@pytest.mark.parametrize(("model", "stanza", "expected"), TAKEN)
def test_a_key_is_taken_under_our_name(settings, model, stanza, expected):
    found, notes = settings(model, stanza)
    assert given(found) == expected
    check_keys(found)
    assert bool(notes) == (expected != yaml.safe_load(stanza) or "tower_hidden_units" in stanza)


def stanza_keys(stanza):
    return [line.partition(":")[0] for line in stanza.splitlines()]


DATA = [
    ("train_size: 0.8\nvalid_size: 0.1\ntest_size: 0.1", {"valid_size": 0.1, "test_size": 0.1}),
    (
        "valid_data: data\ntest_data: data\nvalid_size: 0.1\ntest_size: 0.1",
        {"valid_size": 0.1, "test_size": 0.1},
    ),
    ("valid_data: data\ntest_data: data", {"valid_data": "data", "test_data": "data"}),
    ("valid_data: other\nvalid_size: 0.1", {"valid_data": "other", "valid_size": 0.1}),
    (
        "feature_cols: [{name: a, encoder: MaskedAveragePooling}, {name: b}]",
        {"feature_cols": [{"name": "a", "feature_encoder": "MaskedAveragePooling"}, {"name": "b"}]},
    ),
    ("feature_cols: {name: a, na_value: x}", {"feature_cols": [{"name": "a", "fill_na": "x"}]}),
]


@pytest.mark.parametrize(("dataset", "expected"), DATA)
def test_keys_of_a_dataset_are_taken_under_our_names(settings, dataset, expected):
    found, _ = settings("MMoE", "", dataset)
    assert given(found) == expected
    check_keys(found)


@pytest.mark.parametrize(("theirs", "ours"), FOREIGN_VALUES["model"].items())
def test_a_model_is_known_under_others_spelling(settings, theirs, ours):
    found, notes = settings(theirs)
    assert model_name(found) == ours
    assert f"model {theirs} is {ours} here." in str(notes[0])


REFUSED = [
    ("MMoE", "every_x_epochs: 1", r"Write eval_steps"),
    ("MMoE", "gpu: 0", r"Write --gpu on the command line"),
    ("MMoE", "model_id: x", r"A run is called by its expid"),
    ("MMoE", "num_buckets: 10", r"entries of feature_cols"),
    ("MMoE", "version: jax", r"Everything runs on TensorFlow"),
    ("MMoE", "manual_weights: [1, 2]", r"write loss_weight: \[1, 2\]"),
    ("MMoE", "tuner_space: {seed: [1]}", r"read by python -m fuxi_mtl tune --space FILE"),
    ("MMoE", "base_config: x", r"read by python -m fuxi_mtl tune"),
    ("MMoE", "base_expid: x", r"read by python -m fuxi_mtl tune"),
    ("MMoE", "train_size: 0.7\nvalid_size: 0.1\ntest_size: 0.1", r"leave rows out\. Use n_rows"),
    ("MMoE", "condition_mode: group-wise", r"unknown key 'condition_mode'"),
    ("MMoE", "tau: 1", r"In FuxiCTR's fork it is a key of M3oE, not of MMoE"),
    ("MMoE", "num_layers: 1", r"'num_layers' is an option of PLE, STEM, not of MMoE"),
    ("APG_MMOE", "condition_mode: row-wise", r"The three of them are the only modes"),
    (
        "APG_MMOE",
        "hypernet_config: {hidden_units: [8], hidden_activations: tanh}",
        r"have relu and no dropout",
    ),
    ("APG_MMOE", "hypernet_config: {dropout_rates: 0.1}", r"have relu and no dropout"),
    ("APG_AITM_V2", "num_layers: 2", r"one level of experts\. Write 1, or use PLE"),
    ("APG_AITM_V2", "transfer_type: sum", r"calls transfer so\. Write gated or attention"),
    ("APG_AITM_V2", "transfer_gate_net_type: apg", r"a plain network\. Write dnn"),
    ("APG_AITM_V2", "use_prev_logit: False", r"always sees the logit"),
    ("APG_AITM_V2", "tower_type: cnn", r"calls generated_towers so\. Write True or False"),
    (
        "MMoE",
        "domain_feature: product",
        r"In FuxiCTR's fork it is a key of M3oE, STAR, domain here, not of MMoE",
    ),
    ("M3oE", "softmax_type: 1", r"a softmax of one entry, which is 1"),
    ("M3oE", "exp_d: high", r"the sigmoid of theirs"),
    ("MMoE", "optim: {}", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "runtime: {}", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "data: {}", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "embedding: {}", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "use_esmm: True", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "enabled_heads: [ctr]", r"fuxi_mtl convert --config FILE"),
    ("MMoE", "mtl: mmoe", r"fuxi_mtl convert --config FILE"),
]


@pytest.mark.parametrize(("model", "stanza", "message"), REFUSED)
def test_what_has_no_counterpart_says_what_to_do(settings, model, stanza, message):
    found, _ = settings(model, stanza)
    with pytest.raises(ConfigError, match=message):
        check_keys(found)


def test_fusion_starts_at_the_sigmoid_of_the_forks_numbers(settings):
    (start,) = given(settings("M3oE", "exp_d: 0.1\nbal_t: -2")[0]).values()
    assert start == pytest.approx({"domain_weight": 0.52497919, "task_balance": 0.11920292})


def test_every_row_of_the_table_has_a_test():
    tried = {key for rows in (TAKEN, REFUSED) for _, stanza, _ in rows for key in stanza_keys(stanza)}
    files = ("test_foreign_sequences.py", "test_foreign_interactions.py")
    others = "".join((Path(__file__).parent / file).read_text() for file in files)
    tried |= {key for key in FOREIGN_NAMES if f"{key}:" in others or f"{key}=" in others}
    assert set(FOREIGN_NAMES) <= tried
    assert all(f"{key}:" in str(DATA) for key in FEATURE_NAMES)


# What people know from FuxiCTR: every one of these keys is one here.
KNOWN = {
    "MMoE": """model dataset_id loss metrics task num_tasks loss_weight gradnorm_alpha optimizer learning_rate
        net_regularizer embedding_regularizer batch_norm net_dropout batch_size embedding_dim epochs shuffle
        seed monitor monitor_mode hidden_activations num_experts expert_hidden_units gate_hidden_units
        tower_hidden_units model_root num_workers verbose early_stop_patience pickle_feature_encoder
        save_best_only eval_steps debug_mode group_id use_features feature_specs feature_config data_root
        data_format train_data valid_data test_data min_categr_count feature_cols label_col valid_size
        test_size split_type data_block_size rebuild_dataset sep n_rows reduce_lr_on_plateau
        max_gradient_norm""",
    "PLE": "num_layers num_shared_experts num_specific_experts",
    "ShareBottom": "bottom_hidden_units",
}
KNOWN_OF_FEATURES = """name active dtype type source fill_na min_categr_count embedding_dim feature_encoder
    share_embedding pretrained_emb pretrain_dim pretrain_usage freeze_emb normalizer category_processor
    num_buckets splitter max_len padding remap vocab_size preprocess"""


def test_the_keys_of_fuxictr_are_ours():
    with registry.declared(registry.zoo_folder()):
        for model, keys in KNOWN.items():
            known = {*owners(), *registry.options(model)}
            unknown = [key for key in keys.split() if key not in known and not families_with(key)]
            assert unknown == []
    assert set(KNOWN_OF_FEATURES.split()) <= {each.name for each in dataclasses.fields(FeatureOptions)}


def test_every_counterpart_exists():
    with registry.declared(ZOO):
        options = {option for name in registry.names() for option in registry.options(name)}
    for name, row in FOREIGN_NAMES.items():
        assert not row.ours or row.ours.partition(".")[0] in options | set(owners()), name
    assert {row.ours for row in FEATURE_NAMES.values()} <= {
        f.name for f in dataclasses.fields(FeatureOptions)
    }


def test_an_error_about_a_value_points_at_the_line_of_the_foreign_key(settings):
    found, notes = settings("MMoE", "epochs: 1\nexpert_num: 4")
    assert str(found.entries["num_experts"].location).endswith("model_config.yaml, line 5 (Mine)")
    assert str(notes[0]).endswith("line 5 (Mine): expert_num is num_experts here.")


def test_a_stronger_layer_wins_under_either_name(settings):
    assert given(settings("MMoE", "num_experts: 2", base="expert_num: 8")[0]) == {"num_experts": 2}
    assert given(settings("MMoE", "expert_num: 2", base="num_experts: 8")[0]) == {"num_experts": 2}
    assert given(settings("MMoE", "num_experts: 2", overrides=["expert_num=3"])[0]) == {"num_experts": 3}
    found, _ = settings("APG_MMOE", APG, overrides=["apg.rank_k=4"])
    assert given(found)["apg"] == BLOCK | {"rank_k": 4}
    assert found.layer("apg") == Layer.SET


@pytest.mark.parametrize(
    ("model", "stanza"),
    [("MMoE", "expert_num: 4\nnum_experts: 8"), ("APG_MMOE", "rank_k: 4\napg: {rank_k: 8}")],
)
def test_one_thing_under_two_names_is_an_error_unless_they_agree(settings, model, stanza):
    with pytest.raises(ConfigError, match=r"which is given, too, in .* Remove one of them"):
        settings(model, stanza)
    settings(model, stanza.replace("8", "4"))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "[{name: FocalLoss, params: {gamma: 1}}, {name: FocalLoss, params: {gamma: 2}}]",
            "one focal_gamma",
        ),
        ("{name: FocalLoss, params: {delta: 1}}", r"no parameter 'delta'\. Parameters: gamma, alpha"),
        ("{name: mse, params: {delta: 1}}", r"loss mse has no params here\. Write loss: mse"),
    ],
)
def test_a_loss_with_parameters_that_nothing_here_has_is_refused(settings, loss, message):
    with pytest.raises(ConfigError, match=message):
        settings("MMoE", f"loss: {loss}")


def test_a_pooling_under_two_names_is_an_error(settings):
    with pytest.raises(ConfigError, match="encoder is feature_encoder here, which is given, too"):
        settings("MMoE", "", "feature_cols: [{name: a, encoder: x, feature_encoder: y}]")


def test_all_mistakes_of_translation_are_told_at_once(settings):
    with pytest.raises(ConfigError) as caught:
        settings("APG_MMOE", "condition_mode: group-wise\nexpert_num: 4\nnum_experts: 8")
    assert "condition_mode group-wise needs condition_features" in str(caught.value)
    assert "expert_num is num_experts here, which is given, too" in str(caught.value)


def test_a_condition_by_columns_needs_its_columns(settings):
    with pytest.raises(ConfigError, match=r"condition_mode group-wise needs condition_features"):
        settings("APG_MMOE", "condition_mode: group-wise")


def test_the_log_says_what_else_the_model_of_the_fork_does_otherwise(settings):
    _, notes = settings("APG_AITM", APG)
    assert "APG_AITM: labels are steps of a chain here" in str(notes[-1])
    _, notes = settings("APG_MMOE", APG)
    assert "APG_MMOE" not in str(notes[-1])
    assert settings("M3oE", "domain: product")[1] == ()


def test_base_may_speak_to_other_models(settings):
    found, notes = settings("MMoE", base="condition_mode: group-wise\nrank_k: 16\nsoftmax_type: 3")
    assert given(found) == {}
    assert notes == ()
    check_keys(found)

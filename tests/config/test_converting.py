"""Other configurations become stanzas of ours that train the same thing."""

from pathlib import Path

import pytest
import yaml

from fuxi_mtl import registry
from fuxi_mtl.config import ConfigError, available, load_experiment
from fuxi_mtl.config.converting import convert, describe, write_converted
from fuxi_mtl.config.nested_names import NESTED_NAMES
from fuxi_mtl.config.stanza_text import StanzaText, file_text

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NESTED = HERE / "nested_file.yaml"
FOLDERS = {"fork": HERE / "fork_folder", "fuxictr": HERE / "fuxictr_folder"}


@pytest.fixture(autouse=True)
def models():
    """The zoo as its source declares it."""
    with registry.declared(registry.zoo_folder()):
        yield


@pytest.fixture
def nested(tmp_path):
    """The stanza of the file after changes of some paths, and its text."""

    def make(changes=(), dataset_id="tiny_mtl"):
        content = yaml.safe_load(NESTED.read_text())
        for path, value in dict(changes).items():
            *outer, last = path.split(".")
            block = content
            for name in outer:
                block = block.setdefault(name, {})
            block[last] = value
            if value is ...:
                del block[last]
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(content))
        text = convert(file, dataset_id).files["model_config/mine.yaml"]
        return yaml.safe_load(text)["deepfm_mmoe_dual_sparse"], text

    return make


CHANGES = [
    ({"use_esmm": False}, {"tasks": {"ctr": "click", "cvr": "conversion | click"}}),
    (
        {"use_esmm": False, "loss.w_cvr": 0.5},
        {"loss_weight": {"ctr": 1.0, "cvr": 0.5}, "static_pos_weight": {"ctr": 24.7}, "aux_focal": None},
    ),
    (
        {"use_esmm": False, "enabled_heads": 0, "model.enabled_heads": ["ctr"]},
        {"tasks": {"ctr": "click"}},
    ),
    ({"data.drop_last": True, "data.debug": True}, {"drop_last": True, "debug_mode": True}),
    ({"runtime.seed": ..., "data.seed": 7}, {"seed": 7}),
    ({"runtime.amp": False}, {"precision": "float32"}),
    ({"runtime.max_valid_steps": 50}, {"max_valid_steps": 50, "eval_batch_size": 1024}),
    ({"runtime.auto_eval_ckpt": "last"}, {"final_weights": "last"}),
    ({"runtime.save_last": True}, {"save_best_only": False}),
    ({"runtime.grad_diag_every": None}, {"grad_diag_every": 5000}),
    ({"runtime.grad_clip_norm": ...}, {"max_gradient_norm": 0, "clip_scope": None}),
    ({"runtime.epochs": 5}, {"epochs": 5, "early_stop_patience": 5}),
    (
        {"optim.sparse.enabled": False},
        {"embedding_optimizer": "dense_equivalent_adam", "embedding_learning_rate": None},
    ),
    ({"optim.lr_scheduler.enabled": False}, {"reduce_lr_on_plateau": False}),
    ({"optim.dense.betas": [0.8, 0.9]}, {"betas": [0.8, 0.9], "embedding_betas": [0.9, 0.999]}),
    (
        {"embedding.embedding_dim_overrides": {"f0_205": 16}},
        {"feature_specs": [{"name": "f0_205", "embedding_dim": 16}]},
    ),
    (
        {"sampling.negative_sampling": "random"},
        {"negative_sampling": "plain", "neg_keep_prob_train": 0.4},
    ),
    ({"loss.pos_weight_dynamic": True}, {"pos_weight_dynamic": True, "static_pos_weight": None}),
]


class TestAFileWithEverything:
    def test_every_path_of_the_file_has_a_row(self):
        def paths(prefix, block):
            for name, value in block.items():
                path = f"{prefix}{name}"
                inner = isinstance(value, dict) and any(row.startswith(f"{path}.") for row in NESTED_NAMES)
                yield from paths(f"{path}.", value) if inner and path not in NESTED_NAMES else [path]

        assert set(paths("", yaml.safe_load(NESTED.read_text()))) <= set(NESTED_NAMES)

    def test_it_becomes_the_shipped_stanza_with_the_moments_spelled_out(self, tmp_path):
        registry.import_zoo()
        converted = convert(NESTED, "tiny_mtl")
        converted.files["dataset_config.yaml"] = (
            REPOSITORY / "config" / "dataset_config" / "tiny_mtl.yaml"
        ).read_text()
        write_converted(converted, tmp_path / "new")
        found = load_experiment(tmp_path / "new", "deepfm_mmoe_dual_sparse").resolved()
        shipped = load_experiment(REPOSITORY / "config", "DeepFM_MMoE_split").resolved()
        assert {key: found[key] for key in found if found[key] != shipped[key]} == {
            # Keras's epsilon is 1e-7.
            "betas": [0.9, 0.999],
            "epsilon": 1e-8,
            "embedding_betas": [0.9, 0.999],
            "embedding_epsilon": 1e-8,
            "heads": {**shipped["heads"], "ctr": {}, "cvr": {}},
            "num_workers": 6,
        }

    @pytest.mark.parametrize(("changes", "expected"), CHANGES)
    def test_a_changed_key_arrives(self, nested, changes, expected):
        stanza, _ = nested(changes)
        assert {key: stanza.get(key) for key in expected} == expected

    def test_blocks_of_the_network_arrive_without_what_has_nothing_here(self, nested):
        stanza, _ = nested(
            {
                "model.backbone": {"use_legacy_pseudo_deepfm": True, "per_head_add": {"ctr": {}}},
                "model.mmoe.gate_hidden_dims": [8],
                "model.heads.default.dropout": 0.3,
            }
        )
        assert stanza["backbone"] == {
            "use_legacy_pseudo_deepfm": True,
            "deep_hidden_dims": [256, 128],
            "deep_dropout": 0.2,
            "deep_activation": "relu",
            "deep_use_bn": False,
            "fm_enabled": True,
            "fm_projection_dim": 16,
            "out_dim": 128,
        }
        assert stanza["mmoe"]["gate_hidden_dims"] == []
        assert stanza["mmoe"]["adapter_dropout"] == 0.3
        assert "log_stats" not in stanza["mmoe"]["gate_stabilize"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "runtime.resume_path: null  Here resume_path names a run of this library"),
            ({}, "data.neg_keep_prob_train: 0.4  Without effect under sampling.negative_sampling none."),
            ({}, "model.deep_hidden_dims: [256, 128]  model.backbone.deep_hidden_dims counts."),
            (
                {"runtime.resume_path": "x.pt"},
                "resume_path: 'x.pt'  Not the same here: Here resume_path names",
            ),
            ({"esmm.version": "legacy"}, "esmm.version: 'legacy'  Not the same here: pCTCVR is always"),
            ({"runtime.auto_eval": False}, "runtime.auto_eval: false  Not the same here"),
            ({"sampling.negative_sampling": "hard"}, "negative_sampling: 'hard'  Not the same here"),
            ({"model.mmoe.input": "emb"}, "model.mmoe.input: 'emb'  Not the same here"),
            ({"runtime.tea": 3}, "runtime.tea: 3  Nothing here is called so."),
            ({"use_esmm": False}, "esmm.lambda_ctr: 1.0  Without effect where use_esmm is false"),
            ({"use_esmm": False}, "loss.static_pos_weight.ctcvr: 4800  There is no such task."),
            ({"loss.pos_weight_dynamic": True}, "{ctcvr: 4800, ctr: 24.7}  loss.pos_weight_dynamic counts."),
        ],
    )
    def test_what_has_no_counterpart_stands_at_the_end_with_its_reason(self, nested, changes, said):
        _, text = nested(changes)
        joined = " ".join(line.strip().removeprefix("#").strip() for line in text.splitlines())
        assert said.replace("  ", " ") in joined.replace("  ", " ")
        assert "Left out:" in text

    def test_each_key_has_the_path_that_it_was_above_it(self, nested):
        _, text = nested()
        lines = text.splitlines()
        assert lines[lines.index("  learning_rate: 0.0006") - 1] == "  # optim.dense.lr"
        assert lines[lines.index("  max_gradient_norm: 2.0") - 1] == "  # runtime.grad_clip_norm"

    def test_without_a_dataset_it_writes_one_to_be_completed(self):
        converted = convert(NESTED)
        text = converted.files["dataset_config/nested_file.yaml"]
        dataset = yaml.safe_load(text)["deepfm_mmoe_dual_sparse"]
        assert [label["name"] for label in dataset["label_col"]] == ["click", "conversion"]
        assert "has no columns yet" in converted.problems["deepfm_mmoe_dual_sparse"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model.backbone": [1]}, r"line \d+: model.backbone expects a mapping, not \[1\]"),
            ({"loss.static_pos_weight": 3}, r"loss.static_pos_weight expects a mapping, not 3"),
            (
                {"embedding.embedding_dim_overrides": []},
                r"embedding_dim_overrides expects a mapping, not \[\]",
            ),
            ({"model.enabled_heads": "ctr"}, r"model.enabled_heads expects a list, not 'ctr'"),
            ({"runtime.epochs": "three"}, r"runtime.epochs expects a whole number, not 'three'"),
        ],
    )
    def test_a_value_of_another_form_is_located(self, nested, changes, message):
        with pytest.raises(ConfigError, match=message):
            nested(changes)

    def test_blocks_that_are_null_are_as_good_as_absent(self, nested):
        stanza, _ = nested({"model.backbone": None, "model.mmoe": None, "loss.static_pos_weight": None})
        assert stanza["backbone"]["deep_hidden_dims"] == [256, 128]
        assert stanza["mmoe"] == {"adapter_dropout": 0.1}

    def test_another_file_is_no_experiment(self):
        with pytest.raises(ConfigError, match=r"model_config.yaml: no file with the blocks model, optim and"):
            convert(FOLDERS["fork"] / "model_config.yaml")


class TestAFolder:
    @pytest.mark.parametrize("name", FOLDERS)
    def test_each_experiment_is_the_same_before_and_after(self, name, tmp_path):
        registry.import_zoo()
        folder = FOLDERS[name]
        write_converted(convert(folder), tmp_path / "new")
        expids = [each for each in available(folder).expids if each != "MMoE_default"]
        assert len(expids) >= 6
        for expid in expids:
            before, after = (load_experiment(each, expid) for each in (folder, tmp_path / "new"))
            assert after == before
            assert after.resolved() == before.resolved()
            assert after.notes == ()

    def test_changed_keys_have_a_comment_and_dropped_ones_stand_at_the_end(self):
        converted = convert(FOLDERS["fork"])
        lines = converted.files["model_config.yaml"].splitlines()
        here = lines[lines.index("M3oE_test:") :]
        assert here[here.index("  domain: product") - 1].endswith("domain_feature is domain here.")
        assert any("tau is left out. A sigmoid has no temperature" in line for line in here)
        assert converted.left_out["M3oE_test"] == 4
        assert converted.problems == {}
        assert describe(converted, [Path("new")])[0] == "Written: new"

    def test_a_key_that_nothing_takes_is_left_out_and_said(self, tmp_path):
        old = tmp_path / "old"
        old.mkdir()
        (old / "model_config.yaml").write_text(
            "Base: {expert_num: 3}\n"
            "Mine: {model: MMoE, dataset_id: tiny, domain_feature: x, num_expertz: 1}\n"
            "Other: {model: AutoInt, dataset_id: tiny, num_cross_layers: 3}\n"
        )
        (old / "dataset_config.yaml").write_text("tiny: {train_data: a.csv, valid_size: 0.1, label: x}\n")
        converted = convert(old)
        text, dataset = converted.files["model_config.yaml"], converted.files["dataset_config.yaml"]
        assert yaml.safe_load(text) == {
            "Base": {"expert_num": 3},
            "Mine": {"model": "MMoE", "dataset_id": "tiny"},
            "Other": {"model": "AutoInt", "dataset_id": "tiny", "num_cross_layers": 3},
        }
        assert "domain_feature: 'x'  has no counterpart. This is FuxiCTR's fork's name of domain." in text
        assert "num_expertz: 1  has no counterpart. No key is called so." in text
        assert yaml.safe_load(dataset) == {"tiny": {"train_data": "a.csv", "valid_size": 0.1}}
        assert "no model is called 'AutoInt'" in converted.problems["Other"]
        assert "It cannot be run yet" in describe(converted, [])[-2] + describe(converted, [])[-3]

    def test_files_that_are_there_are_written_over_only_on_request(self, tmp_path):
        converted = convert(FOLDERS["fork"])
        written = write_converted(converted, tmp_path)
        assert [file.name for file in written] == ["model_config.yaml", "dataset_config.yaml"]
        with pytest.raises(ConfigError, match=r"model_config.yaml: there already\. .* --overwrite"):
            write_converted(converted, tmp_path)
        write_converted(converted, tmp_path, overwrite=True)
        assert sorted(file.name for file in tmp_path.iterdir()) == [
            "dataset_config.yaml",
            "model_config.yaml",
        ]

    def test_a_mistake_in_the_old_folder_is_located(self, tmp_path):
        (tmp_path / "model_config.yaml").write_text("Mine: [1\n")
        with pytest.raises(ConfigError, match=r"model_config.yaml, line 2: not YAML"):
            convert(tmp_path)

    def test_values_survive_their_way_through_text(self):
        values = {
            "text": "yes: no # 1",
            "number": 1e-8,
            "none": None,
            "truth": True,
            "lists": [[1, 2], []],
            "long": [f"feature_with_a_name_{i}" for i in range(40)],
            "open": [{"name": ["a"] * 30, "x": "^"}, {"name": "b"}],
            "block": {"inner": {"deep": ["word"] * 30, "e": {}}, "other": 1.5},
        }
        text = file_text(["From somewhere."], [StanzaText("Mine", values), StanzaText("None", {})])
        assert yaml.safe_load(text) == {"Mine": values, "None": {}}
        assert max(map(len, text.splitlines())) <= 112

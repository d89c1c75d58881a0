"""What comes out of a folder: merged, converted, planned, and the same after a round trip."""

import re
import subprocess
import sys
from dataclasses import replace
from typing import Literal

import pytest
import yaml

from fuxi_mtl import metrics, registry
from fuxi_mtl.config import ConfigError, load_experiment, load_experiments, load_resolved
from fuxi_mtl.options import FeatureOptions
from fuxi_mtl.tasks import Task


def load(folder, *overrides):
    return load_experiment(folder, "MMoE_test", overrides)


def labels(*entries):
    return "  label_col:\n" + "".join(f"    - {{{entry}}}\n" for entry in entries)


def features(*entries):
    return "  feature_cols:\n" + "".join(f"    - {{{entry}}}\n" for entry in entries)


def test_the_help_of_the_command_line_does_not_import_numpy():
    code = "import sys, fuxi_mtl.cli.commands; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_configuration_does_not_import_tensorflow():
    code = "import sys, fuxi_mtl.config; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestMerging:
    def test_a_stanza_overrides_base_and_base_the_default(self, write):
        text = "Base: {seed: 1, epochs: 3}\nMMoE_test: {model: MMoE, dataset_id: tiny, seed: 2}\n"
        training = load(write(model_config=text)).training
        assert (training.seed, training.epochs, training.batch_size) == (2, 3, "auto")

    def test_a_dataset_key_may_stand_in_a_stanza(self, write):
        assert load(write("min_categr_count: 5")).dataset.min_categr_count == 5

    def test_the_dataset_wins_over_base(self, write):
        text = "Base: {sep: ;}\nMMoE_test: {model: MMoE, dataset_id: tiny}\n"
        assert load(write(dataset='sep: "|"', model_config=text)).dataset.sep == "|"

    def test_a_stanza_and_its_dataset_may_say_the_same(self, write):
        assert load(write("sep: ;", dataset="sep: ;")).dataset.sep == ";"

    def test_a_key_of_the_experiment_may_stand_in_the_datasets_stanza(self, write):
        assert load(write(dataset="group_id: request")).evaluation.group_id == "request"

    def test_base_may_hold_options_of_other_models(self, write):
        text = "Base: {bottom_hidden_units: [8]}\nMMoE_test: {model: MMoE, dataset_id: tiny}\n"
        folder = write(model_config=text)
        assert "bottom_hidden_units" not in load(folder).model_options
        assert load(folder, "model=ShareBottom").model_options == {"bottom_hidden_units": [8]}

    def test_several_experiments_share_the_overrides(self, write):
        text = "A: {model: MMoE, dataset_id: tiny}\nB: {model: ShareBottom, dataset_id: tiny}\n"
        loaded = load_experiments(write(model_config=text), ["B", "A"], ["seed=3"])
        assert [(each.expid, each.training.seed) for each in loaded] == [("B", 3), ("A", 3)]


class TestOverrides:
    def test_an_override_wins_over_stanza_and_dataset(self, write):
        experiment = load(write("seed: 1", dataset="sep: ;"), "seed=2", 'sep="|"')
        assert (experiment.training.seed, experiment.dataset.sep) == (2, "|")

    def test_the_last_of_two_overrides_wins(self, write):
        assert load(write(), "seed=2", "seed=3").training.seed == 3

    def test_an_override_is_typed_like_yaml(self, write):
        overrides = (
            "shuffle=no",
            "learning_rate=1e-4",
            "loss_weight={click: 1, conversion: 2}",
            "eval_steps=",
        )
        experiment = load(write("eval_steps: 5"), *overrides)
        assert experiment.training.shuffle is False
        assert experiment.optimizer.learning_rate == 1e-4
        assert experiment.weighting.loss_weight == {"click": 1.0, "conversion": 2.0}
        assert experiment.training.eval_steps is None

    def test_a_dotted_key_changes_one_entry_of_a_block(self, write):
        folder = write("gate_stabilize: {gamma: 2, lambda: 0.5}")
        changed = load(folder, "gate_stabilize.lambda=1e-1", "monitor.AUC=1", "monitor.logloss=-1")
        assert changed.model_options["gate_stabilize"] == {"gamma": 2, "lambda": 0.1}
        assert changed.training.monitor == {"AUC": 1.0, "logloss": -1.0}
        assert load(folder).model_options["gate_stabilize"] == {"gamma": 2, "lambda": 0.5}

    def test_a_dotted_key_reaches_any_depth(self, write):
        changed = load(write("gate_stabilize: {a: {b: 1, c: 2}}"), "gate_stabilize.a.b=3")
        assert changed.model_options["gate_stabilize"] == {"a": {"b": 3, "c": 2}}

    def test_the_dataset_can_be_exchanged(self, write):
        text = (
            "tiny: {train_data: a.csv}\nother:\n  train_data: b.csv\n  valid_size: 0.1\n"
            "  feature_cols: [{name: user}]\n  label_col: [{name: click}]\n"
        )
        assert load(write(dataset_config=text), "dataset_id=other").dataset.train_data == "b.csv"

    def test_another_weighting_leaves_the_options_of_the_old_one_behind(self, write):
        experiment = load(write("loss_weight: GN\ngradnorm_alpha: 0.5"), "loss_weight=UW")
        assert experiment.weighting.loss_weight == "UW"
        assert experiment.member_options == {"uw_form": "kendall", "uw_lr": 0.025}

    def test_another_monitor_leaves_the_mode_of_the_old_one_behind(self, write):
        folder = write("monitor: AUC\nmonitor_mode: max")
        assert load(folder, "monitor=logloss").training.monitor_mode is None
        assert load(folder, "monitor=click_AUC").training.monitor_mode == "max"


class TestWhatIsWatchedUnlessSaid:
    def test_it_is_what_is_measured_where_no_task_has_an_auc(self, write):
        watch = "  label_col:\n    - {name: watch, kind: regression}\n"
        value = load(write(labels=watch))
        assert value.training.monitor == "MAE"
        assert value.notes == ("no task has an AUC to watch: monitor is MAE",)
        base = "Base: {monitor: AUC}\nMMoE_test: {model: MMoE, dataset_id: tiny}\n"
        assert load(write(model_config=base, labels=watch)).training.monitor == "MAE"
        with pytest.raises(ConfigError, match="monitor names the unknown metric 'AUC'"):
            load(write("monitor: AUC", labels=watch))

    def test_it_is_auc_where_a_task_has_one(self, write):
        both = "  label_col:\n    - {name: click}\n    - {name: watch, kind: regression}\n"
        loaded = load(write(labels=both))
        assert (loaded.training.monitor, loaded.notes) == ("AUC", ())


def test_metrics_that_fit_no_task_are_told(write):
    told = load(write("metrics: [AUC, pinball, MAE]")).notes
    assert told == ("metrics: pinball, MAE of no task here, and left out",)


class TestBaseSpeaksToAll:
    def test_a_plan_of_the_learning_rate_takes_the_place_of_the_plateau(self, write, tmp_path):
        text = "Base: {reduce_lr_on_plateau: True}\nMMoE_test: {model: MMoE, dataset_id: tiny}\n"
        folder = write(model_config=text)
        assert load(folder).training.reduce_lr_on_plateau
        assert load(folder, "lr_scheduler={enabled: false}").training.reduce_lr_on_plateau
        planned = load(folder, "lr_scheduler={warmup_steps: 5, step_milestones: [1e1], type: step}")
        assert not planned.training.reduce_lr_on_plateau
        assert planned.optimizer.lr_scheduler.step_milestones == [10]
        (tmp_path / "stored.yaml").write_text(yaml.safe_dump(planned.resolved(), sort_keys=False))
        again = load_resolved(tmp_path / "stored.yaml", "MMoE_test")
        assert (again.optimizer, again.training) == (planned.optimizer, planned.training)

    def test_base_may_hold_options_of_a_weighting_that_is_not_chosen(self, write):
        text = "Base: {gradnorm_alpha: 0.5}\nMMoE_test: {model: MMoE, dataset_id: tiny, loss_weight: UW}\n"
        folder = write(model_config=text)
        assert "gradnorm_alpha" not in load(folder).member_options
        assert load(folder, "loss_weight=GN").member_options["gradnorm_alpha"] == 0.5


class TestNumbers:
    def test_both_spellings_of_a_power_of_ten_are_numbers(self, write):
        rates = {
            load(write(f"learning_rate: {text}")).optimizer.learning_rate
            for text in ("1e-3", "1.e-3", "0.001")
        }
        assert rates == {1e-3}

    def test_a_power_of_ten_may_be_a_whole_number(self, write):
        size = load(write("batch_size: 1e4")).training.batch_size
        assert (size, type(size)) == (10000, int)

    def test_a_whole_number_may_stand_for_a_fraction(self, write):
        dropout = load(write("net_dropout: 0")).model_options["net_dropout"]
        assert (dropout, type(dropout)) == (0.0, float)

    def test_a_power_of_ten_stays_text_where_text_is_wanted(self, write):
        assert load(write("model_root: 1e5")).options.model_root == "1e5"

    def test_a_regularizer_is_a_number_if_it_can_be_one_and_else_text(self, write):
        regularizers = [
            load(write(f"embedding_regularizer: {text}")).model_options["embedding_regularizer"]
            for text in ("1e-6", "l2(1e-6)")
        ]
        assert regularizers == [1e-6, "l2(1e-6)"]

    def test_a_list_of_numbers_is_converted_entry_by_entry(self, write):
        assert load(write("loss_weight: [1, 5e-1]")).weighting.loss_weight == [1.0, 0.5]


class TestTasks:
    def test_each_label_is_a_task_of_its_own_name(self, write):
        assert load(write()).tasks == (Task("click", ("click",)), Task("conversion", ("conversion",)))

    def test_a_label_may_carry_a_condition_and_a_kind_and_metrics(self, write):
        text = labels("name: click", "name: watch, given: click, kind: regression, metrics: [RMSE]")
        assert load(write(labels=text)).tasks[1] == Task(
            "watch", ("watch",), ("click",), "regression", None, ("RMSE",)
        )

    def test_tasks_are_read_as_written_and_take_kind_and_metrics_of_their_label(self, write):
        stanza = "tasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion, time: watch}"
        text = labels("name: click, metrics: [AUC]", "name: conversion", "name: watch, kind: regression")
        assert load(write(stanza, labels=text)).tasks == (
            Task("ctr", ("click",), metrics=("AUC",)),
            Task("cvr", ("conversion",), ("click",)),
            Task("ctcvr", ("click", "conversion")),
            Task("time", ("watch",), kind="regression"),
        )

    def test_tasks_that_keep_a_labels_condition_agree_with_it(self, write):
        text = labels("name: click", "name: cart", "name: buy, given: click")
        stanza = "tasks: {buy_after: buy | click & cart, buy_without: buy | click & !cart}"
        assert len(load(write(stanza, labels=text)).tasks) == 2

    def test_a_single_label_may_be_written_as_a_mapping(self, write):
        experiment = load(write(labels="  label_col: {name: click, dtype: float}\n"))
        assert [task.name for task in experiment.tasks] == ["click"]

    def test_kind_and_loss_are_broadcast_or_one_a_task(self, write):
        stanza = "task: [binary_classification, regression]\nloss: [binary_crossentropy, huber]"
        kinds = [(task.kind, task.loss) for task in load(write(stanza)).tasks]
        assert kinds == [("binary", "binary_crossentropy"), ("regression", "huber")]
        broadcast = load(write("task: regression\nloss: mae\nmonitor: MAE")).tasks
        assert [(task.kind, task.loss) for task in broadcast] == [("regression", "mae")] * 2

    def test_the_model_plans_its_own_tasks(self, write):
        planned = load(write("num_tasks: 2"), "model=Chain", "loss_weight=[1, 2]").tasks
        assert [task.expression for task in planned] == ["click", "conversion | click", "click & conversion"]

    def test_num_tasks_may_count_the_labels_or_the_heads(self, write):
        folder = write()
        assert all(load(folder, "model=Chain", f"num_tasks={count}") for count in (2, 3))


class TestColumns:
    def test_a_list_of_names_becomes_one_entry_a_column(self, write):
        text = features("name: [user, item], source: id", "name: old, active: false")
        assert load(write(features=text)).dataset.feature_cols == [
            FeatureOptions(name="user", source="id"),
            FeatureOptions(name="item", source="id"),
        ]

    def test_use_features_keeps_the_order_and_the_meta_columns(self, write):
        chosen = load(write("use_features: [price, user]")).dataset.feature_cols
        assert [feature.name for feature in chosen] == ["user", "price", "request"]

    @pytest.mark.parametrize("key", ["feature_specs", "feature_config"])
    def test_a_spec_changes_columns_by_name(self, write, key):
        stanza = f"{key}: [{{name: [user, price], embedding_dim: 4}}, {{name: item, active: false}}]"
        chosen = load(write(stanza)).dataset.feature_cols
        dims = {feature.name: feature.embedding_dim for feature in chosen}
        assert dims == {"user": 4, "price": 4, "request": None}

    def test_a_column_may_be_an_input_and_carried_along(self, write):
        text = features("name: user", "name: user, type: meta")
        experiment = load(write("metrics: [AUC, gAUC]\ngroup_id: user", features=text))
        assert [feature.type for feature in experiment.dataset.feature_cols] == ["categorical", "meta"]

    def test_fuxictrs_call_of_a_pooling_layer_is_read_as_its_name(self, write):
        text = features("name: tags, type: sequence, feature_encoder: layers.MaskedSumPooling()")
        (tags,) = load(write(features=text)).dataset.feature_cols
        assert tags.feature_encoder == "MaskedSumPooling"

    def test_ids_that_come_with_their_number_need_no_vocabulary(self, write):
        text = features(
            "name: user, vocab_size: 9", "name: item, share_embedding: user", "name: x, type: numeric"
        )
        assert load(write(dataset="rebuild_dataset: false", features=text)).dataset.rebuild_dataset is False

    def test_an_empty_file_name_is_no_file(self, write):
        dataset = load(write(), "valid_data=", "test_data=''", "valid_size=100").dataset
        assert (dataset.valid_data, dataset.test_data, dataset.valid_size) == (None, None, 100.0)


class TestLiterals:
    """Models of users may annotate an option with its allowed values."""

    @pytest.fixture
    def folder(self, write, monkeypatch):
        def __init__(self, features, tasks, *, pooling: Literal["mean", "sum"] | None = None): ...

        folder = write()
        monkeypatch.setattr(registry.model("ShareBottom"), "__init__", __init__)
        return folder

    @pytest.mark.parametrize(("text", "value"), [("sum", "sum"), ("Sum", "sum"), ("null", None)])
    def test_an_allowed_value_is_taken(self, folder, text, value):
        assert load(folder, "model=ShareBottom", f"pooling={text}").model_options == {"pooling": value}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("men", "pooling is 'men'. Did you mean 'mean'? Choices: mean, sum."),
            ("3", "pooling expects one of 'mean', 'sum' or null, not 3."),
        ],
    )
    def test_another_value_is_refused(self, folder, text, message):
        with pytest.raises(ConfigError, match=f"^--set pooling={text}: {re.escape(message)}$"):
            load(folder, "model=ShareBottom", f"pooling={text}")


class TestModelOptions:
    def test_every_option_has_a_value_and_defaults_are_plain(self, write):
        assert load(write("num_experts: 4")).model_options == {
            "embedding_dim": 16,
            "num_experts": 4,
            "expert_hidden_units": [256, 128],
            "hidden_activations": "relu",
            "net_dropout": 0.0,
            "batch_norm": False,
            "embedding_regularizer": 1e-6,
            "gate_stabilize": None,
        }

    def test_a_required_option_can_be_given(self, write):
        assert load(write(), "model=Demanding", "clusters=3").model_options == {"clusters": 3}

    def test_annotations_that_cannot_be_resolved_accept_anything(self, write, monkeypatch):
        def __init__(self, features, tasks, *, size: "Nowhere" = (1, {"a": (2,)})): ...  # noqa: F821

        monkeypatch.setattr(registry.model("ShareBottom"), "__init__", __init__)
        folder = write()
        assert load(folder, "model=ShareBottom").model_options == {"size": [1, {"a": [2]}]}
        assert load(folder, "model=ShareBottom", "size=many").model_options == {"size": "many"}


class TestRoundTrip:
    STANZAS = (
        "",
        "loss_weight: GN\ngradnorm_alpha: 0.5\ngradnorm_init: mean_of_first_n",
        "loss_weight: UW\nuw_form: revised\nmonitor: {AUC: 2, logloss: -1}",
        "loss_weight: {ctr: 1, ctcvr: 2}\ntasks: {ctr: click, ctcvr: click & conversion}",
        "use_features: [user, price]\nfeature_specs: [{name: user, embedding_dim: 3}]\nthreshold: best_f1",
        "group_id: request\nmetrics: [AUC, gAUC]\ngate_stabilize: {gamma: 2}\nmin_categr_count: 3",
    )

    @pytest.mark.parametrize("stanza", STANZAS)
    def test_a_stored_stanza_loads_to_an_equal_experiment(self, write, tmp_path, stanza):
        experiment = load(write(stanza))
        stored = tmp_path / "config.yaml"
        stored.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
        assert load_resolved(stored, "MMoE_test") == experiment

    @pytest.mark.parametrize("stanza", STANZAS)
    def test_a_folder_of_resolved_stanzas_loads_to_an_equal_experiment(self, write, stanza):
        experiment = load(write(stanza))
        folder = write(
            model_config=yaml.safe_dump({"MMoE_test": experiment.resolved()}, sort_keys=False),
            dataset_config=yaml.safe_dump({"tiny": experiment.resolved_dataset()}),
        )
        assert load(folder) == experiment

    def test_a_mistake_in_a_stored_stanza_has_its_line(self, tmp_path, models):
        stored = tmp_path / "config.yaml"
        stored.write_text("model: MMoE\nsed: 1\n")
        with pytest.raises(
            ConfigError, match=r"config\.yaml, line 2: unknown key 'sed' \(value 1\)\. Did you"
        ):
            load_resolved(stored, "MMoE_test")


class TestSeeds:
    def test_with_seed_changes_the_seed_and_nothing_else(self, write):
        experiment = load(write("seed: 1"))
        other = experiment.with_seed(7)
        assert other.training.seed == 7
        assert replace(other, training=experiment.training) == experiment

    def test_a_negative_seed_is_refused(self, write):
        with pytest.raises(ValueError, match=r"^seed is -1; it lies from 0 to 4294967295\.$"):
            load(write()).with_seed(-1)


def test_a_metric_that_takes_no_sample_weights_is_refused_before_training(write, monkeypatch):
    spread = metrics.Metric("spread", lambda labels, predictions: predictions.std())
    monkeypatch.setitem(metrics.METRICS, "spread", spread)
    stanza = "metrics: [AUC, spread]\neval_sample_weight: true"
    with pytest.raises(ConfigError, match=r"line 7 .*: the metric spread takes no sample weights, which"):
        load(write(stanza, "sample_weight: weight"))


def test_a_copy_of_the_row_of_unknown_tokens_is_refused_where_a_token_has_no_row(write):
    def with_item(entry):
        entries = features("name: user", f"name: item{entry}", "name: tag, share_embedding: item")
        return write("init_from: MMoE_test\nnew_rows: oov", features=entries)

    folder = with_item(", compositional: quotient_remainder")
    with pytest.raises(ConfigError, match=r"feature 'item' has no row for a token.* Set new_rows: random\."):
        load(folder)
    assert load(folder, "new_rows=random").training.new_rows == "random"
    assert load(folder, "init_from=null").training.new_rows == "oov"
    # A hashed feature has no new tokens.
    hashed = ", compositional: quotient_remainder, category_processor: hash_bucket, num_buckets: 9"
    assert load(with_item(hashed)).training.new_rows == "oov"

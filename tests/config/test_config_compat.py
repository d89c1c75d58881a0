"""What FuxiCTR's users expect of the configuration, and where FuxiCTR falls short, entry by entry."""

from pathlib import Path

import pytest

from fuxi_mtl.config import ConfigError, available, load_experiment

FOLDER = Path(__file__).parent / "fuxictr_folder"


def load(folder, *overrides):
    return load_experiment(folder, "MMoE_test", overrides)


@pytest.mark.parametrize("weighting", ["EQ", "UW", "GN", [0.4, 0.6], {"click": 1.0, "conversion": 2.0}])
def test_c1_every_loss_weight_loads(write, weighting):
    assert load(write(f"loss_weight: {weighting}")).weighting.loss_weight == weighting


def test_c3_one_task_can_be_monitored(write):
    assert load(write("monitor: click_AUC")).training.monitor == "click_AUC"


def test_c4_each_task_has_its_own_metrics_and_regressions_have_theirs(write):
    labels = (
        "  label_col:\n    - {name: click, metrics: [AUC, KS]}\n"
        "    - {name: watch, kind: regression, metrics: [RMSE]}\n"
    )
    experiment = load(write("monitor: {click_KS: 1, watch_RMSE: -1}", labels=labels))
    assert [task.metrics for task in experiment.tasks] == [("AUC", "KS"), ("RMSE",)]


def test_c6_use_features_selects_columns_before_widths_are_known(write):
    columns = load(write("use_features: [item]")).dataset.feature_cols
    assert [column.name for column in columns if column.type != "meta"] == ["item"]


def test_c16_dataset_parameters_can_be_varied(write):
    experiment = load(write(), "min_categr_count=10", "n_rows=500", "train_data=other.csv")
    dataset = experiment.dataset
    assert (dataset.min_categr_count, dataset.n_rows, dataset.train_data) == (10, 500, "other.csv")


def test_c17_loss_weight_can_be_varied(write):
    choices = [load(write(), f"loss_weight={text}").weighting.loss_weight for text in ("GN", "[1, 2]")]
    assert choices == ["GN", [1.0, 2.0]]


def test_c21_an_unknown_key_does_not_vanish(write):
    with pytest.raises(ConfigError, match="unknown key 'num_expertss'"):
        load(write("num_expertss: 4"))


@pytest.mark.parametrize("value", ["__import__('os').getcwd()", "!!python/object/apply:os.getcwd []"])
def test_c21_text_in_yaml_is_never_run(write, value):
    with pytest.raises(ConfigError, match=r"hidden_units expects a list|only plain data is read"):
        load(write(f"expert_hidden_units: {value}"))


class TestFuxiCTRFolder:
    """A folder as FuxiCTR's users have it, against the real models."""

    @pytest.fixture(autouse=True)
    def zoo(self):
        from fuxi_mtl.registry import import_zoo

        import_zoo()

    def test_every_experiment_loads_unmodified(self):
        expids = [expid for expid in available(FOLDER).expids if expid != "MMoE_default"]
        loaded = {expid: load_experiment(FOLDER, expid) for expid in expids}
        assert {expid: each.weighting.loss_weight for expid, each in loaded.items()} == {
            "MMoE_test": "EQ",
            "MMoE_with_UW": "UW",
            "MMoE_with_GN": "GN",
            "MMoE_with_manual": [1.0, 2.0],
            "PLE_test": "EQ",
            "ShareBottom_test": "EQ",
        }
        assert {tuple(task.name for task in each.tasks) for each in loaded.values()} == {
            ("click", "conversion")
        }
        assert {each.optimizer.optimizer for each in loaded.values()} == {"adam"}
        assert {each.optimizer.learning_rate for each in loaded.values()} == {1e-3}

    def test_the_template_says_which_datasets_could_replace_its_placeholder(self):
        with pytest.raises(ConfigError, match=r"no dataset is called 'TBD'\. Datasets: tiny_fuxictr\.$"):
            load_experiment(FOLDER, "MMoE_default")

    def test_the_template_loads_with_a_dataset(self):
        experiment = load_experiment(FOLDER, "MMoE_default", ["dataset_id=tiny_fuxictr"])
        assert experiment.model_options["expert_hidden_units"] == [512, 256, 128]
        assert experiment.training.early_stop_patience == 2

    def test_its_files_may_be_folders(self, tmp_path):
        for name in ("model_config", "dataset_config"):
            (tmp_path / name).mkdir()
            text = (FOLDER / f"{name}.yaml").read_text()
            (tmp_path / name / "all.yaml").write_text(text)
        assert available(tmp_path) == available(FOLDER)
        assert load_experiment(tmp_path, "PLE_test") == load_experiment(FOLDER, "PLE_test")

"""The command: files, stanzas, and mistakes."""

import json
import logging

import numpy as np
import polars as pl
import pytest
import yaml

from fuxi_mtl import simulation
from fuxi_mtl.cli.commands import main
from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.simulation import funnel, writing

import_zoo()


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def run(*words):
        status = main(["simulate", *map(str, words)])
        root.handlers = handlers
        root.setLevel(level)
        return status, *capsys.readouterr()

    return run


def test_the_files_are_the_blocks_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(funnel, "BLOCK", 400)
    settings = simulation.make_settings(given={"rows": 1_000, "valid_share": 0.2, "test_share": 0.3})
    simulation.simulate(settings, tmp_path / "data")
    files = [pl.read_parquet(tmp_path / "data" / f"{name}.parquet") for name in ("train", "valid", "test")]
    assert [frame.height for frame in files] == [500, 200, 300]
    assert pl.concat(files).equals(pl.concat(list(simulation.Funnel.of(settings).frames())))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        *("simulation.json", "test.parquet", "train.parquet", "valid.parquet"),
    ]


def test_the_settings_file_has_settings_and_rates(tmp_path):
    settings = simulation.make_settings(given={"rows": 2_000, "selection": 1.0})
    written = simulation.simulate(settings, tmp_path)
    assert json.loads((tmp_path / "simulation.json").read_text()) == written
    assert written["settings"]["selection"] == 1.0
    frame = pl.read_parquet(tmp_path / "test.parquet")
    clicked = frame.filter(pl.col("click") == 1)
    rates = written["splits"]["test"]
    assert rates["rows"] == frame.height == 400
    assert rates["clicks_per_exposure"] == pytest.approx(frame["click"].mean())
    assert rates["conversions_per_click"] == pytest.approx(clicked["conversion"].mean())
    assert rates["outcomes_per_exposure"] == pytest.approx(frame["outcome_cvr"].mean())
    assert rates["mean_truth_cvr_of_clicked"] == pytest.approx(clicked["truth_cvr"].mean())
    weights = 1 / clicked["truth_ctr"].to_numpy().astype(float)
    share = weights.sum() ** 2 / (weights**2).sum() / len(weights)
    assert rates["effective_share_of_clicks"] == pytest.approx(share)


def test_an_interrupted_simulation_leaves_nothing(tmp_path, monkeypatch):
    def broken(self, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing._SplitFile, "append", broken)
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(simulation.make_settings(given={"rows": 1_000}), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("generator", ["funnel", "regression"])
def test_the_stanzas_can_be_trained_on_at_once(command, generator):
    size = ["dimensions=5"] if generator == "regression" else ["users=60", "items=30"]
    status, out, err = command(
        *("--generator", generator, "--output", "data/sim", "--config", "config", "--set", "rows=3000", *size)
    )
    assert (status, err) == (0, "")
    expids = out.strip().rpartition("--expid ")[2].split()
    assert len(expids) >= 3
    for expid in expids:
        experiment = load_experiment("config", expid)
    dataset = load_dataset(experiment.dataset, experiment.tasks, "sim", progress=False)
    inputs = [feature.name for feature in dataset.feature_map.features]
    assert not [name for name in inputs if name.startswith(("truth_", "outcome_"))]
    truth = dataset.test.meta()
    stored = pl.read_parquet("data/sim/test.parquet")
    module = simulation.funnel if generator == "funnel" else simulation.regression
    for name in module.TRUTH:
        np.testing.assert_allclose(truth[name], stored[name])


def test_without_a_config_folder_the_stanzas_are_printed(command, tmp_path):
    status, out, _ = command("--output", "data/printed", "--set", "rows=100", "users=50", "items=20")
    assert status == 0
    dataset, models = (
        yaml.safe_load(part) for part in out[out.index("# dataset_config") :].split("# model_config")
    )
    assert list(dataset) == ["printed"]
    assert models["ESMM_printed"]["dataset_id"] == "printed"
    assert not (tmp_path / "config").exists()


def test_its_own_stanzas_are_written_anew_and_others_are_not(command, tmp_path):
    words = ("--output", "data/sim", "--config", "config", "--set", "rows=100", "users=50", "items=20")
    assert command(*words)[0] == command(*words)[0] == 0
    file = tmp_path / "config" / "model_config" / "sim.yaml"
    file.write_text("Mine: {model: ESMM}\n")
    status, _, err = command(*words)
    assert status == 1
    assert "sim.yaml was not written by simulate: choose another --dataset_id." in err
    assert file.read_text() == "Mine: {model: ESMM}\n"


def test_a_config_folder_with_one_file_is_left_alone(command, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_config.yaml").write_text("")
    status, _, err = command("--output", "data/sim", "--config", "config")
    assert status == 1
    assert "model_config.yaml holds all stanzas of its kind and is not rewritten: leave --config out" in err
    assert not (tmp_path / "data").exists()


def test_a_mistake_is_told_before_anything_is_written(command, tmp_path):
    status, _, err = command("--output", "data/sim", "--set", "click_rate=2")
    assert (status, err) == (1, "ConfigError: click_rate is 2; it lies above 0 and below 1.\n")
    assert not (tmp_path / "data").exists()


def test_an_output_that_is_a_file_is_named(command, tmp_path):
    (tmp_path / "taken").write_text("")
    status, _, err = command("--output", "taken", "--set", "rows=100")
    assert status == 1
    assert err.startswith("ValueError: --output taken cannot be written (")

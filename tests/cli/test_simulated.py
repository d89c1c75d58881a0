"""Simulated data from the command to the table: trained on at once, measured against the truth."""

import numpy as np
import polars as pl
import pytest
from command_line import Trained, call

from fuxi_mtl.metrics import TRUTH_METRICS
from fuxi_mtl.simulation import funnel


@pytest.fixture(scope="module")
def simulated(in_place, tmp_path_factory):
    config = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(funnel, "_CALIBRATION_ROWS", 10_000)  # Quicker; the rates do not matter here.
        write(config)
    return config


def write(config):
    done = call(
        "simulate", "--output", "data/simulated", "--config", config, "--set", "rows=3000", "selection=1"
    )
    assert (done.status, done.err) == (0, "")


@pytest.fixture(scope="module")
def run(simulated, tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    settings = (f"model_root={root}", "epochs=1", "batch_size=512", "export=false")
    done = call("run", "--config", simulated, "--expid", "ESMM_simulated", "--set", *settings)
    assert (done.status, done.err) == (0, "")
    return Trained(root / "simulated" / "ESMM_simulated" / "seed_2026", done.out)


def test_a_run_is_measured_against_the_truth(run):
    rows = pl.read_parquet("data/simulated/test.parquet")
    clicked = (rows["click"] == 1).to_numpy()
    values = run.read("metrics.json")["test"]
    with np.load(run.folder / "test_scores.npz") as scores:
        predicted = scores["cvr_pred"].astype(float)
        np.testing.assert_array_equal(scores["cvr_truth"], rows["truth_cvr"])
        np.testing.assert_array_equal(scores["cvr_outcome"], rows["outcome_cvr"])
    away = predicted - rows["truth_cvr"].to_numpy()
    for suffix, inside in (("", slice(None)), ("_clicked", clicked), ("_unclicked", ~clicked)):
        assert values[f"cvr_bias{suffix}"] == pytest.approx(away[inside].mean())
        assert values[f"cvr_truth_MSE{suffix}"] == pytest.approx((away[inside] ** 2).mean())
    assert {f"cvr_{name}" for name in TRUTH_METRICS} <= set(values)
    assert {"ctr_bias", "ctcvr_truth_MSE"} <= set(values)
    assert "bias_unclicked" in run.out


def test_the_truth_is_no_input(run):
    assert not [
        name for name in run.read("features/feature_vocab.json") if name.startswith(("truth", "outcome"))
    ]
    features = (run.folder / "features" / "feature_map.json").read_text()
    assert "user_trait_1" in features
    assert "truth_" not in features
    assert "outcome_" not in features


def test_a_truth_that_cannot_be_is_refused_before_training(simulated, tmp_path):
    for name in ("train", "valid", "test"):
        frame = pl.read_parquet(f"data/simulated/{name}.parquet").head(300)
        changed = frame.with_columns(truth_ctr=pl.lit(2.0)) if name == "test" else frame
        changed.write_parquet(tmp_path / f"{name}.parquet")
    files = [f"{name}_data={tmp_path}/{name}.parquet" for name in ("train", "valid", "test")]
    settings = (*files, f"model_root={tmp_path}", f"data_root={tmp_path}")
    done = call("run", "--config", simulated, "--expid", "ESMM_simulated", "--set", *settings)
    assert done.status == 1
    assert "truth_ctr is 2 in row 1: it must be a probability, or missing." in done.err
    assert "Epoch=1" not in done.out

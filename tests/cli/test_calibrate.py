"""Calibrated runs: what is stored, served, measured, and changed afterwards."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from command_line import by_hand, call, train

from fuxi_mtl import ESMM
from fuxi_mtl.config import load_resolved
from fuxi_mtl.options.imbalance import ClipScheduleOptions
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.calibrate import calibrate_model, with_method
from fuxi_mtl.workflow.experiment import load_run

WEIGHTS = "static_pos_weight={ctr: 3, ctcvr: 20}"


@pytest.fixture(scope="module")
def calibrated(in_place, tmp_path_factory):
    """Weighted positives, isotonic calibration, and a SavedModel."""
    settings = (WEIGHTS, "calibration=isotonic", "export=true", "metrics=[AUC,logloss,PCOC]")
    return train(tmp_path_factory.mktemp("calibrated"), *settings, expid="ToyFunnel")


def scored(run, root, place):
    output = root / "scored.csv"
    done = call(
        "predict", "--expid", "ToyFunnel", "--set", f"model_root={run.folder.parents[2]}",
        "--input", place / "data/toy/test.csv", "--output", output,
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    return pl.read_csv(output)


def test_the_run_predict_and_the_saved_model_agree(calibrated, place, tmp_path):
    predicted = scored(calibrated, tmp_path, place)
    rows = pl.read_csv(place / "data/toy/test.csv")
    served = tf.saved_model.load(str(calibrated.folder / "saved_model")).signatures["serving_default"](
        item=tf.constant(rows["item"].cast(str).to_list()), price=tf.constant(rows["price"], tf.float32)
    )
    stored = np.load(calibrated.folder / "test_scores.npz")
    for task in ("ctr", "cvr", "ctcvr"):
        np.testing.assert_allclose(served[f"{task}_pred"], stored[f"{task}_pred"], atol=1e-6)
        np.testing.assert_allclose(predicted[f"{task}_pred"], stored[f"{task}_pred"], atol=1e-6)
    ratio = np.minimum(1, stored["ctcvr_pred"] / stored["ctr_pred"])
    np.testing.assert_allclose(stored["cvr_pred"], ratio, rtol=1e-5)


def test_a_fit_is_calibrated_on_the_rows_it_saw(calibrated):
    metrics = calibrated.read("metrics.json")
    assert metrics["calibration"] == "isotonic"
    assert metrics["valid"]["ctr_PCOC"] == pytest.approx(1, abs=0.02)
    assert metrics["valid"]["ctcvr_PCOC"] == pytest.approx(1, abs=0.02)
    assert "Calibrated by isotonic: ctr, ctcvr, cvr." in calibrated.out
    assert set(calibrated.read("calibration.json")["maps"]) == {"ctr", "ctcvr"}


def test_a_finished_run_is_calibrated_anew(calibrated, place, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(calibrated.folder.parents[2], root)
    run = calibrated._replace(folder=root / calibrated.folder.relative_to(calibrated.folder.parents[2]))
    shutil.rmtree(run.folder / "saved_model")  # writing it again takes seconds

    def calibrate(method):
        done = call("calibrate", "--expid", "ToyFunnel", "--set", f"model_root={root}", "--method", method)
        assert (done.status, done.err) == (0, "")
        return run.read("metrics.json")

    plain = calibrate("none")
    assert not (run.folder / "calibration.json").exists()
    assert plain["valid"]["ctcvr_PCOC"] > 2  # weights of 20 make far too many
    # Two epochs on toy data are not yet the optimum of the weighted loss, but nearer to the truth.
    closed = calibrate("closed_form")
    assert closed["valid"]["ctcvr_PCOC"] < 0.6 * plain["valid"]["ctcvr_PCOC"]
    assert closed["valid"]["ctcvr_AUC"] == pytest.approx(plain["valid"]["ctcvr_AUC"], abs=1e-6)
    maps = run.read("calibration.json")["maps"]
    assert (maps["ctr"]["pos_weight"], maps["ctcvr"]["pos_weight"]) == (3, 20)
    platt = calibrate("platt")
    assert platt["valid"]["ctr_PCOC"] == pytest.approx(1, abs=1e-3)
    assert platt["best_step"] == calibrated.read("metrics.json")["best_step"]
    again = calibrate("isotonic")
    assert again["valid"] == pytest.approx(calibrated.read("metrics.json")["valid"], abs=1e-5)
    assert "calibration: isotonic" in (run.folder / "config.yaml").read_text()


@pytest.mark.parametrize("how", ["plain", "reweighted"])
def test_a_run_may_leave_out_negatives(how, in_place, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(ESMM, "prepare", lambda self, labels, batches: told.append(labels["ctr"]))
    settings = (f"negative_sampling={how}", "neg_keep_prob_train=0.25", "epochs=1")
    run = train(tmp_path, *settings, expid="ToyFunnel")
    rows = pl.read_csv("data/toy/train.csv")
    negatives = int((rows["click"] == 0).sum())
    kept = round(0.25 * negatives)
    in_pass = len(rows) - negatives + kept
    assert f"{how}: {kept} of {negatives} negative rows in a pass of {in_pass} rows." in run.out
    assert run.evaluations[0]["step"] == -(-in_pass // 32)
    assert ("probabilities are those of the sample" in run.out) == (how == "plain")
    (clicks,) = told  # a network starts at the base rates of what it learns
    assert (len(clicks), clicks.sum()) == (in_pass if how == "plain" else len(rows), rows["click"].sum())


def test_negatives_that_a_run_left_out_are_put_back_in_closed_form(in_place, tmp_path):
    settings = ("negative_sampling=plain", "neg_keep_prob_train=0.25", "epochs=1")
    run = train(tmp_path, *settings, "calibration=closed_form", expid="ToyFunnel")
    assert "probabilities are those of the sample" not in run.out
    calibrated = dict(np.load(run.folder / "test_scores.npz"))
    method = ("--set", f"model_root={tmp_path}", "--method", "none")
    assert call("calibrate", "--expid", "ToyFunnel", *method).status == 0
    plain = np.load(run.folder / "test_scores.npz")
    q = plain["ctr_pred"].astype(np.float64)
    np.testing.assert_allclose(calibrated["ctr_pred"], 0.25 * q / (1 - q + 0.25 * q), rtol=1e-5)
    np.testing.assert_allclose(calibrated["cvr_pred"], plain["cvr_pred"], rtol=1e-5)
    joint = calibrated["ctr_pred"] * calibrated["cvr_pred"]
    np.testing.assert_allclose(calibrated["ctcvr_pred"], joint, rtol=1e-5)


def test_a_run_that_cannot_be_calibrated_says_why(calibrated, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(calibrated.folder.parents[2], root)
    folder = root / calibrated.folder.relative_to(calibrated.folder.parents[2])

    def calibrate(method):
        return call("calibrate", "--expid", "ToyFunnel", "--set", f"model_root={root}", "--method", method)

    (folder / "calibration.json").write_text("{}")
    assert "this is no calibration (KeyError('maps')). Calibrate the run again." in calibrate("platt").err
    (folder / "calibration.json").unlink()
    config = (folder / "config.yaml").read_text()
    by_hand(folder / "config.yaml", ("lambda_cvr_aux: 0.0", "lambda_cvr_aux: 0.5"))
    assert "closed_form: lambda_cvr_aux pulls cvr away" in calibrate("closed_form").err
    (folder / "config.yaml").write_text(config)
    by_hand(folder / "metrics.json", ('"data_key": "', '"data_key": "other'))
    assert "the data are not those it was trained on" in calibrate("platt").err
    (folder / "metrics.json").unlink()
    assert "there is no such run. Train it: run_expid.py --expid ToyFunnel." in calibrate("platt").err


def test_a_damaged_calibration_is_not_predicted_with(calibrated, tmp_path):
    folder = tmp_path / "toy" / "ToyFunnel" / "seed_1"
    shutil.copytree(calibrated.folder, folder)
    (folder / "calibration.json").write_text("[1")
    with pytest.raises(ValueError, match=r"calibration.json cannot be read .*: calibrate the run again\."):
        load_run(folder)


@pytest.mark.parametrize(("step", "weight"), [(10, 2), (11, 20)])
def test_the_weight_that_is_undone_is_that_of_the_last_update(calibrated, tmp_path, step, weight):
    experiment = load_resolved(calibrated.folder / "config.yaml", "ToyFunnel")
    clip = ClipScheduleOptions(enabled=True, target="ctcvr", milestones=[0, 10], values=[2, 30])
    imbalance = replace(experiment.imbalance, calibration="closed_form", pos_weight_clip_schedule=clip)
    model, _ = load_run(calibrated.folder)
    # Steps count from 0, and a model of step 10 was last moved by the step before it.
    calibrate_model(model, None, replace(experiment, imbalance=imbalance), Run(tmp_path), step)
    assert model.calibration.maps["ctcvr"].pos_weight == weight


def test_without_validation_rows_nothing_is_fitted(calibrated, caplog):
    experiment = with_method(load_resolved(calibrated.folder / "config.yaml", "ToyFunnel"), "platt")
    model, _ = load_run(calibrated.folder)
    run = Run(calibrated.folder / "nowhere")
    calibrate_model(model, SimpleNamespace(valid=None), experiment, run, 1)
    assert caplog.messages == ["calibration platt: there are no validation rows to fit."]
    assert model.calibration is None

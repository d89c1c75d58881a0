"""Runs that earlier code made stay what they were: loaded, predicted with, exported, compared, kept."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from command_line import call
from sklearn.metrics import roc_auc_score

from fuxi_mtl.config import load_resolved
from fuxi_mtl.dataset import Encoder, loading
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.runs import Run
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.step_plan import StepPlan
from fuxi_mtl.training.train import compile_model
from fuxi_mtl.workflow.experiment import make_model
from fuxi_mtl.workflow.thresholds import chosen_thresholds

import_zoo()
OLD = Path(__file__).parent / "old_runs"
EXPIDS = ("M3oE_domains", "MMoE_weighted", "ESMM_turned")


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A copy of the runs, their stanzas and their data."""
    return shutil.copytree(OLD, tmp_path_factory.mktemp("old") / "old_runs")


@pytest.fixture(autouse=True)
def _beside_old_runs(_workplace, old, monkeypatch):
    monkeypatch.chdir(old)
    real = loading.key_of
    monkeypatch.setattr(loading, "key_of", lambda content, _files, *number: real(content, [], *number))


def run_of(expid):
    return Run(Path("runs/shop") / expid / "seed_1")


def metrics_of(expid):
    run = run_of(expid)
    return run.read_json(run.metrics)


def processor():
    """Its model and what it computes vectors with, by which libraries choose kernels; known on Linux."""
    described = Path("/proc/cpuinfo")
    text = described.read_text() if described.exists() else ""
    return " ".join(
        [
            *re.findall(r"model name\s*: (.+)", text)[:1],
            *sorted(set(re.findall(r"\b(?:avx|fma|amx)\w*", text))),
        ]
    )


def same_processor():
    """Whether this one made the runs."""
    return processor() == (OLD / "processor").read_text().strip()


def assert_as_before(now, before):
    """To the last bit, where the processor is the same."""
    np.testing.assert_allclose(now, before, rtol=0 if same_processor() else 1e-5)


@pytest.mark.parametrize("expid", EXPIDS)
def test_an_old_run_predicts_what_it_predicted(expid, tmp_path):
    output = tmp_path / "now.csv"
    done = call("predict", "--expid", expid, "--input", "data/test.csv", "--output", output)
    assert (done.status, done.err) == (0, "")
    now, before = pl.read_csv(output), pl.read_csv(f"predictions/{expid}.csv")
    assert now.columns == before.columns
    assert_as_before(now.to_numpy(), before.to_numpy())
    if expid == "M3oE_domains":
        assert "architecture_share is bilevel_share here" in done.out
        assert "architecture_learning_rate is bilevel_learning_rate here" in done.out


def test_an_old_run_keeps_the_scale_that_its_surgery_had():
    scales = {expid: load_resolved(run_of(expid).config, expid).surgery.surgery_scale for expid in EXPIDS}
    assert scales == {"M3oE_domains": "sum", "MMoE_weighted": "sum", "ESMM_turned": "mean"}
    changed = load_resolved(run_of("ESMM_turned").config, "ESMM_turned", {"surgery_scale": "sum"})
    assert changed.surgery.surgery_scale == "sum"


@pytest.mark.parametrize("expid", EXPIDS)
def test_an_old_checkpoint_fills_optimizers_weighting_and_surgery(expid):
    run = run_of(expid)
    experiment = load_resolved(run.config, expid)
    model = make_model(experiment, Encoder.load(run.features).feature_map)
    compile_model(model, experiment, StepPlan.of(400, experiment))
    checkpoint.restore(model, run.checkpoint)
    assert int(model.step) == run.read_json(run.metrics)["best_step"]
    if expid == "M3oE_domains":
        assert int(model.bilevel_optimizer.iterations) == int(model.step)
        assert np.any(model.bilevel_optimizer.variables[-1].numpy())
    if expid == "ESMM_turned":
        assert model.surgery.found.numpy().sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("expid", EXPIDS)
def test_thresholds_of_an_old_run_come_from_the_validation_scores_that_it_kept(expid):
    run = run_of(expid)
    experiment = load_resolved(run.config, expid)
    chosen = chosen_thresholds(run, experiment)
    kept = run.read_scores("valid")
    for task in experiment.tasks:
        known = ~np.isnan(kept.label(task.name))
        labels, predictions = kept.label(task.name)[known], kept.prediction(task.name)[known]
        assert chosen[task.name] == np.sort(predictions)[-int(labels.sum())]
    assert chosen.keys() == {task.name for task in experiment.tasks}


def test_old_runs_are_compared(old):
    done = call("compare", "--model_root", "runs", "--format", "json")
    assert (done.status, done.err) == (0, "")
    found = json.dumps(json.loads(done.out))
    for expid in EXPIDS:
        stored = metrics_of(expid)["test"]
        assert expid in found
        assert all(f"{value}"[:7] in found for key, value in stored.items() if key.endswith("_AUC"))


def test_an_old_run_calibrated_once_more_has_the_metrics_that_it_had(old):
    before, kept = metrics_of("ESMM_turned"), run_of("ESMM_turned").read_scores("test")
    done = call("calibrate", "--expid", "ESMM_turned", "--method", "isotonic")
    assert (done.status, done.err) == (0, "")
    now = metrics_of("ESMM_turned")
    assert now["test"].keys() >= before["test"].keys()
    for key, value in before["test"].items():
        if not key.endswith("AUC") or same_processor():  # a last bit makes or breaks ties of steps
            assert_as_before(now["test"][key], value)
    calibrated = run_of("ESMM_turned").read_scores("test")
    for task in ("ctr", "cvr", "ctcvr"):
        found, label = calibrated.prediction(task), calibrated.label(task)
        # A step may be steep between two validation scores.
        np.testing.assert_allclose(found, kept.prediction(task), rtol=0, atol=0 if same_processor() else 1e-4)
        known = ~np.isnan(label)
        expected = roc_auc_score(label[known], found[known])
        assert now["test"][f"{task}_AUC"] == pytest.approx(expected, abs=1e-6)
    assert now["conversion_checks"]["values"].keys() == before["conversion_checks"]["values"].keys()


def test_an_old_run_with_a_fusion_is_exported(tmp_path):
    done = call("export", "--expid", "MMoE_weighted", "--output", tmp_path / "served")
    assert (done.status, done.err) == (0, "")
    rows = pl.read_csv("data/test.csv", schema_overrides={"recent_items": pl.String})
    signature = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    _, wanted = signature.structured_input_signature
    columns = {}
    for name, spec in wanted.items():
        values = rows[name].fill_null("") if rows[name].dtype == pl.String else rows[name]
        columns[name] = tf.cast(tf.constant(values.to_list()), spec.dtype)
    served = signature(**columns)
    for name, before in pl.read_csv("predictions/MMoE_weighted.csv").to_dict(as_series=False).items():
        np.testing.assert_allclose(served[name].numpy().ravel(), before, rtol=1e-5)

"""Many domains: what is learnt on validation batches, and metrics for each value of a column."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import Trained, call, train, write_csv

from fuxi_mtl import metrics
from fuxi_mtl.workflow.experiment import load_run


@pytest.fixture(scope="module")
def run(in_place, tmp_path_factory) -> Trained:
    return train(tmp_path_factory.mktemp("domains"), expid="ToyDomains")


def without_validation(folder: Path) -> tuple[str, ...]:
    """200 rows to train on and 120 to test on."""
    rows = write_csv(folder / "all.csv", 320, 0, part=["train"] * 200 + ["test"] * 120)
    return (f"train_data={rows}", "valid_data=null", "test_data=null", "split_type=column", "split_col=part")


def refused(tmp_path: Path, expid: str, *settings: str) -> str:
    done = call("run", "--expid", expid, "--set", f"model_root={tmp_path}", *settings)
    assert done.status == 1
    assert not list(tmp_path.glob("*/*/seed_*/metrics.json"))
    return done.err


def test_metrics_are_given_for_each_value_of_a_feature(run):
    block = run.read("metrics.json")["metrics_by"]
    rows = pl.read_csv("data/toy/test.csv").with_columns(pl.col("item").cast(pl.String))
    with np.load(run.folder / "test_scores.npz") as scores:
        predictions = scores["click_pred"]
    assert (block["column"], block["split"]) == ("item", "test")
    assert sum(entry["rows"] for entry in block["values"].values()) == rows.height
    for value, entry in block["values"].items():
        here = (rows["item"] == value).to_numpy()
        clicks = rows["click"].to_numpy()[here].astype(np.float32)
        assert entry["rows"] == here.sum()
        assert entry["positives"]["click"] == clicks.sum()
        assert entry["metrics"]["click_AUC"] == pytest.approx(metrics.auc(clicks, predictions[here]))
        assert (
            f"[item: {value}] {entry['rows']} rows - click_AUC: {entry['metrics']['click_AUC']:.6f}"
            in run.out
        )


def test_decisions_take_the_threshold_of_validation_on_test_rows_and_on_those_of_each_value(run):
    content, decided = run.read("metrics.json"), {}
    for split in ("valid", "test"):
        with np.load(run.folder / f"{split}_scores.npz") as scores:
            decided[split] = scores["click_label"], scores["click_pred"]
    labels, predictions = decided["valid"]
    threshold = np.sort(predictions)[-int(labels.sum())]
    assert content["thresholds"]["click"] == pytest.approx(threshold, rel=1e-6)
    clicks, predictions = decided["test"]
    right = (predictions >= threshold) == (clicks == 1)
    assert content["test"]["click_accuracy"] == pytest.approx(right.mean())
    items = pl.read_csv("data/toy/test.csv")["item"].cast(pl.String)
    for value, entry in content["metrics_by"]["values"].items():
        here = (items == value).to_numpy()
        assert entry["metrics"]["click_accuracy"] == pytest.approx(right[here].mean())


def test_what_is_learnt_on_validation_batches_is_in_the_log_and_in_the_run(run):
    watched = run.evaluations[-1]["watched"]
    assert set(watched) == {"domain_weight", "task_weight", "domain_balance", "task_balance"}
    assert watched["domain_weight"] != pytest.approx(0.5, abs=1e-3)
    model, _ = load_run(run.folder)
    assert float(model.fusion.numbers()["domain_weight"]) != pytest.approx(0.5, abs=1e-3)
    assert "M3oE learns fusion_scalars on the validation rows, which therefore flatter it" in run.out


def test_a_value_with_one_class_says_so(tmp_path):
    run = train(tmp_path, "metrics_by=user", "epochs=1")
    block = run.read("metrics.json")["metrics_by"]
    one_class = [e for e in block["values"].values() if e["positives"]["click"] in (0, e["rows"])]
    assert one_class
    assert all(e["metrics"]["click_AUC"] is None and "all " in e["undefined"]["click_AUC"] for e in one_class)


def test_training_rows_can_be_kept_for_the_bilevel_variables(tmp_path):
    run = train(tmp_path / "runs", "bilevel_share=0.25", *without_validation(tmp_path), expid="ToyDomains")
    assert run.evaluations[-1]["step"] == 200 * 0.75 // 32 + 1
    assert run.evaluations[-1]["watched"]["domain_weight"] != pytest.approx(0.5, abs=1e-3)
    assert "flatter" not in run.out
    content = run.read("metrics.json")
    reason = "threshold base_rate is chosen on validation rows, and there are none"
    assert (content["undefined"]["test"]["click_accuracy"], content["thresholds"]) == (reason, {})


@pytest.mark.parametrize(
    ("expid", "settings", "message"),
    [
        ("ToyDomains", ["bilevel_share=1.0"], "bilevel_share is 1; it lies from 0 to below 1"),
        ("ToyDomains", ["bilevel_share=0.999"], "leaves 0 of 320 rows to train on"),
        ("ToyDomains", ["embedding_optimizer=dense_equivalent_adam"], "Use embedding_optimizer: adam"),
        ("Toy", ["bilevel_share=0.1"], "ShareBottom learns nothing on validation batches"),
        ("Toy", ["metrics_by=colour"], "metrics_by names 'colour'.*There are: item, user"),
    ],
)
def test_what_cannot_be_is_refused_before_training(tmp_path, expid, settings, message):
    err = refused(tmp_path, expid, *settings)
    assert all(part in err for part in message.split(".*"))


def test_without_validation_rows_a_share_of_the_training_rows_is_asked_for(tmp_path):
    err = refused(tmp_path / "runs", "ToyDomains", *without_validation(tmp_path))
    assert "M3oE learns fusion_scalars on validation rows, and there are none" in err
    assert "bilevel_share: 0.1" in err


def test_a_column_with_too_many_values_is_refused(tmp_path):
    users = write_csv(tmp_path / "test.csv", 160, 3, user=np.arange(160))
    err = refused(tmp_path, "Toy", "metrics_by=user", f"test_data={users}")
    assert "metrics_by: 'user' has 160 values in the test rows; a table has at most 100" in err

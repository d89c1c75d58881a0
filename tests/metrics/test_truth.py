"""Predictions against a truth that is known."""

import json

import numpy as np
import pytest
from synthetic_runs import labels_of_test, write_run

from fuxi_mtl import metrics
from fuxi_mtl.comparison import compare
from fuxi_mtl.evaluation.evaluate import evaluate, log_lines, metric_keys
from fuxi_mtl.metrics import TRUTH_METRICS, Truth, find_metric_of_key, read_truth, split_key
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.report import render
from fuxi_mtl.tasks import Task, parse_task

CTR = parse_task("ctr", "click")
CVR = parse_task("cvr", "conversion | click")
WATCH = Task("watch", ("watch_time",), kind="regression")
OPTIONS = EvaluationOptions(metrics=["AUC", "MAE"])
NAN = np.nan

# Six exposures, of which two were clicked.
LABELS = {"ctr": np.array([1, 1, 0, 0, 0, 0.0]), "cvr": np.array([1, 0, NAN, NAN, NAN, NAN])}
PREDICTIONS = {
    "ctr": np.array([0.5, 0.5, 0.25, 0.25, 0.25, 0.25]),
    "cvr": np.array([0.5, 0.25, 0.5, 0.125, 0.25, 0.125]),
}
TRUTH = Truth(np.array([0.25, 0.25, 0.25, 0.125, 0.0, 0.125]), np.array([1, 0, 1, 0, 0, 0.0]))


def test_a_conditional_task_is_measured_on_all_clicked_and_unclicked_rows():
    values = evaluate([CTR, CVR], LABELS, PREDICTIONS, OPTIONS, truth={"cvr": TRUTH}).values
    # Predictions minus truths are .25, 0, .25, 0, .25, 0; the first two rows are clicked.
    assert values["cvr_bias"] == pytest.approx(0.75 / 6)
    assert values["cvr_bias_clicked"] == pytest.approx(0.25 / 2)
    assert values["cvr_bias_unclicked"] == pytest.approx(0.5 / 4)
    assert values["cvr_truth_MSE"] == pytest.approx(3 * 0.0625 / 6)
    assert values["cvr_truth_MSE_clicked"] == pytest.approx(0.0625 / 2)
    assert values["cvr_truth_MSE_unclicked"] == pytest.approx(2 * 0.0625 / 4)
    assert values["cvr_truth_PCOC"] == pytest.approx(1.75 / 1.0)
    # Both outcomes have the highest score: no negative is above them.
    assert values["cvr_truth_AUC"] == 1
    # No prediction is below the truth, so no gap inside a bin cancels.
    assert values["cvr_truth_ECE"] == pytest.approx(0.75 / 6)
    assert not [key for key in values if key.startswith("ctr_") and key != "ctr_AUC"]
    assert list(values)[-1] == "AUC"


def test_gaps_inside_a_bin_of_equal_predictions_cancel():
    truth = Truth(np.array([0.1, 0.3, 0.2, 0.8]))
    predictions = {"ctr": np.array([0.2, 0.2, 0.5, 0.5])}
    values = evaluate(
        [CTR], {"ctr": np.array([0, 1, 0, 1.0])}, predictions, OPTIONS, truth={"ctr": truth}
    ).values
    assert values["ctr_truth_ECE"] == pytest.approx(0)
    assert values["ctr_truth_MSE"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.09) / 4)
    # Neither condition nor outcome is known.
    assert set(values) == {"ctr_AUC", "AUC", "ctr_bias", "ctr_truth_MSE", "ctr_truth_PCOC", "ctr_truth_ECE"}


def test_a_regression_has_a_bias_and_an_error():
    labels, predictions = {"watch": np.array([3.0, 5.0])}, {"watch": np.array([2.0, 4.5])}
    truth = {"watch": Truth(np.array([2.5, 4.0]))}
    values = evaluate([WATCH], labels, predictions, OPTIONS, truth=truth).values
    assert {key: values[key] for key in values if key.startswith("watch_") and key != "watch_MAE"} == {
        "watch_bias": 0.0,
        "watch_truth_MSE": 0.25,
    }


def test_without_truth_nothing_changes():
    plain = evaluate([CTR, CVR], LABELS, PREDICTIONS, OPTIONS)
    assert evaluate([CTR, CVR], LABELS, PREDICTIONS, OPTIONS, truth={}) == plain
    assert tuple(plain.values) == metric_keys([CTR, CVR], OPTIONS)


def test_nothing_is_chosen_by_the_truth():
    assert not [key for key in metric_keys([CTR, CVR], OPTIONS) if "truth" in key or "bias" in key]


def test_rows_without_a_truth_are_left_out():
    truth = Truth(np.array([0.25, NAN, NAN, NAN, NAN, 0.125]))
    values = evaluate([CVR], LABELS, PREDICTIONS, OPTIONS, truth={"cvr": truth}).values
    assert values["cvr_bias"] == pytest.approx(0.125)
    assert values["cvr_bias_unclicked"] == 0


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"labels": np.array([1, 0, 1, 0, 0, 0.0])}, "bias_unclicked", "no unclicked row has a truth"),
        ({"truth": Truth(np.full(6, NAN))}, "bias", "no row has a truth"),
        ({"truth": Truth(TRUTH.expected, np.zeros(6))}, "truth_AUC", "all 6 outcomes are 0"),
        ({"truth": Truth(np.zeros(6))}, "truth_PCOC", "the mean truth is 0"),
        (
            {"predictions": np.array([NAN, 0.1, 0.1, 0.1, 0.1, 0.2])},
            "truth_ECE",
            "1 of 6 predictions are NaN",
        ),
    ],
)
def test_what_is_undefined_says_why(changes, key, reason):
    given = {"labels": LABELS["cvr"], "predictions": PREDICTIONS["cvr"], "truth": TRUTH, **changes}
    scores = evaluate(
        *([CVR], {"cvr": given["labels"]}, {"cvr": given["predictions"]}, OPTIONS),
        truth={"cvr": given["truth"]},
    )
    assert np.isnan(scores.values[f"cvr_{key}"])
    assert scores.undefined[f"cvr_{key}"] == reason


def test_the_log_has_them_beside_their_task():
    scores = evaluate([CTR, CVR], LABELS, PREDICTIONS, OPTIONS, truth={"cvr": TRUTH})
    lines = log_lines([CTR, CVR], scores)
    assert lines[0] == "[Task: ctr][Metrics] AUC: 1.000000"
    assert "bias_clicked: 0.125000" in lines[1]
    assert lines[2] == "[Metrics] AUC: 1.000000"


def test_columns_of_the_truth_are_read_by_the_tasks_name():
    columns = {"truth_cvr": np.array([0.5]), "outcome_cvr": np.array([NAN]), "truth_watch": np.array([7.0])}
    assert read_truth("ctr", columns) is None
    assert read_truth("cvr", columns) == Truth(columns["truth_cvr"], columns["outcome_cvr"])
    assert read_truth("watch", columns, "regression").expected == 7


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("truth_cvr", "truth_cvr is 2 in row 2: it must be a probability, or missing."),
        ("outcome_cvr", "outcome_cvr is 2 in row 2: it must be 0 or 1, or missing."),
    ],
)
def test_a_truth_that_cannot_be_is_refused(column, message):
    columns = {"truth_cvr": np.array([0.5, 0.5]), "outcome_cvr": np.array([0.0, 1.0])}
    with pytest.raises(ValueError, match=message):
        read_truth("cvr", {**columns, column: np.array([NAN, 2.0])})


def test_keys_are_split_by_the_longest_metric_unless_the_tasks_say_otherwise():
    assert split_key("cvr_truth_MSE_clicked") == ("cvr", "truth_MSE_clicked")
    assert split_key("cvr_truth_AUC") == ("cvr", "truth_AUC")
    assert split_key("cvr_truth_AUC", ["cvr_truth"]) == ("cvr_truth", "AUC")
    assert split_key("cvr_AUC", ["ctr"]) == ("", "")
    assert split_key("AUC") == ("", "AUC")
    assert split_key("speed") == ("", "")
    assert find_metric_of_key("speed") is None


def test_the_best_bias_is_nearest_to_zero_and_the_best_ratio_to_one():
    merit = {name: TRUTH_METRICS[name].merit for name in ("bias", "truth_PCOC", "truth_MSE", "truth_AUC")}
    assert merit["bias"](0.01) > merit["bias"](-0.02)
    assert merit["truth_PCOC"](0.9) > merit["truth_PCOC"](1.2)
    assert merit["truth_MSE"](0.1) > merit["truth_MSE"](0.2)
    assert merit["truth_AUC"](0.8) > merit["truth_AUC"](0.7)


def add_truth(folder, truth):
    """Gives a run that was written by hand the truth of its task cvr."""
    with np.load(folder / "test_scores.npz") as stored:
        arrays = dict(stored)
    arrays |= {"cvr_truth": truth.expected, "cvr_outcome": truth.outcome}
    np.savez(folder / "test_scores.npz", **arrays)
    content = json.loads((folder / "metrics.json").read_text())
    found = metrics.measure_truth(truth, arrays["cvr_label"], arrays["cvr_pred"])
    content["test"] |= {f"cvr_{name}": value for name, value, _ in found}
    (folder / "metrics.json").write_text(json.dumps(content))
    return arrays["cvr_pred"]


@pytest.fixture
def truth():
    rng = np.random.default_rng(7)
    expected = rng.beta(2, 3, 4000).astype(np.float32)
    return Truth(expected, (rng.random(4000) < expected).astype(np.float32))


def test_the_table_has_mean_and_deviation_and_intervals(tmp_path, truth):
    folders = [
        write_run(tmp_path, expid, seed, skill=skill)
        for seed in (1, 2)
        for expid, skill in [("A", 1), ("B", 3)]
    ]
    predictions = [add_truth(folder, truth) for folder in folders]
    (table,) = compare(folders, "A")
    assert [c for c in table.columns if c.startswith("cvr_")][2:] == [f"cvr_{name}" for name in TRUTH_METRICS]
    row = table.rows[1]
    biases = [float((p - truth.expected).mean()) for p in predictions[1::2]]
    assert row.cells["cvr_bias"].mean == pytest.approx(np.mean(biases), abs=1e-6)
    assert row.cells["cvr_bias"].deviation == pytest.approx(np.std(biases, ddof=1), abs=1e-6)
    ours = [abs(row.cells["cvr_bias"].mean) for row in table.rows]
    assert table.best["cvr_bias"] == {"AB"[int(np.argmin(ours))]}
    # The paired difference of means: its interval is 1.96 standard errors wide to either side.
    apart = np.mean([predictions[1] - predictions[0], predictions[3] - predictions[2]], axis=0)
    difference = row.differences["cvr_bias"]
    width = 2 * 1.96 * apart.std() / np.sqrt(4000)
    assert difference.high - difference.low == pytest.approx(width, rel=0.15)
    assert all(not np.isnan(row.differences[f"cvr_{name}"].low) for name in TRUTH_METRICS)


def test_a_run_without_the_truth_of_its_test_rows_has_no_interval(tmp_path, truth):
    folders = [write_run(tmp_path, expid) for expid in ("A", "B")]
    for folder in folders:
        add_truth(folder, truth)
        with np.load(folder / "test_scores.npz") as stored:
            kept = {key: stored[key] for key in stored if key != "cvr_truth"}
        np.savez(folder / "test_scores.npz", **kept)
    (table,) = compare(folders, "A")
    assert "saved no cvr_truth" in table.rows[1].differences["cvr_bias"].reason


@pytest.mark.parametrize("style", ["terminal", "markdown", "csv", "html"])
def test_every_report_shows_them(tmp_path, truth, style):
    folder = write_run(tmp_path, "A", labels=labels_of_test())
    add_truth(folder, truth)
    assert "truth_MSE_unclicked" in render(
        compare([folder]), style, **({"width": 600} if style == "terminal" else {})
    )

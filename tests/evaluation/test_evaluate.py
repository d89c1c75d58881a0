"""Evaluation: each task on its own rows, means, undefined values, log lines."""

from dataclasses import replace

import numpy as np
import pytest

from fuxi_mtl import metrics
from fuxi_mtl.evaluation.evaluate import Scores, evaluate, log_lines, metric_keys, metrics_of, summary
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import Task, parse_task

CTR = parse_task("ctr", "click")
CVR = parse_task("cvr", "conversion | click")
WATCH = Task("watch", ("watch_time",), kind="regression")
DEFAULT = EvaluationOptions()


def exposures(rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    click = (rng.random(rows) < 0.3).astype(np.float32)
    conversion = click * (rng.random(rows) < 0.4).astype(np.float32)
    watch = rng.random(rows).astype(np.float32)
    columns = {"click": click, "conversion": conversion, "watch_time": watch}
    labels = {task.name: task.label(columns) for task in (CTR, CVR, WATCH)}
    predictions = {name: rng.random(rows).astype(np.float32) for name in labels}
    return labels, predictions


def test_each_task_is_measured_on_the_rows_where_it_is_defined():
    labels, predictions = exposures()
    scores = evaluate([CTR, CVR], labels, predictions, DEFAULT)
    clicked = labels["ctr"] == 1
    assert scores.values["cvr_AUC"] == metrics.auc(labels["cvr"][clicked], predictions["cvr"][clicked])
    assert scores.values["ctr_logloss"] == metrics.logloss(labels["ctr"], predictions["ctr"])
    assert scores.values["AUC"] == pytest.approx((scores.values["ctr_AUC"] + scores.values["cvr_AUC"]) / 2)
    assert tuple(scores.values) == metric_keys([CTR, CVR], DEFAULT)
    assert scores.undefined == {}


def test_c4_a_regression_gets_its_own_metrics():
    labels, predictions = exposures()
    scores = evaluate([CTR, WATCH], labels, predictions, DEFAULT)
    assert list(scores.values) == [
        *("ctr_AUC", "ctr_logloss", "watch_MAE", "watch_RMSE"),
        *("AUC", "logloss", "MAE", "RMSE"),
    ]
    assert scores.values["MAE"] == metrics.mae(labels["watch"], predictions["watch"])


def test_c4_tasks_can_have_their_own_metrics():
    own = Task("ctr", ("click",), metrics=("KS", "binary_crossentropy"))
    assert metrics_of(own, DEFAULT) == ("KS", "logloss")
    assert metrics_of(CVR, DEFAULT) == ("AUC", "logloss")


def test_the_experiments_list_serves_both_kinds():
    options = EvaluationOptions(metrics=["AUC", "RMSE"])
    assert metrics_of(CTR, options) == ("AUC",)
    assert metrics_of(WATCH, options) == ("RMSE",)


def test_metrics_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match="task 'watch' is regression and cannot have the metric 'AUC'"):
        metrics_of(Task("watch", ("watch_time",), kind="regression", metrics=("AUC",)), DEFAULT)
    with pytest.raises(ValueError, match="no metric for the binary task 'ctr' in .*MAE.* AUC, gAUC"):
        metrics_of(CTR, EvaluationOptions(metrics=["MAE"]))
    with pytest.raises(ValueError, match="unknown metric 'AUCC'. Did you mean 'AUC'"):
        metrics_of(CTR, EvaluationOptions(metrics=["AUCC"]))


def test_c5_a_task_of_one_class_is_nan_with_a_reason_and_left_out_of_the_mean():
    labels, predictions = exposures()
    labels["cvr"] = np.where(np.isnan(labels["cvr"]), labels["cvr"], np.float32(0))
    scores = evaluate([CTR, CVR], labels, predictions, DEFAULT)
    clicks = int(labels["ctr"].sum())
    assert np.isnan(scores.values["cvr_AUC"])
    assert scores.undefined == {"cvr_AUC": f"all {clicks} labels are 0"}
    assert scores.values["AUC"] == scores.values["ctr_AUC"]
    assert scores.notes["AUC"] == "mean of ctr"
    assert log_lines([CTR, CVR], scores)[1].startswith(
        f"[Task: cvr][Metrics] AUC: nan (all {clicks} labels are 0)"
    )


def test_c5_the_mean_is_nan_when_predictions_are_nan():
    labels, predictions = exposures()
    predictions["cvr"] = np.full_like(predictions["cvr"], np.nan)
    scores = evaluate([CTR, CVR], labels, predictions, DEFAULT)
    assert np.isnan(scores.values["AUC"])
    clicks = int(labels["ctr"].sum())
    assert scores.undefined["AUC"] == f"cvr: {clicks} of {clicks} predictions are NaN"


def test_a_metric_that_no_task_defines_is_nan_with_every_reason():
    labels = {"ctr": np.zeros(3, np.float32), "cvr": np.full(3, np.nan, np.float32)}
    predictions = {name: np.full(3, 0.5, np.float32) for name in labels}
    scores = evaluate([CTR, CVR], labels, predictions, DEFAULT)
    assert scores.undefined["AUC"] == "ctr: all 3 labels are 0; cvr: no row has a label"


def test_gauc_reports_its_groups_and_coverage():
    labels, predictions = exposures()
    groups = np.arange(2000) % 37
    options = EvaluationOptions(metrics=["gAUC"], gauc_weight="clicks")
    scores = evaluate([CTR, CVR], labels, predictions, options, groups)
    expected = metrics.gauc(labels["cvr"], predictions["cvr"], groups, "clicks")
    assert scores.values["cvr_gAUC"] == expected.value
    assert scores.notes["cvr_gAUC"] == {"groups": expected.groups, "coverage": expected.coverage}
    assert f"({expected.groups} groups, 98.2% of rows)" in log_lines([CTR, CVR], scores)[1]


def test_c9_gauc_without_groups_is_undefined_not_a_crash():
    labels, predictions = exposures()
    scores = evaluate([CTR], labels, predictions, EvaluationOptions(metrics=["gAUC"]))
    assert scores.undefined["ctr_gAUC"] == "group_id names no column of groups"


def test_the_best_f1_threshold_of_validation_is_applied_to_test():
    options = EvaluationOptions(metrics=["F1", "precision"], threshold="best_f1")
    valid_labels, valid_predictions = exposures(seed=1)
    test_labels, test_predictions = exposures(seed=2)
    valid = evaluate([CTR], valid_labels, valid_predictions, options)
    test = evaluate([CTR], test_labels, test_predictions, options, thresholds=valid.thresholds)
    threshold = metrics.best_f1_threshold(valid_labels["ctr"], valid_predictions["ctr"])
    assert test.thresholds == {"ctr": threshold}
    assert test.values["ctr_F1"] == metrics.f1(test_labels["ctr"], test_predictions["ctr"], threshold)


def test_the_base_rate_is_that_of_validation_whatever_the_test_rows_hold():
    options = EvaluationOptions(metrics=["F1", "recall"])
    valid = {"ctr": np.array([1, 0, 0, 0, 1, 0.0])}, {"ctr": np.array([0.9, 0.2, 0.6, 0.1, 0.5, 0.3])}
    chosen = evaluate([CTR], *valid, options).thresholds
    assert chosen == {"ctr": 0.6}  # as many rows reach it as are positive: two
    # An oracle would take the three highest of the test rows: their own number of positives.
    test = {"ctr": np.array([1, 1, 1, 0.0])}, {"ctr": np.array([0.8, 0.5, 0.4, 0.7])}
    scores = evaluate([CTR], *test, options, thresholds=chosen)
    assert scores.thresholds == chosen
    assert scores.values["ctr_recall"] == pytest.approx(1 / 3)
    assert scores.values["ctr_F1"] == pytest.approx(2 * 1 / (2 + 3))


@pytest.mark.parametrize("rule", ["base_rate", "best_f1"])
def test_without_validation_rows_decisions_are_undefined_and_the_reason_is_said(rule):
    labels, predictions = exposures()
    options = EvaluationOptions(metrics=["AUC", "F1", "accuracy"], threshold=rule)
    scores = evaluate([CTR, replace(CVR, threshold=0.4)], labels, predictions, options, thresholds={})
    reason = f"threshold {rule} is chosen on validation rows, and there are none"
    assert scores.undefined == {"ctr_F1": reason, "ctr_accuracy": reason}
    assert scores.thresholds == {"cvr": 0.4}
    assert scores.notes["F1"] == "mean of cvr"
    chosen = evaluate([CTR], labels, predictions, options, thresholds={"ctr": np.nan})
    assert chosen.undefined["ctr_F1"] == f"threshold {rule} is chosen on validation rows, which gave none"
    assert np.isnan(chosen.values["F1"])
    broken = {"ctr": np.full(len(labels["ctr"]), np.nan)}
    blamed = evaluate([CTR], labels, broken, options, thresholds={})
    assert blamed.undefined["ctr_F1"] == "2000 of 2000 predictions are NaN"


def test_thresholds_are_a_number_or_follow_the_base_rate():
    labels, predictions = exposures()
    fixed = evaluate([CTR], labels, predictions, EvaluationOptions(metrics=["F1"], threshold=0.25))
    assert fixed.thresholds == {"ctr": 0.25}
    matched = evaluate([CTR], labels, predictions, EvaluationOptions(metrics=["F1"], threshold="base_rate"))
    assert matched.thresholds["ctr"] == metrics.base_rate_threshold(labels["ctr"], predictions["ctr"])
    with pytest.raises(ValueError, match="threshold is 'median'. It can be: a number, base_rate, best_f1."):
        evaluate([CTR], labels, predictions, EvaluationOptions(metrics=["F1"], threshold="median"))


def test_a_task_may_have_a_threshold_of_its_own():
    labels, predictions = exposures()
    options = EvaluationOptions(metrics=["F1"], threshold=0.25)
    own = [
        replace(CTR, threshold=0.75),
        replace(CTR, name="other", threshold="base_rate"),
        replace(CTR, name="again"),
    ]
    tripled = [dict.fromkeys(("ctr", "other", "again"), each["ctr"]) for each in (labels, predictions)]
    scores = evaluate(own, *tripled, options)
    by_rate = metrics.base_rate_threshold(labels["ctr"], predictions["ctr"])
    assert scores.thresholds == {"ctr": 0.75, "other": by_rate, "again": 0.25}
    hits, positive = predictions["ctr"] >= 0.75, labels["ctr"] == 1
    expected = 2 * np.sum(hits & positive) / (np.sum(hits) + np.sum(positive))
    assert scores.values["ctr_F1"] == pytest.approx(expected)


def test_no_positive_row_leaves_decisions_undefined():
    labels = {"ctr": np.zeros(3, np.float32)}
    predictions = {"ctr": np.array([0.1, 0.2, 0.3], np.float32)}
    scores = evaluate([CTR], labels, predictions, EvaluationOptions(metrics=["accuracy", "F1"]))
    assert scores.undefined["ctr_accuracy"] == "all 3 labels are 0"
    assert scores.undefined["ctr_F1"] == "all 3 labels are 0"


def test_log_lines_are_fuxictrs():
    values = {"click_logloss": 0.556229, "click_AUC": 0.3368789, "logloss": 0.556229, "AUC": 0.3368789}
    click = parse_task("click", "click")
    assert log_lines([click], Scores(values)) == ["[Task: click][Metrics] logloss: 0.556229 - AUC: 0.336879"]


def test_several_tasks_get_a_line_of_means():
    labels, predictions = exposures()
    lines = log_lines([CTR, CVR], evaluate([CTR, CVR], labels, predictions, DEFAULT))
    assert [line.split()[0] for line in lines] == ["[Task:", "[Task:", "[Metrics]"]


def test_task_names_that_begin_alike_keep_their_lines():
    tasks = [parse_task("a", "x"), parse_task("a_b", "y")]
    values = {"a_AUC": 0.5, "a_b_AUC": 0.75, "AUC": 0.625}
    assert log_lines(tasks, Scores(values)) == [
        "[Task: a][Metrics] AUC: 0.500000",
        "[Task: a_b][Metrics] AUC: 0.750000",
        "[Metrics] AUC: 0.625000",
    ]


def test_the_summary_is_one_line_of_key_and_value():
    assert summary({"ctr_AUC": 0.5, "AUC": float("nan")}) == "ctr_AUC: 0.500000 - AUC: nan"


def test_a_row_of_weight_two_is_evaluated_as_that_row_twice():
    names = [
        "AUC",
        "gAUC",
        "logloss",
        "KS",
        "precision",
        "recall",
        "F1",
        "accuracy",
        "PCOC",
        "ECE",
        "MAE",
        "RMSE",
    ]
    for threshold in ("base_rate", "best_f1", 0.5):
        options = EvaluationOptions(metrics=names, threshold=threshold)
        labels, predictions = exposures(500)
        rng = np.random.default_rng(3)
        weights, groups = rng.integers(0, 4, 500), rng.integers(0, 40, 500)
        truth = {"cvr": metrics.Truth(rng.random(500), (rng.random(500) < 0.5).astype(float))}
        twice = np.repeat(np.arange(500), weights)
        weighted = evaluate(
            [CTR, CVR, WATCH], labels, predictions, options, groups, truth=truth, weights=weights
        )
        repeated = evaluate(
            *([CTR, CVR, WATCH], {k: v[twice] for k, v in labels.items()}),
            *({k: v[twice] for k, v in predictions.items()}, options, groups[twice]),
            truth={"cvr": metrics.Truth(truth["cvr"].expected[twice], truth["cvr"].outcome[twice])},
        )
        assert weighted.values == pytest.approx(repeated.values)
        assert weighted.thresholds == repeated.thresholds
        assert weighted.undefined == repeated.undefined == {}


def test_rows_without_weight_leave_a_reason():
    labels = {"ctr": np.array([1, 0, 0, 0.0])}
    predictions = {"ctr": np.array([0.9, 0.1, 0.2, np.nan])}
    scores = evaluate([CTR], labels, predictions, DEFAULT, weights=np.array([0, 1, 2.5, 0]))
    assert scores.undefined["ctr_AUC"] == "all 2 labels are 0"
    assert not np.isnan(scores.values["ctr_logloss"])

"""What training watches, and which way it should go."""

import math

import numpy as np
import pytest

from fuxi_mtl.evaluation.monitor import (
    few_positives,
    is_better,
    metric_of_key,
    monitor_direction,
    monitor_value,
    primary_terms,
    undefined_parts,
)

VALUES = {"click_AUC": 0.7, "like_AUC": 0.6, "AUC": 0.65, "click_logloss": 0.2, "logloss": 0.2}
KEYS = tuple(VALUES)


def test_c3_one_task_can_be_monitored():
    assert monitor_value("click_AUC", VALUES) == 0.7
    assert monitor_direction("click_AUC", keys=KEYS) == "max"
    assert monitor_direction("click_logloss", keys=KEYS) == "min"


def test_a_weighted_monitor_is_a_sum():
    assert monitor_value({"AUC": 2, "logloss": -1}, VALUES) == pytest.approx(1.1)
    assert monitor_direction({"AUC": 2, "logloss": -1}, keys=KEYS) == "max"
    assert monitor_direction({"logloss": 1, "like_AUC": 0}, keys=KEYS) == "min"


def test_fuxictrs_name_of_the_logloss_is_understood():
    assert monitor_value("click_binary_crossentropy", VALUES) == 0.2
    assert monitor_direction("binary_crossentropy", keys=KEYS) == "min"
    assert metric_of_key("my_task_binary_crossentropy").name == "logloss"
    assert metric_of_key("click_auk") is None


def test_a_monitor_is_found_in_any_case():
    assert monitor_value("click_auc", VALUES) == VALUES["click_AUC"]
    assert monitor_value({"auc": 2, "LogLoss": -1}, VALUES) == 2 * VALUES["AUC"] - VALUES["logloss"]
    assert monitor_direction("auc", keys=KEYS) == "max"


def test_a_monitor_that_is_not_measured_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown metric 'clik_AUC'. Did you mean 'click_AUC'\?"):
        monitor_direction("clik_AUC", keys=KEYS)
    with pytest.raises(ValueError, match="unknown metric 'like_KS'"):
        monitor_direction("like_KS", keys=KEYS)
    with pytest.raises(ValueError, match="unknown metric 'aucc'. Did you mean 'AUC'"):
        monitor_direction("aucc")
    with pytest.raises(ValueError, match="monitor names 'KS', which is not measured"):
        monitor_value("KS", VALUES)
    assert monitor_direction("any_task_AUC") == "max"


def test_a_mode_must_agree_with_the_metric():
    assert monitor_direction("AUC", "max") == "max"
    with pytest.raises(ValueError, match="improves towards min, but monitor_mode is max"):
        monitor_direction("logloss", "max")
    with pytest.raises(ValueError, match="monitor_mode is 'maximum'. It can be: max, min."):
        monitor_direction("AUC", "maximum")


def test_a_monitor_without_a_direction_needs_a_mode():
    for monitor in ("click_PCOC", {"AUC": 1, "logloss": 1}):
        with pytest.raises(ValueError, match="set monitor_mode"):
            monitor_direction(monitor)
        assert monitor_direction(monitor, "max") == "max"


def test_weights_of_a_monitor_are_finite_numbers():
    for weight in ("2", True, math.inf):
        with pytest.raises(ValueError, match="'AUC' the weight"):
            monitor_direction({"AUC": weight})
    with pytest.raises(ValueError, match="no metric with a weight"):
        monitor_direction({"AUC": 0})


def test_c5_nan_is_never_better():
    nan = float("nan")
    assert not is_better(nan, None, "max")
    assert not is_better(nan, 0.1, "min")
    assert is_better(0.1, nan, "max")
    assert is_better(0.1, None, "min")
    assert is_better(0.2, 0.1, "max")
    assert not is_better(0.2, 0.1, "min")
    assert not is_better(0.1, 0.1, "max")


def test_c5_a_monitor_with_one_undefined_part_is_nan():
    values = {**VALUES, "like_AUC": None, "AUC": float("nan")}
    assert math.isnan(monitor_value("AUC", values))
    assert math.isnan(monitor_value({"click_AUC": 1, "like_AUC": 1}, values))


# ---- auc_primary --------------------------------------------------------------------------------


def test_auc_primary_leans_on_the_joint_task_where_there_is_one():
    terms = primary_terms(("ctr", "cvr", "ctcvr"))
    assert terms == {"ctcvr_AUC": 1.0, "ctr_AUC": 0.2, "cvr_AUC": 0.2}
    values = {"ctr_AUC": 0.7, "cvr_AUC": 0.6, "ctcvr_AUC": 0.8}
    assert monitor_value(terms, values) == pytest.approx(0.8 + 0.14 + 0.12)
    assert monitor_value(terms, dict.fromkeys(values, 1.0)) == pytest.approx(1.4)
    assert monitor_direction(terms, keys=tuple(values)) == "max"


def test_auc_primary_is_the_mean_of_two_without_a_joint_task():
    values = {"ctr_AUC": 0.7, "cvr_AUC": 0.6}
    assert monitor_value(primary_terms(("ctr", "cvr")), values) == pytest.approx(0.65)


def test_coefficients_of_auc_primary_may_be_given():
    assert primary_terms(("click", "buy"), {"buy": 2, "click": 0.5}) == {"buy_AUC": 2, "click_AUC": 0.5}
    with pytest.raises(ValueError, match="auc_primary names the task 'ctr'. Known: click, buy. Give coeff"):
        primary_terms(("click", "buy"))
    with pytest.raises(ValueError, match="Did you mean 'buy'"):
        primary_terms(("click", "buy"), {"buyy": 1})


def test_one_undefined_part_makes_the_sum_undefined_and_never_an_improvement():
    terms = primary_terms(("ctr", "cvr", "ctcvr"))
    values = {"ctr_AUC": 0.7, "cvr_AUC": math.nan, "ctcvr_AUC": 0.8}
    assert math.isnan(monitor_value(terms, values))
    assert undefined_parts(terms, values) == ["cvr_AUC"]
    assert undefined_parts("ctr_AUC", values) == []
    assert not is_better(monitor_value(terms, values), None, "max")


def test_a_watched_auc_that_rests_on_few_positives_is_named():
    labels = {
        "ctr": np.repeat([1.0, 0.0], 100),
        "cvr": np.repeat([1.0, 0.0, np.nan], [99, 1, 100]),
        "like": np.zeros(200),
    }
    keys = [f"{task}_{name}" for task in labels for name in ("AUC", "gAUC", "logloss")]

    def few(monitor):
        return few_positives(monitor, labels, [*keys, "AUC", "gAUC", "logloss"])

    assert few({"ctr_AUC": 1, "cvr_AUC": 0.2}) == {"cvr_AUC": 99}
    assert few({"like_logloss": -1, "like_AUC": 1}) == {"like_AUC": 0}
    assert few("cvr_gAUC") == {"cvr_gAUC": 99}
    assert few("logloss") == {}


def test_every_part_of_a_watched_mean_counts_its_positives():
    labels = {
        "ctr": np.repeat([1.0, 0.0], 100),
        "cvr": np.repeat([1.0, 0.0], [65, 135]),
        "watch": np.ones(200),
    }
    keys = ["ctr_AUC", "ctr_KS", "cvr_AUC", "cvr_KS", "watch_MAE", "watch_XAUC", "AUC", "KS", "MAE", "XAUC"]
    labels["watch"][50:] = 7.5
    assert few_positives("AUC", labels, keys) == {"cvr_AUC": 65}
    assert few_positives({"AUC": 1, "cvr_KS": 1}, labels, keys) == {"cvr_AUC": 65, "cvr_KS": 65}
    assert few_positives("MAE", labels, keys) == few_positives("watch_XAUC", labels, keys) == {}

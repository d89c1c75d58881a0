"""What training watches, and which way it should go."""

import math

import pytest

from fuxi_mtl.monitor import is_better, metric_of_key, monitor_direction, monitor_value

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
    assert metric_of_key("click_auc") is None


def test_a_monitor_that_is_not_measured_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown metric 'clik_AUC'. Did you mean 'click_AUC'\?"):
        monitor_direction("clik_AUC", keys=KEYS)
    with pytest.raises(ValueError, match="unknown metric 'like_KS'"):
        monitor_direction("like_KS", keys=KEYS)
    with pytest.raises(ValueError, match="unknown metric 'auc'. Did you mean 'AUC'"):
        monitor_direction("auc")
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

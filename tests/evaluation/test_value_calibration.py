"""Calibration of values: bins and functions that never fall, what cannot be fitted, and JSON."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from sklearn.isotonic import IsotonicRegression

from fuxi_mtl.evaluation.calibration import Calibration, fitted_values
from fuxi_mtl.evaluation.calibration.values import BINS, VALUE_MAPS, IsotonicValue, Ratio, ValueMap
from fuxi_mtl.tasks import Task

SPEND = Task("spend", ("spend",), kind="regression")
CLICK = Task("click", ("click",))


def rows(count=2000):
    rng = np.random.default_rng(0)
    predicted = rng.exponential(2, count).astype(np.float32).astype(np.float64)
    return predicted, predicted**1.3 * rng.exponential(1, count)


def applied(each, values):
    return each(tf.constant(values, tf.float32)).numpy()


def test_a_ratio_makes_the_mean_of_each_tenth_that_of_its_labels():
    predicted, labels = rows()
    found = applied(Ratio.fit(predicted, labels), predicted)
    for tenth in np.array_split(np.argsort(predicted), BINS):
        assert found[tenth].mean() == pytest.approx(labels[tenth].mean(), rel=1e-4)


def test_isotonic_is_that_of_scikit_learn_and_keeps_the_mean():
    predicted, labels = rows()
    found = applied(IsotonicValue.fit(predicted, labels), predicted)
    expected = IsotonicRegression().fit(predicted, labels).predict(predicted)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.mean() == pytest.approx(labels.mean(), rel=1e-4)
    beyond = applied(IsotonicValue.fit(predicted, labels), [-5.0, 1e4])
    np.testing.assert_allclose(beyond, [expected.min(), expected.max()], rtol=1e-4)


@pytest.mark.parametrize("method", VALUE_MAPS)
def test_one_prediction_for_all_rows_becomes_the_mean_label(method):
    made = VALUE_MAPS[method].fit(np.full(4, 2.0), np.array([0.0, 1, 2, 9]))
    np.testing.assert_allclose(applied(made, [2.0]), [3.0])


@pytest.mark.parametrize("method", VALUE_MAPS)
def test_regressions_alone_are_fitted_where_labels_are_known_and_read_back_from_json(method):
    predicted, labels = rows(200)
    labels[::7] = np.nan
    given = {"spend": labels, "click": np.ones(200)}, {"spend": predicted, "click": np.full(200, 0.5)}
    found = fitted_values(method, [CLICK, SPEND], *given)
    assert list(found) == ["spend"]
    calibration = Calibration("none", values=found)
    again = Calibration.of(json.loads(json.dumps(calibration.plain())))
    heads, plain = {}, {name: tf.constant(each, tf.float32) for name, each in given[1].items()}
    np.testing.assert_array_equal(again(heads, plain)["spend"], calibration(heads, plain)["spend"])
    np.testing.assert_array_equal(again(heads, plain)["click"], plain["click"])
    assert "values" not in Calibration("none").plain()  # as it was before there were any


def test_what_cannot_be_fitted_is_said_and_left(caplog):
    with caplog.at_level(logging.WARNING):
        assert fitted_values("ratio", [SPEND], {"spend": np.ones(3)}, {"spend": -np.ones(3)}) == {}
        assert fitted_values("ratio", [SPEND], {"spend": np.full(3, np.nan)}, {"spend": np.ones(3)}) == {}
    assert caplog.messages == [
        "spend is not calibrated by ratio: predictions are not above 0. Use isotonic.",
        "spend is not calibrated: no validation row has a label.",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "no"},
        {"kind": "ratio", "edges": [1.0, 1.0], "factors": [1, 1, 1]},
        {"kind": "ratio", "edges": [1.0], "factors": [1]},
        {"kind": "isotonic", "x": [], "y": []},
        {"kind": "isotonic", "x": [0.0], "y": [float("nan")]},
    ],
)
def test_what_is_no_calibration_of_values_is_refused(values):
    plain = Calibration("none").plain() | {"values": {"spend": values}}
    with pytest.raises(ValueError, match="this is no calibration"):
        Calibration.of(plain)


def test_a_map_of_ones_own_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="must define __call__"):
        ValueMap()(tf.zeros(1))
    with pytest.raises(NotImplementedError, match="is not fitted to rows"):
        ValueMap.fit(np.zeros(1), np.zeros(1))

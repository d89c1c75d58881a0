"""Losses for compile: the library's own errors, over the rows whose label is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.objectives import (
    AbsoluteError,
    FocalLoss,
    HuberError,
    RowLoss,
    SquaredError,
    WeightedCrossEntropy,
)
from fuxi_mtl.objectives.losses import (
    absolute_error,
    bce_with_logits,
    focal_with_logits,
    huber_error,
    masked_mean,
    squared_error,
)

Z = np.array([-40.0, -1.0, 0.5, 3.0, 7.0], np.float32)
Y = np.array([0.0, 1.0, np.nan, 1.0, 0.0], np.float32)
WEIGHT = np.array([1.0, 2.0, 5.0, 0.0, 0.5], np.float32)
KNOWN = ~np.isnan(Y)
P = 1 / (1 + np.exp(-Z.astype(np.float64)))
SEEN = np.where(Y == 1, P, 1 - P)  # the probability of what happened

# The loss, the same as a function of the library, and each row's error in numpy.
LOSSES = {
    "weighted": (
        WeightedCrossEntropy(pos_weight=3.0),
        lambda z, y: bce_with_logits(z, y, 3.0),
        -np.where(Y == 1, 3.0, 1.0) * np.log(SEEN),
    ),
    "focal": (
        FocalLoss(gamma=2.0, alpha=0.25),
        lambda z, y: focal_with_logits(z, y, 2.0, 0.25),
        -np.where(Y == 1, 0.25, 0.75) * (1 - SEEN) ** 2 * np.log(SEEN),
    ),
    "squared": (SquaredError(), squared_error, (Z - Y) ** 2),
    "absolute": (AbsoluteError(), absolute_error, np.abs(Z - Y)),
    "huber": (
        HuberError(huber_delta=2.0),
        lambda z, y: huber_error(z, y, huber_delta=2.0),
        np.where(np.abs(Z - Y) <= 2, (Z - Y) ** 2 / 2, 2 * np.abs(Z - Y) - 2),
    ),
}


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_error_of_the_rows_with_a_label(name, weight):
    loss, function, errors = LOSSES[name]
    weights = np.ones(5) if weight is None else weight
    expected = (weights * errors)[KNOWN].sum() / weights[KNOWN].sum()
    found = loss(Y, Z, weight)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(found) == float(masked_mean(function(Z, np.nan_to_num(Y)), tf.constant(KNOWN), weight))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_survives_serialization(name):
    loss, *_ = LOSSES[name]
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert float(copy(Y, Z)) == float(loss(Y, Z))


def test_a_batch_without_a_label_has_no_loss_and_no_gradient():
    z = tf.Variable(Z)
    with tf.GradientTape() as tape:
        loss = FocalLoss()(np.full(5, np.nan), z)
    assert float(loss) == 0
    assert (tape.gradient(loss, z).numpy() == 0).all()


def test_labels_and_weights_of_one_axis_fit_outputs_of_two():
    loss = WeightedCrossEntropy()
    assert float(loss(Y, Z[:, None], WEIGHT)) == float(loss(Y, Z, WEIGHT))
    assert float(loss(Y[:, None], Z)) == float(loss(Y, Z))


def test_a_loss_of_a_users_own_says_what_it_misses():
    with pytest.raises(NotImplementedError, match="RowLoss must define call"):
        RowLoss()(Y, Z)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedCrossEntropy(0), "pos_weight is 0; it must be above 0"),
        (lambda: FocalLoss(-1.0), "gamma is -1.0; the least is 0"),
        (lambda: FocalLoss(alpha=1.0), "alpha is 1.0; it lies between 0 and 1"),
        (lambda: HuberError(0.0), "huber_delta is 0.0; it must be above 0"),
    ],
)
def test_numbers_that_cannot_be_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()

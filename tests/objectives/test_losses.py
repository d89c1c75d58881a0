"""Errors on logits against formulas in extended precision and numbers worked out by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.objectives import losses

EXTREMES = [-80.0, -60.0, -20.0, -3.0, -0.5, 0.0, 0.7, 4.0, 20.0, 60.0, 80.0]
PAIRS = np.array(list(itertools.product(EXTREMES, EXTREMES)), np.float32)
TRIPLES = np.array(list(itertools.product([-80.0, -20.0, -1.0, 0.5, 20.0, 80.0], repeat=3)), np.float32)


def sigmoid(z):
    """In extended precision; 1 - sigmoid(z) must be written sigmoid(-z)."""
    return 1 / (1 + np.exp(-z.astype(np.longdouble)))


def gradients(function, *arguments):
    variables = [tf.constant(argument, tf.float32) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        value = function(*variables)
    return [value.numpy(), *(gradient.numpy() for gradient in tape.gradient(value, variables))]


def assert_close(found, expected, relative=5e-6, absolute=1e-6):
    np.testing.assert_allclose(found, expected.astype(np.float64), rtol=relative, atol=absolute)


# ---- chains of events ---------------------------------------------------------------------------


def test_n1_logit_of_a_product_is_exact_at_extreme_logits():
    a, b = PAIRS.T
    p, not_p = sigmoid(a) * sigmoid(b), sigmoid(-a) + sigmoid(a) * sigmoid(-b)
    value, da, db = gradients(losses.logit_and, a, b)
    assert_close(value, np.log(p) - np.log(not_p))
    assert_close(da, sigmoid(-a) / not_p, absolute=1e-30)
    assert_close(db, sigmoid(-b) / not_p, absolute=1e-30)


def test_n1_gradient_of_a_product_never_vanishes_where_the_true_one_does_not():
    value, da, db = gradients(losses.logit_and, *PAIRS.T)
    assert np.isfinite(value).all()
    # Whichever factor is the smaller one carries the product.
    assert (np.maximum(da, db) >= 0.499).all()


def test_product_of_sigmoids_at_minus_twenty_still_learns():
    def error(a, b):
        return losses.bce_with_logits(losses.logit_and(a, b), tf.ones_like(a))

    _, da, db = gradients(error, [-20.0], [-20.0])
    assert da == pytest.approx(-1.0)
    assert db == pytest.approx(-1.0)


def test_logit_of_a_mixture_is_exact_at_extreme_logits():
    z, a, b = TRIPLES.T
    p = sigmoid(z) * sigmoid(a) + sigmoid(-z) * sigmoid(b)
    q = sigmoid(z) * sigmoid(-a) + sigmoid(-z) * sigmoid(-b)
    value, dz, da, db = gradients(losses.mix_logit, z, a, b)
    assert_close(value, np.log(p) - np.log(q), absolute=5e-6)
    # d logit(p) = dp / (p (1-p)); sigmoid'(z) = sigmoid(z) sigmoid(-z)
    slope = sigmoid(z) * sigmoid(-z) / (p * q)
    assert_close(da, sigmoid(z) * sigmoid(a) * sigmoid(-a) / (p * q), absolute=2e-6)
    assert_close(db, sigmoid(-z) * sigmoid(b) * sigmoid(-b) / (p * q), absolute=2e-6)
    # sigmoid(a) - sigmoid(b), without cancellation
    difference = sigmoid(a) * sigmoid(-b) - sigmoid(-a) * sigmoid(b)
    assert_close(dz, slope * difference, absolute=2e-6)


def test_mixture_by_hand():
    half, quarter = 0.0, np.log(1 / 3)
    logit = losses.mix_logit(tf.constant(half), tf.constant(quarter), tf.constant(half))
    assert tf.sigmoid(logit).numpy() == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)


def test_chains_are_float32_whatever_the_policy():
    half = tf.constant([0.5], tf.float16)
    for logit in (
        losses.logit_and(half, half),
        losses.mix_logit(half, half, half),
    ):
        assert logit.dtype == tf.float32


# ---- errors of rows -----------------------------------------------------------------------------


def test_n3_cross_entropy_by_hand():
    z, y = [0.0, np.log(3.0), np.log(3.0)], [1.0, 1.0, 0.0]
    found = losses.bce_with_logits(tf.constant(z, tf.float32), tf.constant(y)).numpy()
    assert found == pytest.approx([np.log(2), np.log(4 / 3), np.log(4)])


@pytest.mark.parametrize("weight", [1.0, 24.7, 0.3])
@pytest.mark.parametrize("label", [0.0, 1.0, 0.25])
def test_n3_weighted_cross_entropy_keeps_its_relative_precision(weight, label):
    z = np.array(EXTREMES, np.float32)
    y = np.full_like(z, label)
    value, slope, _ = gradients(lambda z, y: losses.bce_with_logits(z, y, weight), z, y)
    expected = -weight * y * np.log(sigmoid(z)) - (1 - y) * np.log(sigmoid(-z))
    # log(sigmoid(z)) itself cancels for large z: log1p does not.
    exact = weight * y * np.log1p(np.exp(-z.astype(np.longdouble))) + (1 - y) * np.log1p(
        np.exp(z.astype(np.longdouble))
    )
    assert_close(value, expected)
    assert_close(value, exact, absolute=1e-38)
    assert_close(
        slope, (1 - y) * sigmoid(z) - weight * y * sigmoid(-z), absolute=1e-9 if 0 < label < 1 else 1e-37
    )


def test_a_confident_negative_keeps_its_small_gradient():
    _, slope, _ = gradients(losses.bce_with_logits, [-20.0], [0.0])
    assert slope == pytest.approx(np.exp(-20.0), rel=1e-5)


def test_t1_labels_and_predictions_are_not_swapped():
    surely = losses.bce_with_logits(tf.constant([9.0]), tf.constant([1.0])).numpy()[0]
    never = losses.bce_with_logits(tf.constant([9.0]), tf.constant([0.0])).numpy()[0]
    assert surely < 1e-3 < never


@pytest.mark.parametrize("alpha", [0.25, None])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_focal_error_has_a_gradient_through_its_factor(label, alpha):
    z = np.array([-4.0, -0.5, 0.0, 0.7, 4.0])
    y = np.full_like(z, label)
    share = 1.0 if alpha is None else alpha if label else 1 - alpha

    def by_hand(logit):
        p = 1 / (1 + np.exp(-logit if label else logit))  # of what happened
        return -share * (1 - p) ** 1.5 * np.log(p)

    value, slope = gradients(lambda x: losses.focal_error(x, y, focal_gamma=1.5, focal_alpha=alpha), z)
    assert_close(value, by_hand(z))
    assert_close(slope, (by_hand(z + 1e-6) - by_hand(z - 1e-6)) / 2e-6, absolute=1e-6)


def test_regression_errors_by_hand():
    prediction, y = tf.constant([1.0, 4.0, -1.0]), tf.constant([1.5, 1.0, -1.0])
    assert losses.squared_error(prediction, y).numpy() == pytest.approx([0.25, 9, 0])
    assert losses.absolute_error(prediction, y).numpy() == pytest.approx([0.5, 3, 0])
    assert losses.huber_error(prediction, y).numpy() == pytest.approx([0.125, 2.5, 0])
    assert losses.huber_error(prediction, y, huber_delta=2.0).numpy() == pytest.approx([0.125, 4, 0])


@pytest.mark.parametrize(
    "error", [losses.bce_with_logits, losses.squared_error, losses.absolute_error, losses.huber_error]
)
def test_gradients_equal_finite_differences(error):
    z, y = np.array([-1.3, 0.2, 2.4], np.float32), np.array([1.0, 0.0, 0.5], np.float32)
    step = np.float32(1e-2)
    _, slope, _ = gradients(error, z, y)
    numeric = (error(z + step, y) - error(z - step, y)).numpy() / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    "error", [losses.bce_with_logits, losses.squared_error, losses.absolute_error, losses.huber_error]
)
def test_errors_are_float32_for_half_precision_heads(error):
    assert error(tf.constant([0.5], tf.float16), tf.constant([1.0])).dtype == tf.float32


# ---- means over the rows that count -------------------------------------------------------------


def test_a_mask_equals_dropping_the_rows():
    error = tf.constant([1.0, 5.0, 3.0, np.nan])
    mask = tf.constant([True, False, True, False])
    weight = tf.constant([1.0, 9.0, 3.0, 9.0])
    assert losses.masked_mean(error, mask).numpy() == pytest.approx(2.0)
    assert losses.masked_mean(error, mask, weight).numpy() == pytest.approx((1 + 9) / 4)


@pytest.mark.parametrize("weight", [None, [1.0, 1.0], [0.0, 0.0]])
def test_n5_no_row_that_counts_gives_zero_and_zero_gradients(weight):
    mask = tf.constant([False, False] if weight != [0.0, 0.0] else [True, True])
    weights = None if weight is None else tf.constant(weight)
    value, slope = gradients(
        lambda e: losses.masked_mean(e, mask, weights), [2.0, np.inf if weight is None else 3.0]
    )
    assert value == 0
    assert slope.tolist() == [0, 0]


def test_gradients_of_masked_rows_are_exactly_zero():
    mask = tf.constant([True, False, True])
    _, slope = gradients(lambda e: losses.masked_mean(e, mask), [1.0, 2.0, 3.0])
    assert slope.tolist() == [0.5, 0.0, 0.5]

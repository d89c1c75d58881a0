"""Probabilities as logits, and errors on logits: pure functions on tensors, all in float32.

A product of sigmoids has a zero gradient at logits -20 and -20; the logit of that product has -1.
So chains of events stay in logit space and every error takes one logit.
"""

from typing import Annotated

import tensorflow as tf

from fuxi_mtl.options import option


def log_sigmoid(z: tf.Tensor) -> tf.Tensor:
    """``log sigmoid(z) = -softplus(-z)``."""
    return -tf.nn.softplus(-z)


def _logaddexp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    high = tf.stop_gradient(tf.maximum(a, b))
    return high + tf.math.log(tf.exp(a - high) + tf.exp(b - high))


def logit_and(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Logit of the product of two probabilities.

    ``logit(sigmoid(a) sigmoid(b)) = -logsumexp(-a, -b, -a-b)``, because
    ``(1-p)/p = (1+exp(-a))(1+exp(-b)) - 1``. Finite, with a true gradient, at any logits.

    Args:
        a: Logits, any shape.
        b: Logits, the same shape.
    """
    a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
    return -tf.reduce_logsumexp(tf.stack([-a, -b, -a - b]), axis=0)


def mix_logit(z: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Logit of the mixture ``sigmoid(z) sigmoid(a) + (1 - sigmoid(z)) sigmoid(b)``.

    With z for "added to the cart", a for "bought after a cart" and b for "bought without one" this is
    the conversion rate of ESM2.
    """
    z, a, b = (tf.cast(x, tf.float32) for x in (z, a, b))
    happens = _logaddexp(log_sigmoid(z) + log_sigmoid(a), log_sigmoid(-z) + log_sigmoid(b))
    does_not = _logaddexp(log_sigmoid(z) + log_sigmoid(-a), log_sigmoid(-z) + log_sigmoid(-b))
    return happens - does_not


def bce_with_logits(z: tf.Tensor, y: tf.Tensor, pos_weight: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Binary cross-entropy of each row, on logits.

    ``-w y log sigmoid(z) - (1-y) log sigmoid(-z) = w y softplus(-z) + (1-y) softplus(z)``: the weight
    multiplies the positive term only. Both terms are positive, so nothing cancels: a confident
    negative keeps its error and its gradient of exp(z), which ``(1-y) z + ... softplus(-z)`` rounds to 0.

    Args:
        z: Logits, any shape.
        y: Labels in [0, 1], the same shape.
        pos_weight: The weight w of positives, positive.
    """
    z, y = tf.cast(z, tf.float32), tf.cast(y, tf.float32)
    weighed = y if isinstance(pos_weight, float) and pos_weight == 1 else pos_weight * y
    return weighed * tf.nn.softplus(-z) + (1 - y) * tf.nn.softplus(z)


def focal_with_logits(
    z: tf.Tensor,
    y: tf.Tensor,
    gamma: float = 1.0,
    alpha: float | None = None,
    detach: bool = True,
    dtype: str = "float32",
) -> tf.Tensor:
    """Focal loss of each row, on logits: ``alpha_t (1 - p_t)^gamma BCE(z, y)``.

    With ``p_t = sigmoid((2y - 1) z)`` the probability of what happened, the factor is
    ``exp(gamma log sigmoid(-(2y - 1) z))``, and ``alpha_t = alpha y + (1 - alpha) (1 - y)``. The
    cross-entropy is never weighted. A detached factor gives the gradient ``alpha_t f (sigmoid(z) - y)``.

    Args:
        z: Logits, any shape.
        y: Labels, 0 or 1, the same shape.
        gamma: How fast easy rows fade, from 0 (plain cross-entropy) up.
        alpha: Weight of positives, between 0 and 1; None leaves both kinds at one.
        detach: Whether no gradient flows through the factor.
        dtype: Precision of the factor.

    Reference:
        Lin et al. Focal Loss for Dense Object Detection. ICCV 2017, equations 4 and 5.

    Differs from the paper: there the gradient flows through the factor.
    """
    z, y = tf.cast(z, tf.float32), tf.cast(y, tf.float32)
    factor = tf.cast(tf.exp(gamma * log_sigmoid(tf.cast((1 - 2 * y) * z, dtype))), tf.float32)
    if detach:
        factor = tf.stop_gradient(factor)
    if alpha is not None:
        factor *= alpha * y + (1 - alpha) * (1 - y)
    return factor * bce_with_logits(z, y)


def focal_error(
    z: tf.Tensor,
    y: tf.Tensor,
    *,
    focal_gamma: Annotated[float, option("How fast easy rows fade in loss: focal.", least=0)] = 2.0,
    focal_alpha: Annotated[
        float | None, option("Weight of positives in loss: focal; null weighs nothing.", least=0, most=1)
    ] = 0.25,
) -> tf.Tensor:
    """Focal loss of each row, ``alpha_t (1 - p_t)^gamma BCE``, in place of the cross-entropy.

    The gradient flows through the factor, as in the paper; :func:`focal_with_logits` has the rest.

    Reference:
        Lin et al. Focal Loss for Dense Object Detection. ICCV 2017, equation 5.
    """
    return focal_with_logits(z, y, focal_gamma, focal_alpha, detach=False)


def squared_error(prediction: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Squared error of each row, ``(prediction - y)^2``."""
    return tf.square(tf.cast(prediction, tf.float32) - tf.cast(y, tf.float32))


def absolute_error(prediction: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Absolute error of each row, ``|prediction - y|``."""
    return tf.abs(tf.cast(prediction, tf.float32) - tf.cast(y, tf.float32))


def huber_error(
    prediction: tf.Tensor,
    y: tf.Tensor,
    *,
    huber_delta: Annotated[float, option("Largest error that counts by its square.", above=0)] = 1.0,
) -> tf.Tensor:
    """Huber's error of each row: ``e^2 / 2`` up to d, ``d |e| - d^2 / 2`` beyond, with d the huber_delta."""
    error = absolute_error(prediction, y)
    return tf.where(error <= huber_delta, 0.5 * tf.square(error), huber_delta * error - 0.5 * huber_delta**2)


def masked_mean(error: tf.Tensor, mask: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of the errors of the rows that count: ``sum(w m e) / sum(w m)``.

    Without a row that counts the mean is 0 with zero gradients, never NaN.

    Args:
        error: ``(batch,)`` errors; may be anything where the mask is False.
        mask: ``(batch,)`` booleans.
        sample_weight: ``(batch,)`` weights, or None for ones.
    """
    return tf.math.divide_no_nan(*masked_sums(error, mask, sample_weight))


def masked_sums(
    error: tf.Tensor, mask: tf.Tensor, sample_weight: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two sums of :func:`masked_mean`: ``sum(w m e)`` and ``sum(w m)``."""
    weight = tf.cast(mask, tf.float32)
    if sample_weight is not None:
        weight *= sample_weight
    safe = tf.where(mask, error, tf.zeros_like(error))
    return tf.reduce_sum(weight * safe), tf.reduce_sum(weight)

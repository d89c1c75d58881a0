"""Dice, an activation whose threshold follows the data."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.over_rows import moments_over_replicas


@keras.saving.register_keras_serializable("fuxi_mtl")
class Dice(Brick):
    """``p x + alpha (1 - p) x`` with ``p = sigmoid((x - E[x]) / sqrt(Var[x] + eps))``, unit by unit.

    Mean and variance are those of the rows that count, of a batch in training, on all replicas, and running
    ones otherwise; a batch in which none counts takes the running ones, too, and leaves them as they are.
    Over padding, as in public code, a row's result would depend on how long the others are.

    Args:
        eps: Added to the variance. A unit that hardly varies over a batch has a slope of up to
            ``1 / sqrt(eps)`` inside of the sigmoid.
        momentum: How slowly running statistics follow the batches.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``x`` ``(rows, units)`` and ``counts`` ``(rows,)`` booleans to ``(rows, units)`` float32.

    Reference:
        Zhou et al. Deep Interest Network for Click-Through Rate Prediction. KDD 2018, section 5.3.
    """

    def __init__(self, eps: float = 1e-9, momentum: float = 0.99, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.eps, self.momentum = eps, momentum

    def build(self, x_shape, counts_shape=None):
        """Creates the slopes below the threshold and the running statistics."""
        own = {"shape": (x_shape[-1],), "dtype": "float32", "autocast": False}
        self.alpha = self.add_weight(initializer="zeros", name="alpha", **own)
        running = {**own, "trainable": False}
        self.mean = self.add_weight(initializer="zeros", name="moving_mean", **running)
        self.variance = self.add_weight(initializer="ones", name="moving_variance", **running)

    def call(self, x, counts=None, training=False):
        """The activation of each row."""
        x = tf.cast(x, tf.float32)
        mean, variance = (tf.convert_to_tensor(each) for each in (self.mean, self.variance))
        if training:
            weight = tf.ones_like(x[:, :1]) if counts is None else tf.cast(counts, tf.float32)[:, None]
            batch_mean, batch_variance, rows = moments_over_replicas(x, weight)
            for running, before, now in (
                (self.mean, mean, batch_mean),
                (self.variance, variance, batch_variance),
            ):
                moved = self.momentum * before + (1 - self.momentum) * tf.stop_gradient(now)
                running.assign(tf.where(rows > 0, moved, before))
            mean = tf.where(rows > 0, batch_mean, mean)
            variance = tf.where(rows > 0, batch_variance, variance)
        share = tf.sigmoid((x - mean) * tf.math.rsqrt(variance + self.eps))
        return x * (share + self.alpha * (1 - share))

    def compute_output_shape(self, x_shape, counts_shape=None):
        """See the class."""
        return tuple(x_shape)

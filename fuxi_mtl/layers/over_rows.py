"""Layers that look at all rows of a batch, or draw for each: batch norm, dropout, noise on several replicas.

On one replica each is Keras's own, to the last operation; Keras names variables after the class, which is why
these are called alike.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_sum, own_number, replicas


@keras.saving.register_keras_serializable("fuxi_mtl")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's, with the mean and the variance of the rows of all replicas.

    Moving averages follow those of all rows whatever :attr:`statistics` says, so that every replica serves
    the same model; a replica without rows changes nothing.
    """

    statistics = "global"
    """Whose rows a training step is normalised by: those of all replicas, or (``local``) each by its own."""

    def call(self, inputs, training=None, mask=None):
        """See `keras.layers.BatchNormalization`."""
        if replicas() == 1 or not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        x = tf.cast(inputs, tf.float32)
        mean, variance, _ = moments_over_replicas(x, tf.ones_like(x[..., :1]))
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + tf.stop_gradient(now) * (1 - self.momentum))
        if self.statistics == "local":
            mean, variance, _ = _moments(x, tf.ones_like(x[..., :1]), lambda own: own)
        x = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(x, self.compute_dtype)


def moments_over_replicas(x: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and variance of each column over the rows of all replicas, in two passes, and how many count.

    Args:
        x: ``(..., width)``.
        weight: ``(..., 1)`` ones for the rows that count and zeros for others.
    """
    return _moments(x, weight, global_sum)


def _moments(x: tf.Tensor, weight: tf.Tensor, summed: Callable) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The same over the rows that ``summed`` sums over; 0 where there are none."""
    axes = list(range(len(x.shape) - 1))
    total, rows = summed((tf.reduce_sum(weight * x, axes), tf.reduce_sum(weight)))
    mean = total / tf.maximum(rows, 1.0)
    squares = summed(tf.reduce_sum(weight * tf.square(x - mean), axes))
    return mean, squares / tf.maximum(rows, 1.0), rows


@keras.saving.register_keras_serializable("fuxi_mtl")
class Dropout(keras.layers.Dropout):
    """Keras's; replicas, whose generators stand at the same place, draw differently."""

    def call(self, inputs, training=False):
        """See `keras.layers.Dropout`."""
        if replicas() == 1 or not (training and self.rate > 0):
            return super().call(inputs, training=training)
        seed = _own_seed(self.seed_generator)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed, self.noise_shape)


@keras.saving.register_keras_serializable("fuxi_mtl")
class GaussianNoise(keras.layers.GaussianNoise):
    """Keras's; replicas, whose generators stand at the same place, draw differently."""

    def call(self, inputs, training=False):
        """See `keras.layers.GaussianNoise`."""
        if replicas() == 1 or not (training and self.stddev > 0):
            return super().call(inputs, training=training)
        seed = _own_seed(self.seed_generator)
        return inputs + tf.random.stateless_normal(tf.shape(inputs), seed, 0.0, self.stddev, inputs.dtype)


def _own_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed, of this replica."""
    return tf.cast(generator.next(), tf.int64) + tf.stack([0, tf.cast(own_number(), tf.int64)])

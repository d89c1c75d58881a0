"""Adaptive information transfer: a step weighs what the step before tells it against what it sees itself."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.regularizers import regularizer


class InformationTransfer(keras.layers.Layer):
    """``z = sum_u w_u h3(u)``, ``w_u = softmax_u(<h1(u), h2(u)> / sqrt(units))`` over the inputs u.

    One set of linear maps h1, h2, h3 for all inputs, and for all calls (Xi et al., KDD 2021, eq. 5 to 7).
    The softmax is float32.

    Args:
        units: Width of the inputs and of the output.
        use_bias: Whether the maps have a bias.
        stddev: Standard deviation of the maps' start; None is Glorot's.
        penalty: Regularizer of the maps, in FuxiCTR's notation.

    Shapes:
        A sequence of ``(batch, units)`` tensors, such as the message and the own representation, to
        ``(batch, units)``.
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = False,
        stddev: float | None = None,
        penalty: float | str | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.units = units

        def linear(name: str) -> keras.layers.Dense:
            # An initializer of its own for each map: one object used twice gives equal kernels.
            start = "glorot_uniform" if stddev is None else keras.initializers.RandomNormal(stddev=stddev)
            return keras.layers.Dense(
                units,
                use_bias=use_bias,
                kernel_initializer=start,
                kernel_regularizer=regularizer(penalty),
                name=name,
            )

        self.first, self.second, self.value = linear("first"), linear("second"), linear("value")

    def build(self, input_shape):
        """Creates the maps."""
        shape = tuple(input_shape[0])
        for layer in (self.first, self.second, self.value):
            layer.build(shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the mapped inputs."""
        u = tf.stack(list(inputs), axis=1)  # (batch, inputs, units)
        agreement = tf.reduce_sum(tf.cast(self.first(u) * self.second(u), tf.float32), axis=-1)
        shares = tf.nn.softmax(agreement / tf.sqrt(float(self.units)))  # (batch, inputs)
        value = self.value(u)
        return tf.reduce_sum(tf.cast(shares, value.dtype)[:, :, None] * value, axis=1)

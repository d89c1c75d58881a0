"""Adaptive information transfer between the steps of a chain (AITM)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer


@keras.saving.register_keras_serializable("fuxi_mtl")
class InformationTransfer(Brick):
    """``z = sum_u w_u h3(u)``, ``w_u = softmax_u(<h1(u), h2(u)> / sqrt(units))`` over the inputs u.

    One set of linear maps h1, h2, h3 for all inputs, and for all calls (Xi et al., KDD 2021, eq. 5 to 7).
    Agreement and softmax are float32.

    Args:
        units: Width of the inputs and of the output.
        use_bias: Whether the maps have a bias.
        stddev: Standard deviation of the maps' start; None is Glorot's.
        penalty: Regularizer of the maps, in FuxiCTR's notation.

    Shapes:
        A sequence of ``(batch, units)`` tensors, such as the message and the own representation, to
        ``(batch, units)``.

    >>> import tensorflow as tf
    >>> message, own = tf.ones((2, 4)), tf.zeros((2, 4))
    >>> tuple(InformationTransfer(4)([message, own]).shape)
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = False,
        stddev: float | None = None,
        penalty: float | str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
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
                dtype=self.dtype_policy,
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
        # In half precision already the products may overflow.
        first, second = tf.cast(self.first(u), tf.float32), tf.cast(self.second(u), tf.float32)
        agreement = tf.reduce_sum(first * second, axis=-1)
        shares = tf.nn.softmax(agreement / tf.sqrt(float(self.units)))  # (batch, inputs)
        value = self.value(u)
        return tf.reduce_sum(tf.cast(shares, value.dtype)[:, :, None] * value, axis=1)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return tuple(input_shape[0])


@keras.saving.register_keras_serializable("fuxi_mtl")
class GatedTransfer(Brick):
    """``LayerNorm(h + g * m)``, ``m = relu(W p + b)``, ``g = sigmoid(MLP([h, m, z]))`` element by element.

    A step's own representation h takes from the representation p of the step before what the gate lets
    through; the gate also sees what that step came to, its logit z.

    Args:
        units: Width of h and of what comes out.
        hidden_units: Widths of the gate's hidden layers.
        penalty: Regularizer of all kernels, in FuxiCTR's notation.
        name: Name of the layer.
        trainable: Whether its variables are trained.
        dtype: Its precision.
        **mlp: Options of :class:`MLP`, of the gate.

    Shapes:
        A sequence of p, h ``(batch, units)`` and z ``(batch,)`` to ``(batch, units)``.

    >>> import tensorflow as tf
    >>> before, own, logit = tf.ones((2, 3)), tf.zeros((2, 4)), tf.zeros(2)
    >>> tuple(GatedTransfer(4, hidden_units=[8])([before, own, logit]).shape)
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        hidden_units: Sequence[int] = (),
        penalty: float | str | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **mlp,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        kernel = regularizer(penalty)
        self.message = keras.layers.Dense(units, activation="relu", kernel_regularizer=kernel, **own)
        self.hidden = MLP(hidden_units, penalty=penalty, **own, **mlp)
        self.gate = keras.layers.Dense(units, activation="sigmoid", kernel_regularizer=kernel, **own)
        self.norm = keras.layers.LayerNormalization(**own)

    def build(self, input_shape):
        """Creates the layers."""
        shape = tuple(input_shape[1])
        self.message.build(tuple(input_shape[0]))
        width = 2 * shape[-1] + 1
        self.hidden.build((*shape[:-1], width))
        self.gate.build((*shape[:-1], self.hidden.width(width)))
        self.norm.build(shape)

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """The step's representation with what it takes over."""
        before, own, logit = inputs
        message = self.message(before)
        seen = tf.concat([own, message, tf.cast(logit, own.dtype)[:, None]], axis=1)
        return self.norm(own + self.gate(self.hidden(seen, training=training)) * message)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return tuple(input_shape[1])


@keras.saving.register_keras_serializable("fuxi_mtl")
class AttendedTransfer(Brick):
    """:class:`InformationTransfer` between ``W p + b`` and h: the plainer rival of :class:`GatedTransfer`.

    Args:
        units: Width of h and of what comes out.
        penalty: Regularizer of all kernels, in FuxiCTR's notation.

    Shapes:
        A sequence of p, h ``(batch, units)`` and a logit, which it does not use, to ``(batch, units)``.

    >>> import tensorflow as tf
    >>> before, own, logit = tf.ones((2, 3)), tf.zeros((2, 4)), tf.zeros(2)
    >>> tuple(AttendedTransfer(4)([before, own, logit]).shape)
    (2, 4)
    """

    def __init__(self, units: int, penalty: float | str | None = None, **kwargs):
        super().__init__(**kwargs)
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        self.message = keras.layers.Dense(units, kernel_regularizer=regularizer(penalty), **own)
        self.attention = InformationTransfer(units, use_bias=True, penalty=penalty, **own)

    def build(self, input_shape):
        """Creates the layers."""
        before, own, *_ = map(tuple, input_shape)
        self.message.build(before)
        self.attention.build([own, own])

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """The step's representation with what it takes over."""
        before, own, *_ = inputs
        return self.attention([self.message(before), own])

    def compute_output_shape(self, input_shape):
        """See the class."""
        return tuple(input_shape[1])

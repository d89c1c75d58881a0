"""Experts and the gates that mix them (Ma et al., KDD 2018, equations 6 and 7)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer


class Experts(keras.layers.Layer):
    """Several stacks of equal shape over one input, each with its own start.

    Shapes:
        ``(batch, width)`` to ``(batch, experts, units[-1])``.

    Raises:
        ValueError: No expert.
    """

    def __init__(self, num_experts: int, units: Sequence[int], name: str | None = None, **mlp):
        super().__init__(name=name)
        if num_experts < 1:
            raise ValueError(f"num_experts is {num_experts}: at least one expert is needed.")
        self.stacks = [MLP(units, name=f"expert_{i}", **mlp) for i in range(num_experts)]

    def build(self, input_shape):
        """Creates the layers."""
        for stack in self.stacks:
            stack.build(input_shape)

    def call(self, x, training=False):
        """All experts' outputs."""
        return tf.stack([stack(x, training=training) for stack in self.stacks], axis=1)

    def last_variables(self) -> list[keras.Variable]:
        """The kernels of every expert's last layer."""
        return [variable for stack in self.stacks for variable in stack.last_variables()]


class Gate(keras.layers.Layer):
    """``g = softmax(W_g x)``, perhaps behind hidden layers; the softmax is float32.

    Shapes:
        ``(batch, width)`` to ``(batch, experts)``, each row summing to 1.
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int] = (),
        penalty: float | str | None = None,
        name: str | None = None,
        **mlp,
    ):
        super().__init__(name=name)
        self.stack = MLP(units, penalty=penalty, **mlp)
        self.logits = keras.layers.Dense(num_experts, kernel_regularizer=regularizer(penalty))

    def build(self, input_shape):
        """Creates the layers."""
        self.stack.build(input_shape)
        self.logits.build((*input_shape[:-1], self.stack.width(input_shape[-1])))

    def call(self, x, training=False):
        """The share of each expert."""
        return tf.nn.softmax(tf.cast(self.logits(self.stack(x, training=training)), tf.float32))


def mix(gates: Sequence[tf.Tensor], experts: tf.Tensor) -> list[tf.Tensor]:
    """``f^k = sum_e g^k_e f_e`` for every gate, in one product.

    Args:
        gates: One ``(batch, experts)`` tensor for each mixture.
        experts: ``(batch, experts, width)``.

    Returns:
        One ``(batch, width)`` tensor for each gate.
    """
    shares = tf.cast(tf.stack(gates, axis=1), experts.dtype)  # (batch, gates, experts)
    return tf.unstack(tf.matmul(shares, experts), num=len(gates), axis=1)

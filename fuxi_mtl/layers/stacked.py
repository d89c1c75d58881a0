"""Many stacks of equal shape, whose layers are one product each."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import activation_layer, dropout_layer, of_each
from fuxi_mtl.layers.regularizers import regularizer

EPSILON = 1e-3  # that of Keras's LayerNormalization


class NormedStacks(keras.layers.Layer):
    """Several stacks of equal shape, a layer of all of them in one product.

    Layers are Dense, LayerNorm, activation and dropout.

    Args:
        shape: How many stacks there are, along one axis or more.
        units: Width of each layer.
        activations: One activation for all layers, or one a layer.
        dropout: Share of units dropped in training.
        penalty: Regularizer of the kernels, in FuxiCTR's notation.
        linear: Width of one more layer, linear and without a norm; 0 for none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        units: Sequence[int],
        activations: str | Sequence[str] = "relu",
        dropout: float = 0.0,
        penalty: float | str | None = None,
        linear: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.shape, self.penalty = tuple(shape), penalty
        self.units, self.normed = [*units, *([linear] if linear else [])], len(units)
        own: dict[str, Any] = {"dtype": self.dtype_policy}  # not the global one: heads are float32
        self.activations = [activation_layer(name, **own) for name in of_each(units, activations)]
        self.dropout = dropout_layer(dropout, **own)

    def build(self, input_shape):
        """Creates the parameters."""
        width = input_shape[-1]
        self.kernels: list[keras.Variable] = []
        self.biases: list[keras.Variable] = []
        self.gains: list[keras.Variable] = []
        self.offsets: list[keras.Variable] = []
        for layer, units in enumerate(self.units):
            limit = math.sqrt(6 / (width + units))  # Glorot's, of one stack
            kernel = self.add_weight(
                shape=(*self.shape, width, units),
                initializer=keras.initializers.RandomUniform(-limit, limit),
                regularizer=regularizer(self.penalty),
                name=f"kernel_{layer}",
            )
            self.kernels.append(kernel)
            parts = [("bias", "zeros", self.biases)]
            if layer < self.normed:
                parts += [("gain", "ones", self.gains), ("offset", "zeros", self.offsets)]
            for name, start, parameters in parts:
                # Of one axis: by that, weight decay knows what is no kernel.
                size = math.prod(self.shape) * units
                parameters.append(self.add_weight(shape=(size,), initializer=start, name=f"{name}_{layer}"))
            width = units

    def parameters(self) -> list[list[tf.Tensor]]:
        """Those of each layer, stacks first: kernel, bias and, of a normed layer, gain and offset."""
        found = [[tf.convert_to_tensor(kernel)] for kernel in self.kernels]
        for kind in (self.biases, self.gains, self.offsets):
            for layer, parameter in enumerate(kind):
                found[layer].append(tf.reshape(tf.convert_to_tensor(parameter), (*self.shape, -1)))
        return found

    def after(self, layer: int, x: tf.Tensor, norm: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        """What follows the product of a layer, given its gain and offset."""
        if not norm:
            return x
        x = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        gain, offset = (tf.cast(each, tf.float32) for each in norm)
        x = tf.cast((x - mean) * (tf.math.rsqrt(variance + EPSILON) * gain) + offset, self.compute_dtype)
        x = self.activations[layer](x)
        return x if self.dropout is None else self.dropout(x, training=training)

"""Experts of HoME, normalised behind a feature gate of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers import MLP
from fuxi_mtl.layers.experts import mix


class NormedExperts(keras.layers.Layer):
    """``swish(BN(x W + b))``, one normalisation an expert, behind a feature gate of their own.

    ``x * 2 sigmoid(sum_l x A_l B_l)``; B is next to 0 at the start: the input as it is.

    Args:
        count: Number of experts.
        units: Widths of each; all but the last as in other models.
        rank: Columns of A.
        terms: Number of products.
        mlp: Options of the layers.
        mixes: Whether a gate of their own mixes them, too.
        name: Whose they are.
    """

    def __init__(
        self,
        count: int,
        units: Sequence[int],
        rank: int | None,
        terms: int,
        mlp: Mapping[str, Any],
        mixes: bool,
        name: str,
    ):
        super().__init__(name=name)
        self.count, self.rank, self.terms = count, rank, terms
        below = {**mlp, "batch_norm": False}
        self.stacks = [MLP(units[:-1], name=f"expert_{i}_below", **below) for i in range(count)]
        last = {**mlp, "batch_norm": True, "activations": "swish"}
        self.lasts = [MLP(units[-1:], name=f"expert_{i}", **last) for i in range(count)]
        self.own_gate = keras.layers.Dense(count, name="self_gate") if mixes else None

    def build(self, input_shape):
        """Creates the feature gate."""
        width = input_shape[-1]
        rank = self.rank or max(width // 8, 1)
        self.a = self.add_weight(name="a", shape=(self.terms, width, rank), initializer="glorot_uniform")
        near_zero = keras.initializers.RandomNormal(stddev=1e-3)  # at 0, the first step would not move A
        self.b = self.add_weight(name="b", shape=(self.terms, rank, width), initializer=near_zero)

    def call(self, x, training=False):
        """The gated input, the outputs ``(batch, count, units)``, and their mixture or None."""
        a, b = (tf.cast(tf.convert_to_tensor(each), x.dtype) for each in (self.a, self.b))
        inner = tf.einsum("bi,lir->blr", x, a)
        x = x * 2 * tf.sigmoid(tf.einsum("blr,lri->bi", inner, b))
        outputs = tf.stack(
            [
                last(stack(x, training=training), training=training)
                for stack, last in zip(self.stacks, self.lasts, strict=True)
            ],
            axis=1,
        )
        if self.own_gate is None:
            return x, outputs, None
        logits = tf.cast(self.own_gate(x), tf.float32)
        shares = tf.sigmoid(logits) if self.count == 1 else tf.nn.softmax(logits)
        return x, outputs, mix([shares], outputs)[0]

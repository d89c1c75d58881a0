"""Composition of several representations of a row into the one that experts and gates see."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.over_rows import Dropout
from fuxi_mtl.layers.regularizers import regularizer


class InputComposer(keras.layers.Layer):
    """Each part ``Dropout(LayerNorm(W_i part_i + b_i))``, then all side by side or added up.

    What follows is an adapter, hidden layers and a linear one as wide as the last of them, and a
    LayerNorm.

    Args:
        part_proj_dim: Width to which each part is projected; None leaves the parts as wide as they are.
        fusion: ``concat`` or ``sum``.
        adapter_units: Widths of the adapter's hidden layers; none is no adapter.
        norm: ``layernorm`` or ``none``, of the parts and of what comes out.
        dropout: Share of a part dropped in training.
        adapter: Options of the adapter's :class:`MLP`.

    Shapes:
        A list of ``(batch, width of part)`` to ``(batch, width)``.
    """

    def __init__(
        self,
        part_proj_dim: int | None,
        fusion: str,
        adapter_units: Sequence[int],
        norm: str,
        dropout: float,
        adapter: dict,
    ):
        super().__init__()
        self.part_proj_dim, self.fusion, self.norm, self.dropout_rate = part_proj_dim, fusion, norm, dropout
        self.penalty = adapter.get("penalty")
        self.adapter = MLP(adapter_units, **adapter)
        self.out = None
        if adapter_units:
            self.out = keras.layers.Dense(adapter_units[-1], kernel_regularizer=regularizer(self.penalty))
        self.last_norm = keras.layers.LayerNormalization() if norm == "layernorm" else None

    def build(self, input_shape):
        """Creates the layers, one projection, norm and dropout a part."""
        widths = [shape[-1] for shape in input_shape]
        self.projections, self.norms, self.dropouts = [], [], []
        for width in widths:
            if self.part_proj_dim is not None:
                dense = keras.layers.Dense(self.part_proj_dim, kernel_regularizer=regularizer(self.penalty))
                dense.build((None, width))
                self.projections.append(dense)
            if self.norm == "layernorm":
                norm = keras.layers.LayerNormalization()
                norm.build((None, self.part_proj_dim or width))
                self.norms.append(norm)
            if self.dropout_rate:
                self.dropouts.append(Dropout(self.dropout_rate))
        projected = [self.part_proj_dim or width for width in widths]
        shape = (None, sum(projected) if self.fusion == "concat" else projected[0])
        self.adapter.build(shape)
        shape = (None, self.adapter.width(shape[1]))
        if self.out is not None:
            self.out.build(shape)
        if self.last_norm is not None:
            self.last_norm.build(shape)
        self.width = shape[1]

    def call(self, parts, training=False):
        """One representation of the parts."""
        parts = [tf.cast(part, self.compute_dtype) for part in parts]
        for step in (self.projections, self.norms):
            if step:
                parts = [layer(part) for layer, part in zip(step, parts, strict=True)]
        if self.dropouts:
            parts = [d(part, training=training) for d, part in zip(self.dropouts, parts, strict=True)]
        x = tf.concat(parts, axis=1) if self.fusion == "concat" else tf.add_n(parts)
        x = self.adapter(x, training=training)
        if self.out is not None:
            x = self.out(x)
        return x if self.last_norm is None else self.last_norm(x)

"""Wide, pairwise and deep parts of a row: the backbone of DeepFM, and the blocks that describe it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.interactions import Interaction
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.blocks import Backbone

from ._factorization import FactorizationMachine, Linear


class DeepFM(keras.layers.Layer):
    """The parts of a row that DeepFM adds up, before they are.

    ``wide = sum_f w_f``, ``fm_vec`` the pairs of a factorization machine, ``deep_h = MLP(embeddings)``.

    Args:
        features: The inputs.
        embedding: Their embedding.
        interaction: What the MLP sees in the place of the embeddings; None for the embeddings.
        options: The block ``backbone``.
        names: The heads.
        mlp: Options of :class:`MLP` unless the block says otherwise.
        pairs: Whether something beside the heads uses fm_vec.
        penalty: Regularizer of the wide part's rows.

    Reference:
        Guo et al. DeepFM: A Factorization-Machine based Neural Network for CTR Prediction. IJCAI 2017.
    """

    def __init__(
        self,
        features: FeatureMap,
        embedding: FeatureEmbedding,
        interaction: Interaction | None,
        options: Backbone,
        names: Sequence[str],
        mlp: Mapping[str, Any],
        pairs: bool,
        penalty: float | str | None,
    ):
        super().__init__()
        self.adds, self.interaction = options.added(names), interaction
        own = {
            "activations": options.deep_activation,
            "dropout": options.deep_dropout,
            "batch_norm": options.deep_use_bn,
        }
        self.deep = MLP(options.deep_hidden_dims, **{**mlp, **said(own)})
        self.linear = Linear(features, penalty) if any(a.use_wide for a in self.adds.values()) else None
        legacy = options.use_legacy_pseudo_deepfm
        self.machine = None
        if legacy or pairs or any(add.use_fm for add in self.adds.values()):
            self.machine = FactorizationMachine(embedding, options.fm_projection_dim, options.fm_scale)
        width = options.out_dim or options.deep_hidden_dims[-1]
        kernel = regularizer(mlp.get("penalty"))
        self.projection = keras.layers.Dense(width, kernel_regularizer=kernel) if legacy else None

    def build(self, input_shape):
        """Creates the layers."""
        seen = input_shape
        if self.interaction is not None:
            self.interaction.build(input_shape)
            seen = (None, self.interaction.output_width)
        self.deep.build(seen)
        width = self.deep.width(seen[-1])
        if self.machine is not None:
            self.machine.build(input_shape)
            width += self.machine.width
        if self.projection is not None:
            self.projection.build((None, width))

    def wide(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """``{"wide": the wide logit (batch,)}``; empty where no head uses it."""
        return {} if self.linear is None else {"wide": self.linear(inputs)}

    def call(self, x, training=False):
        """Of embeddings ``(batch, width)``: deep_h (or h), and fm_vec or None where nothing uses it."""
        seen = x if self.interaction is None else self.interaction(x, training=training)
        deep = self.deep(seen, training=training)
        pairs = None if self.machine is None else self.machine(x)
        if self.projection is not None:
            deep = self.projection(tf.concat([deep, tf.cast(pairs, deep.dtype)], axis=1))
        return deep, pairs

    def logit_parts(
        self, deep: Mapping[str, tf.Tensor], wide: tf.Tensor | None, pairs: tf.Tensor | None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """By head, the logits that add up to its logit: ``deep``, ``wide``, ``fm``.

        Args:
            deep: The towers' logits, by head.
            wide: The wide logit.
            pairs: fm_vec.
        """
        parts = {}
        for name, logit in deep.items():
            parts[name] = {"deep": logit}
            if self.adds[name].use_wide:
                parts[name]["wide"] = wide
            if self.adds[name].use_fm:
                parts[name]["fm"] = tf.reduce_sum(pairs, axis=1)
        return parts


def said(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a block gives a value."""
    return {key: value for key, value in options.items() if value is not None}

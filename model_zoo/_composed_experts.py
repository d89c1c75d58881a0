"""The blocks ``mmoe`` and ``heads``: composed inputs, gated experts, and towers of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.bottoms import GatedExperts
from fuxi_mtl.layers.checks import check_names
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.mlp import Towers
from fuxi_mtl.options.blocks import Head, Mixture
from fuxi_mtl.options.values import block

from ._composer import InputComposer
from ._deepfm import said


class ComposedExperts(keras.layers.Layer):
    """Gated experts over composed parts of a row.

    Args:
        names: The heads.
        embedding: Gives the embeddings.
        options: The block ``mmoe``.
        mlp: Options of :class:`MLP` unless the block says otherwise.

    Raises:
        ValueError: The embeddings of features with ids are asked for, and there is no such feature.
    """

    def __init__(
        self, names: Sequence[str], embedding: FeatureEmbedding, options: Mixture, mlp: Mapping[str, Any]
    ):
        super().__init__()
        if options.add_emb in ("sum", "mean") and not embedding.field_counts():
            raise ValueError(f"mmoe.add_emb {options.add_emb} needs a feature with ids. Use none or concat.")
        self.options = options
        own = {**mlp, **said({"dropout": options.dropout})}
        self.composer = InputComposer(
            options.part_proj_dim,
            options.fusion,
            options.adapter_mlp_dims,
            options.norm,
            own["dropout"],
            {**own, **said({"dropout": options.adapter_dropout})},
        )
        self.experts = GatedExperts(
            names,
            own,
            num_experts=options.num_experts,
            expert_hidden_units=options.expert_mlp_dims,
            gate_hidden_units=options.gate_hidden_dims,
            gate_stabilize=options.gate_stabilize,
        )
        self._fields = embedding.fields

    def parts(self, deep: tf.Tensor, pairs: tf.Tensor | None, x: tf.Tensor) -> list[tf.Tensor]:
        """The parts that the block asks for, of deep_h, fm_vec and the embeddings."""
        parts = [deep]
        if self.options.add_fm_vec:
            parts.append(pairs)
        if self.options.add_emb != "none":
            parts.append(x if self.options.add_emb == "concat" else self._aggregate(x))
        return parts

    def build(self, input_shape):
        """Creates the layers."""
        self.composer.build(input_shape)
        self.experts.build((None, self.composer.width))

    def call(self, parts, training=False):
        """Each head's mixture of the experts."""
        return self.experts(self.composer(parts, training=training), training=training)

    def _aggregate(self, x: tf.Tensor) -> tf.Tensor:
        over = tf.reduce_sum if self.options.add_emb == "sum" else tf.reduce_mean
        return tf.concat([over(vectors, axis=1) for vectors in self._fields(x).values()], axis=1)


_OF_MLP = {"mlp_dims": "units", "dropout": "dropout", "use_bn": "batch_norm", "activation": "activations"}


def make_towers(heads: Mapping | None, names: Sequence[str], mlp: Mapping[str, Any]) -> Towers:
    """The towers that the option ``heads`` describes: ``{default: {mlp_dims: [128]}, ctr: {...}}``.

    Args:
        heads: The option.
        names: The heads.
        mlp: Options of :class:`MLP` unless the block says otherwise.

    Raises:
        ValueError: An unknown head or key, or a value of another type.
    """
    given = {} if heads is None else heads
    check_names("heads", given, ["default", *names])
    read = {key: said(asdict(block(Head, each, f"heads.{key}"))) for key, each in given.items()}
    common = read.pop("default", {})
    own = {
        name: {_OF_MLP[key]: value for key, value in {**common, **read.get(name, {})}.items()}
        for name in names
    }
    return Towers(names, (128,), own=own, **mlp)

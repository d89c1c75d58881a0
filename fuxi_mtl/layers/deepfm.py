"""Wide, pairwise and deep parts of a row: the backbone of DeepFM, and the blocks that describe it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers.blocks import check_choice, check_names, check_range, read_block
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.factorization import SCALES, FactorizationMachine, Linear
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer

_WITHOUT = {"return_logit_parts": "the model's logit_parts always gives them. Leave it out."}


@dataclass(frozen=True)
class HeadAdd:
    """What is added to the logit of one head: an entry of ``per_head_add``."""

    use_wide: bool = False
    use_fm: bool = False


@dataclass(frozen=True)
class Backbone:
    """The block ``backbone``.

    Attributes:
        use_legacy_pseudo_deepfm: ``h = W [deep_h, fm_vec] + b`` takes the place of deep_h, and every head
            gets the wide logit and no FM logit.
        per_head_add: By head, ``{use_wide, use_fm}``; a head that is not named gets neither. Without it
            every head gets both.
        deep_hidden_dims: Widths of the deep part.
        deep_dropout: Share of its units dropped; the model's unless said.
        deep_activation: Its activation; the model's unless said.
        deep_use_bn: Whether it is normalised; as the model unless said.
        fm_enabled: Whether there is a factorization machine.
        fm_projection_dim: Width to which embeddings are projected for it; None takes them as they are.
        fm_scale: ``mean`` divides by the number of features, ``sum`` is the classic machine.
        out_dim: Width of h in the legacy form, that of the deep part unless said.

    Raises:
        ValueError: A value that cannot be, or that has no effect.
    """

    use_legacy_pseudo_deepfm: bool = False
    per_head_add: dict | None = None
    deep_hidden_dims: Sequence[int] = (128, 64)
    deep_dropout: float | None = None
    deep_activation: str | None = None
    deep_use_bn: bool | None = None
    fm_enabled: bool = True
    fm_projection_dim: int | None = None
    fm_scale: str = "mean"
    out_dim: int | None = None

    def __post_init__(self):
        check_choice("backbone.fm_scale", self.fm_scale, SCALES)
        if not self.deep_hidden_dims:
            raise ValueError("backbone.deep_hidden_dims is empty: the deep part needs a layer.")
        for key in ("fm_projection_dim", "out_dim"):
            if getattr(self, key) is not None:
                check_range(f"backbone.{key}", getattr(self, key), 1)
        if self.use_legacy_pseudo_deepfm and not self.fm_enabled:
            raise ValueError("backbone.use_legacy_pseudo_deepfm needs fm_enabled: True.")
        if self.use_legacy_pseudo_deepfm and self.per_head_add is not None:
            raise ValueError(
                "backbone.per_head_add has no effect with use_legacy_pseudo_deepfm, which adds the wide "
                "logit to every head. Leave one of them out."
            )
        if not self.use_legacy_pseudo_deepfm and self.out_dim not in (None, self.deep_hidden_dims[-1]):
            raise ValueError(
                f"backbone.out_dim is {self.out_dim}, but the deep part ends in "
                f"{self.deep_hidden_dims[-1]}, the last of deep_hidden_dims. Write that, or leave it out."
            )

    def added(self, names: Sequence[str]) -> dict[str, HeadAdd]:
        """What each head gets.

        Raises:
            ValueError: ``per_head_add`` names no head, or asks for an FM logit without a machine.
        """
        if self.use_legacy_pseudo_deepfm:
            return dict.fromkeys(names, HeadAdd(use_wide=True))
        if self.per_head_add is None:
            return dict.fromkeys(names, HeadAdd(use_wide=True, use_fm=self.fm_enabled))
        where = "backbone.per_head_add"
        check_names(where, self.per_head_add, names)
        adds = {name: read_block(HeadAdd, b, f"{where}.{name}") for name, b in self.per_head_add.items()}
        for name, add in adds.items():
            if add.use_fm and not self.fm_enabled:
                raise ValueError(f"{where}.{name}.use_fm needs fm_enabled: True.")
        return {name: adds.get(name, HeadAdd()) for name in names}


def backbone(block: Mapping | None) -> Backbone:
    """What the option ``backbone`` describes.

    Raises:
        ValueError: An unknown key, or a value that cannot be.
    """
    return read_block(Backbone, block, "backbone", _WITHOUT)


class DeepFM(keras.layers.Layer):
    """The parts of a row that DeepFM adds up, before they are.

    ``wide = sum_f w_f``, ``fm_vec`` the pairs of a factorization machine, ``deep_h = MLP(embeddings)``.

    Args:
        features: The inputs.
        embedding: Their embedding.
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
        options: Backbone,
        names: Sequence[str],
        mlp: Mapping[str, Any],
        pairs: bool,
        penalty: float | str | None,
    ):
        super().__init__()
        self.adds = options.added(names)
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
        self.deep.build(input_shape)
        width = self.deep.width(input_shape[-1])
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
        deep = self.deep(x, training=training)
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

"""Embeddings of a row beside those columns that the weights of its network depend on."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers.checks import check_choice
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.options.blocks import Generation


class ConditionedEmbedding(keras.layers.Layer):
    """:class:`FeatureEmbedding`, of which :meth:`split` gives what the network sees and its conditions.

    Args:
        features: The inputs.
        generation: The block ``apg``.
        **embedding: Options of :class:`FeatureEmbedding`, of both sets of tables.

    Shapes:
        ``{"ids": ..., "numeric": ...}`` to ``(batch, width)``; embeddings of the condition's own come last.

    Raises:
        ValueError: A condition is no feature, or the network would see nothing else, or less than the rank.
    """

    def __init__(self, features: FeatureMap, generation: Generation, **embedding: Any):
        super().__init__()
        names = list(dict.fromkeys(generation.condition_features or ()))
        self.shared = FeatureEmbedding(features, **embedding)
        known = [feature.name for feature in features.features]
        if not generation.new_condition_emb:  # histories have taken the place of their columns
            seen_names = self.shared.column_ranges
            known = [*(name for name in known if name in seen_names), *self.shared.histories]
        for name in names:
            check_choice("apg.condition_features", name, known)
        self.own = None
        if generation.new_condition_emb:
            self.own = FeatureEmbedding(features, **embedding, names=names)
        column_ranges = self.shared.column_ranges
        width = sum(map(_width, column_ranges.values()))
        seen = [(0, width)]
        if not generation.condition_participate_bottom:
            seen = [columns for name, columns in column_ranges.items() if name not in names]
            if not seen:
                raise ValueError(
                    f"apg.condition_participate_bottom: False leaves the network nothing to see: "
                    f"{', '.join(names)} are all features."
                )
        # Here, because Keras wraps what a layer says when it is built inside of a call.
        generation.check_width(sum(map(_width, seen)), "the numbers that the network sees,")
        if self.own is not None:
            column_ranges = {name: (a + width, b + width) for name, (a, b) in self.own.column_ranges.items()}
        conditions = [[column_ranges[name]] for name in names]
        if names and generation.condition_mix == "concat":
            conditions = [[column_ranges[name] for name in names]]
        self.parts = [seen, *conditions]

    def build(self, input_shape=None):
        """Nothing is left to do: tables need no input to know their shape."""

    def call(self, inputs):
        """All embeddings side by side."""
        x = self.shared(inputs)
        return x if self.own is None else tf.concat([x, self.own(inputs)], axis=1)

    def split(self, x: tf.Tensor) -> list[tf.Tensor]:
        """What the network sees, then its conditions: none if they are self-wise."""
        return [_columns(x, column_ranges) for column_ranges in self.parts]


def _columns(x: tf.Tensor, column_ranges: Sequence[tuple[int, int]]) -> tf.Tensor:
    """Some columns of ``(batch, width)``, side by side."""
    (first, last), *others = column_ranges
    if not others:
        return x if (first, last) == (0, x.shape[1]) else x[:, first:last]
    return tf.concat([x[:, start:end] for start, end in column_ranges], axis=1)


def _width(columns: tuple[int, int]) -> int:
    return columns[1] - columns[0]

"""Embeddings of a row beside those columns that the weights of its network depend on."""

import itertools
from collections.abc import Mapping, Sequence
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
        **embedding: Options of :class:`FeatureEmbedding`, of both sets of tables; an interaction is of what
            the network sees, and conditions are as they were looked up.

    Shapes:
        ``{"ids": ..., "numeric": ...}`` to ``(batch, width)``; embeddings of the condition's own come last.

    Raises:
        ValueError: A condition is no feature, or the network would see nothing else, or less than the rank.
    """

    def __init__(self, features: FeatureMap, generation: Generation, **embedding: Any):
        super().__init__()
        names = list(dict.fromkeys(generation.condition_features or ()))
        interaction, mlp = embedding.pop("interaction", None), embedding.pop("mlp", None)
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
        seen, seen_columns = [(0, width)], column_ranges
        if not generation.condition_participate_bottom:
            rest = {name: columns for name, columns in column_ranges.items() if name not in names}
            seen, seen_columns = list(rest.values()), _side_by_side(rest)
            if not seen:
                raise ValueError(
                    f"apg.condition_participate_bottom: False leaves the network nothing to see: "
                    f"{', '.join(names)} are all features."
                )
        # Here, because Keras wraps what a layer says when it is built inside of a call.
        self.interaction = self.shared.interaction_behind(interaction, mlp, seen_columns)
        width_seen = sum(map(_width, seen)) if self.interaction is None else self.interaction.output_width
        generation.check_width(width_seen, "the numbers that the network sees,")
        if self.own is not None:
            column_ranges = {name: (a + width, b + width) for name, (a, b) in self.own.column_ranges.items()}
        conditions = [[column_ranges[name]] for name in names]
        if names and generation.condition_mix == "concat":
            conditions = [[column_ranges[name] for name in names]]
        self.parts = [seen, *conditions]

    def build(self, input_shape=None):
        """Creates the interaction; tables need no input to know their shape."""
        if self.interaction is not None:
            self.interaction.build()

    def call(self, inputs):
        """All embeddings side by side."""
        x = self.shared(inputs)
        return x if self.own is None else tf.concat([x, self.own(inputs)], axis=1)

    def split(self, x: tf.Tensor) -> list[tf.Tensor]:
        """What the network sees, then its conditions: none if they are self-wise."""
        seen, *conditions = [_columns(x, column_ranges) for column_ranges in self.parts]
        return [seen if self.interaction is None else self.interaction(seen), *conditions]


def _columns(x: tf.Tensor, column_ranges: Sequence[tuple[int, int]]) -> tf.Tensor:
    """Some columns of ``(batch, width)``, side by side."""
    (first, last), *others = column_ranges
    if not others:
        return x if (first, last) == (0, x.shape[1]) else x[:, first:last]
    return tf.concat([x[:, start:end] for start, end in column_ranges], axis=1)


def _side_by_side(column_ranges: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Where some columns are once they have been taken out and put side by side."""
    ends = list(itertools.accumulate(map(_width, column_ranges.values())))
    return dict(zip(column_ranges, zip([0, *ends], ends, strict=False), strict=True))


def _width(columns: tuple[int, int]) -> int:
    return columns[1] - columns[0]

"""From ids and numbers to one dense vector a row."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import PAD, Feature, FeatureMap
from fuxi_mtl.layers.regularizers import penalty as penalty_strengths
from fuxi_mtl.layers.regularizers import penalty_gradient


class FeatureEmbedding(keras.layers.Layer):
    """Looks up every id, pools the bags, and puts the numbers beside.

    Features of one width share one table, each with its own block of rows, so a step needs one gather
    and one sparse update a width however many features there are. Gradients name only the rows of the
    batch. Pretrained features that are frozen lie in a table of their own that is not trained.

    Args:
        features: The inputs.
        embedding_dim: Width of the features that name none of their own.
        penalty: Regularizer of the rows of the batch, in FuxiCTR's notation.

    Shapes:
        ``{"ids": (batch, id columns), "numeric": (batch, numeric columns)}`` to ``(batch, width)``.
    """

    def __init__(
        self, features: FeatureMap, embedding_dim: int, penalty: float | str | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.features = features
        self.penalty = penalty
        penalty_strengths(penalty)  # what cannot be read is refused here, not at the first step
        widths: dict[tuple[int, bool], list[Feature]] = {}
        for feature in features.features:
            if feature.has_ids:
                owner = features.owner(feature)
                key = (owner.embedding_dim or embedding_dim, owner.trainable)
                widths.setdefault(key, []).append(feature)
        self.blocks = [
            _Table(
                features,
                members,
                width,
                trainable=trainable,
                name=f"table_{width}" + ("" if trainable else "_frozen"),
                dtype=self.dtype_policy,
            )
            for (width, trainable), members in widths.items()
        ]
        self.dense_columns = [
            column
            for feature in features.features
            if not feature.has_ids
            for column in range(feature.columns.start, feature.columns.stop)
        ]

    def build(self, input_shape=None):
        """Nothing is left to do: tables need no input to know their shape."""

    def call(self, inputs):
        """Embeddings of all features, then the numbers."""
        parts = [block(inputs) for block in self.blocks]
        if self.dense_columns:
            parts.append(
                tf.cast(tf.gather(inputs["numeric"], self.dense_columns, axis=1), self.compute_dtype)
            )
        return tf.concat(parts, axis=1)

    def tables(self) -> list[tuple[keras.Variable, Callable | None]]:
        """The tables that are trained, each with the gradient of its rows' penalty, None without one."""
        penalised = any(penalty_strengths(self.penalty))
        gradient = functools.partial(penalty_gradient, notation=self.penalty) if penalised else None
        return [(table, gradient) for table in self.trainable_variables]

    def before_lookup(self, function: Callable | None) -> None:
        """Sets what is told the table and the row numbers of each lookup in training, before it."""
        for block in self.blocks:
            block.before_lookup = function if block.trainable else None


class _Table(keras.layers.Layer):
    """All features of one width."""

    def __init__(self, features: FeatureMap, members: Sequence[Feature], width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.before_lookup: Callable | None = None
        rows: dict[str, np.ndarray] = {}  # by the feature that owns them
        starts: dict[str, int] = {}
        for owner in map(features.owner, members):
            if owner.name not in rows:
                starts[owner.name] = sum(map(len, rows.values()))
                rows[owner.name] = _initial_rows(owner, width, features.folder)
        self.starts = {feature.name: starts[features.owner(feature).name] for feature in members}
        initial = np.concatenate(list(rows.values()))
        self.table = self.add_weight(
            shape=initial.shape,
            initializer=lambda _shape, dtype: tf.constant(initial, dtype),
            name="rows",
            # A cast of the whole table under mixed precision would make its gradient dense.
            autocast=False,
            dtype="float32",
        )
        single = [f for f in members if f.type == "categorical"]
        self.single_columns = [f.start for f in single]
        self.single_starts = [self.starts[f.name] for f in single]
        self.bags = [f for f in members if f.type == "sequence"]

    def call(self, inputs, training=False):
        """``(batch, features of this width x width)``."""
        ids = inputs["ids"]
        parts = []
        if self.single_columns:
            rows = tf.gather(ids, self.single_columns, axis=1) + self.single_starts
            found = self._look_up(rows, training)  # (batch, features, width)
            parts.append(tf.reshape(found, (-1, len(self.single_columns) * self.width)))
        for bag in self.bags:
            members = ids[:, bag.columns]
            found = self._look_up(members + self.starts[bag.name], training)  # (batch, length, width)
            weights = None
            if bag.weight_start is not None:
                weights = inputs["numeric"][:, bag.weight_start : bag.weight_start + bag.max_len]
            parts.append(pool(found, members != PAD, bag.pooling, weights))
        return tf.cast(tf.concat(parts, axis=1), self.compute_dtype)

    def _look_up(self, rows, training):
        if training and self.before_lookup is not None:
            self.before_lookup(self.table, rows)
        return tf.gather(self.table.value, rows)


def pool(vectors: tf.Tensor, present: tf.Tensor, pooling: str, weights: tf.Tensor | None = None) -> tf.Tensor:
    """One vector for each bag, over the members that are present; an empty bag gives zeros.

    ``mean`` is ``sum(w e) / sum(w)``, ``sum`` is ``sum(w e)``, ``max`` is taken of ``w e`` in each
    dimension.

    Args:
        vectors: ``(batch, length, width)``.
        present: ``(batch, length)`` booleans.
        pooling: ``mean``, ``sum`` or ``max``.
        weights: ``(batch, length)`` weights, or None for ones.
    """
    weight = tf.cast(present, vectors.dtype)
    if weights is not None:
        weight *= tf.cast(weights, vectors.dtype)
    weighted = vectors * weight[:, :, None]
    if pooling == "sum":
        return tf.reduce_sum(weighted, axis=1)
    if pooling == "mean":
        return tf.math.divide_no_nan(
            tf.reduce_sum(weighted, axis=1), tf.reduce_sum(weight, axis=1, keepdims=True)
        )
    lowest = tf.where(present[:, :, None], weighted, vectors.dtype.min)
    return tf.where(tf.reduce_any(present, axis=1)[:, None], tf.reduce_max(lowest, axis=1), 0.0)


def _initial_rows(feature: Feature, width: int, folder: str) -> np.ndarray:
    """Small random rows, or the pretrained ones; padding is zero."""
    if feature.pretrained is not None:
        rows = np.load(Path(folder) / feature.pretrained).astype(np.float32)
        if rows.shape != (feature.vocab_size, width):
            raise ValueError(
                f"feature {feature.name!r}: pretrained rows in {feature.pretrained} have shape {rows.shape}, "
                f"but its table is {(feature.vocab_size, width)}. Set its embedding_dim to {rows.shape[1]}."
            )
    else:
        shape = (feature.vocab_size, width)
        # A new initializer for each feature: one Keras initializer gives the same values again.
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        rows = np.array(initializer(shape, dtype="float32"))
    rows[PAD] = 0.0
    return rows

"""Weights that a network gives to each user and context, learnt to rank."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.files import DamagedError, read_arrays
from fuxi_mtl.fusion.formulas import FLOOR
from fuxi_mtl.layers import MLP, FeatureEmbedding
from fuxi_mtl.options import LtrOptions

_ROWS = 65536


class PersonalFusion(keras.layers.Layer):
    """``S = sum_k w_k(u) log max(s_k, 1e-12)``, with ``w(u)`` from a small network of some inputs.

    ``w(u) = softplus(MLP(u))`` or ``softmax(MLP(u))``; without inputs, weights that all share. At the start
    all weights are equal and add up to 1: the product with equal weights. No gradient reaches the scores.

    Args:
        features: All inputs of the model.
        names: Tasks whose scores are joined.
        options: The inputs of the weights and the sizes of the network.
    """

    def __init__(self, features: FeatureMap, names: Sequence[str], options: LtrOptions):
        super().__init__(dtype="float32")
        self.names, self.options = tuple(names), options
        wanted = [each for each in features.features if each.name in options.features]
        self._columns = {"ids": _columns(wanted, ids=True), "numeric": _columns(wanted, ids=False)}
        own = assign_columns([_on_its_own(each) for each in wanted])
        start = 1 / len(names)
        if options.weights == "softplus":
            start = float(np.log(np.expm1(start)))
        self.embedding: FeatureEmbedding | None = None
        if own:
            self.embedding = FeatureEmbedding(
                replace(features, features=own), options.embedding_dim, dtype="float32"
            )
            self.hidden = MLP(options.hidden_units, dtype="float32")
            self.last = keras.layers.Dense(
                len(names), kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(start)
            )
        else:
            self.bias = self.add_weight(
                shape=(len(names),), initializer=keras.initializers.Constant(start), name="weights"
            )
        self({"ids": np.zeros((2, features.id_columns), np.int32),
              "numeric": np.zeros((2, features.numeric_columns), np.float32)})  # fmt: skip

    def build(self, input_shape=None):
        """Nothing is left to do: the first call builds what is inside."""

    def call(self, inputs):
        """The weights of an encoded batch, ``(batch, scores)``."""
        if self.embedding is None:
            z = self.bias[None, :]
        else:
            own = {key: tf.gather(inputs[key], columns, axis=1) for key, columns in self._columns.items()}
            z = self.last(self.hidden(self.embedding(own)))
        z = tf.broadcast_to(z, [tf.shape(inputs["ids"])[0], len(self.names)])
        return tf.nn.softmax(z) if self.options.weights == "softmax" else tf.nn.softplus(z)

    def score(self, inputs: Mapping[str, tf.Tensor], scores: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The fused score ``(batch,)`` of an encoded batch and its predictions by task."""
        s = tf.stack([tf.cast(scores[name], tf.float32) for name in self.names], axis=1)
        return tf.reduce_sum(self(inputs) * tf.math.log(tf.maximum(s, FLOOR)), axis=1)

    def score_rows(
        self, ids: np.ndarray, numeric: np.ndarray, scores: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The fused score ``(rows,)`` of all rows of a split."""
        parts = []
        for start in range(0, len(ids), _ROWS):
            block = slice(start, start + _ROWS)
            inputs = {"ids": tf.constant(ids[block]), "numeric": tf.constant(numeric[block])}
            parts.append(self.score(inputs, {name: scores[name][block] for name in self.names}).numpy())
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def save(self, path: Path) -> None:
        """Writes the variables."""
        with path.open("wb") as file:
            np.savez_compressed(file, **{f"v{i}": each.numpy() for i, each in enumerate(self.weights)})

    def load(self, path: Path) -> None:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: The file is missing, damaged, or of another network.
        """
        try:
            arrays = read_arrays(path, "fuse the run again.")
            self.set_weights([arrays[f"v{i}"] for i in range(len(self.weights))])
        except DamagedError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} cannot be read ({error}): fuse the run again.") from error


def _on_its_own(feature: Feature) -> Feature:
    """An input with a table of its own, of the width that is asked for."""
    return replace(feature, share_embedding=None, pretrained=None, trainable=True, embedding_dim=None)


def _columns(features: Sequence[Feature], ids: bool) -> np.ndarray:
    """Where some features lie in ``ids`` or ``numeric``, in the order of their columns."""
    slices = [range(each.start, each.start + each.max_len) for each in features if each.has_ids == ids]
    if not ids:
        starts = [(each.weight_start, each.max_len) for each in features]
        slices += [range(start, start + length) for start, length in starts if start is not None]
    return np.array([column for each in slices for column in each], np.int32)

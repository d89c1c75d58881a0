"""Factorization machines: the weights of single features, and of pairs."""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.tables import DEVIATION

DEFAULT_WIDTH = 8  # of the vectors where all features are numbers


class Linear(keras.layers.Layer):
    """First order: one weight an id, in a table of each feature's own, and one a number.

    ``logit = sum_f w_f[id_f] + sum_n w_n x_n``; a bag is pooled as its embedding is.

    Args:
        features: The inputs.
        penalty: Regularizer of the rows of the batch.

    Shapes:
        ``{"ids": ..., "numeric": ...}`` to ``(batch,)`` float32.
    """

    def __init__(self, features: FeatureMap, penalty: float | str | None = None):
        super().__init__()
        alone = tuple(_of_width_one(feature, features.owner(feature)) for feature in features.features)
        self.embedding = FeatureEmbedding(replace(features, features=alone), 1, penalty, dtype="float32")
        self.of_numbers = None
        if self.embedding.dense_columns:
            self.of_numbers = keras.layers.Dense(1, use_bias=False, dtype="float32")

    def build(self, input_shape=None):
        """Creates the weights of numbers."""
        if self.of_numbers is not None:
            self.of_numbers.build((None, len(self.embedding.dense_columns)))

    def call(self, inputs):
        """The sum of the weights of each row."""
        x = self.embedding(inputs)
        weights = x[:, : x.shape[1] - len(self.embedding.dense_columns)]
        logit = tf.reduce_sum(weights, axis=1)
        if self.of_numbers is not None:
            logit += tf.squeeze(self.of_numbers(self.embedding.numbers(x)), axis=-1)
        return logit


def _of_width_one(feature: Feature, owner: Feature) -> Feature:
    """The feature with a table of one column that no other feature shares."""
    return replace(
        feature,
        embedding_dim=1,
        share_embedding=None,
        num_remainder_buckets=owner.num_remainder_buckets,
        pretrained=None,
        trainable=True,
    )


class FactorizationMachine(keras.layers.Layer):
    """Second order: ``v = 1/2 ((sum_f v_f)^2 - sum_f v_f^2)``, all pairs of features, by dimension.

    The sum of v is the logit of a factorization machine. The vector of a number x is ``x w``. Where a
    width is asked for, or features differ in width, those of one width share a projection. Sums are
    float32 under every precision.

    Args:
        embedding: Gives the vectors.
        width: Width of v and of the vectors that are multiplied; None keeps the embeddings' (the widest's).
        scale: ``mean`` divides by the number of features, ``sum`` is the classic machine.

    Shapes:
        An output of `embedding`, ``(batch, width)``, to ``(batch, width of v)`` float32.

    Reference:
        Rendle. Factorization Machines. ICDM 2010.
    """

    def __init__(self, embedding: FeatureEmbedding, width: int | None = None, scale: str = "mean"):
        super().__init__(dtype="float32")
        counts = embedding.field_counts()
        self.width = width or max(counts, default=DEFAULT_WIDTH)
        self.scale = scale
        self.projections = {
            str(each): keras.layers.Dense(self.width, use_bias=False, dtype="float32")
            for each in counts
            if width is not None or each != self.width
        }
        numbers = [feature for feature in embedding.features.features if not feature.has_ids]
        self.members = np.zeros((len(embedding.dense_columns), len(numbers)), np.float32)
        start = 0
        for position, feature in enumerate(numbers):
            self.members[start : start + feature.max_len, position] = 1
            start += feature.max_len
        self.num_fields = sum(counts.values()) + len(numbers)
        # Not a sublayer of this one: the model has it already.
        self._fields, self._numbers = embedding.fields, embedding.numbers

    def build(self, input_shape=None):
        """Creates the projections and the vectors of numbers."""
        for width, projection in self.projections.items():
            projection.build((None, None, int(width)))
        self.of_numbers = None
        if len(self.members):
            self.of_numbers = self.add_weight(
                shape=(len(self.members), self.width),
                initializer=keras.initializers.RandomNormal(stddev=DEVIATION),
                name="vectors_of_numbers",
            )

    def call(self, x):
        """All pairs, by dimension."""
        vectors = []
        for width, of_width in self._fields(x).items():
            field = tf.cast(of_width, tf.float32)
            projection = self.projections.get(str(width))
            vectors.append(field if projection is None else projection(field))
        if self.of_numbers is not None:
            vectors.append(self._of_numbers(tf.cast(self._numbers(x), tf.float32)))
        fields = tf.concat(vectors, axis=1)  # (batch, features, width)
        pairs = tf.square(tf.reduce_sum(fields, axis=1)) - tf.reduce_sum(tf.square(fields), axis=1)
        return 0.5 * pairs / (self.num_fields if self.scale == "mean" else 1)

    def _of_numbers(self, x: tf.Tensor) -> tf.Tensor:
        """``(batch, numbers)`` to a vector a feature; the columns of a dense vector add up."""
        kernels = self.members[:, :, None] * tf.convert_to_tensor(self.of_numbers)[:, None, :]
        features = self.members.shape[1]
        product = tf.matmul(x, tf.reshape(kernels, (-1, features * self.width)))
        return tf.reshape(product, (-1, features, self.width))

"""DIN: events weighed by a network that compares each with the target."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import activation_layer, dropout_layer
from fuxi_mtl.layers.sequences.base import SequenceEncoder, masked_softmax
from fuxi_mtl.layers.sequences.dice import Dice
from fuxi_mtl.options.encoders import (
    DICE,
    AttentionActivation,
    AttentionDropout,
    AttentionUnits,
    DiceEps,
    Empty,
    OutputActivation,
    ScoreNormalizer,
    StopQuery,
)


class Comparison(keras.layers.Layer):
    """``[q, k, q - k, q k] W + b`` for every event, without putting the four together.

    With the kernel's rows A, B, C, D of the four parts it is ``q (A + C) + k (B - C) + (q k) D + b``, and the
    first term is computed once a row. Columns of an event beyond the query's have no difference and no
    product.

    Args:
        units: Width of the output.

    Shapes:
        ``keys`` ``(batch, length, width)`` and ``query`` ``(batch, width of the query)`` to ``(batch, length,
        units)`` float32.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.units = units

    def build(self, keys_shape, query_shape):
        """Creates kernel and bias."""
        shape = (keys_shape[-1] + 3 * query_shape[-1], self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, keys, query):
        """See the class."""
        width, whole = query.shape[-1], keys.shape[-1]
        kernel = tf.convert_to_tensor(self.kernel)
        of_query, of_key, of_difference, of_product = tf.split(kernel, [width, whole, width, width])
        once = tf.matmul(query, of_query + of_difference) + self.bias
        of_key -= tf.pad(of_difference, ((0, whole - width), (0, 0)))
        both = tf.concat([keys, query[:, None, :] * keys[..., :width]], axis=-1)
        each = tf.matmul(tf.reshape(both, (-1, whole + width)), tf.concat([of_key, of_product], axis=0))
        return tf.reshape(each, (-1, tf.shape(keys)[1], self.units)) + once[:, None, :]

    def compute_output_shape(self, keys_shape, query_shape):
        """See the class."""
        return (*keys_shape[:-1], self.units)


@keras.saving.register_keras_serializable("fuxi_mtl")
class InterestAttention(SequenceEncoder):
    """Events weighed by a network that sees each beside the target (DIN).

    ``a_l = MLP([q, k_l, q - k_l, q k_l])`` and ``x = sum_l w_l k_l``, where the weights are the scores
    themselves: a user with many fitting events has a longer vector. Columns of an event without a
    counterpart in the target come last, and the differences and products leave them out.

    >>> import tensorflow as tf
    >>> history = {"keys": tf.ones((1, 3, 2)), "present": tf.constant([[True, True, False]])}
    >>> InterestAttention(hidden_units=[4])({**history, "query": tf.ones((1, 2))}).shape
    TensorShape([1, 2])

    Reference:
        Zhou et al. Deep Interest Network for Click-Through Rate Prediction. KDD 2018, section 4.3.
    """

    asks = keeps_columns = True

    def __init__(
        self,
        *,
        hidden_units: AttentionUnits = (64,),
        activation: AttentionActivation = "dice",
        output_activation: OutputActivation = "linear",
        normalizer: ScoreNormalizer = "none",
        dropout: AttentionDropout = 0.0,
        dice_eps: DiceEps = 1e-9,
        stop_query_gradient: StopQuery = False,
        empty: Empty = "zeros",
        **kwargs,
    ):
        super().__init__(empty, **kwargs)
        self.normalizer, self.stops_query = normalizer, stop_query_gradient
        is_dice = activation.lower() == DICE
        widths = [*hidden_units, 1]
        self.compare = Comparison(widths[0], name="compare")
        self.rest = [keras.layers.Dense(units, dtype="float32") for units in widths[1:]]
        self.activations = [
            Dice(dice_eps, dtype="float32") if is_dice else activation_layer(activation, dtype="float32")
            for _ in hidden_units
        ]
        self.dropout = dropout_layer(dropout, dtype="float32")
        self.of_score = activation_layer(output_activation, dtype="float32")

    def check(self, width, query):
        """The target has a counterpart in each event."""
        super().check(width, query)
        if query > width:
            raise ValueError(f"a query of width {query} cannot be compared with events of width {width}.")

    def create(self, width, query):
        """Creates the network of scores."""
        self.compare.build((None, None, width), (None, query))
        shape = (None, self.compare.units)
        for dense, activation in zip(self.rest, self.activations, strict=True):
            activation.build(shape)
            dense.build(shape)
            shape = (None, dense.units)
        self.of_score.build(shape)

    def encode(self, keys, present, query, training):
        """See the class."""
        width = query.shape[-1]
        if self.stops_query:
            query = tf.stop_gradient(query)
        x = self.compare(keys, query)
        length, counts = tf.shape(x)[1], tf.reshape(present, [-1])
        x = tf.reshape(x, (-1, self.compare.units))
        for dense, activation in zip(self.rest, self.activations, strict=True):
            x = activation(x, counts, training=training) if isinstance(activation, Dice) else activation(x)
            x = dense(x if self.dropout is None else self.dropout(x, training=training))
        scores = tf.reshape(self.of_score(x), (-1, length))
        weights = self._weights(scores, present, width)
        return tf.squeeze(tf.matmul(weights[:, None, :], keys), axis=1)

    def _weights(self, scores: tf.Tensor, present: tf.Tensor, width: int) -> tf.Tensor:
        """``(batch, length)`` weights of the events, 0 where there is none."""
        if self.normalizer in ("scaled_softmax", "sigmoid"):
            scores /= width**0.5
        if self.normalizer == "sigmoid":
            scores = tf.sigmoid(scores)
        elif self.normalizer != "none":
            return masked_softmax(scores, present)
        return tf.where(present, scores, 0.0)

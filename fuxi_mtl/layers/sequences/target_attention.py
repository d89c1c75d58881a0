"""Attention of the target on the events, with several heads."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import dropout_layer
from fuxi_mtl.layers.sequences.base import SequenceEncoder, masked_softmax
from fuxi_mtl.options.encoders import (
    AttentionDropout,
    AttentionWidth,
    Empty,
    Heads,
    OutputWidth,
    Projected,
    ResidualQuery,
    TimeBias,
)


@keras.saving.register_keras_serializable("fuxi_mtl")
class TargetAttention(SequenceEncoder):
    """Attention of the target on the events, with several heads: the cheap form.

    ``s_lj = (q Wq_j) (k_l Wk_j) / sqrt(width of a head)``, shares ``w_lj`` are their softmax over the events,
    and ``x = [sum_l w_l1 k_l Wv_1, ..., sum_l w_lH k_l Wv_H] Wo``. There are no biases.

    Events are never projected: ``s_lj = k_l (Wk_j Wq_j^T q)``, and the weighted sum of events is what Wv_j
    sees, so that the cost of an event is one product with it a head, forth and back. With a ``time_bias`` a
    number of each head for how long ago an event was is added to its score.

    >>> import tensorflow as tf
    >>> history = {"keys": tf.ones((1, 3, 2)), "present": tf.constant([[True, True, False]])}
    >>> TargetAttention(heads=2, width=8)({**history, "query": tf.ones((1, 4))}).shape
    TensorShape([1, 4])
    """

    asks = True

    def __init__(
        self,
        *,
        heads: Heads = 4,
        width: AttentionWidth = 64,
        output_width: OutputWidth = None,
        projected: Projected = True,
        residual_query: ResidualQuery = False,
        time_bias: TimeBias = False,
        dropout: AttentionDropout = 0.0,
        empty: Empty = "zeros",
        **kwargs,
    ):
        super().__init__(empty, **kwargs)
        if projected and width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}.")
        if not projected and output_width is not None:
            raise ValueError("output_width has no effect with projected: False.")
        self.heads, self.width, self.projected = heads, width, projected
        self.given_width, self.adds_query = output_width, residual_query
        self.bias_width = heads if time_bias else 0
        self.dropout = dropout_layer(dropout, dtype="float32")

    def check(self, width, query):
        """Vectors that are not projected can be split among the heads, and what is added is as wide."""
        super().check(width, query)
        if not self.projected and (query != width or width % self.heads):
            raise ValueError(
                f"projected: False splits events of width {width} and a target of width {query} among "
                f"{self.heads} heads: give them one width, a multiple of heads, or project them."
            )
        output = self.output_width(width, query)
        if self.adds_query and query != output:
            raise ValueError(
                f"residual_query adds a target of width {query} to {output} numbers: leave output_width out."
            )

    def output_width(self, width, query):
        """See the class."""
        return query if self.given_width is None else self.given_width

    def create(self, width, query):
        """Creates the four kernels."""
        if not self.projected:
            return
        shapes = {
            "query": (query, self.width),
            "key": (width, self.width),
            "value": (width, self.width),
            "output": (self.width, self.output_width(width, query)),
        }
        self.of_query, self.of_key, self.of_value, self.of_output = (
            self.add_weight(
                shape=shape, initializer="glorot_uniform", name=name, dtype="float32", autocast=False
            )
            for name, shape in shapes.items()
        )

    def encode_biased(self, keys, present, query, bias, training):
        """See the class."""
        size = (self.width if self.projected else query.shape[-1]) // self.heads
        asked = self._asked(query, keys.shape[-1], size)  # (batch, heads, width of an event)
        scores = tf.matmul(asked, keys, transpose_b=True) / size**0.5
        if bias is not None:
            scores += tf.transpose(bias, (0, 2, 1))
        shares = masked_softmax(scores, present[:, None, :])
        if self.dropout is not None:
            shares = self.dropout(shares, training=training)
        x = self._output(tf.matmul(shares, keys), size)
        return x + query if self.adds_query else x

    def _asked(self, query: tf.Tensor, width: int, size: int) -> tf.Tensor:
        """What each head asks an event for, in the coordinates of events."""
        if not self.projected:
            # A head looks at its own part of a vector: ones there and zeros elsewhere.
            own = tf.repeat(tf.eye(self.heads), size, axis=1)
            return query[:, None, :] * own
        projected = tf.reshape(tf.matmul(query, self.of_query), (-1, self.heads, size))
        kernel = tf.reshape(self.of_key, (width, self.heads, size))
        return tf.einsum("bhs,dhs->bhd", projected, kernel)

    def _output(self, found: tf.Tensor, size: int) -> tf.Tensor:
        """What all heads together give, of the weighted sums of events ``(batch, heads, width)``."""
        if not self.projected:
            own = tf.repeat(tf.eye(self.heads), size, axis=1)
            return tf.reduce_sum(found * own, axis=1)
        kernel = tf.reshape(self.of_value, (found.shape[-1], self.heads, size))
        values = tf.reshape(tf.einsum("bhd,dhs->bhs", found, kernel), (-1, self.width))
        return tf.matmul(values, self.of_output)

"""Self-attention over the events and the target (BST)."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.mlp import dropout_layer
from fuxi_mtl.layers.sequences.base import SequenceEncoder, masked_softmax
from fuxi_mtl.options.encoders import (
    AttentionDropout,
    Blocks,
    Causal,
    FeedForwardWidth,
    Heads,
    NormPlace,
    TransformerPooling,
)

_SLOPE = 0.01  # of the leaky relu, torch's


class TransformerBlock(keras.layers.Layer):
    """Attention and a feed-forward network, each added to its input and normalised.

    ``post``: ``S = LN(X + MHA(X))``, ``Y = LN(S + FFN(S))``; ``pre``: ``S = X + MHA(LN X)``, ``Y = S +
    FFN(LN S)``; ``FFN(x) = W2 leaky_relu(W1 x + b1) + b2``.

    Args:
        width: Of each row.
        heads: Attention heads, of which width is a multiple.
        hidden: Hidden width of the feed-forward network.
        dropout: Share of what either adds that is dropped in training.
        norm: ``post`` or ``pre``.

    Shapes:
        ``x`` ``(batch, length, width)`` and ``allowed``, booleans that broadcast to ``(batch, heads, queries,
        length)``, to ``(batch, queries, width)``: the last row alone is a query if so asked.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, norm: str, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.width, self.heads, self.norm = width, heads, norm
        self.query, self.key, self.value, self.output_map = (
            keras.layers.Dense(width, dtype="float32") for _ in range(4)
        )
        self.inner = keras.layers.Dense(hidden, dtype="float32")
        self.outer = keras.layers.Dense(width, dtype="float32")
        self.norms = [keras.layers.LayerNormalization(dtype="float32") for _ in range(2)]
        self.dropout = dropout_layer(dropout, dtype="float32")

    def build(self, input_shape=None):
        """Creates the layers."""
        shape = (None, None, self.width)
        for layer in (self.query, self.key, self.value, self.output_map, self.inner, *self.norms):
            layer.build(shape)
        self.outer.build((None, None, self.inner.units))

    def call(self, x, allowed=None, last=False, training=False):
        """See the class."""
        pre = self.norm == "pre"
        seen = self.norms[0](x) if pre else x
        x, asking = (x[:, -1:], seen[:, -1:]) if last else (x, seen)
        x = x + self._dropped(self._attended(asking, seen, allowed), training)
        x = x if pre else self.norms[0](x)
        inner = tf.nn.leaky_relu(self.inner(self.norms[1](x) if pre else x), _SLOPE)
        x = x + self._dropped(self.outer(inner), training)
        return x if pre else self.norms[1](x)

    def _attended(self, asking: tf.Tensor, seen: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
        query, key, value = (
            self._split(self.query(asking)),
            self._split(self.key(seen)),
            self._split(self.value(seen)),
        )
        scores = tf.matmul(query, key, transpose_b=True) / (self.width // self.heads) ** 0.5
        found = tf.matmul(masked_softmax(scores, allowed), value)  # (batch, heads, queries, width of a head)
        found = tf.reshape(tf.transpose(found, (0, 2, 1, 3)), (-1, tf.shape(asking)[1], self.width))
        return self.output_map(found)

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """``(batch, length, width)`` to ``(batch, heads, length, width of a head)``."""
        shape = (-1, tf.shape(x)[1], self.heads, self.width // self.heads)
        return tf.transpose(tf.reshape(x, shape), (0, 2, 1, 3))

    def _dropped(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        return x if self.dropout is None else self.dropout(x, training=training)

    def compute_output_shape(self, x_shape, allowed_shape=None):
        """See the class."""
        return tuple(x_shape)


@keras.saving.register_keras_serializable("fuxi_mtl")
class TargetTransformer(SequenceEncoder):
    """Self-attention over the events with the target as the last of them (BST).

    Every event sees every other and the target, and padding is seen by none. A history without events is
    the target alone, so that its vector is a function of the target and not zeros. What is read of the last
    block are the target's row, the mean or the sum of all rows, or all of them side by side (``concat``): the
    target's last, the newest event's before it, zeros where there is none.

    >>> import tensorflow as tf
    >>> history = {"keys": tf.ones((1, 3, 4)), "present": tf.constant([[True, True, False]])}
    >>> TargetTransformer(heads=2)({**history, "query": tf.ones((1, 4))}).shape
    TensorShape([1, 4])

    Reference:
        Chen et al. Behavior Sequence Transformer for E-commerce Recommendation in Alibaba. DLP-KDD 2019.
    """

    asks = joins = True

    def __init__(
        self,
        *,
        blocks: Blocks = 1,
        heads: Heads = 2,
        feed_forward_width: FeedForwardWidth = None,
        dropout: AttentionDropout = 0.0,
        norm: NormPlace = "auto",
        pooling: TransformerPooling = "target",
        causal: Causal = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_blocks, self.heads, self.feed_forward_width = blocks, heads, feed_forward_width
        self.share, self.pooling, self.causal = dropout, pooling, causal
        self.ordered = causal or pooling == "concat"
        self.norm = ("post" if blocks == 1 else "pre") if norm == "auto" else norm

    def check(self, width, query):
        """The target is an event, and heads divide it."""
        super().check(width, query)
        if query != width:
            raise ValueError(f"the target is an event among those of width {width}, but is {query} wide.")
        if width % self.heads:
            raise ValueError(f"events of width {width} cannot be split among {self.heads} heads.")

    def width_at(self, length, width, query):
        """That of an event, or of all of them and the target side by side."""
        if self.pooling != "concat":
            return width
        if length is None:
            raise ValueError("pooling: concat needs histories of a known number of places.")
        return (length + 1) * width

    def create(self, width, query):
        """Creates the blocks."""
        hidden = self.feed_forward_width or width
        self.blocks = [
            TransformerBlock(width, self.heads, hidden, self.share, self.norm, name=f"block_{number}")
            for number in range(self.num_blocks)
        ]
        self.last_norm = None
        if self.norm == "pre":
            self.last_norm = keras.layers.LayerNormalization(dtype="float32")
            self.last_norm.build((None, None, width))
        for block in self.blocks:
            block.build()

    def encode(self, keys, present, query, training):
        """See the class."""
        x = tf.concat([keys, query[:, None, :]], axis=1)
        events = tf.concat([present, tf.ones_like(present[:, :1])], axis=1)
        allowed = events[:, None, None, :]
        if self.causal:
            places = tf.range(tf.shape(x)[1])
            allowed &= (places[:, None] >= places)[None, None]
        for number, block in enumerate(self.blocks, 1):
            last = self.pooling == "target" and number == self.num_blocks
            seen = allowed[:, :, -1:] if last and self.causal else allowed
            x = block(x, seen, last=last, training=training)
        if self.last_norm is not None:
            x = self.last_norm(x)
        if self.pooling == "target":
            return tf.squeeze(x, axis=1)
        x = tf.where(events[..., None], x, 0.0)
        if self.pooling == "concat":
            # A column is that of the target or of the event with so many newer ones, wherever padding is.
            # No two are equal: other runtimes know no stable order.
            behind = tf.argsort(tf.cast(events, tf.int32) * x.shape[1] + tf.range(x.shape[1]), axis=1)
            return tf.reshape(tf.gather(x, behind, batch_dims=1), (-1, x.shape[1] * x.shape[2]))
        total = tf.reduce_sum(x, axis=1)
        count = tf.reduce_sum(tf.cast(events, tf.float32), axis=1, keepdims=True)
        return total / count if self.pooling == "mean" else total

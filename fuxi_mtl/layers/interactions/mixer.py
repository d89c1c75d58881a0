"""RankMixer: tokens of features that exchange their pieces, and a network of each token's own."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.layers.interactions.base import Interaction
from fuxi_mtl.layers.mlp import dropout_layer
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.layers.stacked import EPSILON
from fuxi_mtl.options.interactions import (
    FeedForwardRatio,
    MixerBlocks,
    MixerNorm,
    TokenGroups,
    Tokenizer,
    Tokens,
    TokenWidth,
    check_named,
    check_tokens,
)


def mixed(x: tf.Tensor) -> tf.Tensor:
    """Tokens ``(batch, T, D)`` after exchanging pieces: token h is piece h of every token.

    It has no parameters, and is its own inverse.
    """
    _, count, width = x.shape
    pieces = tf.reshape(x, (-1, count, count, width // count))
    return tf.reshape(tf.transpose(pieces, (0, 2, 1, 3)), (-1, count, width))


class TokenNetworks(keras.layers.Layer):
    """``W'_t gelu(W_t s_t + b_t) + b'_t``, a network of each token's own, all of them in one product.

    Args:
        hidden: Hidden width.
        dropout: Share of hidden units dropped in training.
        penalty: Regularizer of the kernels.

    Shapes:
        ``(batch, tokens, width)`` to the same.
    """

    def __init__(self, hidden: int, dropout: float, penalty: float | str | None, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.penalty = hidden, penalty
        self.dropout = dropout_layer(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Creates the kernels, each token's as wide as Glorot's one."""
        _, count, width = input_shape
        limit = math.sqrt(6 / (width + self.hidden))

        def layer(place: str, rows: int, units: int) -> tuple[keras.Variable, keras.Variable]:
            kernel = self.add_weight(
                shape=(count, rows, units),
                initializer=keras.initializers.RandomUniform(-limit, limit),
                regularizer=regularizer(self.penalty),
                name=f"kernel_{place}",
            )
            # Of one axis: by that, weight decay knows what is no kernel.
            return kernel, self.add_weight(shape=(count * units,), initializer="zeros", name=f"bias_{place}")

        self.inner, self.inner_bias = layer("inner", width, self.hidden)
        self.outer, self.outer_bias = layer("outer", self.hidden, width)

    def call(self, x, training=False):
        """See the class."""
        count = x.shape[1]

        def product(h, kernel, bias):
            found = tf.einsum("btd,tdh->bth", h, tf.convert_to_tensor(kernel))
            return found + tf.reshape(tf.convert_to_tensor(bias), (count, -1))

        x = tf.nn.gelu(product(x, self.inner, self.inner_bias), approximate=False)
        x = x if self.dropout is None else self.dropout(x, training=training)
        return product(x, self.outer, self.outer_bias)


class MixerBlock(keras.layers.Layer):
    """``S = LN(Mix(X) + X)``, ``X' = LN(PFFN(S) + S)``; or the norms first, ``S = Mix(LN(X)) + X``.

    Args:
        ratio: Hidden width of the networks, in widths of a token.
        norm: ``post`` or ``pre``.
        dropout: Share of hidden units dropped in training.
        penalty: Regularizer of the kernels.
        width: Of a token.
    """

    def __init__(
        self, ratio: float, norm: str, dropout: float, penalty: float | str | None, width: int, **kwargs
    ):
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}
        self.is_post = norm == "post"
        self.norms = [
            keras.layers.LayerNormalization(epsilon=EPSILON, name=f"norm_{i}", **own) for i in range(2)
        ]
        self.networks = TokenNetworks(max(1, int(ratio * width)), dropout, penalty, name="networks", **own)

    def build(self, input_shape):
        """Creates norms and networks."""
        for layer in [*self.norms, self.networks]:
            layer.build(input_shape)

    def call(self, x, training=False):
        """See the class."""
        first, second = self.norms
        if self.is_post:
            x = first(mixed(x) + x)
            return second(self.networks(x, training=training) + x)
        x = mixed(first(x)) + x
        return self.networks(second(x), training=training) + x


@keras.saving.register_keras_serializable("fuxi_mtl")
class TokenMixer(Interaction):
    """Features as a few tokens that are mixed without parameters, each with a network of its own (RankMixer).

    Features are grouped, each group projected to a token of ``token_dim`` columns; with X the T tokens of a
    row a block is ``S = LN(Mix(X) + X)``, ``X' = LN(PFFN(S) + S)``. Mix cuts each token into T pieces and
    makes token h of piece h of every token; ``PFFN_t(s) = W'_t gelu(W_t s + b_t) + b'_t``. The mean of the
    tokens comes out.

    Raises:
        ValueError: A feature in no token or in two, a ``token_dim`` that cannot be cut, or too few columns.

    Differs from the paper: sparse mixtures of networks are left out.

    >>> import tensorflow as tf
    >>> groups = {"who": ["user"], "what": ["item"]}
    >>> mixer = TokenMixer({"user": (0, 2), "item": (2, 4)}, token_groups=groups, token_dim=8)
    >>> tuple(mixer(tf.ones((3, 4))).shape)
    (3, 8)

    Reference:
        Zhu et al. RankMixer: Scaling Up Ranking Models in Industrial Recommenders. CIKM 2025.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[int]],
        numbers: Sequence[str] = (),
        mlp: Mapping | None = None,
        *,
        num_tokens: Tokens = 4,
        token_groups: TokenGroups = None,
        tokenizer: Tokenizer = "separate",
        token_dim: TokenWidth = 64,
        num_blocks: MixerBlocks = 2,
        ffn_ratio: FeedForwardRatio = 2.0,
        norm: MixerNorm = "post",
        **kwargs,
    ):
        super().__init__(columns, numbers, mlp, **kwargs)
        own = {"dtype": self.dtype_policy}
        check_named({"token_groups": token_groups}, list(self.columns))
        self.groups = [list(members) for members in (token_groups or {}).values()]
        count = len(self.groups) or num_tokens
        check_tokens(count, token_dim)
        if not self.groups and self.input_width < count:
            raise ValueError(
                f"interaction.num_tokens is {count}, but the features have {self.input_width} columns in all."
            )
        if self.groups and tokenizer == "shared":
            raise ValueError(
                "interaction.tokenizer: shared is for tokens that are cut, all as wide. Leave it or "
                "token_groups out."
            )
        self.count, self.token_dim = count, token_dim
        self.is_shared = tokenizer == "shared"
        penalty = self.mlp.get("penalty")
        self.projections = [
            keras.layers.Dense(token_dim, kernel_regularizer=regularizer(penalty), name=f"token_{i}", **own)
            for i in range(1 if self.is_shared else count)
        ]
        self.blocks = [
            MixerBlock(
                ffn_ratio,
                norm,
                self.mlp.get("dropout", 0.0),
                penalty,
                token_dim,
                name=f"block_{i}",
                **own,
            )
            for i in range(num_blocks)
        ]

    def build(self, input_shape=None):
        """Creates the projections and the blocks."""
        if self.is_shared:
            self.projections[0].build((None, self.count, -(-self.input_width // self.count)))
        else:
            for projection, width in zip(self.projections, self._widths(), strict=True):
                projection.build((None, width))
        for block in self.blocks:
            block.build((None, self.count, self.token_dim))

    def _widths(self) -> list[int]:
        """Columns of each token, which differ by one at most where they are cut."""
        if self.groups:
            return [sum(end - start for start, end in map(self.columns.__getitem__, g)) for g in self.groups]
        return [len(part) for part in np.array_split(np.arange(self.input_width), self.count)]

    def tokens(self, x: tf.Tensor) -> tf.Tensor:
        """``(batch, width)`` to ``(batch, tokens, token_dim)``."""
        if self.is_shared:
            width = -(-self.input_width // self.count)
            padded = tf.pad(x, ((0, 0), (0, width * self.count - self.input_width)))
            return self.projections[0](tf.reshape(padded, (-1, self.count, width)))
        parts = [self.taken(x, members) for members in self.groups] or tf.split(x, self._widths(), axis=1)
        found = [projection(part) for projection, part in zip(self.projections, parts, strict=True)]
        return tf.stack(found, axis=1)

    def call(self, x, training=False):
        """See the class."""
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x, training=training)
        return tf.reduce_mean(x, axis=1)

    @property
    def output_width(self) -> int:
        """See the base class."""
        return self.token_dim

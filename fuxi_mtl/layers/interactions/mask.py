"""MaskNet: features times masks that all of them make."""

import itertools
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.interactions.base import Interaction
from fuxi_mtl.layers.mlp import MLP, activation_layer, dropout_layer, of_each
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.layers.stacked import EPSILON
from fuxi_mtl.options.interactions import (
    EmbeddingNorm,
    HiddenNorm,
    MaskBlocks,
    MaskNetType,
    MaskUnits,
    MaskWidth,
    NumberWidth,
    ReductionRatio,
)


class FieldNorm(keras.layers.Layer):
    """Vectors normalised one by one, each with a gain and an offset of its own.

    Args:
        widths: Of the vectors, in the order in which they come.

    Shapes:
        ``(batch, sum of the widths)`` to the same in float32.
    """

    def __init__(self, widths: Sequence[int], **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.runs = [(width, len(list(same))) for width, same in itertools.groupby(widths)]
        self.width = sum(widths)

    def build(self, input_shape=None):
        """Creates gains and offsets; of one axis, by which weight decay knows that they are no kernels."""
        own = {"shape": (self.width,), "dtype": "float32", "autocast": False}
        self.gain = self.add_weight(initializer="ones", name="gain", **own)
        self.offset = self.add_weight(initializer="zeros", name="offset", **own)

    def call(self, x):
        """See the class."""
        parts = []
        for part, (width, count) in zip(
            tf.split(tf.cast(x, tf.float32), [width * count for width, count in self.runs], axis=1),
            self.runs,
            strict=True,
        ):
            vectors = tf.reshape(part, (-1, count, width))
            mean, variance = tf.nn.moments(vectors, axes=[-1], keepdims=True)
            normed = (vectors - mean) * tf.math.rsqrt(variance + EPSILON)
            parts.append(tf.reshape(normed, (-1, count * width)))
        return tf.concat(parts, axis=1) * self.gain + self.offset

    def compute_output_shape(self, input_shape):
        """See the class."""
        return tuple(input_shape)


class NumberVectors(keras.layers.Layer):
    """A vector ``x v + c`` of each number x; without c, a norm would leave nothing of it but its sign.

    Args:
        width: Of a vector.

    Shapes:
        ``(batch, numbers)`` to ``(batch, numbers * width)``.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        """Creates v and c of each number."""
        count, normal = input_shape[-1], keras.initializers.RandomNormal
        self.vectors = self.add_weight(
            shape=(count, self.width), initializer=normal(stddev=self.width**-0.5), name="vectors"
        )
        self.origins = self.add_weight(
            shape=(count * self.width,), initializer=normal(stddev=self.width**-0.5), name="origins"
        )

    def call(self, x):
        """See the class."""
        vectors = x[:, :, None] * tf.convert_to_tensor(self.vectors)
        return tf.reshape(vectors, (-1, x.shape[1] * self.width)) + self.origins

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (input_shape[0], input_shape[1] * self.width)


class MaskBlock(keras.layers.Layer):
    """``act(LN(W_3 (mask * h)))`` with ``mask = W_2 relu(W_1 v + b_1) + b_2``.

    A mask has no bounds: it may turn a number round or make it larger.

    Args:
        masked: Width of h, and so of the mask.
        units: Width of the output.
        ratio: Hidden width of the network of the mask, in widths of h.
        norm: Whether rows are normalised.
        activation: Name of the activation.
        dropout: Share of units dropped in training.
        penalty: Regularizer of the kernels.

    Shapes:
        v ``(batch, width)`` and h ``(batch, masked)`` to ``(batch, units)``.
    """

    def __init__(
        self,
        masked: int,
        units: int,
        ratio: float,
        norm: bool,
        activation: str,
        dropout: float,
        penalty: float | str | None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}

        def dense(width: int, name: str, **options) -> keras.layers.Dense:
            return keras.layers.Dense(
                width, kernel_regularizer=regularizer(penalty), name=name, **own, **options
            )

        self.masked, self.units = masked, units
        self.aggregation = dense(max(1, int(masked * ratio)), "aggregation", activation="relu")
        self.projection = dense(masked, "projection")
        self.hidden = dense(units, "hidden", use_bias=False)
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON, name="norm", **own) if norm else None
        self.activation = activation_layer(activation, **own)
        self.dropout = dropout_layer(dropout, **own)

    def build(self, v_shape, h_shape=None):
        """Creates the layers."""
        self.aggregation.build(v_shape)
        self.projection.build((None, self.aggregation.units))
        self.hidden.build((None, self.masked))
        if self.norm is not None:
            self.norm.build((None, self.units))
        self.activation.build((None, self.units))

    def call(self, v, h, training=False):
        """See the class."""
        mask = self.projection(self.aggregation(v))
        x = self.hidden(mask * tf.cast(h, mask.dtype))
        x = self.activation(x if self.norm is None else self.norm(x))
        return x if self.dropout is None else self.dropout(x, training=training)

    def compute_output_shape(self, v_shape, h_shape=None):
        """See the class."""
        return (v_shape[0], self.units)


@keras.saving.register_keras_serializable("fuxi_mtl")
class MaskedBlocks(Interaction):
    """Blocks that multiply features by a mask made of all of them (MaskNet).

    With v the embeddings side by side and e the vectors of the features, each normalised by itself: ``mask =
    W_2 relu(W_1 v + b_1) + b_2``, and a block is ``relu(LN(W_3 (mask * h)))``. Parallel blocks all read ``h =
    e``, and an MLP lies behind them; serial ones read the block before, with a mask of v each time. The
    activation is the model's.

    Under ``emb_layernorm`` a number is a field of ``number_dim`` columns, ``x u + c``; masks see it as it is.

    Raises:
        ValueError: A vector of width 1 under ``emb_layernorm``, which would make it 0; or no block.

    >>> import tensorflow as tf
    >>> blocks = MaskedBlocks({"user": (0, 2), "item": (2, 4)}, dnn_hidden_units=[8])
    >>> tuple(blocks(tf.ones((3, 4))).shape)
    (3, 8)

    Reference:
        Wang et al. MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
        Mask. DLP-KDD 2021.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[int]],
        numbers: Sequence[str] = (),
        mlp: Mapping | None = None,
        *,
        model_type: MaskNetType = "ParallelMaskNet",
        parallel_num_blocks: MaskBlocks = 3,
        parallel_block_dim: MaskWidth = 64,
        reduction_ratio: ReductionRatio = 1.0,
        dnn_hidden_units: MaskUnits = (128, 64),
        emb_layernorm: EmbeddingNorm = True,
        net_layernorm: HiddenNorm = True,
        number_dim: NumberWidth = None,
        **kwargs,
    ):
        super().__init__(columns, numbers, mlp, **kwargs)
        own = {"dtype": self.dtype_policy}
        self.is_serial = model_type == "SerialMaskNet"
        if self.is_serial and not dnn_hidden_units:
            raise ValueError("interaction.dnn_hidden_units is empty: serial blocks have these widths.")
        self.single = self._single() if emb_layernorm else []
        self.field_norm: FieldNorm | None = None
        self.vectors: NumberVectors | None = None
        masked = self.input_width
        if emb_layernorm:
            rest = [end - start for name, (start, end) in self.columns.items() if name not in self.single]
            width = number_dim or self.most_common_width or 0
            if self.single and not width:
                raise ValueError(
                    "interaction.number_dim is missing: no feature has a vector, as wide as which those of "
                    "numbers would be."
                )
            self.field_norm = FieldNorm([*rest, *([width] * len(self.single))], name="field_norm", **own)
            self.vectors = NumberVectors(width, name="numbers", **own) if self.single else None
            masked = self.field_norm.width
        activations = self.mlp.get("activations", "relu")
        widths = list(dnn_hidden_units) if self.is_serial else [parallel_block_dim] * parallel_num_blocks
        names = of_each(widths if self.is_serial else widths[:1], activations)
        names = names if self.is_serial else names * parallel_num_blocks
        before = [masked, *widths[:-1]] if self.is_serial else [masked] * len(widths)
        self.blocks = [
            MaskBlock(
                each,
                width,
                reduction_ratio,
                net_layernorm,
                activation,
                self.mlp.get("dropout", 0.0),
                self.mlp.get("penalty"),
                name=f"block_{i}",
                **own,
            )
            for i, (each, width, activation) in enumerate(zip(before, widths, names, strict=True))
        ]
        self.stack = None if self.is_serial else MLP(dnn_hidden_units, name="stack", **self.mlp)

    def _single(self) -> list[str]:
        """The numbers that are alone in their column."""
        alone = [name for name, (start, end) in self.columns.items() if end - start == 1]
        for name in alone:
            if name not in self.numbers:
                raise ValueError(
                    f"interaction.emb_layernorm: {name!r} has a vector of width 1, which its norm makes 0. "
                    "Give it an embedding_dim of 2 or more, or set emb_layernorm: False."
                )
        return alone

    def build(self, input_shape=None):
        """Creates the layers."""
        shape = (None, self.input_width)
        if self.vectors is not None:
            self.vectors.build((None, len(self.single)))
        if self.field_norm is not None:
            self.field_norm.build((None, self.field_norm.width))
        for block in self.blocks:
            block.build(shape)
        if self.stack is not None:
            self.stack.build((None, sum(block.units for block in self.blocks)))

    def call(self, x, training=False):
        """See the class."""
        h = self._fields(x)
        if self.stack is None:
            for block in self.blocks:
                h = block(x, h, training=training)
            return h
        found = tf.concat([block(x, h, training=training) for block in self.blocks], axis=1)
        return self.stack(found, training=training)

    def _fields(self, x: tf.Tensor) -> tf.Tensor:
        """What is masked: the vectors of features, each normalised, or the input."""
        if self.field_norm is None:
            return x
        if self.vectors is not None:
            rest = [name for name in self.columns if name not in self.single]
            parts = [self.taken(x, rest)] if rest else []
            x = tf.concat([*parts, self.vectors(self.taken(x, self.single))], axis=1)
        return self.field_norm(x)

    @property
    def output_width(self) -> int:
        """See the base class."""
        total = sum(block.units for block in self.blocks)
        return self.blocks[-1].units if self.stack is None else self.stack.width(total)

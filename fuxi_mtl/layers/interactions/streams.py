"""FinalMLP: two streams of the features, each through a gate of its own, and their products."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.interactions.base import Interaction
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.interactions import (
    Context,
    FusionHeads,
    FusionWidth,
    SelectionUnits,
    StreamActivations,
    StreamDropout,
    StreamNorm,
    StreamsOutput,
    StreamUnits,
    UseGates,
    check_named,
)

CONTEXT_WIDTH = 16  # of a trained vector in the place of features, where none has a vector
START = 0.1  # its deviation: of zeros no hidden layer would ever learn


class Selection(keras.layers.Layer):
    """``2 sigmoid(MLP(c))``: a factor from 0 to 2 for each column, 1 where the MLP gives 0.

    Args:
        units: How many columns.
        hidden: Widths of the hidden layers.
        context: Width of c; None if it is a vector that is trained, the same for all rows.
        own: Width of that vector.
        penalty: Regularizer of the kernels.

    Shapes:
        c ``(batch, context)`` to ``(batch, units)``; None to ``(1, units)``.
    """

    def __init__(
        self,
        units: int,
        hidden: Sequence[int],
        context: int | None,
        own: int,
        penalty: float | str | None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.width, self.is_constant = own if context is None else context, context is None
        self.stack = MLP(hidden, "relu", penalty=penalty, name="hidden", **policy)
        self.factors = keras.layers.Dense(
            units, activation="sigmoid", kernel_regularizer=regularizer(penalty), name="factors", **policy
        )

    def build(self, input_shape=None):
        """Creates the layers, and the vector if there is no context."""
        if self.is_constant:
            normal = keras.initializers.RandomNormal(stddev=START)
            self.vector = self.add_weight(shape=(self.width,), initializer=normal, name="vector")
        self.stack.build((None, self.width))
        self.factors.build((None, self.stack.width(self.width)))

    def call(self, context, training=False):
        """See the class."""
        if self.is_constant:
            context = tf.convert_to_tensor(self.vector)[None, :]
        return 2 * self.factors(self.stack(context, training=training))


class Fusion(keras.layers.Layer):
    """Two vectors and the products of their parts, ``y = b + w_1 o_1 + w_2 o_2 + sum_j o_1j^T W_j o_2j``.

    Args:
        heads: Parts of each vector, k.
        units: How many numbers y has; None for ``[o_1, o_2, o_11^T W_1 o_21, ..., o_1k^T W_k o_2k]``, of
            which a linear layer makes any y.
        penalty: Regularizer of the kernels.

    Shapes:
        ``(batch, d_1)`` and ``(batch, d_2)`` to ``(batch, units)``, or ``(batch, d_1 + d_2 + heads)``.
    """

    def __init__(self, heads: int, units: int | None, penalty: float | str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.units, self.penalty = heads, units, penalty

    def build(self, one_shape, two_shape):
        """Creates w_1, w_2, b and W."""
        first, second = one_shape[-1], two_shape[-1]
        pairs = first * second // self.heads
        # So that the products of all parts are as wide as what they are made of; Glorot's of each are wider.
        normal = keras.initializers.RandomNormal(stddev=math.sqrt(2 / (pairs + (self.units or 1))))
        shape = (self.heads, first // self.heads, second // self.heads)
        own = {"initializer": normal, "regularizer": regularizer(self.penalty), "name": "pairs"}
        self.linear = None
        if self.units is None:
            self.pairs = self.add_weight(shape=shape, **own)
            return
        self.pairs = self.add_weight(shape=(pairs, self.units), **own)
        self.linear = keras.layers.Dense(
            self.units, kernel_regularizer=regularizer(self.penalty), dtype=self.dtype_policy, name="linear"
        )
        self.linear.build((None, first + second))

    def call(self, one, two):
        """See the class."""
        parts = [tf.reshape(o, (-1, self.heads, o.shape[1] // self.heads)) for o in (one, two)]
        if self.linear is None:
            met = tf.einsum("bhi,hij->bhj", parts[0], tf.convert_to_tensor(self.pairs))
            return tf.concat([one, two, tf.reduce_sum(met * parts[1], axis=2)], axis=1)
        products = parts[0][:, :, :, None] * parts[1][:, :, None, :]
        flat = tf.reshape(products, (-1, self.pairs.shape[0]))
        return self.linear(tf.concat([one, two], axis=1)) + tf.matmul(flat, self.pairs)

    def compute_output_shape(self, one_shape, two_shape):
        """See the class."""
        return (one_shape[0], self.units or one_shape[-1] + two_shape[-1] + self.heads)


@keras.saving.register_keras_serializable("fuxi_mtl")
class TwoStreams(Interaction):
    """Two MLPs on the features, each through a gate of its own, and a bilinear fusion (FinalMLP).

    ``f_i = 2 sigmoid(MLP(c_i)) * x`` with c_i the vectors of context features, or a trained vector where none
    is named; ``o_i = MLP_i(f_i)``; ``y = b + w_1 o_1 + w_2 o_2 + sum_j o_1j^T W_j o_2j`` over k parts of the
    streams, ``fusion_dim`` such numbers. Under ``output: streams`` come ``o_1``, ``o_2`` and the k products,
    of which a tower without hidden layers makes a y of each head's own.

    Raises:
        ValueError: A context that is no input, a stream without a layer, or widths that k does not divide.

    Differs from the paper: a context is read in the tables of the features, not in others of its own.

    >>> import tensorflow as tf
    >>> columns = {"user": (0, 2), "item": (2, 4)}
    >>> streams = TwoStreams(columns, fs1_context=["user"], fs2_context=["item"], fusion_dim=8)
    >>> tuple(streams(tf.ones((3, 4))).shape)
    (3, 8)

    Reference:
        Mao et al. FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction. AAAI 2023.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[int]],
        numbers: Sequence[str] = (),
        mlp: Mapping | None = None,
        *,
        mlp1_hidden_units: StreamUnits = (256, 128),
        mlp1_hidden_activations: StreamActivations = None,
        mlp1_dropout: StreamDropout = None,
        mlp1_batch_norm: StreamNorm = None,
        mlp2_hidden_units: StreamUnits = (256, 128),
        mlp2_hidden_activations: StreamActivations = None,
        mlp2_dropout: StreamDropout = None,
        mlp2_batch_norm: StreamNorm = None,
        use_fs: UseGates = True,
        fs_hidden_units: SelectionUnits = (64,),
        fs1_context: Context = (),
        fs2_context: Context = (),
        num_heads: FusionHeads = 4,
        output: StreamsOutput = "fusion",
        fusion_dim: FusionWidth = 64,
        **kwargs,
    ):
        super().__init__(columns, numbers, mlp, **kwargs)
        check_named({"fs1_context": fs1_context, "fs2_context": fs2_context}, list(self.columns))
        for key, units in {"mlp1": mlp1_hidden_units, "mlp2": mlp2_hidden_units}.items():
            if not units or units[-1] % num_heads:
                told = f"ends in {units[-1]}, which num_heads {num_heads} does not divide" if units else ""
                raise ValueError(f"interaction.{key}_hidden_units {told or 'is empty'}.")
        penalty, own = self.mlp.get("penalty"), {"dtype": self.dtype_policy}
        said = [
            {"activations": mlp1_hidden_activations, "dropout": mlp1_dropout, "batch_norm": mlp1_batch_norm},
            {"activations": mlp2_hidden_activations, "dropout": mlp2_dropout, "batch_norm": mlp2_batch_norm},
        ]
        self.streams = [
            MLP(units, name=f"stream_{i}", **{**self.mlp, **{k: v for k, v in each.items() if v is not None}})
            for i, (units, each) in enumerate(zip((mlp1_hidden_units, mlp2_hidden_units), said, strict=True))
        ]
        self.contexts = [list(fs1_context), list(fs2_context)]
        vector = self.most_common_width or CONTEXT_WIDTH
        self.gates = [
            Selection(
                self.input_width,
                fs_hidden_units,
                self._width(names) or None,
                vector,
                penalty,
                name=f"gate_{i}",
                **own,
            )
            for i, names in enumerate(self.contexts if use_fs else [])
        ]
        fused = fusion_dim if output == "fusion" else None
        self.fusion = Fusion(num_heads, fused, penalty, name="fusion", **own)

    def _width(self, names: Sequence[str]) -> int:
        return sum(end - start for start, end in map(self.columns.__getitem__, names))

    def build(self, input_shape=None):
        """Creates gates, streams and fusion."""
        for gate in self.gates:
            gate.build()
        for stream in self.streams:
            stream.build((None, self.input_width))
        self.fusion.build(*((None, stream.width(self.input_width)) for stream in self.streams))

    def call(self, x, training=False):
        """See the class."""
        seen = [x, x]
        if self.gates:
            contexts = [self.taken(x, names) if names else None for names in self.contexts]
            seen = [
                x * gate(context, training=training)
                for gate, context in zip(self.gates, contexts, strict=True)
            ]
        one, two = (stream(f, training=training) for stream, f in zip(self.streams, seen, strict=True))
        return self.fusion(one, two)

    @property
    def output_width(self) -> int:
        """See the base class."""
        shapes = ((None, stream.width(self.input_width)) for stream in self.streams)
        return self.fusion.compute_output_shape(*shapes)[1]

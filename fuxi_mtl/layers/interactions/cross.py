"""DCN V2: explicit products of features, one degree more a layer."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.interactions.base import Interaction
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.interactions import (
    CrossExperts,
    CrossGates,
    CrossKernel,
    CrossLayers,
    ExpertActivation,
    GateActivation,
    LowRank,
    LowRankMixture,
    ModelStructure,
    ParallelUnits,
    StackedUnits,
)

WIDEST_FULL = 512  # beyond it a matrix of all pairs is more than it is worth


class LowRankProduct(keras.layers.Layer):
    """``U V^T x + b``.

    Args:
        units: Width of the output.
        rank: Columns of U and V.
        penalty: Regularizer of both.
    """

    def __init__(self, units: int, rank: int, penalty: float | str | None = None, **kwargs):
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}
        self.narrow = keras.layers.Dense(
            rank, use_bias=False, kernel_regularizer=regularizer(penalty), name="narrow", **own
        )
        self.wide = keras.layers.Dense(units, kernel_regularizer=regularizer(penalty), name="wide", **own)

    def build(self, input_shape):
        """Creates U and V."""
        self.narrow.build(input_shape)
        self.wide.build((None, self.narrow.units))

    def call(self, x):
        """``(batch, width)`` to ``(batch, units)``."""
        return self.wide(self.narrow(x))


class ExpertProducts(keras.layers.Layer):
    """``sum_i g_i (U_i c(C_i c(V_i^T x)) + b)``, the products of all experts at once.

    Args:
        rank: Columns of each U and V.
        experts: How many there are.
        activation: Name of c.
        penalty: Regularizer of the kernels.
    """

    def __init__(
        self, rank: int, experts: int, activation: str, penalty: float | str | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.rank, self.experts, self.penalty = rank, experts, penalty
        self.activation = keras.activations.get(activation)

    def build(self, x_shape, shares_shape=None):
        """Creates the kernels, each expert's as wide as Glorot's one."""
        width, all_ranks = x_shape[-1], self.experts * self.rank

        def kernel(name: str, shape: tuple[int, ...], fans: int) -> keras.Variable:
            limit = math.sqrt(6 / fans)
            return self.add_weight(
                shape=shape,
                initializer=keras.initializers.RandomUniform(-limit, limit),
                regularizer=regularizer(self.penalty),
                name=name,
            )

        self.narrow = kernel("narrow", (width, all_ranks), width + self.rank)
        self.inner = kernel("inner", (self.experts, self.rank, self.rank), 2 * self.rank)
        self.wide = kernel("wide", (all_ranks, width), width + self.rank)
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")

    def call(self, x, shares):
        """``x`` ``(batch, width)`` and ``shares`` ``(batch, experts)`` to ``(batch, width)``."""
        shares = tf.cast(shares, x.dtype)
        narrow = tf.reshape(tf.matmul(x, self.narrow), (-1, self.experts, self.rank))
        hidden = tf.einsum("ber,ers->bes", self.activation(narrow), tf.convert_to_tensor(self.inner))
        weighed = self.activation(hidden) * shares[:, :, None]
        flat = tf.reshape(weighed, (-1, self.experts * self.rank))
        return tf.matmul(flat, self.wide) + tf.reduce_sum(shares, axis=1, keepdims=True) * self.bias

    def compute_output_shape(self, x_shape, shares_shape=None):
        """See the class."""
        return tuple(x_shape)


@keras.saving.register_keras_serializable("fuxi_mtl")
class CrossNetwork(Interaction):
    """Crosses of the features, ``x_{l+1} = x_0 * (W_l x_l + b_l) + x_l`` (DCN V2, equation 1).

    With L crosses the output holds products of up to L + 1 inputs. Of low rank ``W_l = U_l V_l^T``; a mixture
    of experts has, by a gate g, ``x_{l+1} = sum_i g_i(x_l) x_0 * (U_i c(C_i c(V_i^T x_l)) + b_l) + x_l``. An
    MLP lies beside them (parallel: crosses and MLP side by side), behind them (stacked), or both. Powers
    grow, so that the running x is float32 under every precision policy.

    >>> import tensorflow as tf
    >>> cross = CrossNetwork({"user": (0, 2), "item": (2, 4)}, model_structure="crossnet_only")
    >>> tuple(cross(tf.ones((3, 4))).shape)
    (3, 4)

    Reference:
        Wang et al. DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems. WWW 2021, equation 1 and its mixture of low-rank experts.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[int]],
        numbers: Sequence[str] = (),
        mlp: Mapping | None = None,
        *,
        model_structure: ModelStructure = "parallel",
        num_cross_layers: CrossLayers = 3,
        cross_kernel: CrossKernel = "auto",
        use_low_rank_mixture: LowRankMixture = False,
        low_rank: LowRank = None,
        num_experts: CrossExperts = 4,
        gates: CrossGates = "per_layer",
        gate_activation: GateActivation = "softmax",
        expert_activation: ExpertActivation = "tanh",
        stacked_dnn_hidden_units: StackedUnits = (256, 128),
        parallel_dnn_hidden_units: ParallelUnits = (256, 128),
        **kwargs,
    ):
        super().__init__(columns, numbers, mlp, **kwargs)
        width, penalty = self.input_width, self.mlp.get("penalty")
        own = {"dtype": self.dtype_policy}
        rank = low_rank or max(1, width // 4)
        self.structure, self.gate_activation = model_structure, gate_activation
        self.gates: list[keras.layers.Dense] = []
        if use_low_rank_mixture:
            count = num_cross_layers if gates == "per_layer" else 1
            self.gates = [
                keras.layers.Dense(num_experts, use_bias=False, dtype="float32", name=f"gate_{i}")
                for i in range(count)
            ]
        is_full = cross_kernel == "full" or (cross_kernel == "auto" and width <= WIDEST_FULL)
        self.products: list[keras.layers.Layer] = []
        for i in range(num_cross_layers):
            name = f"cross_{i}"
            if use_low_rank_mixture:
                product = ExpertProducts(rank, num_experts, expert_activation, penalty, name=name, **own)
            elif is_full:
                kernel = regularizer(penalty)
                product = keras.layers.Dense(width, kernel_regularizer=kernel, name=name, **own)
            else:
                product = LowRankProduct(width, rank, penalty, name=name, **own)
            self.products.append(product)
        self.stacked = self._stack("stacked", stacked_dnn_hidden_units)
        self.parallel = self._stack("parallel", parallel_dnn_hidden_units)

    def _stack(self, place: str, units: Sequence[int]) -> MLP | None:
        """The MLP in a place, if the structure has one there."""
        if place not in self.structure:
            return None
        if not units:
            raise ValueError(
                f"interaction.{place}_dnn_hidden_units is empty, but model_structure {self.structure} has an "
                "MLP there."
            )
        return MLP(units, name=place, **self.mlp)

    def build(self, input_shape=None):
        """Creates crosses, gates and MLPs."""
        shape = (None, self.input_width)
        for gate in self.gates:
            gate.build(shape)
        for product in self.products:
            product.build(shape)
        for stack in (self.stacked, self.parallel):
            if stack is not None:
                stack.build(shape)

    def call(self, x, training=False):
        """See the class."""
        crossed = self.crossed(x)
        parts = [crossed if self.stacked is None else self.stacked(crossed, training=training)]
        if self.parallel is not None:
            parts.append(self.parallel(x, training=training))
        return tf.concat([tf.cast(part, self.compute_dtype) for part in parts], axis=1)

    def crossed(self, x: tf.Tensor) -> tf.Tensor:
        """What the crosses make of ``(batch, width)``, as wide, in float32."""
        first = x = tf.cast(x, tf.float32)
        for i, product in enumerate(self.products):
            given = tf.cast(x, self.compute_dtype)
            if self.gates:
                found = product(given, self._shares(self.gates[i % len(self.gates)](x)))
            else:
                found = product(given)
            x = first * tf.cast(found, tf.float32) + x
        return x

    def _shares(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits) if self.gate_activation == "softmax" else tf.sigmoid(logits)

    @property
    def output_width(self) -> int:
        """See the base class."""
        behind = self.input_width if self.stacked is None else self.stacked.width(self.input_width)
        return behind + (0 if self.parallel is None else self.parallel.width(self.input_width))

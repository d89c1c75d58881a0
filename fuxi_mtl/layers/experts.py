"""Experts and the gates that mix them (Ma et al., KDD 2018, equations 6 and 7)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.over_rows import GaussianNoise
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.blocks import GateStabilize

WIDTH_MULTIPLE = 32
_RECORD: ContextVar["list[tuple[Gate, tf.Tensor]] | None"] = ContextVar("gates", default=None)


@keras.saving.register_keras_serializable("fuxi_mtl")
class Experts(Brick):
    """Several stacks f_e of equal shape over one input, each with its own start (Ma et al., equation 6).

    Args:
        num_experts: Number of experts.
        units: Widths of each expert; none makes it the identity.
        name: Name of the layer.
        trainable: Whether its variables are trained.
        dtype: Its precision.
        **mlp: Options of :class:`MLP`.

    Shapes:
        ``(batch, width)`` to ``(batch, experts, units[-1])``.

    Raises:
        ValueError: No expert.

    >>> import tensorflow as tf
    >>> tuple(Experts(num_experts=4, units=[8])(tf.ones((2, 3))).shape)
    (2, 4, 8)
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int],
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **mlp,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        if num_experts < 1:
            raise ValueError(f"num_experts is {num_experts}: at least one expert is needed.")
        mlp["dtype"] = self.dtype_policy
        self.stacks = [MLP(units, name=f"expert_{i}", **mlp) for i in range(num_experts)]

    def build(self, input_shape):
        """Creates the layers."""
        for stack in self.stacks:
            stack.build(input_shape)

    def call(self, x, training=False):
        """All experts' outputs."""
        (outputs,) = side_by_side([(stack, x) for stack in self.stacks], training=training)
        return tf.stack(outputs, axis=1)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (input_shape[0], len(self.stacks), self.stacks[0].width(input_shape[-1]))

    def last_variables(self) -> list[keras.Variable]:
        """The kernels of every expert's last layer."""
        return [variable for stack in self.stacks for variable in stack.last_variables()]


@keras.saving.register_keras_serializable("fuxi_mtl")
class Gate(Brick):
    """``g = softmax(W_g x)``, perhaps behind hidden layers; the softmax is float32 (Ma et al., equation 7).

    Args:
        num_experts: Number of experts.
        units: Widths of hidden layers.
        penalty: Regularizer of all kernels.
        name: Whose gate it is.
        stabilize: Temperature and noise of the logits; None has neither.
        experts: What the experts are called, for diagnostics; gates of one layer that call two experts the
            same mean the same expert.
        trainable: Whether its variables are trained.
        dtype: Precision of what comes before the softmax.
        **mlp: Options of :class:`MLP`.

    Shapes:
        ``(batch, width)`` to ``(batch, experts)``, each row summing to 1.

    >>> import tensorflow as tf
    >>> Gate(num_experts=4)(tf.zeros((1, 3))).numpy().tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int] = (),
        penalty: float | str | None = None,
        name: str | None = None,
        stabilize: GateStabilize | None = None,
        experts: Sequence[str] = (),
        trainable: bool = True,
        dtype: Any = None,
        **mlp,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.experts = tuple(experts) or tuple(f"expert_{i}" for i in range(num_experts))
        self.stack = MLP(units, penalty=penalty, dtype=self.dtype_policy, **mlp)
        self.logits = keras.layers.Dense(
            num_experts, kernel_regularizer=regularizer(penalty), dtype=self.dtype_policy
        )
        self.temperature = stabilize.temperature if stabilize else 1.0
        deviation = stabilize.noise_std if stabilize else 0.0
        self.noise = GaussianNoise(deviation, dtype="float32") if deviation else None

    def build(self, input_shape):
        """Creates the layers."""
        self.stack.build(input_shape)
        self.logits.build((*input_shape[:-1], self.stack.width(input_shape[-1])))

    def call(self, x, training=False):
        """The share of each expert."""
        return self.rest(self.first(x), training)

    @property
    def first(self) -> keras.layers.Dense:
        """The layer that sees the input."""
        return self.stack.first or self.logits

    def rest(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What follows the product of :attr:`first`."""
        if self.stack.hidden:
            x = self.logits(self.stack.rest(x, training))
        x = tf.cast(x, tf.float32)
        if self.noise is not None:
            x = self.noise(x, training=training)
        if self.temperature != 1:
            x /= self.temperature
        shares = tf.nn.softmax(x)
        record = _RECORD.get()
        if record is not None:
            record.append((self, shares))
        return shares

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (*input_shape[:-1], self.logits.units)


@contextmanager
def recorded_gates() -> Iterator[list[tuple[Gate, tf.Tensor]]]:
    """The gates that are called inside the block, in order, each with its ``(batch, experts)`` shares."""
    record: list[tuple[Gate, tf.Tensor]] = []
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


def record_again(shares: Mapping[Gate, tf.Tensor]) -> None:
    """Puts what became of some gates behind their calls in the place of what they gave."""
    record = _RECORD.get()
    if record is not None:
        record[:] = [(gate, shares.get(gate, found)) for gate, found in record]


def side_by_side(
    *groups: Sequence[tuple[MLP | Gate, tf.Tensor]], training: bool = False
) -> list[list[tf.Tensor]]:
    """Each layer's output for its input; layers that see the same input share one wide product.

    ``[[layer(x) for layer, x in group] for group in groups]``, but the first products of layers with a
    common input, which are most of the arithmetic of a mixture of experts, are one:
    ``x [W_1 W_2 ...] + [b_1 b_2 ...]``. Gates are a few columns of it, not narrow products of their own.

    Args:
        *groups: Experts' stacks and gates, each with its ``(batch, width)`` input.
        training: Whether dropout and norms train.
    """
    pairs = list(itertools.chain(*groups))
    together: dict[int, list[int]] = {}  # positions in `pairs` by the identity of their input
    for position, (layer, x) in enumerate(pairs):
        if layer.first is not None:
            together.setdefault(id(x), []).append(position)
    outputs = [x for _, x in pairs]  # a stack without layers is the identity
    for positions in together.values():
        layers = [pairs[position][0] for position in positions]
        products = wide_product([layer.first for layer in layers], pairs[positions[0]][1])
        for position, layer, product in zip(positions, layers, products, strict=True):
            outputs[position] = layer.rest(product, training)
    rest = iter(outputs)
    return [[next(rest) for _ in group] for group in groups]


def wide_product(layers: Sequence[keras.layers.Dense], x: tf.Tensor) -> list[tf.Tensor]:
    """``x W + b`` of several built Dense layers with one input, as one matrix product.

    The biases are a row of the matrix, against a column of ones beside `x`: their gradient then comes
    with the kernels' instead of from a pass of its own. Zeros round the inner width up, which the
    kernels of matrix libraries are fastest at.

    Returns:
        One ``(batch, units)`` tensor a layer.
    """
    width = x.shape[-1]
    padding = -(width + 1) % WIDTH_MULTIPLE
    kernel = tf.concat([layer.kernel for layer in layers], axis=1)
    bias = tf.concat([layer.bias for layer in layers], axis=0)[None]
    matrix = tf.pad(tf.concat([kernel, bias], axis=0), [[0, padding], [0, 0]])
    columns = tf.pad(tf.ones_like(x[:, :1]), [[0, 0], [0, padding]])
    product = tf.matmul(tf.concat([x, columns], axis=1), matrix)
    return tf.split(product, [layer.units for layer in layers], axis=1)


def mix(gates: Sequence[tf.Tensor], experts: tf.Tensor) -> list[tf.Tensor]:
    """``f^k = sum_e g^k_e f_e`` for every gate, in one product.

    Args:
        gates: One ``(batch, experts)`` tensor for each mixture.
        experts: ``(batch, experts, width)``.

    Returns:
        One ``(batch, width)`` tensor for each gate.
    """
    shares = tf.cast(tf.stack(gates, axis=1), experts.dtype)  # (batch, gates, experts)
    return tf.unstack(tf.matmul(shares, experts), num=len(gates), axis=1)


@keras.saving.register_keras_serializable("fuxi_mtl")
class Mixture(Brick):
    """``f^k = sum_e g^k_e f_e`` as a layer: experts weighted by one gate, or by several in one product.

    Ma et al., KDD 2018, equation 6.

    Shapes:
        Shares ``(batch, experts)``, or a dict or list of such, and experts ``(batch, experts, width)``, to a
        ``(batch, width)`` for each of the shares.

    >>> import tensorflow as tf
    >>> experts = tf.constant([[[1.0, 0.0], [3.0, 4.0]]])
    >>> gates = {"ctr": tf.constant([[0.5, 0.5]]), "cvr": tf.constant([[1.0, 0.0]])}
    >>> {name: f.numpy().tolist() for name, f in Mixture()(gates, experts).items()}
    {'ctr': [[2.0, 2.0]], 'cvr': [[1.0, 0.0]]}
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def call(self, gates, experts):
        """The mixture of each gate."""
        flat = tf.nest.flatten(gates)
        return tf.nest.pack_sequence_as(gates, mix(flat, experts))

    def compute_output_shape(self, gates_shape, experts_shape):
        """See the class."""
        shape = (experts_shape[0], experts_shape[-1])
        if isinstance(gates_shape, Mapping):
            return dict.fromkeys(gates_shape, shape)
        several = isinstance(gates_shape[0], (list, tuple))
        return [shape for _ in gates_shape] if several else shape

"""Dense layers whose weights a small network generates from a condition (APG)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.folding import ProductDense
from fuxi_mtl.layers.mlp import MLP, Stack
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.blocks.generation import BASIC, LOW_RANK, OVER_PARAMETERIZED, Generation

_BIAS = "bias"


class Generator(keras.layers.Layer):
    """A network ``reshape(A h(z) + a)`` that gives blocks of weights, all of them in one product.

    At the start a is a plain layer's weights, ``Var = 2 / (rows + columns)`` (0 for a bias), and A as wide,
    for a hidden state of variance one: a row's weights begin near those of a plain layer and learn to differ.

    Args:
        shapes: Rows and columns of each block, by name.
        hidden_units: Widths of h; none makes it the identity.
        penalty: Regularizer of all kernels.
        averaged: Number of such networks whose blocks are averaged: each starts that much wider in variance.

    Shapes:
        ``(batch, width of the condition)`` to a dict of ``(batch, rows, columns)``.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        hidden_units: Sequence[int],
        penalty: float | str | None = None,
        averaged: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.shapes = dict(shapes)
        self.sizes = [rows * columns for rows, columns in shapes.values()]
        self.hidden = MLP(hidden_units, penalty=penalty, dtype=self.dtype_policy)
        wide = {name: (2 * averaged / sum(shape)) ** 0.5 for name, shape in shapes.items()}
        self.output_layer = keras.layers.Dense(
            sum(self.sizes),
            kernel_initializer=_Blocks(wide.values(), self.sizes),
            bias_initializer=_Blocks((wide[name] * (name != _BIAS) for name in wide), self.sizes),
            kernel_regularizer=regularizer(penalty),
            name="blocks",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        """Creates the layers."""
        self.hidden.build(input_shape)
        self.output_layer.build((None, self.hidden.width(input_shape[-1])))

    def call(self, z):
        """The blocks of each row."""
        parts = tf.split(self.output_layer(self.hidden(z)), self.sizes, axis=1)
        return {
            name: tf.reshape(part, (-1, *shape))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


class _Blocks(keras.initializers.Initializer):
    """Normal numbers, each block of columns with its deviation; in a kernel, over the root of the inputs."""

    def __init__(self, deviations: Iterable[float], columns: Sequence[int]):
        self.deviations = np.repeat(np.array(list(deviations), np.float32), columns)

    def __call__(self, shape, dtype=None):
        inputs = shape[0] if len(shape) == 2 else 1
        return keras.initializers.RandomNormal(stddev=inputs**-0.5)(shape, dtype) * self.deviations


@keras.saving.register_keras_serializable("fuxi_mtl")
class GeneratedDense(Brick):
    """``y_i = x_i W_i + b_i`` with weights of each row's own, generated from its condition z_i.

    With ``G(z) = reshape(MLP(z))``, N inputs and M outputs::

        basic               W_i = G(z_i)
        low_rank            W_i = U_i S_i V_i,  each of them a G(z_i)      U_i (N, K)  S_i (K, K)  V_i (K, M)
        decomposed          W_i = U S_i V,      S_i = G(z_i), U and V shared by all rows
        over_parameterized  the same with U = U^l U^r and V = V^l V^r of inner width P > K

    All but ``basic`` compute ``((x U) S) V``: W_i is never made, and a row costs ``N K + K^2 + K M`` products
    instead of ``N M``, beside what generates ``K^2`` numbers. With several conditions, each has a generating
    network of its own, and what they generate is averaged. Products are folded for inference
    (:func:`~fuxi_mtl.layers.folding.folded`).

    Args:
        units: M.
        generation: The block ``apg``.
        penalty: Regularizer of all kernels, those of the generating networks included.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        A list of the input ``(batch, N)`` and its conditions ``(batch, width)`` to ``(batch, M)``; without a
        condition the input is its own.

    Raises:
        ValueError: ``rank_k`` is larger than N or M.

    Differs from the paper: a row vector stands on the left of its weights, where the paper has a column on
    the right of them.

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction. NeurIPS 2022:
        basic model, low-rank parameterization, decomposed feed-forwarding, parameter sharing,
        over parameterization.

    >>> import tensorflow as tf
    >>> from fuxi_mtl.options.blocks import Generation
    >>> apg = Generation(mode="decomposed", rank_k=2)
    >>> x, condition = tf.ones((2, 8)), tf.ones((2, 3))
    >>> tuple(GeneratedDense(4, apg)([x, condition]).shape)
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        generation: Generation,
        penalty: float | str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units, self.generation, self.penalty = units, generation, penalty
        generation.check_width(units, "the units of a layer,")

    def build(self, input_shape):
        """Creates the generating networks and the shared matrices."""
        (*_, inputs), *conditions = input_shape
        self.generation.check_width(inputs, "the inputs of a layer,")
        shapes = self._shapes(inputs)
        is_generated = {BASIC: ("w",), LOW_RANK: ("u", "s", "v")}.get(self.generation.mode, ("s",))
        self.order = tuple(shapes)
        generated = {name: shapes[name] for name in is_generated}
        self.bias = None
        if self.generation.generate_bias:
            generated[_BIAS] = (1, self.units)
        else:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name=_BIAS)
        self.shared = {name: self._shared(name, shapes[name]) for name in shapes if name not in generated}
        self.generators = []
        read = conditions or [(inputs,)]
        for *_, width in read:
            units = self.generation.hypernet_hidden_units
            generator = Generator(generated, units, self.penalty, averaged=len(read), dtype=self.dtype_policy)
            generator.build((None, width))
            self.generators.append(generator)

    def call(self, inputs):
        """The output of each row under its own weights."""
        x, *conditions = inputs
        made = self._generate(conditions or [x])
        for name in self.order:
            x = self.shared[name](x) if name in self.shared else _each(x, made[name])
        return x + (self.bias if _BIAS not in made else made[_BIAS][:, 0])

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (*input_shape[0][:-1], self.units)

    def kernel_variables(self) -> list[keras.Variable]:
        """What the matrix is made of: shared matrices, and the last kernels of what generates."""
        made = [generator.output_layer.kernel for generator in self.generators]
        return [*made, *(v for layer in self.shared.values() for v in layer.trainable_variables)]

    def _shapes(self, inputs: int) -> dict[str, tuple[int, int]]:
        """The matrices that a row is multiplied by, in this order."""
        rank = self.generation.rank_k
        if self.generation.mode == BASIC:
            return {"w": (inputs, self.units)}
        return {"u": (inputs, rank), "s": (rank, rank), "v": (rank, self.units)}

    def _shared(self, name: str, shape: tuple[int, int]) -> keras.layers.Layer:
        rows, columns = shape
        layer: keras.layers.Layer
        own: dict[str, Any] = {"name": name, "dtype": self.dtype_policy}
        if self.generation.mode == OVER_PARAMETERIZED:
            layer = ProductDense(columns, self.generation.overparam_p, self.penalty, **own)
        else:
            kernel = regularizer(self.penalty)
            layer = keras.layers.Dense(columns, use_bias=False, kernel_regularizer=kernel, **own)
        layer.build((None, rows))
        return layer

    def _generate(self, conditions: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        if self.generation.stop_condition_gradient:
            conditions = [tf.stop_gradient(z) for z in conditions]
        first, *others = [g(z) for g, z in zip(self.generators, conditions, strict=True)]
        if not others:
            return first
        count = 1 + len(others)
        return {
            name: tf.add_n([block, *(each[name] for each in others)]) / count for name, block in first.items()
        }


def _each(x: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Every row ``(batch, N)`` by its own matrix ``(batch, N, M)``."""
    return tf.squeeze(tf.matmul(x[:, None], matrices), axis=1)


@keras.saving.register_keras_serializable("fuxi_mtl")
class GeneratedMLP(Stack):
    """:class:`MLP` of :class:`GeneratedDense` layers: generated, normalised, activation, dropout.

    Args:
        units: Width of each layer, first to last; none makes this layer the identity.
        generation: The block ``apg``.
        **mlp: Options of :class:`~fuxi_mtl.layers.mlp.Stack`.

    Shapes:
        A list of the input ``(batch, width)`` and its conditions to ``(batch, units[-1])``. The conditions
        are the same for all layers; without one, each layer reads its own input.

    >>> import tensorflow as tf
    >>> from fuxi_mtl.options.blocks import Generation
    >>> apg = Generation(mode="decomposed", rank_k=2)
    >>> x, condition = tf.ones((2, 8)), tf.ones((2, 3))
    >>> tuple(GeneratedMLP([8, 4], apg)([x, condition]).shape)
    (2, 4)
    """

    def __init__(self, units: Sequence[int], generation: Generation, **mlp):
        self.generation = generation  # first: the layers are made by the constructor of the base class
        super().__init__(units, **mlp)

    def layer(self, units: int, penalty: float | str | None) -> GeneratedDense:
        """One of the layers."""
        return GeneratedDense(units, self.generation, penalty, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Creates the layers."""
        (*_, width), *conditions = input_shape
        for i, dense in enumerate(self.hidden):
            dense.build([(None, width), *conditions])
            width = dense.units
            self.build_rest(i, (None, width))

    def call(self, inputs, training=False):
        """Applies the layers in order."""
        x, *conditions = inputs
        for i, dense in enumerate(self.hidden):
            x = self.after(i, dense([x, *conditions]), training)
        return x

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (*input_shape[0][:-1], self.width(input_shape[0][-1]))

    def last_variables(self) -> list[keras.Variable]:
        """What the kernel of the last layer is made of; nothing for the identity."""
        return self.hidden[-1].kernel_variables() if self.hidden else []

"""Fully connected stacks: the body of experts, bottoms, gates and towers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.over_rows import BatchNormalization, Dropout
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.options.layers import ACTIVATIONS


def activation_layer(name: str | None, **kwargs) -> keras.layers.Layer:
    """The activation called `name` (FuxiCTR's spellings such as ``ReLU`` included).

    Args:
        name: None is the identity.
        **kwargs: Options of any Keras layer, such as its ``dtype``.

    Raises:
        ValueError: No such activation.
    """
    known = (name or "linear").lower().replace("leakyrelu", "leaky_relu")
    if known not in ACTIVATIONS:
        raise ValueError(f"hidden_activations: {name!r} is unknown. Known: {', '.join(ACTIVATIONS)}.")
    return keras.layers.PReLU(**kwargs) if known == "prelu" else keras.layers.Activation(known, **kwargs)


def dropout_layer(share: float, **kwargs) -> keras.layers.Layer | None:
    """Dropout of a share of units; None for a share of 0.

    Raises:
        ValueError: It is not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"net_dropout is {share:g}; it lies from 0 to below 1.")
    return Dropout(share, **kwargs) if share else None


def of_each(units: Sequence[int], activations: str | Sequence[str]) -> list[str]:
    """The activation of each layer: one for all, or one a layer; what a list has beyond is not used.

    Raises:
        ValueError: The list is too short.
    """
    names = [activations] * len(units) if isinstance(activations, str) else list(activations)
    if len(names) < len(units):  # one list serves experts, gates and towers of different depths
        raise ValueError(
            f"hidden_activations has {len(names)} entries for {len(units)} layers of {list(units)}."
        )
    return names[: len(units)]


class Stack(Brick):
    """Layers, each with a normalisation, an activation and dropout behind it, whatever the layers are.

    Args:
        units: Width of each layer, first to last; none makes this layer the identity.
        activations: One activation for all layers, or one a layer; what a list has beyond is not used.
        dropout: Share of units dropped in training, in [0, 1).
        batch_norm: Whether to normalise before each activation.
        penalty: Regularizer of the kernels, in FuxiCTR's notation.
        layer_norm: Whether to normalise each row before each activation, in place of the batch.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.
    """

    def __init__(
        self,
        units: Sequence[int],
        activations: str | Sequence[str] = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        penalty: float | str | None = None,
        layer_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden = [self.layer(width, penalty) for width in units]
        norm = keras.layers.LayerNormalization if layer_norm else BatchNormalization
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        self.norms = [norm(**own) for _ in units] if batch_norm or layer_norm else []
        self.activations = [activation_layer(name, **own) for name in of_each(units, activations)]
        self.dropout = dropout_layer(dropout, **own)

    def layer(self, units: int, penalty: float | str | None) -> keras.layers.Layer:
        """One of the layers."""
        return keras.layers.Dense(units, kernel_regularizer=regularizer(penalty), dtype=self.dtype_policy)

    def build_rest(self, i: int, shape: tuple) -> None:
        """Creates what follows layer `i`, whose output has this shape."""
        if self.norms:
            self.norms[i].build(shape)
        self.activations[i].build(shape)

    def after(self, i: int, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalisation, activation and dropout behind the product of layer `i`."""
        if self.norms:
            x = self.norms[i](x, training=training)
        x = self.activations[i](x)
        return x if self.dropout is None else self.dropout(x, training=training)

    def width(self, inputs: int) -> int:
        """The width of its output, for an input of width `inputs`."""
        return self.hidden[-1].units if self.hidden else inputs


@keras.saving.register_keras_serializable("fuxi_mtl")
class MLP(Stack):
    """Dense, batch normalisation, activation and dropout for each hidden width; options of :class:`Stack`.

    Shapes:
        ``(batch, width)`` to ``(batch, units[-1])``.

    >>> import tensorflow as tf
    >>> tuple(MLP([8, 4], activations="gelu", dropout=0.1, batch_norm=True)(tf.ones((2, 3))).shape)
    (2, 4)
    """

    def build(self, input_shape):
        """Creates the layers; without it Keras would trace :meth:`call` at each level of nesting."""
        shape = tuple(input_shape)
        for i, dense in enumerate(self.hidden):
            dense.build(shape)
            shape = (*shape[:-1], dense.units)
            self.build_rest(i, shape)

    def call(self, x, training=False):
        """Applies the layers in order."""
        return self.rest(self.hidden[0](x), training) if self.hidden else x

    @property
    def first(self) -> keras.layers.Dense | None:
        """The layer that sees the input; None for the identity."""
        return self.hidden[0] if self.hidden else None

    def rest(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What follows the product of :attr:`first`."""
        for i in range(len(self.hidden)):
            x = self.after(i, self.hidden[i](x) if i else x, training)
        return x

    def last_variables(self) -> list[keras.Variable]:
        """The kernel of the last layer; nothing for the identity."""
        return [self.hidden[-1].kernel] if self.hidden else []

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (*input_shape[:-1], self.width(input_shape[-1]))


@keras.saving.register_keras_serializable("fuxi_mtl")
class Towers(Brick):
    """One private stack a head, each ending in one number (a logit, or a regression's value) unless said.

    Args:
        names: The heads.
        units: Hidden widths, the same for every tower unless said.
        penalty: Regularizer of all kernels, the last one included.
        own: Options of single towers, by head: ``units`` and those of :class:`MLP`.
        outputs: Raw numbers of heads that end in more than one, by name.
        name: Name of the layer.
        trainable: Whether its variables are trained.
        dtype: Precision of the stacks; the heads are float32.
        **mlp: Options of :class:`MLP`.

    Shapes:
        A dict of ``(batch, width)`` by head, or one tensor for all, to a dict of ``(batch,)`` float32, or
        ``(batch, outputs)`` for a head of several.

    >>> import tensorflow as tf
    >>> heads = Towers(["ctr", "cvr"], [8])(tf.ones((2, 3)))
    >>> {name: tuple(head.shape) for name, head in heads.items()}
    {'ctr': (2,), 'cvr': (2,)}
    """

    def __init__(
        self,
        names: Sequence[str],
        units: Sequence[int],
        penalty: float | str | None = None,
        own: Mapping[str, Mapping] | None = None,
        outputs: Mapping[str, int] | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **mlp,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.names = tuple(names)
        self.widths = {head: (outputs or {}).get(head, 1) for head in names}
        common = {"units": units, "penalty": penalty, "dtype": self.dtype_policy, **mlp}
        options = [{**common, **(own or {}).get(head, {})} for head in names]
        self.stacks = [
            self.make_stack(name=f"{head}_tower", **each) for head, each in zip(names, options, strict=True)
        ]
        # The head itself is float32 under every precision policy: losses need its full range.
        self.outputs = [
            self.make_head(width, penalty, name=f"{head}_head", dtype="float32")
            for head, width in self.widths.items()
        ]

    def make_stack(self, units: Sequence[int], **options) -> Stack:
        """The hidden layers of one tower."""
        return MLP(units, **options)

    def make_head(self, units: int, penalty: float | str | None, **layer) -> keras.layers.Layer:
        """The layer of one head."""
        return keras.layers.Dense(units, kernel_regularizer=regularizer(penalty), **layer)

    def build(self, input_shape):
        """Creates the layers."""
        for name, stack, output in zip(self.names, self.stacks, self.outputs, strict=True):
            shape = tuple(input_shape[name] if isinstance(input_shape, Mapping) else input_shape)
            stack.build(shape)
            output.build((*shape[:-1], stack.width(shape[-1])))

    def start_at(self, logits: Mapping[str, float | Sequence[float]]) -> None:
        """Sets the biases of built heads, by name."""
        for name, output in zip(self.names, self.outputs, strict=True):
            if name in logits:
                output.bias.assign(np.reshape(logits[name], (self.widths[name],)))

    def call(self, x, training=False):
        """The heads of the batch, by name."""
        inputs = x if isinstance(x, Mapping) else dict.fromkeys(self.names, x)
        heads = {}
        for name, stack, output in zip(self.names, self.stacks, self.outputs, strict=True):
            hidden = tf.cast(stack(inputs[name], training=training), tf.float32)
            raw = output(hidden)
            heads[name] = tf.squeeze(raw, axis=-1) if self.widths[name] == 1 else raw
        return heads

    def compute_output_shape(self, input_shape):
        """See the class."""
        shapes = input_shape if isinstance(input_shape, Mapping) else dict.fromkeys(self.names, input_shape)
        return {
            name: (*shapes[name][:-1], *((width,) if width > 1 else ()))
            for name, width in self.widths.items()
        }

    def own_variables(self, name: str) -> list[keras.Variable]:
        """Those of one tower."""
        at = self.names.index(name)
        return [*self.stacks[at].trainable_variables, *self.outputs[at].trainable_variables]

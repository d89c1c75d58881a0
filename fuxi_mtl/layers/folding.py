"""Products of weights that inference computes once, not for every batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from fuxi_mtl.layers.regularizers import regularizer


class Foldable(keras.layers.Layer):
    """A layer that has a shorter form for inference.

    Attributes:
        is_folded: Whether :meth:`call` uses that form.
    """

    is_folded = False

    def fold(self) -> None:
        """Brings what the shorter form uses up to date with the weights."""
        raise NotImplementedError(f"{type(self).__name__} must define fold().")


@contextmanager
def folded(model: keras.Layer) -> Iterator[None]:
    """Inside, the layers of a model compute in their shorter forms, made of the weights as they are now.

    What is traced inside keeps reading what the layers folded last: it runs inside another such block, or
    where weights no longer change, as in a SavedModel.
    """
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, Foldable)]
    for layer in layers:
        layer.fold()
        layer.is_folded = True
    try:
        yield
    finally:
        for layer in layers:
            layer.is_folded = False


class ProductDense(Foldable):
    """``y = x (L R)``: a linear map with more weights than it needs, which are one matrix at inference.

    The product is that of the matrices, once a batch, never of rows with each of them in turn. It starts as
    wide as one Glorot matrix would, ``Var(L R) = 2 / (inputs + units)``.

    Args:
        units: Width of the output.
        inner: Columns of L and rows of R.
        penalty: Regularizer of L and R, in FuxiCTR's notation.

    Shapes:
        ``(batch, inputs)`` to ``(batch, units)``; L ``(inputs, inner)``, R ``(inner, units)``.
    """

    def __init__(self, units: int, inner: int, penalty: float | str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.inner, self.penalty = units, inner, penalty

    def build(self, input_shape):
        """Creates both matrices, and room for their product."""
        inputs = input_shape[-1]
        deviation = (2 / (inputs + self.units) / self.inner) ** 0.25
        self.left, self.right = (
            self.add_weight(
                shape=shape,
                initializer=keras.initializers.RandomNormal(stddev=deviation),
                regularizer=regularizer(self.penalty),
                name=name,
            )
            for name, shape in (("left", (inputs, self.inner)), ("right", (self.inner, self.units)))
        )
        # Of TensorFlow, not of Keras: it is no weight, so neither checkpoints nor counts have it.
        self.product = tf.Variable(tf.zeros((inputs, self.units)), trainable=False, name="product")

    def call(self, x):
        """The product of each row."""
        if self.is_folded:
            return tf.matmul(x, tf.cast(self.product, x.dtype))
        return tf.matmul(x, tf.matmul(self.left, self.right))

    def fold(self) -> None:
        """Multiplies L by R, in float32."""
        self.product.assign(tf.matmul(self.left.value, self.right.value))

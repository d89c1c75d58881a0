"""Regularizers in FuxiCTR's notation, of kernels and of rows of tables."""

import keras
import tensorflow as tf

from fuxi_mtl.options.layers import penalty


def regularizer(notation: float | str | None) -> keras.Regularizer | None:
    """A Keras regularizer of that penalty for one kernel, or None where there is none."""
    l1, l2 = penalty(notation)
    return keras.regularizers.L1L2(l1=l1, l2=l2 / 2) if l1 or l2 else None


def penalty_gradient(rows: tf.Tensor, notation: float | str | None) -> tf.Tensor:
    """Gradient of the penalty of some rows of a table with respect to them."""
    l1, l2 = penalty(notation)
    return l1 * tf.sign(rows) + l2 * rows if l1 else l2 * rows

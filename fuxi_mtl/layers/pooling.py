"""Pooling of the vectors of a bag."""

import keras
import tensorflow as tf

from fuxi_mtl.features import POOLINGS
from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.checks import check_choice


def pool(vectors: tf.Tensor, present: tf.Tensor, pooling: str, weights: tf.Tensor | None = None) -> tf.Tensor:
    """One vector for each bag, over the members that are present; an empty bag gives zeros.

    ``mean`` is ``sum(w e) / sum(w)``, ``sum`` is ``sum(w e)``, ``max`` is taken of ``w e`` in each
    dimension.

    Args:
        vectors: ``(..., length, width)``.
        present: ``(..., length)`` booleans.
        pooling: ``mean``, ``sum`` or ``max``.
        weights: ``(..., length)`` weights, or None for ones.

    Returns:
        ``(..., width)``.
    """
    weight = tf.cast(present, vectors.dtype)
    if weights is not None:
        weight *= tf.cast(weights, vectors.dtype)
    weighted = vectors * weight[..., None]
    if pooling == "sum":
        return tf.reduce_sum(weighted, axis=-2)
    if pooling == "mean":
        return tf.math.divide_no_nan(
            tf.reduce_sum(weighted, axis=-2), tf.reduce_sum(weight, axis=-1, keepdims=True)
        )
    lowest = tf.where(present[..., None], weighted, vectors.dtype.min)
    return tf.where(tf.reduce_any(present, axis=-1)[..., None], tf.reduce_max(lowest, axis=-2), 0.0)


@keras.saving.register_keras_serializable("fuxi_mtl")
class BagPooling(Brick):
    """:func:`pool` as a layer; which members are present is Keras's mask, such as ``mask_zero=True`` makes.

    Args:
        pooling: ``mean``, ``sum`` or ``max``.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, length, width)``, or a list of that and weights ``(batch, length)``, to ``(batch, width)``.

    Raises:
        ValueError: Unknown `pooling`.

    >>> import tensorflow as tf
    >>> vectors, present = tf.constant([[[1.0], [3.0], [9.0]]]), tf.constant([[True, True, False]])
    >>> BagPooling("mean")(vectors, mask=present).numpy().tolist()
    [[2.0]]
    """

    def __init__(self, pooling: str = "mean", **kwargs):
        super().__init__(**kwargs)
        check_choice("pooling", pooling, POOLINGS)
        self.pooling = pooling
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """One vector for each bag."""
        several = isinstance(inputs, (list, tuple))
        vectors, weights = inputs if several else (inputs, None)
        present = mask[0] if several and mask is not None else mask
        if present is None:
            present = tf.ones(tf.shape(vectors)[:-1], tf.bool)
        return pool(vectors, present, self.pooling, weights)

    def compute_mask(self, inputs, previous_mask):
        """None: a pooled bag has no members."""

    def compute_output_shape(self, input_shape):
        """See the class."""
        shape = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape
        return (*shape[:-2], shape[-1])

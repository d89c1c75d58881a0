"""Pooling of the vectors of a bag."""

import keras
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.checks import check_choice
from fuxi_mtl.options import POOLINGS


def pool(vectors: tf.Tensor, present: tf.Tensor, pooling: str, weights: tf.Tensor | None = None) -> tf.Tensor:
    """One vector for each bag, over the members that are present; an empty bag gives zeros.

    Args:
        vectors: ``(..., length, width)``.
        present: ``(..., length)`` booleans.
        pooling: A name of :data:`fuxi_mtl.options.POOLINGS`.
        weights: ``(..., length)`` weights, or None for ones.

    Returns:
        ``(..., width)``.

    Raises:
        ValueError: An unknown pooling.
    """
    weight = tf.cast(present, vectors.dtype)
    if weights is not None:
        weight *= tf.cast(weights, vectors.dtype)
    return POOLINGS[pooling].load()(vectors, weight, present)


def mean(vectors: tf.Tensor, weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:  # noqa: ARG001
    """Weighted mean of the members, ``sum(w e) / sum(w)``.

    Args:
        vectors: ``(..., length, width)``.
        weights: ``(..., length)``, 0 for absent members.
        present: ``(..., length)`` booleans.
    """
    total_weight = tf.reduce_sum(weights, axis=-1, keepdims=True)
    return tf.math.divide_no_nan(tf.reduce_sum(vectors * weights[..., None], axis=-2), total_weight)


def total(vectors: tf.Tensor, weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:  # noqa: ARG001
    """Weighted sum of the members, ``sum(w e)``.

    See :func:`mean`.
    """
    return tf.reduce_sum(vectors * weights[..., None], axis=-2)


def largest(vectors: tf.Tensor, weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Largest ``w e`` of the members in each dimension.

    See :func:`mean`.
    """
    lowest = tf.where(present[..., None], vectors * weights[..., None], vectors.dtype.min)
    return tf.where(tf.reduce_any(present, axis=-1)[..., None], tf.reduce_max(lowest, axis=-2), 0.0)


@keras.saving.register_keras_serializable("fuxi_mtl")
class BagPooling(Brick):
    """:func:`pool` as a layer; which members are present is Keras's mask, such as ``mask_zero=True`` makes.

    Args:
        pooling: A name of :data:`fuxi_mtl.options.POOLINGS`.
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

"""From the vectors of a bag to one vector."""

import tensorflow as tf


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

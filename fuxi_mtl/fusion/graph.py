"""Formulas inside a graph: what :class:`Fusion` computes, in float32."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from fuxi_mtl.fusion.formulas import FLOOR, LOGIT_MARGIN, Fusion

# One score ``(batch,)`` of an encoded batch and its predictions by task.
GraphFusion = Callable[[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]], tf.Tensor]


def graph_score(fusion: Fusion, scores: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The fused score ``(batch,)`` float32 of scores by task; to ranks, a batch is one request."""
    terms = [
        weight * _term(fusion, tf.cast(scores[name], tf.float32)) for name, weight in fusion.weights.items()
    ]
    total = tf.add_n(terms)
    return tf.exp(total) if fusion.method == "product" else total


def _term(fusion: Fusion, s: tf.Tensor) -> tf.Tensor:
    if fusion.method == "rank":
        return 1 / (graph_ranks(s, fusion.ties) + fusion.rank_constant)
    if fusion.method == "product" and fusion.alpha is not None:
        return tf.math.log1p(fusion.alpha * s)
    if fusion.method == "product" or fusion.transform == "log":
        return tf.math.log(tf.maximum(s, FLOOR))
    if fusion.transform == "logit":
        inside = tf.clip_by_value(s, LOGIT_MARGIN, 1 - LOGIT_MARGIN)
        return tf.math.log(inside) - tf.math.log1p(-inside)
    if fusion.transform == "sqrt":
        return tf.sqrt(s)
    return s if fusion.transform == "identity" else s**fusion.power


def graph_ranks(s: tf.Tensor, ties: str) -> tf.Tensor:
    """The rank of each score ``(batch,)`` within the batch, 1 the highest; ``n log n``."""
    rising = tf.sort(s)
    if ties == "dense":
        rising = tf.unique(rising).y
    above = tf.size(rising) - tf.searchsorted(rising, s, side="right")
    first = tf.cast(above, tf.float32) + 1.0
    if ties != "average":
        return first
    last = tf.cast(tf.size(rising) - tf.searchsorted(rising, s, side="left"), tf.float32)
    return (first + last) / 2

"""Formulas inside a graph: what :class:`Fusion` computes, in float64, as there."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from fuxi_mtl.fusion.formulas import FLOOR, LOGIT_END, LOGIT_MARGIN, Fusion

# One score ``(batch,)`` float64 of an encoded batch and its predictions by task.
GraphFusion = Callable[[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]], tf.Tensor]


def graph_score(fusion: Fusion, scores: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The fused score ``(batch,)`` float64 of scores by task; to ranks, a batch is one request.

    A product of small scores under large weights would be 0 in float32.
    """
    terms = [
        weight * _term(fusion, tf.cast(scores[name], tf.float64)) for name, weight in fusion.weights.items()
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
        inside = tf.clip_by_value(s, LOGIT_MARGIN, LOGIT_END)
        return tf.math.log(inside) - tf.math.log1p(-inside)
    if fusion.transform == "sqrt":
        return tf.sqrt(s)
    return s if fusion.transform == "identity" else s**fusion.power


def graph_ranks(s: tf.Tensor, ties: str) -> tf.Tensor:
    """The rank of each score ``(batch,)`` within the batch, 1 the highest; ``n log n``."""
    rising = tf.sort(s)
    if ties == "dense":
        # Counted, since other runtimes' operation for distinct numbers is not to be relied on.
        new = tf.concat([tf.ones_like(rising[:1], tf.bool), rising[1:] != rising[:-1]], axis=0)
        up_to = tf.cumsum(tf.cast(new, tf.int32))
        below = tf.gather(up_to, tf.searchsorted(rising, s, side="left"))
        return tf.cast(tf.reduce_max(up_to) - below, tf.float64) + 1
    above = tf.size(rising) - tf.searchsorted(rising, s, side="right")
    first = tf.cast(above, tf.float64) + 1
    if ties != "average":
        return first
    last = tf.cast(tf.size(rising) - tf.searchsorted(rising, s, side="left"), tf.float64)
    return (first + last) / 2

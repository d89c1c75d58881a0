"""Losses of an order within requests: pairwise, LambdaRank, ListNet.

All take lists ``(requests, rows)`` padded to one length, and return one number a request: 0, with no
gradient, for a request whose rows have one grade only, and unchanged when all scores of a request grow by a
constant.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def pairwise(grades: tf.Tensor, scores: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """The mean of ``-log sigmoid(S_i - S_j)`` over the pairs of a request with ``grade_i > grade_j``.

    Args:
        grades: ``(requests, rows)`` float32.
        scores: ``(requests, rows)`` float32.
        there: ``(requests, rows)`` bool, False for padding.

    Returns:
        ``(requests,)``.

    Reference:
        Burges et al. Learning to rank using gradient descent (RankNet). ICML 2005.
    """
    better = _better(grades, there)
    return tf.math.divide_no_nan(
        tf.reduce_sum(better * _pair_losses(scores), axis=(1, 2)), tf.reduce_sum(better, axis=(1, 2))
    )


def lambdarank(grades: tf.Tensor, scores: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """The sum of the same pair losses, each times what swapping the two would change of the NDCG.

    ``|grade_i - grade_j| |1 / log2(1 + place_i) - 1 / log2(1 + place_j)| / best DCG``; no gradient flows into
    the places. Arguments as of :func:`pairwise`.

    Reference:
        Burges, Ragno and Le. Learning to rank with nonsmooth cost functions. NIPS 2006.

    Differs from the paper: gains are the grades, not 2 to their power, as in the NDCG that is reported.
    """
    discount = 1 / tf.math.log(_places(scores, there) + 1.0) * tf.math.log(2.0)
    best = 1 / tf.math.log(_places(grades, there) + 1.0) * tf.math.log(2.0)
    ideal = tf.reduce_sum(tf.where(there, grades * best, 0.0), axis=1)[:, None, None]
    swap = tf.abs((grades[:, :, None] - grades[:, None, :]) * (discount[:, :, None] - discount[:, None, :]))
    weight = tf.stop_gradient(tf.math.divide_no_nan(swap, ideal))
    return tf.reduce_sum(_better(grades, there) * weight * _pair_losses(scores), axis=(1, 2))


def listnet(grades: tf.Tensor, scores: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of which row comes first: ``-sum_i softmax(grades)_i log softmax(S)_i``.

    Arguments as of :func:`pairwise`.

    Reference:
        Cao et al. Learning to rank: from pairwise approach to listwise approach. ICML 2007 (top one).
    """
    wanted = tf.nn.softmax(tf.where(there, grades, -1e9))
    found = tf.nn.log_softmax(tf.where(there, scores, -1e9))
    several = tf.reduce_max(_better(grades, there), axis=(1, 2))  # 1 where the order matters, else 0
    return -several * tf.reduce_sum(tf.where(there, wanted * found, 0.0), axis=1)


LOSSES: dict[str, Loss] = {"pairwise": pairwise, "lambdarank": lambdarank, "listnet": listnet}


def _better(grades: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """1 where row i has a higher grade than row j, ``(requests, i, j)``."""
    both = there[:, :, None] & there[:, None, :]
    return tf.cast(both & (grades[:, :, None] > grades[:, None, :]), tf.float32)


def _pair_losses(scores: tf.Tensor) -> tf.Tensor:
    return tf.math.softplus(scores[:, None, :] - scores[:, :, None])  # -log sigmoid(S_i - S_j)


def _places(values: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """The place of each row by falling value, from 1; padding comes last."""
    order = tf.argsort(tf.where(there, values, tf.float32.min), axis=1, direction="DESCENDING", stable=True)
    return tf.cast(tf.argsort(order, axis=1), tf.float32) + 1.0

"""Learning of personal weights on validation requests."""

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.fusion.gains import Gains
from fuxi_mtl.fusion.personal import PersonalFusion
from fuxi_mtl.fusion.ranking_losses import LOSSES
from fuxi_mtl.fusion.ranks import requests
from fuxi_mtl.options import LtrOptions

logger = logging.getLogger(__name__)


def learn(
    network: PersonalFusion,
    ids: np.ndarray,
    numeric: np.ndarray,
    scores: dict[str, np.ndarray],
    grades: np.ndarray,
    groups: np.ndarray | None,
    options: LtrOptions,
) -> dict[str, Any]:
    """Trains on some requests and keeps the epoch whose order is best on the others; the start counts, too.

    Args:
        network: Its variables change.
        ids: ``(rows, id columns)``.
        numeric: ``(rows, numeric columns)``.
        scores: ``(rows,)`` by task.
        grades: ``(rows,)``, NaN to leave a row out.
        groups: Request of each row.
        options: How to learn.

    Returns:
        ``ndcg`` of the graded label on the requests held out, after each epoch from 0 on, and ``best_epoch``.

    Raises:
        ValueError: There is no request with two grades to learn from, or none to choose by.
    """
    rng = np.random.default_rng(options.seed)
    codes = requests(groups, len(grades))
    mixed = _requests_with_two_grades(codes, grades)
    rng.shuffle(mixed)
    held = max(1, round(options.held_out * len(mixed)))
    if len(mixed) - held < 1:
        raise ValueError(
            f"fusion: {len(mixed)} validation requests have rows of two grades; ltr needs at least 2, one to "
            "learn from and one to choose by."
        )
    chooses = np.isin(codes, mixed[:held])
    judge = Gains(np.where(chooses, grades, np.nan), groups)
    learns = np.flatnonzero(np.isin(codes, mixed[held:]) & ~np.isnan(grades))
    optimizer = keras.optimizers.Adam(options.learning_rate)
    optimizer.build(network.trainable_variables)
    step = _step(network, optimizer, options)
    found, best, kept = [], 0, network.get_weights()
    for epoch in range(options.epochs + 1):
        if epoch:
            lists = cut_into_lists(codes[learns], options.list_size, rng)
            for start in range(0, len(lists), options.batch_requests):
                _take(
                    step, lists[start : start + options.batch_requests], learns, ids, numeric, scores, grades
                )
        found.append(judge(_scores_of(network, judge.rows, ids, numeric, scores, len(grades))))
        if found[epoch] > found[best]:
            best, kept = epoch, network.get_weights()
    network.set_weights(kept)
    logger.info("Personal weights: NDCG %.6f of the requests held out at epoch %d.", found[best], best)
    return {"search": f"ltr ({options.loss})", "ndcg": found, "best_epoch": best}


def cut_into_lists(codes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The rows of each request in lists of at most ``size``, at random; ``(lists, rows)``, -1 for padding."""
    order = np.lexsort((rng.random(len(codes)), codes))
    ordered = codes[order]
    start = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, np.arange(len(order)), 0))
    place = np.arange(len(order)) - start
    new = place % size == 0
    lists = np.full((int(new.sum()), min(size, int(place.max(initial=0)) + 1)), -1, np.int64)
    lists[np.cumsum(new) - 1, place % size] = order
    return lists[rng.permutation(len(lists))]


def _requests_with_two_grades(codes: np.ndarray, grades: np.ndarray) -> np.ndarray:
    low, high = np.full(codes.max(initial=-1) + 1, np.inf), np.full(codes.max(initial=-1) + 1, -np.inf)
    known = ~np.isnan(grades)
    np.minimum.at(low, codes[known], grades[known])
    np.maximum.at(high, codes[known], grades[known])
    return np.flatnonzero(high > low)


def _step(network: PersonalFusion, optimizer: keras.Optimizer, options: LtrOptions):
    loss_of = LOSSES[options.loss]

    @tf.function(autograph=False, reduce_retracing=True)
    def step(ids, numeric, scores, grades, there):
        with tf.GradientTape() as tape:
            total = network.score({"ids": ids, "numeric": numeric}, scores)
            loss = tf.reduce_mean(loss_of(grades, tf.reshape(total, tf.shape(grades)), there))
        gradients = tape.gradient(loss, [each.value for each in network.trainable_variables])
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    return step


def _take(step, lists, learns, ids, numeric, scores, grades) -> None:
    """One step on a batch of lists; padding repeats some row and does not count."""
    there, rows = lists >= 0, learns[lists].ravel()
    step(
        tf.constant(ids[rows]),
        tf.constant(numeric[rows]),
        {name: tf.constant(values[rows], tf.float32) for name, values in scores.items()},
        tf.constant(grades[rows].reshape(lists.shape), tf.float32),
        tf.constant(there),
    )


def _scores_of(network, rows, ids, numeric, scores, count) -> np.ndarray:
    """The fused scores of some rows among all, 0 elsewhere."""
    total = np.zeros(count)
    total[rows] = network.score_rows(ids[rows], numeric[rows], {name: s[rows] for name, s in scores.items()})
    return total

"""Fitting of a calibration map for each head, from the loss itself or from validation labels."""

import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf

from fuxi_mtl.evaluation.calibration.maps import Calibration, Map, Resampled, Unweighted
from fuxi_mtl.evaluation.calibration.values import VALUE_MAPS, ValueMap
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.options import CALIBRATIONS, ImbalanceOptions
from fuxi_mtl.tasks import Task, root_of

logger = logging.getLogger(__name__)


def closed_form(
    imbalance: Imbalance, tasks: Sequence[Task], trained: Collection[str], step: int
) -> Calibration:
    """Undoes what the loss of rare positives did to the probabilities.

    Exact where the heads can be what the loss wants; a clip that has just fallen, or a head that had not
    settled, leaves a bias that only :func:`fitted` sees.

    Args:
        imbalance: How the model was trained.
        tasks: What it predicts.
        trained: Names of the tasks with a loss of their own.
        step: The optimizer step whose weights count.
    """
    focal, at = imbalance.options.aux_focal, tf.constant(step, tf.int64)
    maps: dict[str, Map] = {}
    for task in tasks:
        weight = imbalance.pos_weight(task.name, at) if task.name in trained else None
        on = focal.enabled and task.name == focal.target_head and step >= focal.warmup_steps
        if weight is not None or (on and focal.lambda_ > 0):
            maps[task.name] = Unweighted(
                1.0 if weight is None else float(weight),
                focal.lambda_ if on else 0.0,
                focal.gamma,
                focal.alpha if focal.use_alpha else None,
            )
    resampled = _resampled(imbalance.options, tasks)
    if not maps and resampled is None:
        return Calibration("closed_form")
    pairs = _ratios(tasks, trained), _products(tasks, trained)
    return Calibration("closed_form", maps, *pairs, resampled)


def fitted(
    method: str,
    tasks: Sequence[Task],
    trained: Collection[str],
    labels: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
) -> Calibration:
    """Fits each binary head to the labels of rows that it was not trained on.

    A conditional head that its own labels have not trained, as ESMM's conversion rate, is the ratio of its
    joint task and its condition after their calibration: fitted by itself it would contradict them, and it
    would be fitted to clicked rows only. A joint head without a loss of its own is the product likewise.

    Args:
        method: A name of :data:`~fuxi_mtl.options.CALIBRATIONS` whose map has a fit.
        tasks: What the model predicts.
        trained: Names of the tasks with a loss of their own.
        labels: ``(rows,)`` labels by task, NaN where not defined.
        probabilities: ``(rows,)`` predictions without calibration, by task.

    Raises:
        ValueError: The method is unknown, or not fitted.
    """
    kind = CALIBRATIONS[method].load()
    if kind in (None, Unweighted):
        raise ValueError(f"calibration {method!r} is not fitted to rows.")
    ratios, products = _ratios(tasks, trained), _products(tasks, trained)
    maps: dict[str, Map] = {}
    for task in tasks:
        if task.kind != "binary" or task.name in (*ratios, *products):
            continue
        known = ~np.isnan(labels[task.name])
        y, p = labels[task.name][known], np.asarray(probabilities[task.name], np.float64)[known]
        if len(np.unique(y)) < 2:
            logger.warning("%s is not calibrated: its %d validation labels are all alike.", task.name, len(y))
            continue
        maps[task.name] = kind.fit(p, y)
    return Calibration(method, maps, ratios, products)


def fitted_values(
    method: str,
    tasks: Sequence[Task],
    labels: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
) -> dict[str, ValueMap]:
    """Fits the value of each regression to the labels of rows that it was not trained on.

    Args:
        method: ``ratio`` or ``isotonic``.
        tasks: What the model predicts.
        labels: ``(rows,)`` labels by task, NaN where not defined.
        values: ``(rows,)`` predictions without calibration, by task.
    """
    maps: dict[str, ValueMap] = {}
    for task in tasks:
        if task.kind != "regression":
            continue
        known = ~np.isnan(labels[task.name])
        y = labels[task.name][known].astype(np.float64)
        v = np.asarray(values[task.name], np.float64)[known]
        if not len(y):
            logger.warning("%s is not calibrated: no validation row has a label.", task.name)
            continue
        try:
            maps[task.name] = VALUE_MAPS[method].fit(v, y)
        except ValueError as error:
            logger.warning("%s is not calibrated by %s: %s.", task.name, method, error)
    return maps


def _resampled(options: ImbalanceOptions, tasks: Sequence[Task]) -> Resampled | None:
    root = root_of(tasks)
    if options.negative_sampling != "plain" or root is None:
        return None
    shrinks = [task.name for task in tasks if (task.kind == "binary" and not task.given) or task == root]
    return Resampled(root.name, options.neg_keep_prob_train, tuple(shrinks))


def _ratios(tasks: Sequence[Task], trained: Collection[str]) -> dict[str, tuple[str, str]]:
    """The joint task and the condition of each conditional task that has no loss of its own."""
    chains = [chain for chain in _chains(tasks) if chain[1] not in trained]
    return {conditional: (joint, given) for given, conditional, joint in chains}


def _products(tasks: Sequence[Task], trained: Collection[str]) -> dict[str, tuple[str, str]]:
    """The condition and the conditional task of each joint task that has no loss of its own, if they have."""
    chains = [chain for chain in _chains(tasks) if chain[1] in trained and chain[2] not in trained]
    return {joint: (given, conditional) for given, conditional, joint in chains}


def _chains(tasks: Sequence[Task]) -> list[tuple[str, str, str]]:
    """Names of a condition, a conditional task, and the joint task that is their product."""
    binary = [task for task in tasks if task.kind == "binary"]
    whole = {frozenset(task.event): task.name for task in binary if not task.given}
    chains = []
    for task in binary:
        given, joint = whole.get(frozenset(task.given)), whole.get(frozenset((*task.given, *task.event)))
        if task.given and given is not None and joint is not None:
            chains.append((given, task.name, joint))
    return chains

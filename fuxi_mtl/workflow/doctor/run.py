"""Checks of what a run has stored: scores, metrics and the course of its training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fuxi_mtl.config import load_resolved
from fuxi_mtl.metrics import auc
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.doctor.findings import Finding

PERFECT_AUC = 0.99
_FAR_ERRORS = 4  # standard errors between predicted and observed positives
_FAR_RATIO = 1.25
_DROP = 0.05  # of AUC between validation and test
_CERTAIN = 1e-6
_LOSSES_APART = 1000.0


def examine_run(run: Run) -> list[Finding]:
    """What is wrong with a finished run, or worth a look.

    Args:
        run: Finished; what it has not stored is not looked at, and said.

    Raises:
        ValueError: It is not finished, or damaged.
    """
    metrics = run.read_json(run.metrics, "tasks", "seed")
    history = run.read_json(run.history)["evaluations"]
    findings = [*_undefined(metrics), *_losses(history)]
    if load_resolved(run.config, run.expid).training.final_weights != "last":
        findings += _length(history, metrics.get("best_step"))
    aucs: dict[str, dict[str, float]] = {}
    for split in ("valid", "test"):
        stored = run.read_scores(split)
        if stored is None:
            if split in metrics:
                findings.append(
                    Finding(False, f"{split}: no scores are stored.", "save_predictions: True stores them.")
                )
            continue
        for task in metrics["tasks"]:
            label, score = stored.arrays[f"{task}_label"], stored.arrays[f"{task}_pred"]
            known = ~np.isnan(label)
            findings += _scores(
                f"task {task}, {split}", label[known], score[known], aucs.setdefault(task, {})
            )
    findings += _drops(aucs)
    return findings


def _scores(where: str, y: np.ndarray, p: np.ndarray, aucs: dict[str, float]) -> Iterator[Finding]:
    """Scores that are constant, certain, in no order or in a perfect one, or off in the mean.

    Args:
        where: Task and split.
        y: ``(rows,)`` labels that are not missing.
        p: ``(rows,)`` their predictions.
        aucs: Gets the AUC, by split.
    """
    if not len(y):
        return
    values, counts = np.unique(p, return_counts=True)
    if counts.max() > 0.99 * len(p) and len(p) > 1:
        share, value = counts.max() / len(p), values[counts.argmax()]
        yield Finding(
            True,
            f"{where}: {share:.1%} of the predictions are {value:.6g}.",
            "The network does not reach this head: look at weights of losses, learning_rate and at NaN or "
            "huge numbers among the inputs.",
        )
        return
    if not np.isin(y, (0, 1)).all() or (y == y[0]).all():
        return  # a number, or one class, which the data say
    value, positives = auc(y, p), int(y.sum())
    aucs[where.rpartition(" ")[2]] = value
    error = math.sqrt((len(y) + 1) / (12 * positives * (len(y) - positives)))  # of an AUC of chance
    if abs(value - 0.5) < 2 * error:
        yield Finding(
            True,
            f"{where}: AUC {value:.4f} is no better than chance (standard error {error:.4f}).",
            "Are rows and labels of one order? Does its loss fall? Try it alone: model: SingleTask.",
        )
    elif value < 0.5:
        yield Finding(
            True, f"{where}: AUC {value:.4f} is below .5.", "Is the label turned round, or drawn otherwise?"
        )
    elif value > PERFECT_AUC:
        yield Finding(
            True,
            f"{where}: AUC {value:.4f} is too good.",
            "An input knows the outcome: see the findings on the data, and what is logged after it.",
        )
    yield from _level(where, y, p)


def _level(where: str, y: np.ndarray, p: np.ndarray) -> Iterator[Finding]:
    """Probabilities whose mean is off beyond chance, and those that are all but certain."""
    expected, observed = float(p.sum(dtype=np.float64)), float(y.sum(dtype=np.float64))
    error = math.sqrt(float((p * (1 - p)).sum(dtype=np.float64))) if ((p >= 0) & (p <= 1)).all() else math.inf
    apart = max(expected, observed) > _FAR_RATIO * min(expected, observed)
    if abs(expected - observed) > _FAR_ERRORS * error and apart:
        yield Finding(
            False,
            f"{where}: {expected:,.0f} positives predicted, {observed:,.0f} observed.",
            "Weights of positives or sampled negatives do that, and other base rates: see calibration.",
        )
    certain = float(((p < _CERTAIN) | (p > 1 - _CERTAIN)).mean())
    if certain > 0.5:
        yield Finding(
            False,
            f"{where}: {certain:.1%} of the probabilities are 0 or 1 to six digits.",
            "The model is overconfident: a regularizer, dropout, a smaller learning_rate or fewer epochs.",
        )


def _drops(aucs: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    for task, found in aucs.items():
        if len(found) == 2 and found["valid"] - found["test"] > _DROP:
            yield Finding(
                False,
                f"task {task}: AUC {found['valid']:.4f} on validation and {found['test']:.4f} on test rows.",
                "Do rows of test come later, or from others? Choose by rows that are like those.",
            )


def _undefined(metrics: Mapping[str, Any]) -> Iterator[Finding]:
    for split, reasons in metrics.get("undefined", {}).items():
        for metric, reason in reasons.items():
            yield Finding(False, f"{split}: {metric} is undefined: {reason}.")


def _length(history: Sequence[Mapping[str, Any]], best_step: int | None) -> Iterator[Finding]:
    """Trainings that were best at their first evaluation, or still became better at their last."""
    if best_step is None or len(history) < 2:
        return
    steps = [record["step"] for record in history]
    if best_step == steps[0] and len(steps) > 2:
        yield Finding(
            False,
            f"the first of {len(steps)} evaluations, at step {best_step:,}, was the best.",
            "It learns by heart: a regularizer, net_dropout, a smaller learning_rate, or eval_steps to see "
            "what comes before.",
        )
    elif best_step == steps[-1]:
        yield Finding(
            False,
            f"the last of {len(steps)} evaluations, at step {best_step:,}, was the best.",
            "It was still learning: more epochs, or a larger learning_rate.",
        )


def _losses(history: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Weighted losses far apart."""
    if not history:
        return
    last = history[-1]
    losses = {name: abs(loss * last["weights"].get(name, 1.0)) for name, loss in last["losses"].items()}
    losses = {name: loss for name, loss in losses.items() if loss > 0}
    if len(losses) > 1 and max(losses.values()) > _LOSSES_APART * min(losses.values()):
        most, least = max(losses, key=losses.__getitem__), min(losses, key=losses.__getitem__)
        yield Finding(
            False,
            f"weighted losses lie apart: {most} {losses[most]:.4g}, {least} {losses[least]:.4g}.",
            "The larger one decides alone where the shared network goes: a normalizer of its label, or "
            "loss_weight.",
        )

"""Checks of an encoded dataset: labels, features, and what the encoding itself warns of."""

import math
from collections.abc import Iterator, Sequence

from fuxi_mtl.dataset import Dataset
from fuxi_mtl.dataset.checks import LEAK_AUC, single_aucs
from fuxi_mtl.evaluation.monitor import FEW_POSITIVES
from fuxi_mtl.tasks import Task, required_events
from fuxi_mtl.workflow.doctor.findings import Finding
from fuxi_mtl.workflow.opening import LabelCounts, label_counts

SUSPECT_AUC = 0.9  # of one feature alone
COLD_SHARE = 0.2  # of entries that no vocabulary knows
ROWS_PER_ID = 2  # fewer training rows for each id of a feature say next to nothing of it
SAMPLE_ROWS = 100_000
_FAR_ERRORS = 4  # standard errors between two base rates
_FAR_RATIO = 1.5


def examine_data(dataset: Dataset, tasks: Sequence[Task]) -> list[Finding]:
    """What is wrong with a dataset, or worth a look.

    Args:
        dataset: Encoded.
        tasks: What is to be predicted.
    """
    binary = {task.event[0] for task in tasks if task.kind == "binary"}
    return [
        *(Finding(False, warning) for warning in dataset.warnings),
        *_labels(dataset, tasks),
        *_features(dataset),
        *_suspects(dataset, sorted(binary), tasks),
    ]


def _labels(dataset: Dataset, tasks: Sequence[Task]) -> Iterator[Finding]:
    """Tasks without one of the classes, with few positives, or with another base rate than in training."""
    splits = [split for split in (dataset.train, dataset.valid, dataset.test) if split is not None]
    counts = {split.name: label_counts(split, tasks) for split in splits}
    for task in tasks:
        if task.kind != "binary":
            continue
        trained = counts["train"][task.name]
        for split in splits:
            found = counts[split.name][task.name]
            yield from _classes(task, split.name, found)
            if split.name != "train":
                yield from _shift(task, split.name, trained, found)


def _classes(task: Task, split: str, found: LabelCounts) -> Iterator[Finding]:
    where = f"task {task.name} ({task.expression}), {split}"
    if not found.defined:
        yield Finding(
            True, f"{where}: no row has a label.", "Check the events of the task and its conditions."
        )
    elif found.positives in (0, found.defined):
        yield Finding(
            True,
            f"{where}: {found.positives:,} of {found.defined:,} rows are positive.",
            "Its AUC is undefined and nothing can be learned. Take more rows, or leave the task out.",
        )
    elif split != "train" and found.positives < FEW_POSITIVES:
        error = auc_error(0.75, found.positives, found.defined - found.positives)
        yield Finding(
            False,
            f"{where}: {found.positives:,} positives; the standard error of an AUC of .75 is about "
            f"{error:.3f}.",
            "Watch another task or logloss (monitor), or take more rows.",
        )


def auc_error(value: float, positives: int, negatives: int) -> float:
    """The standard error of an AUC.

    ``var = (A (1 - A) + (n1 - 1) (A / (2 - A) - A^2) + (n0 - 1) (2 A^2 / (1 + A) - A^2)) / (n1 n0)``

    Reference:
        J. A. Hanley and B. J. McNeil, The meaning and use of the area under a ROC curve, Radiology 1982.
    """
    one, other = value / (2 - value) - value**2, 2 * value**2 / (1 + value) - value**2
    spread = value * (1 - value) + (positives - 1) * one + (negatives - 1) * other
    return math.sqrt(spread / (positives * negatives))


def _shift(task: Task, split: str, trained: LabelCounts, found: LabelCounts) -> Iterator[Finding]:
    """A base rate that differs from training's beyond chance, and by half or more."""
    if not (trained.defined and found.defined and trained.positives and found.positives):
        return
    rates = trained.positives / trained.defined, found.positives / found.defined
    pooled = (trained.positives + found.positives) / (trained.defined + found.defined)
    error = math.sqrt(pooled * (1 - pooled) * (1 / trained.defined + 1 / found.defined))
    if error and abs(rates[0] - rates[1]) > _FAR_ERRORS * error and max(rates) > _FAR_RATIO * min(rates):
        yield Finding(
            False,
            f"task {task.name}: {rates[0]:.3%} are positive in train and {rates[1]:.3%} in {split}.",
            "Are the splits drawn alike? Otherwise probabilities need a calibration on recent rows.",
        )


def _features(dataset: Dataset) -> Iterator[Finding]:
    """Inputs that say nothing, that are mostly unknown, or whose ids hardly come twice."""
    train = dataset.train
    step = max(train.rows // SAMPLE_ROWS, 1)
    ids, numeric = train.ids[::step], train.numeric[::step]
    for feature in dataset.feature_map.features:
        values = (ids if feature.has_ids else numeric)[:, feature.columns]
        if len(values) > 1 and (values == values[0]).all():
            yield Finding(
                False,
                f"feature {feature.name}: one value in all of {len(values):,} training rows looked at.",
                "Is it read right? It tells nothing: active: False leaves it out.",
            )
        rows_per_id = train.rows * feature.max_len / max(feature.vocab_size - 2, 1)
        if feature.has_ids and feature.share_embedding is None and rows_per_id < ROWS_PER_ID:
            yield Finding(
                False,
                f"feature {feature.name}: {feature.vocab_size - 2:,} ids for {train.rows:,} training rows.",
                "Is it the id of a row or a request? Otherwise min_categr_count leaves out what is rare.",
            )
    for split, shares in dataset.unknown.items():
        for name, share in shares.items():
            if share > COLD_SHARE:
                yield Finding(
                    False,
                    f"feature {name}: {share:.1%} of its entries in {split} are unknown.",
                    "New ids are one id to the model: hash_bucket, a coarser feature beside it, or newer "
                    "training rows help.",
                )


def _suspects(dataset: Dataset, binary: Sequence[str], tasks: Sequence[Task]) -> Iterator[Finding]:
    """Features that alone nearly tell a label; those that tell it are warned of by the encoding."""
    features = dataset.feature_map.features
    for label, feature, score in single_aucs(dataset.train, features, binary, required_events(tasks)):
        if SUSPECT_AUC < score <= LEAK_AUC:
            yield Finding(
                False,
                f"feature {feature} alone has an AUC of {score:.3f} against label {label}.",
                "Is it known before the outcome?",
            )

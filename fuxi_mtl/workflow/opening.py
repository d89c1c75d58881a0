"""What the log says of data before a training: rows, labels, unknown ids, and what became of columns."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fuxi_mtl.dataset import Column, Dataset, Split
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number
from fuxi_mtl.dataset.splits import labels_of
from fuxi_mtl.features import Feature
from fuxi_mtl.tasks import Task
from fuxi_mtl.workflow.log_file import DETAIL

logger = logging.getLogger(__name__)

MOST_COLUMNS = 20  # that the terminal shows, those with the most ids first
_BLOCK_ROWS = 1 << 20


def tell_data(dataset: Dataset, tasks: Sequence[Task]) -> dict[str, Any]:
    """Puts it into the log.

    Args:
        dataset: Encoded.
        tasks: What is predicted.

    Returns:
        What a run keeps of it: ``labels`` by split and task, and ``unknown``, the share of entries that no
        vocabulary knows, by split and input.
    """
    counted = _counted(dataset, tasks)
    shown, more = column_lines(dataset)
    for line in (*_label_lines(dataset, tasks, counted), *shown):
        logger.info("%s", line)
    for line in more:
        logger.info("%s", line, extra=DETAIL)
    labels = {split: {name: counts.plain() for name, counts in of.items()} for split, of in counted.items()}
    return {"labels": labels, "unknown": {split: dict(shares) for split, shares in dataset.unknown.items()}}


def label_lines(dataset: Dataset, tasks: Sequence[Task]) -> list[str]:
    """Rows by split, then labels by task and split.

    Args:
        dataset: Encoded.
        tasks: What is predicted.
    """
    return _label_lines(dataset, tasks, _counted(dataset, tasks))


def _splits(dataset: Dataset) -> list[Split]:
    return [split for split in (dataset.train, dataset.valid, dataset.test) if split is not None]


def _counted(dataset: Dataset, tasks: Sequence[Task]) -> dict[str, dict[str, "LabelCounts"]]:
    return {split.name: label_counts(split, tasks) for split in _splits(dataset)}


def _label_lines(
    dataset: Dataset, tasks: Sequence[Task], counted: Mapping[str, Mapping[str, "LabelCounts"]]
) -> list[str]:
    splits = _splits(dataset)
    heading = f"Data {dataset.feature_map.dataset_id}"
    lines = [f"{heading}: {', '.join(f'{split.rows:,} {split.name}' for split in splits)} rows."]
    for task in tasks:
        told = ", ".join(f"{split.name} {counted[split.name][task.name]}" for split in splits)
        lines.append(f"Task {task.name} ({task.expression}): {told}.")
    return lines


class LabelCounts:
    """What the labels of one task are in one split.

    Attributes:
        defined: Rows in which the task is defined.
        positives: Those whose label is 1.
        total: The sum of the labels.
    """

    def __init__(self, task: Task):
        self._task = task
        self.defined = self.positives = 0
        self.total = 0.0

    def observe(self, labels: np.ndarray) -> None:
        """Takes in ``(rows,)`` labels, NaN where the task is not defined."""
        y = labels[~np.isnan(labels)]
        self.defined += len(y)
        self.positives += int(np.count_nonzero(y == 1))
        self.total += float(y.sum(dtype=np.float64))

    def plain(self) -> dict[str, float]:
        """As a run keeps it: how many rows, and of events the positives, of numbers their mean."""
        if self._task.kind == "binary":
            return {"rows": self.defined, "positives": self.positives}
        if self._task.kind == "regression" and self.defined:
            return {"rows": self.defined, "mean": self.total / self.defined}
        return {"rows": self.defined}

    def __str__(self) -> str:
        if not self.defined:
            return "no label"
        if self._task.kind == "binary":
            return f"{self.positives:,} of {self.defined:,} ({self.positives / self.defined:.2%})"
        if self._task.kind == "regression":
            return f"{self.defined:,} with mean {self.total / self.defined:.4g}"
        return f"{self.defined:,}"


def label_counts(split: Split, tasks: Sequence[Task]) -> dict[str, LabelCounts]:
    """The labels of each task in a split, counted in blocks of its rows."""
    found = {task.name: LabelCounts(task) for task in tasks}
    for start in range(0, split.rows, _BLOCK_ROWS):
        events = split.events[start : start + _BLOCK_ROWS]
        for name, labels in labels_of(events, split.event_names, tasks).items():
            found[name].observe(labels)
    return found


def column_lines(dataset: Dataset) -> tuple[list[str], list[str]]:
    """What became of each column, those with the most ids first.

    Returns:
        What the terminal shows, and the lines that it leaves to the log file.
    """
    features = dataset.feature_map.features
    pairs = sorted(zip(features, dataset.encoder.columns, strict=True), key=lambda pair: -pair[0].vocab_size)
    lines = [
        f"Column {feature.name}: {', '.join(_became(feature, column, dataset))}." for feature, column in pairs
    ]
    carried = ", ".join(dataset.train.meta_columns)
    told = [f"Columns carried along, not learned from: {carried}."] if carried else []
    if len(lines) <= MOST_COLUMNS:
        return [*lines, *told], []
    rest = len(lines) - MOST_COLUMNS
    more = f"{rest} more columns are in the log file, and here with --verbose."
    return [*lines[:MOST_COLUMNS], more, *told], lines[MOST_COLUMNS:]


def _became(feature: Feature, column: Column, dataset: Dataset) -> Iterator[str]:
    """What a column became, and how much of it no vocabulary knows."""
    rule, bag = column.rule, feature.type == "sequence"
    if bag:
        yield f"sequence of at most {feature.max_len}"
    elif feature.type == "embedding":
        yield f"vector of {feature.max_len} numbers"
    if isinstance(rule, Number):
        if feature.type != "embedding":
            yield "number"
        if rule.log:
            yield "logarithm"
        if (rule.offset, rule.scale) != (0.0, 1.0):
            yield f"less {rule.offset:.4g}, divided by {rule.scale:.4g}"
    elif isinstance(rule, Buckets):
        yield f"number in {len(rule.boundaries) + 1} buckets"
    elif isinstance(rule, HashBuckets):
        yield f"hashed into {rule.buckets:,}"
    elif isinstance(rule, Ids):
        yield f"ids of its own below {rule.count:,}"
    elif feature.share_embedding is not None:
        yield f"ids of {dataset.feature_map.owner(feature).name}"
    else:
        yield f"{len(dataset.encoder.tokens.get(feature.name, ())):,} ids"
    shares = [
        (split, found[feature.name]) for split, found in dataset.unknown.items() if feature.name in found
    ]
    told = ", ".join(f"{share:.2%} in {split}" for split, share in shares if share)
    if told:
        yield f"unknown {told}"

"""Metrics of a split for the rows of each value of a column."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Encoder, Split
from fuxi_mtl.dataset.raw import is_missing
from fuxi_mtl.dataset.rules import Ids
from fuxi_mtl.evaluation.evaluate import Scores, evaluate, metrics_of
from fuxi_mtl.evaluation.measure import groups, sample_weights
from fuxi_mtl.metrics import Parts

MOST_VALUES = 100
MISSING, UNKNOWN = "(missing)", "(unknown)"


def breakdown(
    split: Split,
    encoder: Encoder,
    experiment: Experiment,
    predictions: Mapping[str, np.ndarray],
    scores: Scores,
    parts: Mapping[str, Parts] = MappingProxyType({}),
) -> dict[str, Any]:
    """``metrics_by``: rows, positives and metrics of every task for each value, the most frequent first.

    Args:
        split: The rows.
        encoder: Of its inputs.
        experiment: With ``metrics_by``.
        predictions: ``(rows,)`` by task.
        scores: The metrics of all rows, whose decision thresholds are kept.
        parts: What is predicted beside the values, by task.
    """
    column = experiment.evaluation.metrics_by or ""
    values = values_of(split, encoder, column)
    labels, group = split.labels(experiment.outputs), groups(split, experiment.evaluation.group_id)
    weights = sample_weights(split, experiment.evaluation)
    found = {}
    for value, rows in values.value_counts(sort=True).iter_rows():
        here = (values == value).to_numpy()
        own = {name: y[here] for name, y in labels.items()}
        of_value = evaluate(
            experiment.outputs,
            own,
            {name: p[here] for name, p in predictions.items()},
            experiment.evaluation,
            groups=None if group is None else group[here],
            thresholds=scores.thresholds,
            weights=None if weights is None else weights[here],
            parts={name: each.take(here) for name, each in parts.items()},
        )
        binary = [task.name for task in experiment.outputs if task.kind == "binary"]
        found[value] = {
            "rows": rows,
            "positives": {name: int(np.nansum(own[name])) for name in binary},
            "metrics": of_value.values,
            "undefined": of_value.undefined,
        }
    return {"column": column, "split": split.name, "values": found}


def breakdown_lines(block: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """``[tab: 1] 12,345 rows - is_click_AUC: 0.712345 - ...``: the first metric of each task."""
    keys = [f"{task.name}_{metrics_of(task, experiment.evaluation)[0]}" for task in experiment.outputs]
    return [
        f"[{block['column']}: {value}] {entry['rows']:,} rows - "
        + " - ".join(f"{key}: {entry['metrics'][key]:.6f}" for key in keys)
        for value, entry in block["values"].items()
    ]


def values_of(split: Split, encoder: Encoder, column: str) -> pl.Series:
    """The value of each row as text: the token of a categorical feature, or that of a column carried along.

    Raises:
        ValueError: There is no such column, or it has too many values for a table.
    """
    values = _values(split, encoder, column)
    count = values.n_unique()
    if count > MOST_VALUES:
        raise ValueError(
            f"metrics_by: {column!r} has {count:,} values in the {split.name} rows; a table has at most "
            f"{MOST_VALUES}. Name a coarser column."
        )
    return values


def _values(split: Split, encoder: Encoder, column: str) -> pl.Series:
    features = {each.name: each for each in encoder.feature_map.features if each.type == "categorical"}
    if column in features:
        feature = features[column]
        tokens = encoder.tokens.get(encoder.feature_map.owner(feature).name)
        ids = pl.Series(column, np.asarray(split.ids[:, feature.start]))
        last = feature.vocab_size - 1
        names = {i + 1: token for i, token in enumerate(tokens or map(str, range(1, last)))}
        rules = {each.name: each.rule for each in encoder.columns}
        first = "0" if isinstance(rules[column], Ids) else MISSING
        return ids.replace_strict({0: first, last: UNKNOWN, **names}, return_dtype=pl.String)
    if column not in split.meta_columns:
        known = [*features, *split.meta_columns]
        raise ValueError(
            f"metrics_by names {column!r}, which is neither a categorical feature nor a meta column. "
            f"There are: {', '.join(known) or 'none'}."
        )
    entries = split.meta([column])[column]
    return entries.set(pl.Series(is_missing(entries)), None).cast(pl.String).fill_null(MISSING)

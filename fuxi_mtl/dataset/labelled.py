"""Rows in memory with their labels, encoded as a split that was never on disk."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.frames import FrameSource, column_names, rows_of
from fuxi_mtl.dataset.inputs import meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.rows import labelled_blocks
from fuxi_mtl.dataset.splits import Split
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.dataset.writing import carried
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)


def encode_labelled(
    rows: Any,
    options: DatasetOptions,
    tasks: Sequence[Task],
    encoder: Encoder,
    needed: Collection[str] = (),
    key: str = "rows",
) -> Split:
    """Encodes rows with their labels by a fitted encoder.

    Args:
        rows: See :func:`fuxi_mtl.dataset.frames.as_frame`.
        options: The stanza of the data that the encoder was fitted on.
        tasks: What is predicted.
        encoder: The encoder.
        needed: Meta columns that must be there; others are carried along if they are.
        key: What errors call the rows.

    Raises:
        DataError: A column is missing, an entry cannot be read, or no row is left.
    """
    there = column_names(rows)
    meta = [each for each in meta_columns(options) if each.name in needed or each.name in there]
    weight = options.sample_weight if options.sample_weight in there else None
    labels = [label.name for label in options.label_col]
    columns = [
        *encoder.raw_columns,
        *labels,
        *(str(each.name) for each in meta),
        *([weight] if weight else []),
    ]
    frame = rows_of(key, rows, {column.name: column.rule for column in encoder.columns}, columns)
    classes = encoder.feature_map.label_classes
    reader = LabelReader.of(options.label_col, tasks, options.inconsistent, classes)
    found: dict[str, list[Any]] = {"ids": [], "numeric": [], "events": [], "weights": [], "meta": []}
    source, unknown = FrameSource(key, frame), UnknownIds(encoder)
    for part in labelled_blocks({"test": source}, frame.columns, reader, weight, None, lambda _: None):
        with part.block.errors():
            ids, numeric = encoder.encode(part.block.frame)
            unknown.observe(part.block.frame, ids)
        carried_on = [carried(part.block.frame[str(each.name)], each.dtype) for each in meta]
        parts = (ids, numeric, part.events, part.weights, pl.DataFrame(carried_on))
        for name, rows_of_part in zip(found, parts, strict=True):
            found[name].append(rows_of_part)
    if not found["ids"]:
        raise DataError(f"{key}: there is no row to measure.")
    unknown.tell("the rows")
    for warning in reader.warnings():
        logger.warning("%s", warning)
    return Split(
        name="test",
        ids=np.concatenate(found["ids"]),
        numeric=np.concatenate(found["numeric"]),
        events=np.concatenate(found["events"]),
        sample_weight=np.concatenate(found["weights"]) if weight else None,
        event_names=tuple(labels),
        meta_rows=pl.concat(found["meta"]),
    )

"""Encodes a dataset that is not in the cache: fits on the training rows, then encodes all rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.checks import label_warnings, leak_warnings
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.fitting import fit
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.rows import labelled_rows, needed_columns
from fuxi_mtl.dataset.sources import Source
from fuxi_mtl.dataset.splits import open_split
from fuxi_mtl.dataset.splitting import NAMES, assign_rows
from fuxi_mtl.dataset.writing import SplitFiles
from fuxi_mtl.options import DatasetOptions


@dataclass(frozen=True)
class Recipe:
    """What an encoded dataset is made from, checked as far as that goes without reading it.

    Attributes:
        dataset_id: Name of the stanza.
        options: The stanza.
        inputs: The inputs and the rules that they need.
        labels: How labels are read.
        sources: The files by split.
    """

    dataset_id: str
    options: DatasetOptions
    inputs: tuple[Input, ...]
    labels: LabelReader
    sources: Mapping[str, Source]

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label columns."""
        return tuple(label.name for label in self.options.label_col)


def build(
    recipe: Recipe, each: Callable, advance: Callable[[str, int], None], folder: Path
) -> dict[str, Any]:
    """Writes an encoded dataset into an empty folder.

    Args:
        recipe: What to encode.
        each: ``map``, or that of an executor.
        advance: Is told the name of the pass and the rows done.
        folder: Where the files go.

    Returns:
        The manifest: number of rows by split, and warnings.

    Raises:
        DataError: The data cannot be used.
    """
    warnings: list[str] = []
    assigned = assign_rows(recipe.sources["train"], recipe.options)
    encoder = _fit(recipe, assigned, folder, warnings, each, advance)
    encoder.save(folder)
    labels = replace(recipe.labels, changed={})
    rows = _encode(recipe, labels, encoder, assigned, folder, each, advance)
    for name, source in recipe.sources.items():
        if name not in rows:
            raise DataError(f"{source.key}: {', '.join(map(str, source.files))} has no row for {name}.")
    warnings += labels.warnings()
    warnings += _check(folder, encoder, labels, list(rows))
    return {"dataset_id": recipe.dataset_id, "rows": rows, "warnings": warnings}


def _fit(
    recipe: Recipe,
    assigned: np.ndarray | None,
    folder: Path,
    warnings: list[str],
    each: Callable,
    advance: Callable[[str, int], None],
) -> Encoder:
    rows = labelled_rows(
        {"train": recipe.sources["train"]},
        needed_columns(recipe.options, recipe.inputs),
        recipe.labels,
        recipe.options.sample_weight,
        assigned,
        lambda count: advance("Fitting", count),
    )
    blocks = (part.block for part in rows if part.split == "train")
    return fit(recipe.inputs, blocks, recipe.dataset_id, recipe.label_names, folder, warnings, each)


def _encode(
    recipe: Recipe,
    labels: LabelReader,
    encoder: Encoder,
    assigned: np.ndarray | None,
    folder: Path,
    each: Callable,
    advance: Callable[[str, int], None],
) -> dict[str, int]:
    """Writes all splits and returns their numbers of rows."""
    features, options = encoder.feature_map, recipe.options
    widths = {"ids": features.id_columns, "numeric": features.numeric_columns, "events": len(features.labels)}
    rows = labelled_rows(
        recipe.sources,
        needed_columns(options, recipe.inputs),
        labels,
        options.sample_weight,
        assigned,
        lambda count: advance("Encoding", count),
    )
    files: dict[str, SplitFiles] = {}
    with ExitStack() as stack:
        for part in rows:
            if part.split not in files:
                opened = SplitFiles(
                    folder, part.split, widths, bool(options.sample_weight), meta_columns(options)
                )
                files[part.split] = stack.enter_context(opened)
            with part.block.errors():
                ids, numeric = encoder.encode(part.block.frame, each)
                files[part.split].append(
                    part.block.frame, ids=ids, numeric=numeric, events=part.events, weights=part.weights
                )
    return {name: files[name].rows for name in NAMES if name in files}


def _check(folder: Path, encoder: Encoder, labels: LabelReader, names: Sequence[str]) -> list[str]:
    """What the user should know about the labels."""
    warnings: list[str] = []
    for name in names:
        split = open_split(folder, name, encoder.feature_map.labels)
        warnings += label_warnings(split, labels.binary)
        if name == "train":
            warnings += leak_warnings(split, encoder.feature_map.features, labels.binary, labels.required)
    return warnings

"""Encoding of a dataset that is not in the cache: fitted on the training rows, applied to all."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.checks import label_warnings, leak_warnings, weight_warnings
from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.duplicates import duplicate_warnings
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.fitting import fit, observed
from fuxi_mtl.dataset.frames import FrameSource
from fuxi_mtl.dataset.growing import Grown, Growth, counts_of, grow
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader, LabelUnits
from fuxi_mtl.dataset.rows import LabelledBlock, LabelledRows, labelled_blocks, needed_columns
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.dataset.sources import Block, Source
from fuxi_mtl.dataset.splits import open_split
from fuxi_mtl.dataset.splitting import NAMES, TRAIN, assign_rows, split_warnings
from fuxi_mtl.dataset.unknown import UnknownIds
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
        sources: The files or frames by split.
        known: An encoder that is there already, in the place of one that is fitted on the training rows.
        growth: How that one is extended with the training rows; not at all unless said.
    """

    dataset_id: str
    options: DatasetOptions
    inputs: tuple[Input, ...]
    labels: LabelReader
    sources: Mapping[str, Source | FrameSource]
    known: Encoder | None = None
    growth: Growth | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label columns."""
        return tuple(label.name for label in self.options.label_col)


def build(
    recipe: Recipe, each: Callable, advance: Callable[[str, int], None], folder: Path
) -> tuple[dict[str, Any], Encoder]:
    """Writes an encoded dataset into an empty folder.

    Args:
        recipe: What to encode.
        each: ``map``, or that of an executor.
        advance: Is told the name of the pass and the rows done.
        folder: Where the files go.

    Returns:
        The manifest, which has the number of rows by split and warnings, and what the rows were encoded by.

    Raises:
        DataError: The data cannot be used.
    """
    warnings: list[str] = []
    assigned = assign_rows(recipe.sources["train"], recipe.options)
    warnings += split_warnings(assigned, recipe.options)
    labels = replace(recipe.labels, changed={}, masked={}, numbers={})
    coded = CodedRows(recipe.inputs, _carried(recipe), folder / "coded", each)
    encoder, grown = _fit(recipe, labels, assigned, coded, folder, warnings, each, advance)
    rows, unknown, whole = _encode(recipe, labels, encoder, coded, folder, each, advance)
    expected = next((unknown[name].shares() for name in ("valid", "test") if name in unknown), {})
    if recipe.known is not None and recipe.growth is None:
        expected = dict(recipe.known.unknown)
    encoder = replace(encoder, unknown=expected)
    encoder.save(folder)
    for name, found in unknown.items():
        found.log(f"{recipe.dataset_id}, {name}")
        warnings += found.warnings(name, expected if name == "test" and "valid" in unknown else {})
    for name, source in recipe.sources.items():
        if name not in rows:
            raise DataError(f"{source.name} has no row for {name}.")
    warnings += [note for source in recipe.sources.values() for note in source.notes()]
    warnings += [
        f"column {name!r}: {count} entries are whole numbers with a point, such as 3.0, and are carried "
        "along as 3. Set dtype: text if they differ."
        for name, count in whole.items()
    ]
    warnings += labels.warnings()
    warnings += _check(folder, encoder, recipe, labels, list(rows))
    content = {"dataset_id": recipe.dataset_id, "rows": rows, "warnings": warnings}
    if grown:
        content["grown"] = {owner: asdict(each_owner) for owner, each_owner in grown.items()}
    return content, encoder


def count_tokens(recipe: Recipe) -> dict[str, pl.DataFrame]:
    """How often each token is in the training rows, by the owner of its vocabulary: ``token`` and ``count``.

    Raises:
        DataError: The data cannot be used.
    """
    given = [each for each in recipe.inputs if isinstance(each.rule, Vocabulary)]
    assigned = assign_rows(recipe.sources["train"], recipe.options)
    labels = replace(recipe.labels, changed={}, masked={}, numbers={})

    def blocks() -> Iterator[Block]:
        for part in _labelled(recipe, ["train"], labels, assigned, lambda _: None):
            training = part.where(part.splits == TRAIN)
            if len(training.splits):
                yield training.block

    owners = dict.fromkeys(each.rule.owner for each in given if isinstance(each.rule, Vocabulary))
    return counts_of(observed(given, blocks()), owners)


def _carried(recipe: Recipe) -> list[str]:
    """Columns that somebody else reads too, so that their texts must stay."""
    columns = [str(meta.name) for meta in meta_columns(recipe.options)]
    columns += [given.bag.weights for given in recipe.inputs if given.bag and given.bag.weights]
    return columns + ([recipe.options.sample_weight] if recipe.options.sample_weight else [])


def _fit(
    recipe: Recipe,
    labels: LabelReader,
    assigned: np.ndarray | None,
    coded: CodedRows,
    folder: Path,
    warnings: list[str],
    each: Callable,
    advance: Callable[[str, int], None],
) -> tuple[Encoder, dict[str, Grown]]:
    """Reads the training source, whose rows are kept in ``coded``; and says how vocabularies grew."""
    units = LabelUnits(labels)

    def blocks() -> Iterator[Block]:
        for part in _labelled(recipe, ["train"], labels, assigned, partial(advance, "Fitting")):
            with part.block.errors():
                rest = coded.add(part)
            training = part.events[part.splits == TRAIN]
            if len(training):
                units.observe(training)
                yield rest

    if recipe.known is None:
        encoder = fit(
            recipe.inputs,
            blocks(),
            recipe.dataset_id,
            recipe.label_names,
            folder,
            warnings,
            each,
            coded.texts,
        )
        return replace(encoder, feature_map=replace(encoder.feature_map, label_units=units.fitted())), {}
    if recipe.growth is None:
        for _ in blocks():
            pass
        return recipe.known, {}
    return grow(recipe.known, recipe.inputs, blocks(), recipe.growth, folder, warnings, each, coded.texts)


def _labelled(
    recipe: Recipe,
    sources: Sequence[str],
    labels: LabelReader,
    assigned: np.ndarray | None,
    advance: Callable[[int], None],
) -> Iterator[LabelledBlock]:
    return labelled_blocks(
        {name: recipe.sources[name] for name in sources},
        needed_columns(recipe.options, recipe.inputs),
        labels,
        recipe.options.sample_weight,
        assigned,
        advance,
    )


def _parts(
    recipe: Recipe,
    labels: LabelReader,
    encoder: Encoder,
    coded: CodedRows,
    each: Callable,
    advance: Callable[[int], None],
) -> Iterator[tuple[LabelledRows, dict[str, np.ndarray]]]:
    """All rows, and for columns that hold numbers of texts the id of every number."""
    ids = dict(
        zip(coded.texts, each(lambda texts: texts.ids(encoder.ids_of), coded.texts.values()), strict=True)
    )
    for part, columns in coded.parts():
        advance(part.block.frame.height)
        yield part, {name: ids[name] for name in columns}
    rest = [name for name in recipe.sources if name != "train"]
    for block in _labelled(recipe, rest, labels, None, advance):
        for part in block.parts():
            yield part, {}


def _encode(
    recipe: Recipe,
    labels: LabelReader,
    encoder: Encoder,
    coded: CodedRows,
    folder: Path,
    each: Callable,
    advance: Callable[[str, int], None],
) -> tuple[dict[str, int], dict[str, UnknownIds], Counter[str]]:
    """Writes all splits.

    Returns:
        Their numbers of rows, the unknown ids of all but training, and how many entries of columns that are
        carried along as text are whole numbers with a point.
    """
    features, options = encoder.feature_map, recipe.options
    widths = {"ids": features.id_columns, "numeric": features.numeric_columns, "events": len(features.labels)}
    parts = _parts(recipe, labels, encoder, coded, each, partial(advance, "Encoding"))
    files: dict[str, SplitFiles] = {}
    unknown = {name: UnknownIds(encoder) for name in NAMES[1:]}
    with ExitStack() as stack:
        for part, known in parts:
            if part.split not in files:
                opened = SplitFiles(
                    folder, part.split, widths, bool(options.sample_weight), meta_columns(options)
                )
                files[part.split] = stack.enter_context(opened)
            with part.block.errors():
                ids, numeric = encoder.encode(part.block.frame, each, known)
                if part.split in unknown:
                    frame = part.block.frame
                    unknown[part.split].observe(
                        frame.drop(name for name in known if name in frame.columns), ids
                    )
                files[part.split].append(
                    part.block.frame, ids=ids, numeric=numeric, events=part.events, weights=part.weights
                )
    rows = {name: files[name].rows for name in NAMES if name in files}
    whole = sum((written.whole for written in files.values()), Counter())
    return rows, {name: found for name, found in unknown.items() if name in rows}, whole


def _check(
    folder: Path, encoder: Encoder, recipe: Recipe, labels: LabelReader, names: Sequence[str]
) -> list[str]:
    """What the user should know about labels, weights and rows."""
    warnings: list[str] = []
    splits = {name: open_split(folder, name, encoder.feature_map.labels) for name in names}
    for name, split in splits.items():
        warnings += label_warnings(split, labels.binary)
        warnings += weight_warnings(split, recipe.options.sample_weight in recipe.label_names)
        if name == "train":
            warnings += leak_warnings(split, encoder.feature_map.features, labels.binary, labels.required)
    return [*warnings, *duplicate_warnings(list(splits.values()))]

"""Encoding of a dataset that is not in the cache: fitted on the training rows, applied to all."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl import __version__
from fuxi_mtl.dataset.checks import label_warnings, leak_warnings, weight_warnings
from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.duplicates import duplicate_warnings
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.fitting import Observer, fit, observed
from fuxi_mtl.dataset.frames import FrameSource
from fuxi_mtl.dataset.growing import Grown, Growth, counts_of, grow
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader, LabelUnits
from fuxi_mtl.dataset.rows import LabelledBlock, LabelledRows, labelled_blocks, needed_columns
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.dataset.savepoints import FOLDER as SAVEPOINT
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.sources import START, Begin, Block, Source
from fuxi_mtl.dataset.splits import open_split
from fuxi_mtl.dataset.splitting import NAMES, TRAIN, assign_rows, split_warnings
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.dataset.writing import SplitFiles
from fuxi_mtl.files import removed
from fuxi_mtl.options import DatasetOptions

logger = logging.getLogger(__name__)

CODED = "coded"  # the folder of rows that were read


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
    """Writes an encoded dataset into a folder, which is empty or holds a savepoint to go on from.

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
    savepoints = Savepoints(folder, {"version": __version__, "block_rows": recipe.options.data_block_size})
    fitting = _fitting(recipe, savepoints, folder, each)
    labels, coded = fitting.labels, fitting.coded
    encoder, grown = _fit(fitting, savepoints, assigned, folder, warnings, each, advance)
    rows, unknown, whole = _encode(recipe, labels, encoder, coded, folder, each, advance, savepoints.exists)
    coded.remove()
    savepoints.remove()
    expected = next((unknown[name].shares() for name in ("valid", "test") if name in unknown), {})
    if recipe.known is not None and (recipe.growth is None or not expected):
        expected = dict(recipe.known.unknown)
    encoder = replace(encoder, unknown=expected)
    encoder.save(folder)
    for name, found in unknown.items():
        found.log(f"{recipe.dataset_id}, {name}")
        compared = recipe.known is not None or (name == "test" and "valid" in unknown)
        told = "the new rows" if name == "train" else name
        warnings += found.warnings(told, expected if compared else {})
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
    labels = recipe.labels.fresh()

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


@dataclass
class _Fitting:
    """The pass over the training rows, and where it is.

    Attributes:
        recipe: What to encode.
        labels: Reads the labels, and knows what it changed.
        units: Units of the labels.
        coded: The rows so far.
        observers: What the inputs have shown of themselves.
        begin: Where the pass begins.
    """

    recipe: Recipe
    labels: LabelReader
    units: LabelUnits
    coded: CodedRows
    observers: list[Observer]
    begin: Begin = START

    @classmethod
    def new(cls, recipe: Recipe, folder: Path, each: Callable) -> "_Fitting":
        """The pass before its first row."""
        known = None if recipe.known is None else recipe.known.feature_map.label_classes
        labels = recipe.labels.fresh(known)
        coded = CodedRows(recipe.inputs, _carried(recipe), folder / CODED, each)
        return cls(recipe, labels, LabelUnits(labels), coded, [Observer(given) for given in recipe.inputs])

    def state(self, begin: Begin) -> dict[str, Any]:
        """What a savepoint keeps when the files before ``begin`` are done."""
        source = self.recipe.sources["train"]
        return {
            "begin": asdict(begin),
            "labels": self.labels.state(),
            "units": self.units.state(),
            "coded": self.coded.state(),
            "observers": [observer.state() for observer in self.observers],
            "notes": source.state() if isinstance(source, Source) else {},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint.

        Raises:
            ValueError: What it holds cannot be as it was.
        """
        self.coded.restore(state["coded"])
        self.labels.restore(state["labels"])
        self.units.restore(state["units"])
        seen = zip(self.recipe.inputs, state["observers"], strict=True)
        self.observers = [Observer.restored(given, each) for given, each in seen]
        self.begin = Begin(**state["begin"])
        source = self.recipe.sources["train"]
        if isinstance(source, Source):
            source.restore(state["notes"])


def _fitting(recipe: Recipe, savepoints: Savepoints, folder: Path, each: Callable) -> _Fitting:
    """The pass behind the last savepoint; from the first row on, in an empty folder, where there is none."""
    state = savepoints.load()
    if state is not None:
        fitting = _Fitting.new(recipe, folder, each)
        try:
            fitting.restore(state)
        except (ValueError, LookupError, TypeError) as error:
            logger.warning("%s: the savepoint cannot be used (%s).", recipe.dataset_id, error)
        else:
            for left in list(folder.iterdir()):  # what was being written when it was stopped
                if left.name not in (SAVEPOINT, CODED):
                    removed(left)
            done = fitting.begin
            logger.info("%s: goes on behind %d files and %d rows.", recipe.dataset_id, done.file, done.row)
            return fitting
    for left in list(folder.iterdir()):
        removed(left)
    return _Fitting.new(recipe, folder, each)


def _fit(
    fitting: _Fitting,
    savepoints: Savepoints,
    assigned: np.ndarray | None,
    folder: Path,
    warnings: list[str],
    each: Callable,
    advance: Callable[[str, int], None],
) -> tuple[Encoder, dict[str, Grown]]:
    """Reads the training source, whose rows are kept as they are coded; and says how vocabularies grew."""
    recipe, source = fitting.recipe, fitting.recipe.sources["train"]
    rows = fitting.begin.row

    def save(begin: Begin) -> None:
        if savepoints.due or (savepoints.exists and begin.file == len(source.files)):
            savepoints.save(fitting.state(begin), fitting.coded.files)

    def told(number: int) -> None:
        nonlocal rows
        rows += number
        advance("Fitting", number)

    def blocks() -> Iterator[Block]:
        parts = _labelled(recipe, ["train"], fitting.labels, assigned, told, fitting.begin, save)
        for part in parts:
            with part.block.errors():
                rest = fitting.coded.add(part)
            training = part.events[part.splits == TRAIN]
            if len(training):
                fitting.units.observe(training)
                yield rest
        if isinstance(source, Source):
            save(Begin(len(source.files), rows))

    advance("Fitting", fitting.begin.row)
    if recipe.known is not None and recipe.growth is None:
        for _ in blocks():
            pass
        return recipe.known, {}
    seen = (folder, warnings, each, fitting.coded.texts, fitting.observers)
    if recipe.known is not None and recipe.growth is not None:
        return grow(recipe.known, recipe.inputs, blocks(), recipe.growth, *seen)
    encoder = fit(recipe.inputs, blocks(), recipe.dataset_id, recipe.label_names, *seen)
    units, classes = fitting.units.fitted(), fitting.labels.settle()
    learnt = replace(encoder.feature_map, label_units=units, label_classes=classes)
    return replace(encoder, feature_map=learnt), {}


def _labelled(
    recipe: Recipe,
    sources: Sequence[str],
    labels: LabelReader,
    assigned: np.ndarray | None,
    advance: Callable[[int], None],
    begin: Begin = START,
    between: Callable[[Begin], None] = lambda _: None,
) -> Iterator[LabelledBlock]:
    return labelled_blocks(
        {name: recipe.sources[name] for name in sources},
        needed_columns(recipe.options, recipe.inputs),
        labels,
        recipe.options.sample_weight,
        assigned,
        advance,
        begin,
        between,
    )


def _parts(
    recipe: Recipe,
    labels: LabelReader,
    encoder: Encoder,
    coded: CodedRows,
    each: Callable,
    advance: Callable[[int], None],
    keep: bool,
) -> Iterator[tuple[LabelledRows, dict[str, np.ndarray]]]:
    """All rows, and for columns that hold numbers of texts the id of every number."""
    ids = dict(
        zip(coded.texts, each(lambda texts: texts.ids(encoder.ids_of), coded.texts.values()), strict=True)
    )
    for part, columns in coded.parts(keep):
        advance(part.block.frame.height)
        yield replace(part, events=labels.settled(part.events)), {name: ids[name] for name in columns}
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
    keep: bool,
) -> tuple[dict[str, int], dict[str, UnknownIds], Counter[str]]:
    """Writes all splits.

    Returns:
        Their numbers of rows, the unknown ids of all but training, and how many entries of columns that are
        carried along as text are whole numbers with a point.
    """
    features, options = encoder.feature_map, recipe.options
    widths = {"ids": features.id_columns, "numeric": features.numeric_columns, "events": len(features.labels)}
    parts = _parts(recipe, labels, encoder, coded, each, partial(advance, "Encoding"), keep)
    files: dict[str, SplitFiles] = {}
    # Of rows that made the vocabularies nothing is unknown but what is rare.
    made_of_these = recipe.known is None or recipe.growth is not None
    unknown = {name: UnknownIds(encoder) for name in NAMES if name != "train" or not made_of_these}
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

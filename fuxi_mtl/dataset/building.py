"""Encoding of a dataset that is not in the cache: fitted on the training rows, applied to all."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from fuxi_mtl import __version__
from fuxi_mtl.dataset.checks import label_warnings, leak_warnings, weight_warnings
from fuxi_mtl.dataset.duplicates import duplicate_warnings
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.first_pass import FirstPass
from fuxi_mtl.dataset.fitting import fit, observed
from fuxi_mtl.dataset.growing import Grown, counts_of, grow
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.parallel import FileProcesses, SharedEncoding, SharedFiles, fit_files
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.row_writer import CODED
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.dataset.savepoints import FOLDER as SAVEPOINT
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.second_pass import SecondPass
from fuxi_mtl.dataset.sources import Begin, Block, Source
from fuxi_mtl.dataset.splits import open_split
from fuxi_mtl.dataset.splitting import TRAIN, assign_rows, split_warnings
from fuxi_mtl.files import removed

logger = logging.getLogger(__name__)


def build(
    recipe: Recipe,
    each: Callable,
    advance: Callable[[str, int], None],
    folder: Path,
    processes: FileProcesses | None = None,
) -> tuple[dict[str, Any], Encoder]:
    """Writes an encoded dataset into a folder, which is empty or holds a savepoint to go on from.

    Args:
        recipe: What to encode.
        each: ``map``, or that of an executor.
        advance: Is told the name of the pass and the rows done.
        folder: Where the files go.
        processes: Work on several files side by side, which changes nothing of the result.

    Returns:
        The manifest, which has the number of rows by split and warnings, and what the rows were encoded by.

    Raises:
        DataError: The data cannot be used.
    """
    savepoints = Savepoints(folder, {"version": __version__, "block_rows": recipe.options.data_block_size})
    state = savepoints.load()
    writing = _going_on(recipe, savepoints, state, folder, each)
    if writing is None:
        fitting = _fitting(recipe, state, folder, each)
        writing = _fit(fitting, savepoints, folder, each, advance, processes)
    _encode(writing, each, advance, processes)
    encoder, labels, rows, unknown = writing.encoder, writing.labels, writing.rows, writing.unknown
    warnings = list(writing.warnings)
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
        for name, count in writing.whole.items()
    ]
    warnings += labels.warnings()
    warnings += _check(folder, encoder, recipe, labels, list(rows))
    writing.remove()
    savepoints.remove()
    shares = {name: found.shares() for name, found in unknown.items()}
    content = {"dataset_id": recipe.dataset_id, "rows": rows, "warnings": warnings, "unknown": shares}
    return content | ({"grown": writing.grown} if writing.grown else {}), encoder


def count_tokens(recipe: Recipe) -> dict[str, pl.DataFrame]:
    """How often each token is in the training rows, by the owner of its vocabulary: ``token`` and ``count``.

    Raises:
        DataError: The data cannot be used.
    """
    given = [each for each in recipe.inputs if isinstance(each.rule, Vocabulary)]
    assigned = assign_rows(recipe.sources["train"], recipe.options)
    labels = recipe.labels.fresh()

    def blocks() -> Iterator[Block]:
        for part in recipe.labelled(["train"], labels, assigned, lambda _: None):
            training = part.where(part.splits == TRAIN)
            if len(training.splits):
                yield training.block

    owners = dict.fromkeys(each.rule.owner for each in given if isinstance(each.rule, Vocabulary))
    return counts_of(observed(given, blocks()), owners)


def _going_on(
    recipe: Recipe, savepoints: Savepoints, state: Mapping[str, Any] | None, folder: Path, each: Callable
) -> SecondPass | None:
    """The second pass behind the last savepoint; None if the first had not come to its end there."""
    if state is None or "written" not in state:
        return None
    try:
        writing = SecondPass.restored(recipe, savepoints, folder, state, each)
    except (OSError, ValueError, LookupError, TypeError) as error:
        logger.warning("%s: the savepoint cannot be used (%s).", recipe.dataset_id, error)
        savepoints.remove()
        return None
    for left in list(folder.iterdir()):  # what was being written when it was stopped
        if left.name not in (SAVEPOINT, CODED, *writing.names):
            removed(left)
    logger.info("%s: goes on behind %d encoded rows.", recipe.dataset_id, sum(writing.rows.values()))
    return writing


def _fitting(recipe: Recipe, state: Mapping[str, Any] | None, folder: Path, each: Callable) -> FirstPass:
    """The first pass behind the last savepoint; from the first row on, in an empty folder, without one."""
    if state is not None and "observers" in state:
        fitting = FirstPass.new(recipe, folder, each)
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
    return FirstPass.new(recipe, folder, each)


def _fit(
    fitting: FirstPass,
    savepoints: Savepoints,
    folder: Path,
    each: Callable,
    advance: Callable[[str, int], None],
    processes: FileProcesses | None,
) -> SecondPass:
    """Reads the training source, whose rows are kept as they are coded, and fits; the second pass follows."""
    recipe, source = fitting.recipe, fitting.recipe.sources["train"]
    shared = SharedFiles(source, processes) if processes and isinstance(source, Source) else None
    assigned = assign_rows(shared or source, recipe.options)
    warnings = split_warnings(assigned, recipe.options)
    rows = fitting.begin.row

    def save(begin: Begin) -> None:
        if savepoints.due or (savepoints.exists and begin.file == len(source.files)):
            savepoints.save(fitting.state(begin), fitting.coded.files())

    def told(number: int) -> None:
        nonlocal rows
        rows += number
        advance("Fitting", number)

    def blocks() -> Iterator[Block]:
        if shared is not None:
            fit_files(fitting, shared, assigned, told, save)
        else:
            yield from fitting.blocks(assigned, told, save)
        if isinstance(source, Source):
            save(Begin(len(source.files), rows))

    advance("Fitting", fitting.begin.row)
    encoder, grown = _fitted(fitting, blocks(), folder, warnings, each)
    writing = SecondPass(recipe, fitting.labels, encoder, fitting.coded, folder, savepoints)
    writing.warnings, writing.grown = warnings, {owner: asdict(what) for owner, what in grown.items()}
    writing.find_ids(each)
    return writing


def _fitted(
    fitting: FirstPass, blocks: Iterator[Block], folder: Path, warnings: list[str], each: Callable
) -> tuple[Encoder, dict[str, Grown]]:
    """The encoder of the rows, and how vocabularies grew."""
    recipe = fitting.recipe
    if recipe.known is not None and recipe.growth is None:
        for _ in blocks:
            pass
        return recipe.known, {}
    seen = (folder, warnings, each, fitting.coded.texts, fitting.observers)
    if recipe.known is not None and recipe.growth is not None:
        return grow(recipe.known, recipe.inputs, blocks, recipe.growth, *seen)
    encoder = fit(recipe.inputs, blocks, recipe.dataset_id, recipe.label_names, *seen)
    units, classes = fitting.units.fitted(), fitting.labels.settle()
    learnt = replace(encoder.feature_map, label_units=units, label_classes=classes)
    return replace(encoder, feature_map=learnt), {}


def _encode(
    writing: SecondPass,
    each: Callable,
    advance: Callable[[str, int], None],
    processes: FileProcesses | None,
) -> None:
    """Encodes and writes all rows."""
    shared = None if processes is None else SharedEncoding(writing, processes)
    writing.run(each, partial(advance, "Encoding"), shared)


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

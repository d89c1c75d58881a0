"""The encoded dataset of a stanza of ``dataset_config``, from the cache or built."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fuxi_mtl.dataset.building import build, count_tokens
from fuxi_mtl.dataset.cache import Cache, SourceHashes, absolute, by_time, key_of
from fuxi_mtl.dataset.checks import check_names, check_weight
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.frames import FrameSource, rows_of
from fuxi_mtl.dataset.growing import Grown, Growth, with_counts
from fuxi_mtl.dataset.inputs import Input, as_in_format_1, plan_inputs
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.parallel import FileProcesses
from fuxi_mtl.dataset.progress import progress_bar
from fuxi_mtl.dataset.reading import BLOCK_ROWS
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.rows import needed_columns
from fuxi_mtl.dataset.sources import Source, find_sources, partitions
from fuxi_mtl.dataset.splits import Dataset, open_split
from fuxi_mtl.dataset.splitting import NAMES
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)

# Where encoded data lie, how files are read, and options of labels that matter in training only.
_NOT_IN_KEY = (
    *("data_root", "data_block_size", "label_col", "last_day", "missing_days"),
    *("remote_cache", "remote_cache_gb"),
)
# Options that came after format 1, of a dataset and of its features.
_SINCE_FORMAT_1 = ("quote_char", "encoding", "bad_rows", "pretrained_keys", "order", "clip_negative_gaps")


def load_dataset(
    options: DatasetOptions,
    tasks: Sequence[Task],
    dataset_id: str,
    *,
    threads: int = 0,
    progress: bool = True,
    frames: Mapping[str, Any] = MappingProxyType({}),
    root: str | Path | None = None,
    known: Encoder | None = None,
    growth: Growth | None = None,
    encode_workers: int = 1,
) -> Dataset:
    """The encoded dataset of a stanza: from the cache, or read, checked, encoded and kept there.

    Args:
        options: The stanza.
        tasks: What will be predicted; decides which labels are binary and which rows are inconsistent.
        dataset_id: Name of the stanza.
        threads: Threads for encoding; 0 takes all cores.
        progress: Whether a terminal shows a progress bar.
        frames: Rows in memory by split, in the place of the files that the stanza names; see
            :func:`fuxi_mtl.dataset.frames.as_frame`.
        root: Folder of encoded data in the place of ``data_root``.
        known: An encoder that was fitted on other rows of the same stanza, to encode these.
        growth: How that encoder is extended with the training rows; not at all unless said.
        encode_workers: Processes that encode files side by side; the encoded data do not depend on it.

    Raises:
        DataError: The files or the stanza cannot be used.
        OSError: The encoded data cannot be written.
        LostProcessError: One of several processes is gone.
    """
    recipe = _by(_recipe(options, tasks, dataset_id, frames), known, growth)
    place = _place(options if root is None else replace(options, data_root=str(root)), dataset_id)
    hashes = SourceHashes(place)
    dataset = _load(recipe, Cache(place, _key(recipe, hashes)), threads, progress, encode_workers)
    if growth is not None:  # known by what it was encoded with, wherever that came from
        dataset = replace(dataset, key=_key(replace(recipe, known=dataset.encoder, growth=None), hashes))
    hashes.save()
    return dataset


def with_own_counts(
    known: Encoder, options: DatasetOptions, tasks: Sequence[Task], dataset_id: str, key: str, day: str
) -> Encoder | None:
    """An encoder with the counts of the rare tokens in the rows that it was fitted on.

    Args:
        known: The encoder.
        options: The stanza of these rows.
        tasks: What is predicted.
        dataset_id: Name of the stanza.
        key: The key of the encoded rows; rows that have another one now are not counted.
        day: The day on which such tokens count as seen.

    Returns:
        None if the rows are not there as they were.
    """
    hashes = SourceHashes(_place(options, dataset_id))
    try:
        recipe = _recipe(options, tasks, dataset_id, {})
        if _key(recipe, hashes) != key:
            return None
    except (DataError, OSError):
        return None
    counts = count_tokens(replace(recipe, inputs=_as_known(recipe.inputs, known)))
    return with_counts(known, counts, day)


def _place(options: DatasetOptions, dataset_id: str) -> Path:
    """The folder of all encodings of a dataset."""
    return Path(options.data_root).expanduser() / dataset_id


def _load(
    recipe: Recipe, cache: Cache, threads: int = 0, progress: bool = True, encode_workers: int = 1
) -> Dataset:
    built: Encoder | None = None
    threads = threads or os.cpu_count() or 1

    def fill(folder: Path) -> Mapping[str, Any]:
        nonlocal built
        with _processes(recipe, encode_workers, threads) as processes:
            content, built = build(recipe, pool.map, advance, folder, processes)
        return content

    with ThreadPoolExecutor(threads) as pool, progress_bar(progress) as advance:
        manifest = cache.get(fill)
    # What was written in this moment need not be read: a vocabulary may have millions of tokens.
    encoder = Encoder.load(cache.folder) if built is None else built.moved(cache.folder)
    dataset = _open(cache, encoder, manifest)
    for warning in dataset.warnings:
        logger.warning("%s: %s", recipe.dataset_id, warning)
    return dataset


def _processes(
    recipe: Recipe, encode_workers: int, threads: int
) -> AbstractContextManager[FileProcesses | None]:
    """Processes for the files of a recipe; none where there is nothing to do side by side."""
    files = sum(len(source.files) for source in recipe.sources.values())
    count = min(encode_workers, files)
    if count == 1 < encode_workers:
        logger.info("%s: one file is encoded by one process (encode_workers).", recipe.dataset_id)
    return nullcontext() if count <= 1 else FileProcesses(count, threads)


def load_as_encoded(options: DatasetOptions, tasks: Sequence[Task], dataset_id: str, number: int) -> Dataset:
    """The dataset of a stanza as an encoding of an earlier format has it, with the key that it had then.

    Args:
        options: The stanza.
        tasks: What is predicted.
        dataset_id: Name of the stanza.
        number: The format, see :func:`fuxi_mtl.dataset.encoding.format_of`.

    Raises:
        DataError: The files or the stanza cannot be used.
        OSError: The encoded data cannot be written.
    """
    if number > 1:
        return load_dataset(options, tasks, dataset_id)
    recipe = _recipe(options, tasks, dataset_id, {})
    key = _key_of_format_1(recipe)
    recipe = replace(recipe, inputs=tuple(map(as_in_format_1, recipe.inputs)))
    # Under a name of its own: what that version encoded has other files.
    return replace(_load(recipe, Cache(_place(options, dataset_id), f"{key}-as-1")), key=key)


def data_key(
    options: DatasetOptions,
    tasks: Sequence[Task],
    dataset_id: str,
    frames: Mapping[str, Any] = MappingProxyType({}),
    known: Encoder | None = None,
) -> str:
    """The key of the dataset that :func:`load_dataset` would give, which takes the same; nothing is encoded.

    Raises:
        DataError: The files, the stanza or the encoder cannot be used.
    """
    hashes = SourceHashes(_place(options, dataset_id))
    key = _key(_by(_recipe(options, tasks, dataset_id, frames), known), hashes)
    hashes.save()
    return key


def verify_files(options: DatasetOptions, tasks: Sequence[Task], dataset_id: str) -> list[str]:
    """Reads all files of a stanza again, whatever their size and time.

    Returns:
        The files that were changed although size and time are as they were; they are known by their
        content from now on.

    Raises:
        DataError: The files or the stanza cannot be used.
    """
    hashes = SourceHashes(_place(options, dataset_id))
    files = [file for _, file in _files(_recipe(options, tasks, dataset_id, {}))]
    changed = [str(file) for file in files if hashes.changed_unseen(file)]
    hashes.save()
    return changed


def _recipe(
    options: DatasetOptions,
    tasks: Sequence[Task],
    dataset_id: str,
    frames: Mapping[str, Any],
) -> Recipe:
    """Checks all that can be checked before rows are read."""
    inputs = plan_inputs(options)
    check_names(options, [each.name for each in inputs])
    labels = LabelReader.of(options.label_col, tasks, options.inconsistent)
    check_weight(options.sample_weight, labels.binary)
    found = find_sources(options, but=frames)
    sources: dict[str, Source | FrameSource] = {}
    for name in NAMES:
        split_col = [options.split_col] if name == "train" and options.split_col else []
        columns = [*needed_columns(options, inputs), *split_col]
        if name in frames:
            rows = rows_of(f"{name}_data", frames[name], {each.name: each.rule for each in inputs}, columns)
            block_rows = options.data_block_size or BLOCK_ROWS
            sources[name] = FrameSource(f"{name}_data", rows, options.n_rows, block_rows)
        elif name in found:
            found[name].check_columns(columns)
            sources[name] = found[name]
    return Recipe(dataset_id, options, inputs, labels, sources)


def _key(recipe: Recipe, hashes: SourceHashes) -> str:
    """Which rows are read by which rules; spellings of paths and times of files do not count."""
    content = _content(recipe)
    for name in ("train_data", "valid_data", "test_data"):
        del content[name]
    content["feature_cols"] = [
        each | {"pretrained_emb": each["pretrained_emb"] and absolute(each["pretrained_emb"])}
        for each in content["feature_cols"]
    ]
    if any(None in partitions(file).values() for use, file in _files(recipe) if use != "pretrained"):
        content["partitions"] = "missing"  # unlike before, when Hive's default partition was a text
    if any(each.bag and not each.bag.zeros for each in recipe.inputs):
        content["zeros"] = "take no place"  # unlike before, in lists of ids
    return key_of(content, [[use, *hashes.identity(file)] for use, file in _files(recipe)])


def _key_of_format_1(recipe: Recipe) -> str:
    return key_of(_as_in_format_1(_content(recipe)), by_time(file for _, file in _files(recipe)), 1)


def _content(recipe: Recipe) -> dict[str, Any]:
    content = {name: value for name, value in asdict(recipe.options).items() if name not in _NOT_IN_KEY}
    content["labels"] = [(label.name, label.mask_value) for label in recipe.options.label_col]
    in_memory = {
        name: source.identity() for name, source in recipe.sources.items() if isinstance(source, FrameSource)
    }
    content |= {"frames": in_memory} if in_memory else {}
    if recipe.known is not None:
        content["known"] = recipe.known.identity
        content |= {"growth": asdict(recipe.growth), **_seen(recipe.known)} if recipe.growth else {}
    units = recipe.labels.identity
    content |= {"label_units": units} if units else {}
    content |= {"label_classes": recipe.labels.declared} if recipe.labels.classes else {}
    return content | {"required": recipe.labels.required, "binary": sorted(recipe.labels.binary)}


def _seen(encoder: Encoder) -> dict[str, str]:
    """What the growth of an encoder depends on, beside what it encodes by."""
    if encoder.seen is None:
        return {}
    content = encoder.seen.sort("owner", "token").write_csv()
    return {"seen": hashlib.sha256(content.encode()).hexdigest()}


def _by(recipe: Recipe, known: Encoder | None, growth: Growth | None = None) -> Recipe:
    """The recipe of the same rows by an encoder that is there already, or by its extension.

    Raises:
        DataError: It has other inputs.
    """
    if known is None:
        return recipe
    return replace(recipe, inputs=_as_known(recipe.inputs, known), known=known, growth=growth)


def _as_known(inputs: Sequence[Input], known: Encoder) -> tuple[Input, ...]:
    """The inputs with the rules of an encoder that is there already.

    Raises:
        DataError: Those of the encoder are others.
    """
    columns = {column.name: column for column in known.columns}
    names = [each.name for each in inputs]
    if names != list(columns):
        raise DataError(
            f"the encoder is of the features {', '.join(columns)}, and feature_cols has {', '.join(names)}."
        )
    for each in inputs:
        if type(each.rule) is not type(columns[each.name].rule):
            raise DataError(
                f"feature {each.name!r}: the encoder has {type(columns[each.name].rule).__name__} and the "
                f"stanza asks for {type(each.rule).__name__}."
            )
    return tuple(replace(each, rule=columns[each.name].rule, bag=columns[each.name].bag) for each in inputs)


def _files(recipe: Recipe) -> list[tuple[str, Path]]:
    """All files that the encoding depends on, each with what it is for."""
    files = [(name, file) for name, source in recipe.sources.items() for file in source.files]
    pretrained = [
        Path(each.options.pretrained_emb).expanduser()
        for each in recipe.inputs
        if each.options.pretrained_emb
    ]
    return [*files, *(("pretrained", file) for file in pretrained if file.is_file())]


def _as_in_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the options that came later; where no mark of missing labels was given, it was -1."""

    def known(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in _SINCE_FORMAT_1}

    return {
        **known(content),
        "feature_cols": [known(each) for each in content["feature_cols"]],
        "labels": [(name, -1.0 if mark is None else mark) for name, mark in content["labels"]],
    }


def _open(cache: Cache, encoder: Encoder, manifest: Mapping[str, Any]) -> Dataset:
    labels = encoder.feature_map.labels
    splits = {name: open_split(cache.folder, name, labels) for name in manifest["rows"]}
    return Dataset(
        folder=cache.folder,
        key=cache.key,
        encoder=encoder,
        train=splits["train"],
        valid=splits.get("valid"),
        test=splits.get("test"),
        warnings=tuple(manifest["warnings"]),
        grown={owner: Grown(**counts) for owner, counts in manifest.get("grown", {}).items()},
        unknown=manifest.get("unknown", {}),
    )

"""The encoded dataset of a stanza of ``dataset_config``, from the cache or built."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fuxi_mtl.dataset.building import Recipe, build
from fuxi_mtl.dataset.cache import FORMAT, Cache, key_of
from fuxi_mtl.dataset.checks import check_names
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.frames import FrameSource, rows_of
from fuxi_mtl.dataset.inputs import plan_inputs
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.progress import progress_bar
from fuxi_mtl.dataset.reading import BLOCK_ROWS
from fuxi_mtl.dataset.rows import needed_columns
from fuxi_mtl.dataset.sources import Source, find_sources
from fuxi_mtl.dataset.splits import Dataset, open_split
from fuxi_mtl.dataset.splitting import NAMES
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)

# Where encoded data lie, how files are read, and options of labels that matter in training only.
_NOT_IN_KEY = ("data_root", "data_block_size", "label_col")
# Options that came after format 1, of a dataset and of its features.
_SINCE_FORMAT_1 = ("quote_char", "encoding", "bad_rows", "pretrained_keys")


def load_dataset(
    options: DatasetOptions,
    tasks: Sequence[Task],
    dataset_id: str,
    *,
    threads: int = 0,
    progress: bool = True,
    frames: Mapping[str, Any] = MappingProxyType({}),
    root: str | Path | None = None,
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

    Raises:
        DataError: The files or the stanza cannot be used.
        OSError: The encoded data cannot be written.
    """
    recipe = _recipe(options, tasks, dataset_id, frames)
    cache = Cache(Path(options.data_root if root is None else root) / dataset_id, _key(recipe))
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool, progress_bar(progress) as advance:
        manifest = cache.get(partial(build, recipe, pool.map, advance))
    dataset = _open(cache, manifest["rows"], manifest["warnings"])
    for warning in dataset.warnings:
        logger.warning("%s: %s", dataset_id, warning)
    return dataset


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
    # Format 1 kept 3.0 and 3 apart, as the dtype text does today.
    columns = [
        replace(each, dtype="text")
        if each.type in ("categorical", "sequence") and each.dtype != "int"
        else each
        for each in options.feature_cols
    ]
    dataset = load_dataset(replace(options, feature_cols=columns), tasks, dataset_id)
    return replace(dataset, key=_key(_recipe(options, tasks, dataset_id, {}), number))


def _recipe(
    options: DatasetOptions, tasks: Sequence[Task], dataset_id: str, frames: Mapping[str, Any]
) -> Recipe:
    """Checks all that can be checked before rows are read."""
    inputs = plan_inputs(options)
    check_names(options, [each.name for each in inputs])
    labels = LabelReader.of(options.label_col, tasks, options.inconsistent)
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


def _key(recipe: Recipe, number: int = FORMAT) -> str:
    content = {name: value for name, value in asdict(recipe.options).items() if name not in _NOT_IN_KEY}
    content["labels"] = [(label.name, label.mask_value) for label in recipe.options.label_col]
    if number == 1:
        content = _as_in_format_1(content)
    in_memory = {
        name: source.identity() for name, source in recipe.sources.items() if isinstance(source, FrameSource)
    }
    content |= {"frames": in_memory} if in_memory else {}
    content |= {"required": recipe.labels.required, "binary": sorted(recipe.labels.binary)}
    files = [file for source in recipe.sources.values() for file in source.files]
    pretrained = [Path(each.options.pretrained_emb) for each in recipe.inputs if each.options.pretrained_emb]
    return key_of(content, [*files, *(file for file in pretrained if file.exists())], number)


def _as_in_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the options that came later; where no mark of missing labels was given, it was -1."""

    def known(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in _SINCE_FORMAT_1}

    return {
        **known(content),
        "feature_cols": [known(each) for each in content["feature_cols"]],
        "labels": [(name, -1.0 if mark is None else mark) for name, mark in content["labels"]],
    }


def _open(cache: Cache, names: Sequence[str], warnings: Sequence[str]) -> Dataset:
    encoder = Encoder.load(cache.folder)
    splits = {name: open_split(cache.folder, name, encoder.feature_map.labels) for name in names}
    return Dataset(
        folder=cache.folder,
        key=cache.key,
        encoder=encoder,
        train=splits["train"],
        valid=splits.get("valid"),
        test=splits.get("test"),
        warnings=tuple(warnings),
    )

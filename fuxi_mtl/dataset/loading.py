"""From a stanza of dataset_config to an encoded dataset."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.cache import Cache, key_of
from fuxi_mtl.dataset.checks import check_names, label_warnings, leak_warnings
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import BadEntry, DataError
from fuxi_mtl.dataset.fitting import fit
from fuxi_mtl.dataset.inputs import Input, meta_columns, plan_inputs
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.progress import progress_bar
from fuxi_mtl.dataset.sources import Block, Source, find_sources
from fuxi_mtl.dataset.splits import Dataset, open_split
from fuxi_mtl.dataset.splitting import NAMES, assign_rows
from fuxi_mtl.dataset.writing import SplitFiles
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)

# Where things lie and how they are read does not change what comes out.
_NOT_IN_KEY = ("data_root", "data_block_size")


def load_dataset(
    options: DatasetOptions,
    tasks: Sequence[Task],
    dataset_id: str,
    *,
    threads: int = 0,
    progress: bool = True,
) -> Dataset:
    """The encoded dataset of a stanza: from the cache, or read, checked, encoded and kept there.

    Args:
        options: The stanza.
        tasks: What will be predicted; decides which labels are binary and which rows are inconsistent.
        dataset_id: Name of the stanza.
        threads: Threads for encoding; 0 takes all cores.
        progress: Whether a terminal shows a progress bar.

    Raises:
        DataError: The files or the stanza cannot be used.
        OSError: The encoded data cannot be written.
    """
    inputs = plan_inputs(options)
    check_names(options, [each.name for each in inputs])
    labels = LabelReader.of(options.label_col, tasks, options.inconsistent)
    sources = find_sources(options)
    _check_columns(sources, options, inputs)
    cache = Cache(Path(options.data_root) / dataset_id, _key(options, labels, inputs, sources))
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool, progress_bar(progress) as advance:
        job = _Encoding(options, dataset_id, inputs, labels, sources, pool.map, advance)
        manifest = cache.get(job.write)
    dataset = _open(cache.folder, cache.key, manifest["warnings"])
    for warning in dataset.warnings:
        logger.warning("%s: %s", dataset_id, warning)
    return dataset


def _open(folder: Path, key: str, warnings: Sequence[str]) -> Dataset:
    encoder = Encoder.load(folder)
    train, valid, test = (open_split(folder, name, encoder.feature_map.labels) for name in NAMES)
    return Dataset(folder, key, encoder, train, valid, test, tuple(warnings))


def _check_columns(sources: Mapping[str, Source], options: DatasetOptions, inputs: Sequence[Input]) -> None:
    for source in sources.values():
        needed = _needed_columns(options, inputs)
        if source.key == "train_data" and options.split_col:
            needed.append(options.split_col)
        source.check_columns(needed)


def _needed_columns(options: DatasetOptions, inputs: Sequence[Input]) -> list[str]:
    columns = [each.name for each in inputs]
    columns += [each.bag.weights for each in inputs if each.bag and each.bag.weights]
    columns += [str(feature.name) for feature in meta_columns(options)]
    columns += [label.name for label in options.label_col]
    if options.sample_weight:
        columns.append(options.sample_weight)
    return list(dict.fromkeys(columns))


def _key(
    options: DatasetOptions, labels: LabelReader, inputs: Sequence[Input], sources: Mapping[str, Source]
) -> str:
    content = {name: value for name, value in asdict(options).items() if name not in _NOT_IN_KEY}
    content |= {"required": labels.required, "binary": sorted(labels.binary)}
    files = [file for source in sources.values() for file in source.files]
    files += [Path(each.options.pretrained_emb) for each in inputs if each.options.pretrained_emb]
    return key_of(content, [file for file in files if file.exists()])


@dataclass(frozen=True)
class _Encoding:
    """The work of encoding a dataset that is not in the cache."""

    options: DatasetOptions
    dataset_id: str
    inputs: tuple[Input, ...]
    labels: LabelReader
    sources: Mapping[str, Source]
    each: Callable
    advance: Callable[[str, int], None]
    warnings: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> dict[str, Any]:
        """Two passes: fit on the training rows, then encode all rows."""
        assigned = assign_rows(self.sources["train"], self.options)
        names = tuple(label.name for label in self.options.label_col)
        training = (
            block for name, block, *_ in self._rows(["train"], assigned, "Fitting") if name == "train"
        )
        encoder = fit(self.inputs, training, self.dataset_id, names, folder, self.warnings, self.each)
        encoder.save(folder)
        self.labels.changed.clear()
        rows = self._encode(encoder, assigned, folder)
        self._check(folder, encoder, rows)
        return {"dataset_id": self.dataset_id, "rows": rows, "warnings": self.warnings}

    def _rows(
        self, sources: Sequence[str], assigned: np.ndarray | None, title: str
    ) -> Iterator[tuple[str, Block, np.ndarray, np.ndarray | None]]:
        """Blocks by split, with their events and weights; rows that contradict themselves are settled."""
        columns = _needed_columns(self.options, self.inputs)
        for key in sources:
            for block in self.sources[key].blocks(columns):
                self.advance(title, block.frame.height)
                try:
                    events, kept = self.labels.read(block)
                    weights = self._weights(block)
                except BadEntry as error:
                    raise block.located(error) from None
                for split, chosen in _parts(key, block, kept, assigned):
                    if chosen.any():
                        yield (
                            split,
                            block.where(chosen),
                            events[chosen],
                            None if weights is None else weights[chosen],
                        )

    def _weights(self, block: Block) -> np.ndarray | None:
        if self.options.sample_weight is None:
            return None
        entries = block.frame[self.options.sample_weight]
        weights = raw.numbers(entries)
        good = weights >= 0
        if not good.all():
            index = int(np.argmin(good))
            raise BadEntry(entries.name, index, entries[index], "a weight, a number of 0 or more")
        return weights

    def _encode(self, encoder: Encoder, assigned: np.ndarray | None, folder: Path) -> dict[str, int]:
        features, meta = encoder.feature_map, meta_columns(self.options)
        widths = (features.id_columns, features.numeric_columns, len(features.labels))
        open_files = partial(
            SplitFiles, folder, widths=widths, weighted=bool(self.options.sample_weight), meta=meta
        )
        files: dict[str, SplitFiles] = {}
        with ExitStack() as stack:
            for split, block, events, weights in self._rows(list(self.sources), assigned, "Encoding"):
                if split not in files:
                    files[split] = stack.enter_context(open_files(name=split))
                try:
                    ids, numeric = encoder.encode(block.frame, self.each)
                    files[split].append(block.frame, ids=ids, numeric=numeric, events=events, weights=weights)
                except BadEntry as error:
                    raise block.located(error) from None
        return {name: files[name].rows for name in NAMES if name in files}

    def _check(self, folder: Path, encoder: Encoder, rows: Mapping[str, int]) -> None:
        """Refuses what cannot be trained on and collects what the user should know."""
        if not rows.get("train"):
            raise DataError(f"train_data ({self.options.train_data}) has no row to train on.")
        action = "dropped" if self.options.inconsistent == "drop" else "set to 0"
        self.warnings.extend(
            f"{what} in {count} rows: {action}." for what, count in self.labels.changed.items()
        )
        for name in rows:
            split = open_split(folder, name, encoder.feature_map.labels)
            self.warnings.extend(label_warnings(split, self.labels.binary))
            if name == "train":
                binary, required = self.labels.binary, self.labels.required
                self.warnings.extend(leak_warnings(split, encoder.feature_map.features, binary, required))


def _parts(
    key: str, block: Block, kept: np.ndarray, assigned: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The splits that a block's rows go to, as masks."""
    if key != "train" or assigned is None:
        yield key, kept
        return
    splits = assigned[block.start : block.start + len(kept)]
    for code, name in enumerate(NAMES):
        yield name, kept & (splits == code)

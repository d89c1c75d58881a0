"""Raw rows with their splits, labels and weights: what both passes over the data read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError
from fuxi_mtl.dataset.frames import FrameSource
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.sources import START, Begin, Block, Source
from fuxi_mtl.dataset.splitting import NAMES
from fuxi_mtl.files.remote import name_of
from fuxi_mtl.options import DatasetOptions


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one split.

    Attributes:
        split: train, valid or test.
        block: The raw rows.
        events: ``(rows, labels)`` float32, NaN where missing.
        weights: ``(rows,)`` float32, or None.
    """

    split: str
    block: Block
    events: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True)
class LabelledBlock:
    """Rows of one source, which may be of several splits.

    Attributes:
        block: The raw rows.
        events: ``(rows, labels)`` float32, NaN where missing.
        weights: ``(rows,)`` float32, or None.
        splits: The split of each row, as :func:`fuxi_mtl.dataset.splitting.assign_rows` numbers them.
    """

    block: Block
    events: np.ndarray
    weights: np.ndarray | None
    splits: np.ndarray

    def where(self, kept: np.ndarray) -> "LabelledBlock":
        """The rows that a mask keeps."""
        if kept.all():
            return self
        weights = None if self.weights is None else self.weights[kept]
        return LabelledBlock(self.block.where(kept), self.events[kept], weights, self.splits[kept])

    def parts(self) -> Iterator[LabelledRows]:
        """The rows of each split that has some."""
        for code, name in enumerate(NAMES):
            part = self.where(self.splits == code)
            if len(part.splits):
                yield LabelledRows(name, part.block, part.events, part.weights)


def needed_columns(options: DatasetOptions, inputs: Sequence[Input]) -> list[str]:
    """The columns that every file must have."""
    columns = [each.name for each in inputs]
    columns += [each.bag.weights for each in inputs if each.bag and each.bag.weights]
    columns += [str(feature.name) for feature in meta_columns(options)]
    columns += [label.name for label in options.label_col]
    columns += [options.sample_weight] if options.sample_weight else []
    return list(dict.fromkeys(columns))


def labelled_blocks(
    sources: Mapping[str, Source | FrameSource],
    columns: Sequence[str],
    labels: LabelReader,
    sample_weight: str | None,
    assigned: np.ndarray | None,
    advance: Callable[[int], None],
    begin: Begin = START,
    between: Callable[[Begin], None] = lambda _: None,
) -> Iterator[LabelledBlock]:
    """The rows of some sources in order, without those that contradict themselves.

    Args:
        sources: The sources by split.
        columns: Columns to read.
        labels: Reads the labels, and drops or repairs rows.
        sample_weight: Column of the weights, or None.
        assigned: Split of each row of the training source, or None if all are for training.
        advance: Is told the number of rows of each block.
        begin: Where a source of files begins.
        between: Is told where a source goes on, whenever it has come to another file.

    Raises:
        DataError: A label or weight cannot be read, or is not what it should be.
    """
    for name, source in sources.items():
        file = None
        blocks = source.blocks(columns, begin) if isinstance(source, Source) else source.blocks(columns)
        for block in blocks:
            if isinstance(source, Source) and file not in (None, block.file):
                between(Begin(list(map(name_of, source.files)).index(block.file), block.start))
            file = block.file
            advance(block.frame.height)
            with block.errors():
                events, kept = labels.read(block)
                weights = None if sample_weight is None else _weights(block, sample_weight)
            splits = np.full(len(kept), NAMES.index(name), np.uint8)
            if name == "train" and assigned is not None:
                splits = assigned[block.start : block.start + len(kept)]
            if kept.any():
                yield LabelledBlock(block, events, weights, splits).where(kept)


def _weights(block: Block, column: str) -> np.ndarray:
    entries = block.frame[column]
    weights = raw.numbers(entries)
    good = weights >= 0
    if not good.all():
        index = int(np.argmin(good))
        raise BadEntryError(column, index, entries[index], "a weight, a number of 0 or more")
    return weights

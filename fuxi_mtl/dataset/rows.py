"""Raw rows with their split, labels and weights: what both passes over the data read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError
from fuxi_mtl.dataset.frames import FrameSource
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.sources import Block, Source
from fuxi_mtl.dataset.splitting import NAMES
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


def needed_columns(options: DatasetOptions, inputs: Sequence[Input]) -> list[str]:
    """The columns that every file must have."""
    columns = [each.name for each in inputs]
    columns += [each.bag.weights for each in inputs if each.bag and each.bag.weights]
    columns += [str(feature.name) for feature in meta_columns(options)]
    columns += [label.name for label in options.label_col]
    columns += [options.sample_weight] if options.sample_weight else []
    return list(dict.fromkeys(columns))


def labelled_rows(
    sources: Mapping[str, Source | FrameSource],
    columns: Sequence[str],
    labels: LabelReader,
    sample_weight: str | None,
    assigned: np.ndarray | None,
    advance: Callable[[int], None],
) -> Iterator[LabelledRows]:
    """The rows of some sources in order, without those that contradict themselves.

    Args:
        sources: The sources by split.
        columns: Columns to read.
        labels: Reads the labels, and drops or repairs rows.
        sample_weight: Column of the weights, or None.
        assigned: Split of each row of the training source, or None if all are for training.
        advance: Is told the number of rows of each block.

    Raises:
        DataError: A label or weight cannot be read, or is not what it should be.
    """
    for name, source in sources.items():
        for block in source.blocks(columns):
            advance(block.frame.height)
            with block.errors():
                events, kept = labels.read(block)
                weights = None if sample_weight is None else _weights(block, sample_weight)
            for split, chosen in _parts(name, block, kept, assigned):
                if chosen.any():
                    chosen_weights = None if weights is None else weights[chosen]
                    yield LabelledRows(split, block.where(chosen), events[chosen], chosen_weights)


def _parts(
    name: str, block: Block, kept: np.ndarray, assigned: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The splits that the kept rows of a block go to, as masks."""
    if name != "train" or assigned is None:
        yield name, kept
        return
    splits = assigned[block.start : block.start + len(kept)]
    for code, split in enumerate(NAMES):
        yield split, kept & (splits == code)


def _weights(block: Block, column: str) -> np.ndarray:
    entries = block.frame[column]
    weights = raw.numbers(entries)
    good = weights >= 0
    if not good.all():
        index = int(np.argmin(good))
        raise BadEntryError(column, index, entries[index], "a weight, a number of 0 or more")
    return weights

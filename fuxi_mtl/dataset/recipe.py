"""What an encoded dataset is made from, and its rows with their labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.frames import FrameSource
from fuxi_mtl.dataset.growing import Growth
from fuxi_mtl.dataset.inputs import Input, meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.rows import LabelledBlock, labelled_blocks, needed_columns
from fuxi_mtl.dataset.sources import START, Begin, Source
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

    @property
    def carried(self) -> list[str]:
        """Columns that somebody else reads too, so that their texts must stay."""
        columns = [str(meta.name) for meta in meta_columns(self.options)]
        columns += [given.bag.weights for given in self.inputs if given.bag and given.bag.weights]
        return columns + ([self.options.sample_weight] if self.options.sample_weight else [])

    def new_labels(self, of_file: bool = False) -> LabelReader:
        """What reads the labels, before its first row; ``of_file`` for one file of several."""
        known = None if self.known is None else self.known.feature_map.label_classes
        return self.labels.of_file(known) if of_file else self.labels.fresh(known)

    def labelled(
        self,
        sources: Sequence[str],
        labels: LabelReader,
        assigned: np.ndarray | None,
        advance: Callable[[int], None],
        begin: Begin = START,
        between: Callable[[Begin], None] = lambda _: None,
    ) -> Iterator[LabelledBlock]:
        """The rows of some sources; see :func:`~fuxi_mtl.dataset.rows.labelled_blocks`."""
        return labelled_blocks(
            {name: self.sources[name] for name in sources},
            needed_columns(self.options, self.inputs),
            labels,
            self.options.sample_weight,
            assigned,
            advance,
            begin,
            between,
        )

"""Encoded rows on their way into the files of their splits."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.inputs import meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.rows import LabelledBlock, LabelledRows
from fuxi_mtl.dataset.sources import START, Begin
from fuxi_mtl.dataset.splitting import NAMES
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.dataset.writing import SplitFiles

CODED = "coded"  # the folder of rows that were read, and of streams


@dataclass(frozen=True)
class Written:
    """Rows that another process has encoded.

    Attributes:
        folder: Where its files lie.
        whole: By split, whole numbers with a point by column that is carried along as text.
        unknown: Counts of unknown ids by split, the states of :class:`~fuxi_mtl.dataset.unknown.UnknownIds`.
        labels: What was read of labels.
        read: Rows, with those that were left out.
        notes: What is to be said of the file.
    """

    folder: Path
    whole: Mapping[str, Counter[str]]
    unknown: Mapping[str, dict[str, Any]]
    labels: LabelReader
    read: int
    notes: Mapping[str, Any] = field(default_factory=dict)


class RowWriter:
    """Encodes rows by a fitted encoder and writes them.

    Args:
        recipe: What to encode.
        labels: Reads the labels.
        encoder: The encoder.
        folder: Where the files go.
    """

    def __init__(self, recipe: Recipe, labels: LabelReader, encoder: Encoder, folder: Path):
        self.recipe, self.labels, self.encoder, self.folder = recipe, labels, encoder, folder
        self._read = 0
        self._files: dict[str, SplitFiles] = {}
        # Of rows that made the vocabularies nothing is unknown but what is rare.
        made_of_these = recipe.known is None or recipe.growth is not None
        self._unknown = {name: UnknownIds(encoder) for name in NAMES if name != "train" or not made_of_these}

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by split."""
        return {name: self._files[name].rows for name in NAMES if name in self._files}

    @property
    def unknown(self) -> dict[str, UnknownIds]:
        """The unknown ids of each split that has rows, but for those that made the vocabularies."""
        return {name: found for name, found in self._unknown.items() if name in self._files}

    @property
    def whole(self) -> Counter[str]:
        """Whole numbers with a point, by column that is carried along as text."""
        return sum((written.whole for written in self._files.values()), Counter())

    def write_block(self, block: LabelledBlock, known: Mapping[str, np.ndarray], each: Callable) -> None:
        """Writes coded rows.

        Args:
            block: The rows.
            known: For columns that hold numbers of texts, the id of every number.
            each: ``map``, or that of an executor.
        """
        self._read += block.block.frame.height
        for part in block.parts():
            self._write(replace(part, events=self.labels.settled(part.events)), known, each)

    def write_source(
        self,
        name: str,
        each: Callable,
        advance: Callable[[int], None],
        begin: Begin = START,
        between: Callable[[Begin], None] = lambda _: None,
    ) -> None:
        """Writes the rows of a source that were not coded; see ``Recipe.labelled`` for the arguments.

        Raises:
            DataError: The data cannot be used.
        """

        def told(rows: int) -> None:
            self._read += rows
            advance(rows)

        for block in self.recipe.labelled([name], self.labels, None, told, begin, between):
            for part in block.parts():
                self._write(part, {}, each)

    def written(self) -> Written:
        """What it has written, for the pass of another process."""
        for files in self._files.values():
            files.close_parts()
        return Written(
            self.folder,
            {name: files.whole for name, files in self._files.items()},
            {name: unknown.state() for name, unknown in self.unknown.items()},
            self.labels,
            self._read,
        )

    def add(self, written: Written) -> None:
        """Takes in rows behind those that are written; their files are removed."""
        self.labels.add(written.labels)
        for split, whole in written.whole.items():
            if split not in self._files:
                self._open(split)
            self._files[split].append_files(written.folder, written.folder / CODED, split, whole)
        for split, counts in written.unknown.items():
            self._unknown[split].add(counts)
        shutil.rmtree(written.folder)

    def _write(self, part: LabelledRows, known: Mapping[str, np.ndarray], each: Callable) -> None:
        if part.split not in self._files:
            self._open(part.split)
        frame = part.block.frame
        with part.block.errors():
            ids, numeric = self.encoder.encode(frame, each, known)
            if part.split in self._unknown:
                texts = frame.drop(name for name in known if name in frame.columns)
                self._unknown[part.split].observe(texts, ids)
            self._files[part.split].append(
                frame, ids=ids, numeric=numeric, events=part.events, weights=part.weights
            )

    def _open(self, split: str, state: Mapping[str, Any] | None = None) -> None:
        features, options = self.encoder.feature_map, self.recipe.options
        widths = {
            "ids": features.id_columns,
            "numeric": features.numeric_columns,
            "events": len(features.labels),
        }
        weighted, meta = bool(options.sample_weight), meta_columns(options)
        self._files[split] = SplitFiles(
            self.folder, self.folder / CODED, split, widths, weighted, meta, state
        )

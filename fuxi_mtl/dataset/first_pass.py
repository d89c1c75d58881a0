"""The first pass over the rows: those of the training source are read, kept as numbers, and observed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.coding import CodedRows, StoredBlock
from fuxi_mtl.dataset.fitting import Observer
from fuxi_mtl.dataset.labels import LabelReader, LabelUnits
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.row_writer import CODED
from fuxi_mtl.dataset.sources import START, Begin, Block, Source
from fuxi_mtl.dataset.splitting import TRAIN


@dataclass
class FileFound:
    """What a pass over one file of several has found.

    Attributes:
        labels: What was read of labels.
        units: Units of the labels.
        stored: The rows, which lie in the folder of all.
        texts: The texts of coded columns, as :meth:`~fuxi_mtl.dataset.coding.SeenTexts.state` gives them.
        observers: What the inputs have shown of themselves.
        notes: What is to be said of the file.
        rows: Its rows.
    """

    labels: LabelReader
    units: LabelUnits
    stored: list[StoredBlock]
    texts: dict[str, Any]
    observers: list[Observer]
    notes: dict[str, Any]
    rows: int


@dataclass
class FirstPass:
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
    def new(cls, recipe: Recipe, folder: Path, each: Callable) -> "FirstPass":
        """The pass before its first row."""
        labels = recipe.new_labels()
        coded = CodedRows(recipe.inputs, recipe.carried, folder / CODED, each)
        return cls(recipe, labels, LabelUnits(labels), coded, [Observer(given) for given in recipe.inputs])

    @classmethod
    def of_file(cls, recipe: Recipe, folder: Path, each: Callable, number: int) -> "FirstPass":
        """The pass over one file of several.

        Args:
            recipe: What to encode; its training source has this file only.
            folder: Where the rows of all files go.
            each: ``map``, or that of an executor.
            number: Of the file.
        """
        labels = recipe.new_labels(of_file=True)
        coded = CodedRows(recipe.inputs, recipe.carried, folder / CODED, each, f"f{number}-")
        places = [coded.folder / f"f{number}-sample{i}" for i in range(len(recipe.inputs))]
        observers = list(map(Observer.of_file, recipe.inputs, places))
        return cls(recipe, labels, LabelUnits.of_file(labels), coded, observers)

    def blocks(
        self,
        assigned: np.ndarray | None,
        advance: Callable[[int], None],
        between: Callable[[Begin], None] = lambda _: None,
    ) -> Iterator[Block]:
        """Reads the rows and keeps them, and gives what of the training rows is still to be observed.

        Args:
            assigned: Split of each row, or None if all are for training.
            advance: Is told the number of rows of each block.
            between: Is told where the source goes on, whenever it has come to another file.

        Raises:
            DataError: An entry cannot be read.
        """
        for part in self.recipe.labelled(["train"], self.labels, assigned, advance, self.begin, between):
            with part.block.errors():
                rest = self.coded.add(part)
            training = part.events[part.splits == TRAIN]
            if len(training):
                self.units.observe(training)
                yield rest

    def found(self, rows: int) -> FileFound:
        """What it has found in its file, of so many rows."""
        source = self.recipe.sources["train"]
        for observer in self.observers:
            observer.counts = observer.counts.compact()
        return FileFound(
            self.labels,
            self.units,
            self.coded.stored,
            {name: texts.state() for name, texts in self.coded.texts.items()},
            self.observers,
            source.state() if isinstance(source, Source) else {},
            rows,
        )

    def add(self, found: FileFound) -> None:
        """Takes in the file behind those that are done; the order of files is part of the result.

        Raises:
            DataError: There are more classes of a label than a head has numbers.
        """
        classes = self.labels.add(found.labels)
        self.units.add(found.units)
        self.coded.add_file(found.stored, found.texts, classes, self.begin.row)
        for mine, theirs in zip(self.observers, found.observers, strict=True):
            mine.add(theirs)
        source = self.recipe.sources["train"]
        if isinstance(source, Source):
            source.restore(found.notes)
        self.begin = Begin(self.begin.file + 1, self.begin.row + found.rows)

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

"""The second pass over the rows: all of them are encoded and written, and where that is can be kept."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.inputs import meta_columns
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.rows import LabelledRows
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.sources import START, Begin, Source
from fuxi_mtl.dataset.splitting import NAMES
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.dataset.writing import SplitFiles
from fuxi_mtl.files import read_arrays, whole_folder

CODED, FITTED = "coded", "fitted"  # folders: of rows that were read, and of what the first pass has found
_TEXTS = "texts.npz"


@dataclass(frozen=True)
class Place:
    """Where the pass is.

    Attributes:
        coded: Blocks of coded rows that are done.
        source: Sources of rows that were not coded that are done.
        begin: Where the next of these goes on.
    """

    coded: int = 0
    source: int = 0
    begin: Begin = START


class SecondPass:
    """Encodes rows by a fitted encoder and writes them: those that the first pass has coded, then all others.

    Its savepoints need nothing of the first pass: the encoder and the ids of texts are kept with the first.

    Args:
        recipe: What to encode.
        labels: Reads the labels; it has read those of the coded rows.
        encoder: The encoder.
        coded: The coded rows.
        folder: Where the files go.
        savepoints: Where its states go.

    Attributes:
        ids: For columns that hold numbers of texts, the id of every number.
        warnings: What was to be said before it.
        grown: What became of each vocabulary, as plain data.
    """

    def __init__(
        self,
        recipe: Recipe,
        labels: LabelReader,
        encoder: Encoder,
        coded: CodedRows,
        folder: Path,
        savepoints: Savepoints,
    ):
        self.recipe, self.labels, self.encoder = recipe, labels, encoder
        self.ids: dict[str, np.ndarray] = {}
        self.warnings: list[str] = []
        self.grown: dict[str, Any] = {}
        self._coded, self._folder, self._savepoints = coded, folder, savepoints
        self._place = Place()
        self._files: dict[str, SplitFiles] = {}
        # Of rows that made the vocabularies nothing is unknown but what is rare.
        made_of_these = recipe.known is None or recipe.growth is not None
        self._unknown = {name: UnknownIds(encoder) for name in NAMES if name != "train" or not made_of_these}

    @classmethod
    def restored(
        cls, recipe: Recipe, savepoints: Savepoints, folder: Path, state: Mapping[str, Any], each: Callable
    ) -> "SecondPass":
        """The pass behind a savepoint.

        Raises:
            OSError: A file is missing.
            ValueError: A file is not what it was.
        """
        labels = recipe.new_labels()
        labels.restore(state["labels"])
        coded = CodedRows(recipe.inputs, recipe.carried, folder / CODED, each)
        found = cls(recipe, labels, Encoder.load(folder / FITTED), coded, folder, savepoints)
        texts = read_arrays(folder / FITTED / _TEXTS, "")
        found.ids = {name: texts[f"t{number}"] for number, name in enumerate(state["texts"])}
        found.warnings, found.grown = state["warnings"], state["grown"]
        place = state["place"]
        found._place = Place(place["coded"], place["source"], Begin(**place["begin"]))
        coded.restore_places(state["coded"], found._place.coded)
        for name, source in recipe.sources.items():
            if isinstance(source, Source):
                source.restore(state["notes"][name])
        for name, unknown in found._unknown.items():
            unknown.restore(state["unknown"][name])
        for name, written in state["written"].items():
            found._open(name, written)
        return found

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

    @property
    def names(self) -> list[str]:
        """Files and folders that are its own while it is under way."""
        arrays = ("ids", "numeric", "events", "weights")
        return [CODED, FITTED, *(f"{name}.{part}.npy" for name in self._files for part in arrays)]

    def find_ids(self, each: Callable) -> None:
        """Finds the ids of the texts of coded rows."""
        texts = self._coded.texts
        found = each(lambda seen: seen.ids(self.encoder.ids_of), texts.values())
        self.ids = dict(zip(texts, found, strict=True))

    def run(self, each: Callable, advance: Callable[[int], None]) -> None:
        """Writes the rows from where it is on.

        Args:
            each: ``map``, or that of an executor.
            advance: Is told the number of rows of each block.

        Raises:
            DataError: The data cannot be used.
        """
        advance(sum(self.rows.values()))
        try:
            self._write_coded(each, advance)
            self._write_others(each, advance)
            if self._savepoints.exists:
                self._save()
            for files in self._files.values():
                files.close()
        except BaseException:
            for files in self._files.values():
                files.abandon()
            raise

    def _write_coded(self, each: Callable, advance: Callable[[int], None]) -> None:
        for number, block, names in self._coded.blocks(self._place.coded):
            advance(block.block.frame.height)
            known = {name: self.ids[name] for name in names}
            for part in block.parts():
                self._write(replace(part, events=self.labels.settled(part.events)), known, each)
            self._reached(Place(coded=number + 1))

    def _write_others(self, each: Callable, advance: Callable[[int], None]) -> None:
        others = [name for name in self.recipe.sources if name != "train"]
        for number, name in list(enumerate(others))[self._place.source :]:
            begin, coded = self._place.begin, self._place.coded
            between = partial(self._came_to, coded, number)
            for block in self.recipe.labelled([name], self.labels, None, advance, begin, between):
                for part in block.parts():
                    self._write(part, {}, each)
            self._reached(Place(coded, number + 1))

    def _came_to(self, coded: int, source: int, begin: Begin) -> None:
        self._reached(Place(coded, source, begin))

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
            self._folder, self._folder / CODED, split, widths, weighted, meta, state
        )

    def _reached(self, place: Place) -> None:
        """Saves if it is time; coded rows that no savepoint needs any more are removed."""
        self._place = place
        if self._savepoints.due:
            self._save()
        elif not self._savepoints.exists:
            self._coded.forget(place.coded)

    def _save(self) -> None:
        if not (self._folder / FITTED).is_dir():
            with whole_folder(self._folder / FITTED) as partial_folder:
                self.encoder.save(partial_folder)
                texts = {f"t{number}": ids for number, ids in enumerate(self.ids.values())}
                np.savez(partial_folder / _TEXTS, **texts)  # type: ignore[arg-type]
        self._savepoints.save(self._state(), self._coded.files(self._place.coded))
        self._coded.forget(self._place.coded)

    def _state(self) -> dict[str, Any]:
        sources = self.recipe.sources.items()
        return {
            "place": asdict(self._place),
            "labels": self.labels.state(),
            "notes": {name: source.state() for name, source in sources if isinstance(source, Source)},
            "coded": self._coded.places,
            "texts": list(self.ids),
            "warnings": self.warnings,
            "grown": self.grown,
            "unknown": {name: unknown.state() for name, unknown in self._unknown.items()},
            "written": {name: files.state() for name, files in self._files.items()},
        }

    def remove(self) -> None:
        """Removes what is no part of the encoded data."""
        self._coded.remove()
        shutil.rmtree(self._folder / FITTED, ignore_errors=True)

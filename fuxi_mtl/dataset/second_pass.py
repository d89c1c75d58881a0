"""The second pass over the rows: all of them are encoded and written, and where that is can be kept."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.labels import LabelReader
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.row_writer import CODED, RowWriter
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.sources import START, Begin, Source
from fuxi_mtl.files import read_arrays, whole_folder

if TYPE_CHECKING:
    from fuxi_mtl.dataset.parallel import SharedEncoding

FITTED = "fitted"  # the folder of what the first pass has found
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


class SecondPass(RowWriter):
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
        place: Where it is.
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
        super().__init__(recipe, labels, encoder, folder)
        self.ids: dict[str, np.ndarray] = {}
        self.warnings: list[str] = []
        self.grown: dict[str, Any] = {}
        self.coded, self.savepoints, self.place = coded, savepoints, Place()

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
        found.place = Place(place["coded"], place["source"], Begin(**place["begin"]))
        coded.restore_places(state["coded"], found.place.coded)
        for name, source in recipe.sources.items():
            if isinstance(source, Source):
                source.restore(state["notes"][name])
        for name, unknown in found._unknown.items():
            unknown.restore(state["unknown"][name])
        for name, written in state["written"].items():
            found._open(name, written)
        return found

    @property
    def names(self) -> list[str]:
        """Files and folders that are its own while it is under way."""
        arrays = ("ids", "numeric", "events", "weights")
        return [CODED, FITTED, *(f"{name}.{part}.npy" for name in self._files for part in arrays)]

    def find_ids(self, each: Callable) -> None:
        """Finds the ids of the texts of coded rows."""
        texts = self.coded.texts
        found = each(lambda seen: seen.ids(self.encoder.ids_of), texts.values())
        self.ids = dict(zip(texts, found, strict=True))

    def run(
        self, each: Callable, advance: Callable[[int], None], shared: "SharedEncoding | None" = None
    ) -> None:
        """Writes the rows from where it is on.

        Args:
            each: ``map``, or that of an executor.
            advance: Is told the number of rows of each block.
            shared: Writes by other processes what comes from files, in the place of this one.

        Raises:
            DataError: The data cannot be used.
        """
        advance(sum(self.rows.values()))
        try:
            if shared is not None and self.place.coded < len(self.coded.stored):
                shared.write_coded(advance)
            else:
                self._write_coded(each, advance)
            self._write_others(each, advance, shared)
            if self.savepoints.exists:
                self._save()
            for files in self._files.values():
                files.close()
        except BaseException:
            for files in self._files.values():
                files.abandon()
            raise

    def _write_coded(self, each: Callable, advance: Callable[[int], None]) -> None:
        for number, block, names in self.coded.blocks(self.place.coded):
            advance(block.block.frame.height)
            self.write_block(block, {name: self.ids[name] for name in names}, each)
            self.reached(Place(coded=number + 1))

    def _write_others(
        self, each: Callable, advance: Callable[[int], None], shared: "SharedEncoding | None"
    ) -> None:
        others = [name for name in self.recipe.sources if name != "train"]
        for number, name in list(enumerate(others))[self.place.source :]:
            begin, coded = self.place.begin, self.place.coded
            between, source = partial(self._came_to, coded, number), self.recipe.sources[name]
            if shared is not None and isinstance(source, Source):
                shared.write_source(name, source, begin, advance, between)
            else:
                self.write_source(name, each, advance, begin, between)
            self.reached(Place(coded, number + 1))

    def _came_to(self, coded: int, source: int, begin: Begin) -> None:
        self.reached(Place(coded, source, begin))

    def reached(self, place: Place) -> None:
        """Saves if it is time; coded rows that no savepoint needs any more are removed."""
        self.place = place
        if self.savepoints.due:
            self._save()
        elif not self.savepoints.exists:
            self.coded.forget(place.coded)

    def _save(self) -> None:
        if not (self.folder / FITTED).is_dir():
            with whole_folder(self.folder / FITTED) as partial_folder:
                self.encoder.save(partial_folder)
                texts = {f"t{number}": ids for number, ids in enumerate(self.ids.values())}
                np.savez(partial_folder / _TEXTS, **texts)  # type: ignore[arg-type]
        self.savepoints.save(self._state(), self.coded.files(self.place.coded))
        self.coded.forget(self.place.coded)

    def _state(self) -> dict[str, Any]:
        sources = self.recipe.sources.items()
        return {
            "place": asdict(self.place),
            "labels": self.labels.state(),
            "notes": {name: source.state() for name, source in sources if isinstance(source, Source)},
            "coded": self.coded.places,
            "texts": list(self.ids),
            "warnings": self.warnings,
            "grown": self.grown,
            "unknown": {name: unknown.state() for name, unknown in self._unknown.items()},
            "written": {name: files.state() for name, files in self._files.items()},
        }

    def remove(self) -> None:
        """Removes what is no part of the encoded data."""
        self.coded.remove()
        shutil.rmtree(self.folder / FITTED, ignore_errors=True)

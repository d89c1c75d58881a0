"""The second pass in several processes: each writes files of its own, which are joined in their order."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.coding import FileNumbers, StoredBlock
from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.parallel.files import SharedFiles
from fuxi_mtl.dataset.parallel.fitting import alone
from fuxi_mtl.dataset.parallel.processes import FileProcesses
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.row_writer import CODED, RowWriter, Written
from fuxi_mtl.dataset.second_pass import Place, SecondPass
from fuxi_mtl.dataset.sources import Begin, Source

_BLOCKS = 8  # coded blocks of a task, at most


@dataclass(frozen=True)
class _Work:
    """What is to be done with each file or some coded blocks.

    Attributes:
        recipe: What to encode, without its sources.
        encoder: The encoder.
        labels: State of the labels, of which nothing is counted yet.
        folder: Where coded rows lie, and what is written goes.
    """

    recipe: Recipe
    encoder: Encoder
    labels: dict[str, Any]
    folder: Path

    def writer(self, name: str) -> RowWriter:
        """What writes rows into a folder of its own."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        (folder / CODED).mkdir(parents=True)
        labels = self.recipe.new_labels(of_file=True)
        labels.restore(self.labels)
        return RowWriter(self.recipe, labels, self.encoder, folder)


class SharedEncoding:
    """Writes rows of a pass by processes.

    Args:
        writing: The pass.
        processes: Who encodes.
    """

    def __init__(self, writing: SecondPass, processes: FileProcesses):
        self._writing, self._processes = writing, processes

    def _keep(self) -> None:
        """Gives the processes what they need; labels are settled by now."""
        writing, recipe = self._writing, self._writing.recipe
        encoder = alone(writing.encoder)
        given = replace(recipe, sources={}, known=None if recipe.known is None else encoder)
        state = writing.labels.state()
        classes = {name: {**each, "unknown": {}} for name, each in state["classes"].items()}
        labels = {"changed": {}, "masked": {}, "numbers": {}, "classes": classes}
        self._processes.keep(_Work(given, encoder, labels, writing.folder / CODED))

    def write_coded(self, advance: Callable[[int], None]) -> None:
        """Writes the coded rows from where the pass is on.

        Raises:
            DataError: An entry cannot be encoded.
            LostProcessError: A process is gone.
        """
        writing, stored = self._writing, self._writing.coded.stored
        self._keep()
        ends = list(_ends(stored, writing.place.coded))
        begins = [writing.place.coded, *ends][: len(ends)]
        tasks = (self._coded_task(begin, end) for begin, end in zip(begins, ends, strict=True))
        for end, written in zip(ends, self._processes.map(_encode_coded, tasks), strict=True):
            writing.add(written)
            advance(written.read)
            writing.reached(Place(coded=end))

    def _coded_task(self, begin: int, end: int) -> tuple[str, tuple]:
        writing = self._writing
        blocks = writing.coded.stored[begin:end]
        names = {name for block in blocks for name in block.coded}
        ids, classes = {name: writing.ids[name] for name in names}, {}
        if blocks[0].numbers:
            numbers = FileNumbers.read(writing.coded.folder / blocks[0].numbers)
            ids = {name: own[numbers.texts[name]] for name, own in ids.items()}
            classes = dict(numbers.classes)
        return blocks[0].file, (f"w-{begin}", blocks, ids, classes)

    def write_source(
        self,
        name: str,
        source: Source,
        begin: Begin,
        advance: Callable[[int], None],
        between: Callable[[Begin], None],
    ) -> None:
        """Writes the rows of a source that were not coded.

        Args:
            name: Its split.
            source: The source.
            begin: Where it begins.
            advance: Is told the number of rows of each file.
            between: Is told where it goes on, whenever it has come to another file.

        Raises:
            DataError: The data cannot be used.
            LostProcessError: A process is gone.
        """
        writing = self._writing
        self._keep()
        parts = SharedFiles(source, self._processes).parts(begin)
        tasks = ((part.name, (f"w-{name}-{number}", name, part)) for number, part, _ in parts)
        at = begin
        for written in self._processes.map(_encode_file, tasks):
            writing.add(written)
            source.restore(written.notes)
            advance(written.read)
            at = Begin(at.file + 1, at.row + written.read)
            if at.file < len(source.files):
                between(at)


def _ends(stored: list[StoredBlock], begin: int) -> Iterator[int]:
    """Where tasks end: their blocks have numbers of their own in common, and are few."""
    last = begin
    for place in range(begin + 1, len(stored) + 1):
        if (
            place == len(stored)
            or place - last == _BLOCKS
            or stored[place].numbers != stored[place - 1].numbers
        ):
            yield place
            last = place


def _encode_coded(
    work: _Work,
    each: Callable,
    name: str,
    blocks: list[StoredBlock],
    ids: Mapping[str, np.ndarray],
    classes: Mapping[int, np.ndarray],
) -> Written:
    writer, numbers = work.writer(name), FileNumbers({}, classes)
    for block in blocks:
        rows = block.read(work.folder)
        rows = replace(rows, events=numbers.events(rows.events))
        writer.write_block(rows, {name: ids[name] for name in block.coded}, each)
    return writer.written()


def _encode_file(work: _Work, each: Callable, name: str, split: str, source: Source) -> Written:
    writer = work.writer(name)
    writer.recipe = replace(work.recipe, sources={split: source})
    writer.write_source(split, each, lambda _: None)
    return replace(writer.written(), notes=source.state())

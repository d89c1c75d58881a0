"""The files of a source, each a source of its own that another process can read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.parallel.processes import FileProcesses
from fuxi_mtl.dataset.sources import START, Begin, Block, Source
from fuxi_mtl.files.remote import name_of


class SharedFiles:
    """A source whose files are read side by side, as :mod:`fuxi_mtl.dataset.splitting` reads one.

    Args:
        source: The source.
        processes: Who reads.

    Attributes:
        rows: Rows of each file, in their order, as far as they were counted.
    """

    def __init__(self, source: Source, processes: FileProcesses):
        self.source, self.processes = source, processes
        self.rows: list[int] = []

    def count_rows(self) -> int:
        """Rows that :meth:`blocks` gives."""
        tasks = ((source.name, (source,)) for source in map(self._alone, range(len(self.source.files))))
        self.rows = list(self.processes.map(_count, tasks))
        found = sum(self.rows)
        return found if self.source.n_rows is None else min(found, self.source.n_rows)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """The rows in order, with only these columns, of which a whole file must fit into memory."""
        self.rows, start, most = [], 0, self.source.n_rows
        tasks = (
            (source.name, (source, tuple(columns)))
            for source in map(self._alone, range(len(self.source.files)))
        )
        found = self.processes.map(_read, tasks)
        for file, (frames, notes) in zip(self.source.files, found, strict=False):
            in_file = 0
            for whole in frames:
                frame = whole if most is None else whole.head(most - start)
                if frame.height:
                    rows = np.arange(in_file, in_file + frame.height)
                    yield Block(frame, name_of(file), rows, start)
                in_file += frame.height
                start += frame.height
                if start == most:
                    self.rows.append(in_file)
                    return
            self.source.restore(notes)
            self.rows.append(in_file)

    def parts(self, begin: Begin = START, counted: bool = False) -> Iterator[tuple[int, Source, int]]:
        """Each file from one on: its number, the source of it alone, and its first row in the whole source.

        Args:
            begin: Which is the first.
            counted: Whether the numbers of rows are needed; else they are 0.
        """
        most, start = self.source.n_rows, 0
        counted = counted or most is not None
        if counted and not self.rows:
            self.count_rows()
        for number in range(len(self.source.files)):
            left = None if most is None else most - start
            if left is not None and left <= 0:
                return
            if number >= begin.file:
                yield number, self._alone(number, left), start
            start += self.rows[number] if counted and number < len(self.rows) else 0

    def _alone(self, number: int, n_rows: int | None = None) -> Source:
        """The source of one file; what is known of it is not found again."""
        file = self.source.files[number]
        notes = {file: self.source._notes[file]} if file in self.source._notes else {}
        return replace(self.source, files=(file,), n_rows=n_rows, _notes=notes)


def _count(kept: Any, each: Callable, source: Source) -> int:  # noqa: ARG001 - as all tasks are called
    return source.count_rows()


def _read(
    kept: Any,  # noqa: ARG001 - as all tasks are called
    each: Callable,  # noqa: ARG001
    source: Source,
    columns: Sequence[str],
) -> tuple[list[pl.DataFrame], dict[str, Any]]:
    return [block.frame for block in source.blocks(columns)], source.state()

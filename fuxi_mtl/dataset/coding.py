"""Training files read once: while they are fitted, their rows are kept beside as numbers.

A text that the vocabulary will judge later is replaced by the number under which it was first seen. When all
rows were seen, each different text is judged once, and the rows need only look the answers up. Numbers are
parsed once, and columns that nobody reads again are not kept. Reading and splitting a csv file, and hashing
its texts, is most of the work of encoding it.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import errors_of
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.rows import LabelledBlock
from fuxi_mtl.dataset.rules import Buckets, Number, Vocabulary
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.splitting import TRAIN
from fuxi_mtl.dataset.statistics import TokenCounts


@dataclass
class SeenTexts:
    """The different texts of one column, with their numbers and how often each was seen.

    Attributes:
        name: The column.
        rule: What will judge the texts.
    """

    name: str
    rule: Vocabulary
    _dtype: pl.Categorical = field(default_factory=lambda: pl.Categorical(pl.Categories.random()))
    _parts: list[pl.Series] = field(default_factory=list)
    _counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def codes(self, entries: pl.Series, counted: np.ndarray) -> pl.Series:
        """The number of each entry, UInt32.

        Args:
            entries: Texts or integers.
            counted: Which are training rows, which make the vocabulary, ``(rows,)`` booleans.

        Raises:
            BadEntryError: An entry of an integer column is no integer.
        """
        if self.rule.dtype == "int" and entries.dtype != pl.Int64:
            raw.integers(entries)  # A mistake is told with its row, which is known here only.
        # A missing entry and an empty text are one token.
        texts = entries.cast(pl.String)
        seen = (texts.fill_null(raw.MISSING) if texts.null_count() else texts).cast(self._dtype)
        codes = seen.to_physical()
        numbers, known = codes.to_numpy(), len(self._counts)
        highest = int(codes.max() or 0) if len(codes) else -1
        if highest >= known:
            self._parts.append(seen.filter(codes >= known).unique())
            self._counts = np.append(self._counts, np.zeros(highest + 1 - known, np.int64))
        self._count(numbers if counted.all() else numbers[counted])
        return codes

    def _count(self, numbers: np.ndarray) -> None:
        if len(self._counts) < 16 * len(numbers):
            self._counts += np.bincount(numbers, minlength=len(self._counts))
        else:
            found, counts = np.unique(numbers, return_counts=True)
            self._counts[found] += counts

    def observed(self) -> TokenCounts:
        """The tokens of the training rows and their counts."""
        counts = TokenCounts()
        texts, numbers = self._texts()
        seen = self._counts[numbers] > 0
        texts, number_of_each = texts.filter(pl.Series(seen)), pl.Series(self._counts[numbers[seen]])
        counts.observe(self.rule.tokens(texts), number_of_each)
        counts.whole = int(number_of_each.filter(raw.written_whole(texts)).sum())
        return counts

    def ids(self, apply: Callable[[Vocabulary, pl.Series], np.ndarray]) -> np.ndarray:
        """The id of every number, by the fitted vocabulary."""
        texts, numbers = self._texts()
        ids = np.zeros(len(self._counts), np.int32)
        ids[numbers] = apply(self.rule, self.rule.tokens(texts))
        return ids

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps: the texts in the order of their numbers, and their counts."""
        texts, numbers = self._texts()
        return {"texts": pl.DataFrame({"text": texts.gather(np.argsort(numbers))}), "counts": self._counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint.

        Raises:
            ValueError: The texts cannot have the numbers that they had.
        """
        texts = state["texts"]["text"].cast(self._dtype)
        if not np.array_equal(texts.to_physical().to_numpy(), np.arange(len(state["counts"]))):
            raise ValueError(f"the texts of {self.name!r} have other numbers")
        self._parts, self._counts = [texts], state["counts"]

    def _texts(self) -> tuple[pl.Series, np.ndarray]:
        """All texts and their numbers."""
        if not self._parts:
            return pl.Series(self.name, [], pl.String), np.zeros(0, np.uint32)
        seen = pl.concat(self._parts)
        return seen.cast(pl.String), seen.to_physical().to_numpy()


class CodedRows:
    """Rows whose texts are numbers, kept in a folder until they are encoded.

    Args:
        inputs: All inputs; those with a vocabulary and one entry a row are coded, and numbers are parsed.
        kept: Columns that must stay as they are.
        folder: A folder for the rows.
        each: ``map``, or that of an executor.
    """

    def __init__(self, inputs: Sequence[Input], kept: Iterable[str], folder: Path, each: Callable = map):
        kept = set(kept)
        self.texts = {
            given.name: SeenTexts(given.name, given.rule)
            for given in inputs
            if isinstance(given.rule, Vocabulary) and given.bag is None and given.name not in kept
        }
        self._numbers = [
            given.name
            for given in inputs
            if isinstance(given.rule, Number | Buckets) and given.bag is None and given.name not in kept
        ]
        # Float32 says all that these rules look at; whether others need more is known at the end.
        self._single = [
            given.name
            for given in inputs
            if given.name in self._numbers
            and isinstance(given.rule, Number)
            and (given.rule.log or not given.options.normalizer)
        ]
        self._needed = kept | {given.name for given in inputs}
        self._folder, self._each = folder, each
        self._stored: list[tuple[str, int, tuple[str, ...]]] = []
        self._gone = 0  # blocks that are not there any more
        folder.mkdir(exist_ok=True)

    def add(self, rows: LabelledBlock) -> Block:
        """Keeps rows, and returns those columns of the training rows that are still to be observed.

        Rows are coded before they are divided: numbers of texts take a quarter of the texts' bytes.

        Raises:
            BadEntryError: An entry is no number, or one of an integer column no integer.
        """
        # Labels were read already.
        frame = rows.block.frame.select(name for name in rows.block.frame.columns if name in self._needed)
        frame = frame.with_columns(self._each(lambda name: _parsed(frame[name]), self._numbers))
        coded = [name for name in self.texts if _can_be_coded(frame[name])]
        counted = rows.splits == TRAIN
        series = list(self._each(lambda name: self.texts[name].codes(frame[name], counted), coded))
        place = self._folder / f"{len(self._stored)}"
        with place.with_suffix(".arrow").open("wb") as file:
            numbers = pl.col(self._single).cast(pl.Float32)
            frame.with_columns(*series, *([numbers] if self._single else [])).write_ipc_stream(file)
        weights = np.zeros(0, np.float32) if rows.weights is None else rows.weights
        np.savez(place, rows=rows.block.rows, events=rows.events, weights=weights, splits=rows.splits)
        self._stored.append((rows.block.file, rows.block.start, tuple(coded)))
        return Block(frame.drop(coded), rows.block.file, rows.block.rows, rows.block.start).where(counted)

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps, beside :attr:`files`."""
        texts = {name: texts.state() for name, texts in self.texts.items()}
        return {"stored": self._stored, "texts": texts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint.

        Raises:
            ValueError: The texts cannot have the numbers that they had.
        """
        for name, texts in self.texts.items():
            texts.restore(state["texts"][name])
        self._stored = [(file, start, tuple(coded)) for file, start, coded in state["stored"]]

    @property
    def places(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """Where the rows of each block come from, and which of their columns are coded."""
        return self._stored

    def restore_places(self, places: Sequence[Sequence], begin: int) -> None:
        """Goes on from a savepoint at which no more rows come, and those before a block are done."""
        self._stored = [(file, start, tuple(coded)) for file, start, coded in places]
        self._gone = begin

    def files(self, begin: int = 0) -> list[Path]:
        """The files of the rows of a block and those behind it."""
        return [file for number in range(begin, len(self._stored)) for file in self._files(number)]

    def forget(self, end: int) -> None:
        """Removes the rows of the blocks before one."""
        for number in range(self._gone, end):
            for file in self._files(number):
                file.unlink(missing_ok=True)
        self._gone = max(self._gone, end)

    def _files(self, number: int) -> tuple[Path, Path]:
        place = self._folder / f"{number}"
        return place.with_suffix(".arrow"), place.with_suffix(".npz")

    def blocks(self, begin: int = 0) -> Iterator[tuple[int, LabelledBlock, tuple[str, ...]]]:
        """The number of each block, its rows, and which of their columns are coded.

        Args:
            begin: The first block.
        """
        for number, (file, start, coded) in list(enumerate(self._stored))[begin:]:
            place = self._folder / f"{number}"
            with place.with_suffix(".arrow").open("rb") as stream:
                frame = pl.read_ipc_stream(stream)
            with np.load(place.with_suffix(".npz")) as arrays:
                block = Block(frame, file, arrays["rows"], start)
                events, weights, splits = arrays["events"], arrays["weights"], arrays["splits"]
            yield number, LabelledBlock(block, events, weights if len(weights) else None, splits), coded

    def remove(self) -> None:
        """Removes the rows."""
        shutil.rmtree(self._folder)


def _can_be_coded(entries: pl.Series) -> bool:
    """Whether equal texts are equal tokens."""
    return entries.dtype == pl.String or entries.dtype.is_integer()


def _parsed(entries: pl.Series) -> pl.Series:
    """Entries as float64, which every rule of numbers begins with."""
    with errors_of(entries.name, entries.dtype):
        return pl.Series(entries.name, raw.doubles(entries))

"""Training files read once: while they are fitted, their rows are kept beside as numbers.

A text that the vocabulary will judge later is replaced by the number under which it was first seen. When all
rows were seen, each different text is judged once, and the rows need only look the answers up. Numbers are
parsed once, and columns that nobody reads again are not kept. Reading and splitting a csv file, and hashing
its texts, is most of the work of encoding it.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
        # Of integers only the different ones become texts.
        values, rows = entries, None
        if entries.dtype in raw.INTEGERS:
            values, rows = raw.near_integers(entries) or raw.distinct(entries)
        # A missing entry and an empty text are one token.
        texts = values.cast(pl.String)
        seen = (texts.fill_null(raw.MISSING) if texts.null_count() else texts).cast(self._dtype)
        codes = seen.to_physical()
        numbers, known = codes.to_numpy(), len(self._counts)
        highest = int(codes.max() or 0) if len(codes) else -1
        if highest >= known:
            new = np.flatnonzero(numbers >= known)
            places = np.zeros(highest + 1 - known, np.int64)  # a row with each new text
            places[numbers[new] - known] = new
            self._parts.append(seen.gather(places))
            self._counts = np.append(self._counts, np.zeros(highest + 1 - known, np.int64))
        if rows is not None:
            numbers = numbers[rows]
        self._count(numbers if counted.all() else numbers[counted])
        return codes if rows is None else pl.Series(entries.name, numbers)

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
        tokens = self.rule.tokens(texts)
        counts.observe(tokens, number_of_each, once=tokens.equals(texts))
        counts.whole = int(number_of_each.filter(raw.written_whole(texts)).sum())
        return counts

    def ids(self, apply: Callable[[Vocabulary, pl.Series], np.ndarray]) -> np.ndarray:
        """The id of every number, by the fitted vocabulary."""
        texts, numbers = self._texts()
        tokens, ids = self.rule.tokens(texts), np.zeros(len(self._counts), np.int32)
        as_they_are = tokens.equals(texts)  # then they are looked up by their numbers
        ids[numbers] = apply(self.rule, pl.concat(self._parts) if self._parts and as_they_are else tokens)
        return ids

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps: the texts in the order of their numbers, and their counts."""
        texts, numbers = self._texts()
        return {"texts": pl.DataFrame({"text": texts.gather(np.argsort(numbers))}), "counts": self._counts}

    def add(self, state: Mapping[str, Any]) -> np.ndarray:
        """Takes in the texts of other rows, from their :meth:`state`.

        Returns:
            The number here of each number there, uint32.
        """
        texts, known = state["texts"]["text"].cast(self._dtype), len(self._counts)
        codes = texts.to_physical()
        numbers = codes.to_numpy()
        more = int(numbers.max()) + 1 - known if len(numbers) else 0
        if more > 0:
            self._parts.append(texts.filter(codes >= known))
            self._counts = np.append(self._counts, np.zeros(more, np.int64))
        self._counts[numbers] += state["counts"]
        return numbers.astype(np.uint32)

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


@dataclass(frozen=True)
class StoredBlock:
    """A block of coded rows in the folder.

    Attributes:
        file: Where the rows come from.
        start: Number of the first row in the whole source, before any filter.
        coded: Which of their columns hold numbers of texts.
        name: Of its files, without suffix.
        numbers: File with the numbers of all rows by those of these; none if they are the same.
    """

    file: str
    start: int
    coded: tuple[str, ...]
    name: str
    numbers: str = ""

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "StoredBlock":
        """The block of a savepoint, which keeps all fields."""
        return cls(**{**state, "coded": tuple(state["coded"])})

    def read(self, folder: Path) -> LabelledBlock:
        """The rows, with their own numbers of texts and of classes."""
        with (folder / f"{self.name}.arrow").open("rb") as stream:
            frame = pl.read_ipc_stream(stream)
        with np.load(folder / f"{self.name}.npz") as arrays:
            block = Block(frame, self.file, arrays["rows"], self.start)
            events, weights, splits = arrays["events"], arrays["weights"], arrays["splits"]
        return LabelledBlock(block, events, weights if len(weights) else None, splits)


@dataclass(frozen=True)
class FileNumbers:
    """The numbers that texts and classes of some rows have among those of all rows.

    Attributes:
        texts: By column, the number of each of their numbers, uint32.
        classes: By the place of the label, the id of each of their ids, float32.
    """

    texts: Mapping[str, np.ndarray]
    classes: Mapping[int, np.ndarray]

    def events(self, events: np.ndarray) -> np.ndarray:
        """Labels ``(rows, labels)`` with the ids that classes have in all rows."""
        found = events.copy() if self.classes else events
        for i, ids in self.classes.items():
            known = ~np.isnan(events[:, i])
            found[known, i] = ids[events[known, i].astype(np.int64)]
        return found

    def of(self, block: LabelledBlock, coded: Sequence[str]) -> LabelledBlock:
        """The same rows with the numbers of all rows."""
        frame = block.block.frame.with_columns(
            pl.Series(name, self.texts[name][block.block.frame[name].to_numpy()]) for name in coded
        )
        return replace(block, block=replace(block.block, frame=frame), events=self.events(block.events))

    def write(self, path: Path) -> None:
        """Writes them into an npz file."""
        arrays: dict[str, Any] = {f"t{i}": numbers for i, numbers in enumerate(self.texts.values())}
        arrays |= {f"c{i}": ids for i, ids in self.classes.items()}
        np.savez(path, names=np.array(list(self.texts), str), **arrays)

    @classmethod
    def read(cls, path: Path) -> "FileNumbers":
        """Reads what :meth:`write` wrote."""
        with np.load(path) as arrays:
            texts = {str(name): arrays[f"t{i}"] for i, name in enumerate(arrays["names"])}
            classes = {int(name[1:]): arrays[name] for name in arrays.files if name[0] == "c"}
        return cls(texts, classes)


class CodedRows:
    """Rows whose texts are numbers, kept in a folder until they are encoded.

    Args:
        inputs: All inputs; those with a vocabulary and one entry a row are coded, and numbers are parsed.
        kept: Columns that must stay as they are.
        folder: A folder for the rows.
        each: ``map``, or that of an executor.
        prefix: Begins the names of the files.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        kept: Iterable[str],
        folder: Path,
        each: Callable = map,
        prefix: str = "",
    ):
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
        self.folder, self._each, self._prefix = folder, each, prefix
        self.stored: list[StoredBlock] = []
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
        name = f"{self._prefix}{len(self.stored)}"
        with (self.folder / f"{name}.arrow").open("wb") as file:
            numbers = pl.col(self._single).cast(pl.Float32)
            frame.with_columns(*series, *([numbers] if self._single else [])).write_ipc_stream(file)
        weights = np.zeros(0, np.float32) if rows.weights is None else rows.weights
        np.savez(
            self.folder / name, rows=rows.block.rows, events=rows.events, weights=weights, splits=rows.splits
        )
        self.stored.append(StoredBlock(rows.block.file, rows.block.start, tuple(coded), name))
        return Block(frame.drop(coded), rows.block.file, rows.block.rows, rows.block.start).where(counted)

    def add_file(
        self,
        stored: Sequence[StoredBlock],
        texts: Mapping[str, Any],
        classes: Mapping[int, np.ndarray],
        row: int,
    ) -> None:
        """Takes in the rows of a file that lie in the folder already, behind those that are there.

        Args:
            stored: The blocks, whose rows count from the file's first.
            texts: The states of their texts by column.
            classes: By the place of a label, the id here of each of their ids of a class.
            row: Number of the file's first row in the whole source.
        """
        if not stored:
            return
        numbers = FileNumbers({name: self.texts[name].add(state) for name, state in texts.items()}, classes)
        name = f"{stored[0].name}.numbers.npz"
        numbers.write(self.folder / name)
        self.stored += [replace(block, start=block.start + row, numbers=name) for block in stored]

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps, beside :attr:`files`."""
        texts = {name: texts.state() for name, texts in self.texts.items()}
        return {"stored": self.places, "texts": texts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint.

        Raises:
            ValueError: The texts cannot have the numbers that they had.
        """
        for name, texts in self.texts.items():
            texts.restore(state["texts"][name])
        self.stored = [StoredBlock.restored(each) for each in state["stored"]]

    @property
    def places(self) -> list[dict[str, Any]]:
        """Where the rows of each block come from, which of their columns are coded, and where they lie."""
        return [asdict(block) for block in self.stored]

    def restore_places(self, places: Sequence[Mapping[str, Any]], begin: int) -> None:
        """Goes on from a savepoint at which no more rows come, and those before a block are done."""
        self.stored = [StoredBlock.restored(each) for each in places]
        self._gone = begin

    def files(self, begin: int = 0) -> list[Path]:
        """The files of the rows of a block and those behind it."""
        names = [name for block in self.stored[begin:] for name in _files(block)]
        return [self.folder / name for name in dict.fromkeys(names)]

    def forget(self, end: int) -> None:
        """Removes the rows of the blocks before one."""
        needed = {file.name for file in self.files(end)[:3]}  # numbers may be those of the next block, too
        for block in self.stored[self._gone : end]:
            for name in _files(block):
                if name not in needed:
                    (self.folder / name).unlink(missing_ok=True)
        self._gone = max(self._gone, end)

    def blocks(self, begin: int = 0) -> Iterator[tuple[int, LabelledBlock, tuple[str, ...]]]:
        """The number of each block, its rows, and which of their columns are coded.

        Args:
            begin: The first block.
        """
        numbers, name = FileNumbers({}, {}), ""
        for number, block in list(enumerate(self.stored))[begin:]:
            if block.numbers != name:
                name = block.numbers
                numbers = FileNumbers.read(self.folder / name) if name else FileNumbers({}, {})
            rows = block.read(self.folder)
            yield number, numbers.of(rows, block.coded) if name else rows, block.coded

    def remove(self) -> None:
        """Removes the rows."""
        shutil.rmtree(self.folder)


def _files(block: StoredBlock) -> list[str]:
    names = [f"{block.name}.arrow", f"{block.name}.npz"]
    return [*names, block.numbers] if block.numbers else names


def _can_be_coded(entries: pl.Series) -> bool:
    """Whether equal texts are equal tokens."""
    return entries.dtype == pl.String or entries.dtype.is_integer()


def _parsed(entries: pl.Series) -> pl.Series:
    """Entries as float64, which every rule of numbers begins with."""
    with errors_of(entries.name, entries.dtype):
        return pl.Series(entries.name, raw.doubles(entries))

"""The files of a dataset: found, and checked for their columns, before anything is read."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from fuxi_mtl.dataset import reading
from fuxi_mtl.dataset.csv_reading import COMMAS, CsvFormat, CsvNotes
from fuxi_mtl.dataset.errors import BadEntryError, DataError, shortened
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import DatasetOptions

_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "\x01": "\\x01", " ": "space"}


@dataclass(frozen=True)
class Block:
    """Some rows of one file.

    Attributes:
        frame: The raw rows.
        file: Where they come from.
        rows: Their numbers in the file, from 0.
        start: Number of the first row in the whole source, before any filter.
    """

    frame: pl.DataFrame
    file: str
    rows: np.ndarray
    start: int = 0

    def where(self, kept: np.ndarray) -> "Block":
        """The rows that a mask keeps."""
        if kept.all():
            return self
        return Block(self.frame.filter(pl.Series(kept)), self.file, self.rows[kept], self.start)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Adds file and row to an error about an entry of this block."""
        try:
            yield
        except BadEntryError as error:
            raise error.located(self.file, int(self.rows[error.index])) from None


@dataclass(frozen=True)
class Source:
    """One of train_data, valid_data, test_data: files of one format, one after the other.

    Attributes:
        key: The YAML key.
        files: The files, sorted.
        data_format: Their format.
        csv: How csv files are written.
        n_rows: Most rows to read, or None.
        block_rows: Rows in a block.
    """

    key: str
    files: tuple[Path, ...]
    data_format: str
    csv: CsvFormat = COMMAS
    n_rows: int | None = None
    block_rows: int = reading.BLOCK_ROWS
    _notes: dict[Path, CsvNotes] = field(default_factory=dict, compare=False)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """The rows in order, with only these columns."""
        start = 0
        for file in self.files:
            # What is to be said of a file is found once, whoever reads it first.
            in_file, notes = 0, None if file in self._notes else CsvNotes()
            for whole in reading.blocks(file, self.data_format, self.csv, columns, self.block_rows, notes):
                frame = whole if self.n_rows is None else whole.head(self.n_rows - start)
                rows = np.arange(in_file, in_file + frame.height)
                if frame.height:
                    yield Block(frame, str(file), rows, start)
                in_file += frame.height
                start += frame.height
                if start == self.n_rows:
                    return
            if notes is not None:
                self._notes[file] = notes

    def notes(self) -> list[str]:
        """What the user should know of the files that were read to their end."""
        return [told for file, notes in self._notes.items() for told in notes.sentences(file)]

    def count_rows(self) -> int:
        """Rows that :meth:`blocks` gives."""
        rows = sum(reading.count_rows(file, self.data_format, self.csv) for file in self.files)
        return rows if self.n_rows is None else min(rows, self.n_rows)

    def check_columns(self, columns: Iterable[str]) -> None:
        """Every file has every column.

        Raises:
            DataError: A file is empty or lacks a column.
        """
        for file in self.files:
            if file.stat().st_size == 0:
                raise DataError(f"{self.key}: {file} is empty.")
            found = reading.column_names(file, self.data_format, self.csv)
            for name in columns:
                if name not in found:
                    raise DataError(self._no_column(file, name, found))

    def _no_column(self, file: Path, name: str, found: Sequence[str]) -> str:
        if self.data_format == "csv" and len(found) == 1:
            others = [f"{mark!r} ({_SEPARATORS[mark]})" for mark in _SEPARATORS if mark in found[0]]
            if others:
                return (
                    f"{self.key}: {file} has a single column when split at sep {self.csv.sep!r}; its header "
                    f"holds {' and '.join(others)}. Set sep."
                )
        near = did_you_mean(name, found)
        return f"{self.key}: {file} has no column {name!r}.{near} Its columns: {shortened(found)}."


def find_sources(options: DatasetOptions) -> dict[str, Source]:
    """The sources by split name: train, and valid and test if they are given.

    Raises:
        DataError: A file does not exist, or the format is unknown.
    """
    if options.data_format not in reading.FORMATS:
        near = did_you_mean(options.data_format, reading.FORMATS)
        raise DataError(
            f"data_format {options.data_format!r} is unknown.{near} Formats: {', '.join(reading.FORMATS)}."
        )
    if not options.train_data:
        raise DataError("train_data is not given: it names the training file.")
    sources = {}
    for split in ("train", "valid", "test"):
        pattern = getattr(options, f"{split}_data")
        if pattern:
            sources[split] = Source(
                f"{split}_data",
                _find(f"{split}_data", pattern, options.data_format),
                options.data_format,
                CsvFormat(options.sep, options.quote_char, options.encoding, options.bad_rows),
                options.n_rows,
                options.data_block_size or reading.BLOCK_ROWS,
            )
    return sources


def _find(key: str, pattern: str, data_format: str) -> tuple[Path, ...]:
    """One file, those of a pattern, or those of a folder whose names end in the format."""
    path = Path(pattern)
    if path.is_file():
        return (path,)
    if path.is_dir():
        parts = sorted(file for file in path.glob(f"*.{data_format}") if file.is_file())
        if not parts:
            raise DataError(
                f"{key}: the folder {pattern} has no file *.{data_format}. Set data_format, or name the "
                f"files, as in {path / 'part-*'}."
            )
        return tuple(parts)
    names = sorted(glob.glob(pattern))  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = tuple(Path(name) for name in names if Path(name).is_file())
    if files:
        return files
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    raise DataError(f"{key}: {pattern} is no file, seen from {Path.cwd()}.{near}")

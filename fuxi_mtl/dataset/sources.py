"""The files of a dataset: found, and checked for their columns, before anything is read."""

import glob
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl

from fuxi_mtl.dataset import reading
from fuxi_mtl.dataset.csv_reading import COMMAS, PACKED, CsvFormat, CsvNotes
from fuxi_mtl.dataset.errors import BadEntryError, BadTypeError, DataError, shortened
from fuxi_mtl.dataset.raw import Distinct
from fuxi_mtl.dataset.windows import Window
from fuxi_mtl.files.remote import Copies, RemoteError, as_path, files_at, is_url, name_of
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import DatasetOptions

logger = logging.getLogger(__name__)

_MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "\x01": "\\x01", " ": "space"}


@dataclass(frozen=True)
class Block:
    """Some rows of one file.

    Attributes:
        frame: The raw rows.
        file: Where they come from.
        rows: Their numbers in the file, from 0.
        start: Number of the first row in the whole source, before any filter.
        texts: Columns that the frame lacks, as their different texts.
    """

    frame: pl.DataFrame
    file: str
    rows: np.ndarray
    start: int = 0
    texts: Mapping[str, Distinct] = field(default_factory=dict)

    def where(self, kept: np.ndarray) -> "Block":
        """The rows that a mask keeps."""
        if kept.all():
            return self
        # Without a column there is nothing to filter, which polars 1.37 refuses to do.
        frame = self.frame.filter(pl.Series(kept)) if self.frame.width else self.frame
        texts = {name: Distinct(values, rows[kept]).used() for name, (values, rows) in self.texts.items()}
        return Block(frame, self.file, self.rows[kept], self.start, texts)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Adds file and row to an error about an entry of this block, the file to one about a column."""
        try:
            yield
        except BadEntryError as error:
            raise error.located(self.file, int(self.rows[error.index])) from None
        except BadTypeError as error:
            raise error.located(self.file) from error.__cause__


@dataclass(frozen=True)
class Begin:
    """Where reading begins in a source of several files.

    Attributes:
        file: Number of the first file.
        row: Number of its first row in the whole source.
    """

    file: int = 0
    row: int = 0


START = Begin()


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
        copies: Where files that are URLs have their local copies; None if none is.
    """

    key: str
    files: tuple[Path, ...]
    data_format: str
    csv: CsvFormat = COMMAS
    n_rows: int | None = None
    block_rows: int = reading.BLOCK_ROWS
    copies: Copies | None = None
    _notes: dict[Path, CsvNotes] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self.key}: {', '.join(map(name_of, self.files))}"

    @contextmanager
    def local(self, file: Path) -> Iterator[Path]:
        """A file on this machine, as long as the block lasts; errors about a copy name the URL.

        Raises:
            DataError: It cannot be had, or not be read inside.
        """
        if self.copies is None or not is_url(file):
            yield file
            return
        try:
            with self.copies.local(file, self.key) as copy:
                try:
                    yield copy
                except DataError as error:
                    raise DataError(str(error).replace(str(copy), name_of(file))) from error
        except RemoteError as error:
            raise DataError(str(error)) from error

    def blocks(
        self, columns: Sequence[str], begin: Begin = START, texts: Collection[str] = ()
    ) -> Iterator[Block]:
        """The rows in order, with only these columns, of the file to begin with and those behind it.

        Args:
            columns: The columns.
            begin: Where to begin.
            texts: Those of them that may come as their different texts, where that is faster.
        """
        start = begin.row
        for file in self.files[begin.file :]:
            # What is to be said of a file is found once, whoever reads it first.
            in_file, notes = 0, None if file in self._notes else CsvNotes()
            for frame, numbered in self._file_blocks(file, columns, texts, notes):
                height = frame.height if self.n_rows is None else min(frame.height, self.n_rows - start)
                rows = np.arange(in_file, in_file + frame.height)
                if height:
                    whole = Block(frame, name_of(file), rows, start, numbered)
                    yield whole.where(np.arange(frame.height) < height)
                in_file += height
                start += height
                if start == self.n_rows:
                    return
            if notes is not None:
                self._notes[file] = notes

    def _file_blocks(
        self, file: Path, columns: Sequence[str], texts: Collection[str], notes: CsvNotes | None
    ) -> Iterator[tuple[pl.DataFrame, Mapping[str, Distinct]]]:
        """The rows of one file; a column that it lacks may be part of its path: ``day=1/a.parquet``."""
        in_path = partitions(file)
        with self.local(file) as copy:
            if not in_path.keys() & set(columns):
                if texts and self.data_format == "parquet":
                    yield from reading.numbered_blocks(copy, columns, texts, self.block_rows)
                    return
                for frame in reading.blocks(
                    copy, self.data_format, self.csv, columns, self.block_rows, notes
                ):
                    yield frame, {}
                return
            found = reading.column_names(copy, self.data_format, self.csv)
            own = [name for name in columns if name in found]
            for frame in reading.blocks(
                copy, self.data_format, self.csv, own or found[:1], self.block_rows, notes
            ):
                added = {name: pl.lit(in_path[name], pl.String) for name in columns if name not in found}
                yield frame.with_columns(**added).select(columns), {}

    def notes(self) -> list[str]:
        """What the user should know of the files that were read to their end."""
        return [told for file, notes in self._notes.items() for told in notes.sentences(name_of(file))]

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps: what is to be said of the files that were read to their end."""
        return {str(file): asdict(notes) for file, notes in self._notes.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint."""
        self._notes.update({Path(file): CsvNotes(**notes) for file, notes in state.items()})

    def count_rows(self) -> int:
        """Rows that :meth:`blocks` gives."""
        rows = 0
        for file in self.files:
            with self.local(file) as copy:
                rows += reading.count_rows(copy, self.data_format, self.csv)
        return rows if self.n_rows is None else min(rows, self.n_rows)

    def check_columns(self, columns: Iterable[str]) -> None:
        """Every file has every column.

        Raises:
            DataError: A file is empty or lacks a column.
        """
        for file in self.files:
            with self.local(file) as copy:
                if copy.stat().st_size == 0:
                    raise DataError(f"{self.key}: {copy} is empty.")
                found = reading.column_names(copy, self.data_format, self.csv)
            known = {*found, *partitions(file)}
            wanted = list(columns)
            for name in wanted:
                if name not in known:
                    headless = (
                        "" if known & set(wanted) else " None that is needed is there: has it a header?"
                    )
                    raise DataError(self._no_column(file, name, found) + headless)

    def _no_column(self, file: Path, name: str, found: Sequence[str]) -> str:
        if self.data_format == "csv" and len(found) == 1:
            others = [f"{mark!r} ({_SEPARATORS[mark]})" for mark in _SEPARATORS if mark in found[0]]
            if others:
                return (
                    f"{self.key}: {name_of(file)} has a single column when split at sep {self.csv.sep!r}; "
                    f"its header holds {' and '.join(others)}. Set sep."
                )
        near = did_you_mean(name, found)
        return f"{self.key}: {name_of(file)} has no column {name!r}.{near} Its columns: {shortened(found)}."


def find_sources(options: DatasetOptions, but: Collection[str] = ()) -> dict[str, Source]:
    """The sources by split name: train, and valid and test if they are given.

    Args:
        options: The stanza.
        but: Splits that do not come from files.

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
        if pattern and split not in but:
            sources[split] = Source(
                f"{split}_data",
                _files_of(f"{split}_data", pattern, options),
                options.data_format,
                CsvFormat(options.sep, options.quote_char, options.encoding, options.bad_rows),
                options.n_rows,
                options.data_block_size or reading.BLOCK_ROWS,
                copies_of(options),
            )
    return sources


def copies_of(options: DatasetOptions) -> Copies:
    """Where files that are URLs have their local copies."""
    return Copies(Path(options.remote_cache), int(options.remote_cache_gb * 2**30))


def format_of(path: Path) -> str | None:
    """The format that the suffix of a file tells; None if it tells none. A csv file may be packed."""
    suffix = path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
    found = reading.FORMAT_OF_SUFFIX.get(suffix)
    return found if suffix == path.suffix or found == "csv" else None


def source_of(
    key: str,
    path: Path,
    sep: str | None = None,
    csv: CsvFormat = COMMAS,
    block_rows: int = reading.BLOCK_ROWS,
    copies: Copies | None = None,
) -> Source:
    """One file whose format is told by its suffix.

    Args:
        key: What errors call it.
        path: A csv, parquet, npz or h5 file.
        sep: Separator of a csv file; a comma unless said, a tab for .tsv.
        csv: How a csv file is written otherwise.
        block_rows: Rows in a block.
        copies: Where a file that is a URL has its local copy.

    Raises:
        DataError: It does not exist, or has another suffix.
    """
    path = path.expanduser()
    if path.is_dir():
        raise DataError(f"{key}: {path} is a folder: name one file.")
    if not (copies and is_url(path)) and not path.is_file():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{key}: {path} is no file, seen from {Path.cwd()}.{did_you_mean(path.name, beside)}")
    data_format = format_of(path)
    if data_format is None:
        suffixes = ", ".join(reading.FORMAT_OF_SUFFIX)
        raise DataError(f"{key}: {name_of(path)} has the suffix {path.suffix!r}. Suffixes: {suffixes}.")
    separator = sep or ("\t" if ".tsv" in path.suffixes else ",")
    return Source(
        key, (path,), data_format, replace(csv, sep=separator), block_rows=block_rows, copies=copies
    )


def read_file(
    key: str, path: Path, csv: CsvFormat = COMMAS, sep: str | None = None, copies: Copies | None = None
) -> pl.DataFrame:
    """All rows of such a file, in memory.

    Raises:
        DataError: It cannot be read.
    """
    source = source_of(key, path, sep, csv, copies=copies)
    with source.local(path) as copy:
        columns = reading.column_names(copy, source.data_format, source.csv)
    parts = [block.frame for block in source.blocks(columns)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def _files_of(key: str, pattern: str, options: DatasetOptions) -> tuple[Path, ...]:
    """The files of a pattern, day by day if there are days in it.

    Raises:
        DataError: A day has none, unless such days are skipped; or no day has any.
    """
    window = Window(key, pattern, options.last_day)
    if not window.has_days:
        return _find(key, pattern, options.data_format)
    files: list[Path] = []
    missing, reason = [], None
    for day, of_day in window.patterns():
        try:
            files += _find(key, of_day, options.data_format)
        except DataError as error:
            missing.append(day)
            reason = error
    if reason is not None and (options.missing_days == "raise" or not files):
        days = shortened(missing)
        raise DataError(
            f"{key}: {pattern} has no file of {days}. Set missing_days: skip to do without. Of the last of "
            f"them: {reason}"
        )
    if missing:
        logger.warning("%s: %d days have no file and are skipped: %s.", key, len(missing), shortened(missing))
    return _told(key, list(dict.fromkeys(files)))


def _find(key: str, pattern: str, data_format: str) -> tuple[Path, ...]:
    """One file, those of a pattern, or those of a folder whose names end in the format."""
    if is_url(pattern):
        return _find_remote(key, pattern, data_format)
    path = Path(pattern).expanduser()
    pattern = str(path)
    if path.is_file():
        return (path,)
    if path.is_dir():
        parts = _files(key, path, path.glob(f"*.{data_format}"))
        if not parts:  # folders such as day=2026-11-08 below it
            parts = _files(key, path, path.glob(f"*=*/**/*.{data_format}"))
        if not parts:
            raise DataError(
                f"{key}: the folder {pattern} has no file *.{data_format}. Set data_format, or name the "
                f"files, as in {path / 'part-*'}."
            )
        return _told(key, parts)
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = _files(key, path, {Path(name) for name in names})
    if files:
        return _told(key, files)
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    raise DataError(f"{key}: {pattern} is no file, seen from {Path.cwd()}.{near}")


def _find_remote(key: str, pattern: str, data_format: str) -> tuple[Path, ...]:
    """The same of a URL."""
    try:
        for each in (
            pattern,
            f"{pattern.rstrip('/')}/*.{data_format}",
            f"{pattern.rstrip('/')}/*=*/**/*.{data_format}",
        ):
            files = _own(key, as_path(pattern), map(as_path, files_at(each, key)))
            if files:
                return _told(key, files)
    except RemoteError as error:
        raise DataError(str(error)) from error
    raise DataError(f"{key}: {pattern} names no file, and no folder with a file *.{data_format}.")


def _files(key: str, pattern: Path, found: Iterable[Path]) -> list[Path]:
    return _own(key, pattern, (file for file in found if file.is_file()))


def _own(key: str, pattern: Path, found: Iterable[Path]) -> list[Path]:
    """The files of those found, in their order, without what other programs keep for themselves.

    Spark and Hive take no file whose name, or that of a folder, begins with ``_`` or ``.``: ``_temporary/``
    is what a job left that failed, ``._part`` what a Mac packed beside ``part``.
    """
    named = {part for part in pattern.parts if part[0] in "._"}
    files = list(found)
    own = [
        file
        for file in files
        if named - set(file.parts) or not any(_hidden(part) for part in set(file.parts) - named)
    ]
    if len(own) < len(files):
        logger.info(
            "%s: %d files are left out as their names, or those of their folders, begin with _ or a dot.",
            key,
            len(files) - len(own),
        )
    return sorted(own, key=_natural)


def _hidden(part: str) -> bool:
    return part[0] in "._" and "=" not in part


def partitions(file: Path) -> dict[str, str | None]:
    """Columns in the folders of a path, as Hive writes them: ``day=2020-01-31/part.parquet``."""
    pairs = (part.split("=", 1) for part in file.parent.parts if re.match(r"[A-Za-z_]\w*=", part))
    return {name: None if value == _MISSING_PARTITION else unquote(value) for name, value in pairs}


def _natural(path: Path) -> list:
    """Sorts part_2 before part_10; numbers come before texts."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _told(key: str, files: Sequence[Path]) -> tuple[Path, ...]:
    if len(files) > 1:
        logger.info("%s: %d files, %s to %s.", key, len(files), name_of(files[0]), name_of(files[-1]))
    return tuple(files)

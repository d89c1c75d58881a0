"""Csv files as blocks of text columns, every field of every row parsed.

polars skips the fields of columns that are not asked for without parsing them: there a stray quote swallows
rows and a stray separator shifts columns. pyarrow parses all of them. A quote counts at the beginning of a
field only, as pandas reads it; inside a quoted field separators and line breaks are text.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fuxi_mtl.dataset.ahead import ahead
from fuxi_mtl.dataset.errors import DataError

PACKED = (".gz", ".bz2", ".zst")
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SHOWN = 3  # bad rows that are told
_NUL = "{}: a NUL byte in the header. Is it UTF-16? Set encoding: utf-16."
# What fits into the processor's caches is parsed in two thirds of the time; what is given on is larger.
_BLOCK_BYTES, _MOST_BYTES = 1 << 21, 1 << 30
_GIVEN_BLOCKS = 16
_PART_BYTES = 1 << 20
_BLANKS = np.frombuffer(b"\n \t", np.uint8)


@dataclass(frozen=True)
class CsvFormat:
    """How csv files are written.

    Attributes:
        sep: Separator, one character.
        quote_char: What fields are quoted with; None if a quote is text like any other.
        encoding: A codec of Python.
        bad_rows: ``raise`` or ``skip`` for a row with another number of fields than the header.

    Raises:
        DataError: No file can be written so.
    """

    sep: str = ","
    quote_char: str | None = '"'
    encoding: str = "utf-8"
    bad_rows: str = "raise"

    def __post_init__(self) -> None:
        for key, mark in (("sep", self.sep), ("quote_char", self.quote_char)):
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\0"):
                tab = ' A tab is "\\t", in double quotes.' if mark == "\\t" else ""
                raise DataError(f"{key} {mark!r} is not one character of ASCII.{tab}")
        if self.sep == self.quote_char:
            raise DataError(f"sep and quote_char are both {self.sep!r}.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise DataError(
                f"encoding {self.encoding!r} is no codec of Python, such as utf-8, gbk, latin-1 or utf-16."
            ) from None

    @property
    def is_utf8(self) -> bool:
        """Whether bytes are read as they are."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig", "ascii")


COMMAS = CsvFormat()


@dataclass
class CsvNotes:
    """What a user should know of a file that was read to its end.

    Attributes:
        blank: Lines that hold nothing, which are no rows.
        inside: Line breaks inside quoted fields.
        bad: Rows that were left out.
        lines_of_bad: Lines that these take.
        first_bad: The first of them, as they would be told in an error.
    """

    blank: int = 0
    inside: int = 0
    bad: int = 0
    lines_of_bad: int = 0
    first_bad: list[str] = field(default_factory=list)

    def sentences(self, file: str) -> Iterator[str]:
        """What is to be said, if anything."""
        if self.bad:
            over = f" over {self.lines_of_bad} lines" if self.lines_of_bad > self.bad else ""
            yield f"{file}: {self.bad} bad rows{over} are left out: {'; '.join(self.first_bad)}."
        if self.blank:
            yield f"{file}: {self.blank} blank lines are skipped."
        if self.inside:
            yield (
                f"{file}: {self.inside} line breaks lie inside quoted fields. If there should be none, a "
                "quote is astray: set quote_char: null."
            )


def header(path: Path, form: CsvFormat) -> list[str]:
    """The names in the first line.

    Raises:
        DataError: The file is no text in its encoding.
    """
    with _open(path) as raw:
        _check_mark(path, form, raw.peek(2)[:2] if hasattr(raw, "peek") else b"")
        encoding = "utf-8-sig" if form.is_utf8 else form.encoding
        try:
            # Bytes further on are none of the header's business.
            text = io.TextIOWrapper(raw, encoding, errors="surrogateescape", newline="")
            rows = csv.reader(
                (line for line in text if line.strip()),
                delimiter=form.sep,
                quotechar=form.quote_char,
                quoting=csv.QUOTE_MINIMAL if form.quote_char else csv.QUOTE_NONE,
            )
            names = next(rows, [])
            text_of_all = "".join(names)
            text_of_all.encode()
        except (UnicodeError, csv.Error) as error:
            if "NUL" in str(error):  # before Python 3.11 the module csv refuses it
                raise DataError(_NUL.format(path)) from error
            raise DataError(
                f"{path}: the header cannot be read ({error}). Set encoding, sep or quote_char."
            ) from error
        if "\0" in text_of_all:
            raise DataError(_NUL.format(path))
        return names


def blocks(
    path: Path, form: CsvFormat, columns: Sequence[str], notes: CsvNotes | None
) -> Iterator[pl.DataFrame]:
    """The rows of a file in their order, as texts.

    Args:
        path: The file; ``.gz``, ``.bz2`` and ``.zst`` are unpacked.
        form: How it is written.
        columns: Columns to give; the others are parsed too.
        notes: Is told what is to be said when the end is reached; None counts nothing.

    Raises:
        DataError: A row has more or fewer fields than the header, the bytes are no text, a name comes twice.
    """
    names = header(path, form)
    _check_names(path, names, columns)
    if not names:
        return
    rows, given = _Reader(path, form, names), 0
    for frame in ahead(_joined(rows.frames(columns))):
        given += frame.height
        yield frame
    if notes is None:
        return
    notes.bad, notes.first_bad, notes.lines_of_bad = rows.bad, rows.first_bad, rows.lines_of_bad
    extra = rows.lines - 1 - given - rows.lines_of_bad
    if extra > 0:
        # Blank lines, line breaks in quoted fields, or both: only all columns can tell.
        whole = _Reader(path, form, names)
        for frame in whole.frames(None):
            notes.inside += sum(int(each.str.count_matches("\r\n|\r|\n").sum() or 0) for each in frame)
        notes.blank = extra - notes.inside


def count_rows(path: Path, form: CsvFormat) -> int:
    """Rows of a file; without parsing it where each line is a row.

    Raises:
        DataError: As :func:`blocks`.
    """
    lines = _plain_lines(path, form) if form.is_utf8 and form.bad_rows == "raise" else None
    if lines is not None:
        return max(lines - 1, 0)
    return sum(frame.height for frame in blocks(path, form, header(path, form)[:1], None))


def _plain_lines(path: Path, form: CsvFormat) -> int | None:
    """Lines of a file without quotes and blank lines; None if it may have any."""
    quote = (form.quote_char or "\r").encode()
    lines, last = 0, b"\n"
    with _open(path) as raw:
        while chunk := raw.read(_PART_BYTES):
            if quote in chunk or b"\r" in chunk:
                return None
            seen = np.frombuffer(last + chunk, np.uint8)
            ends = np.flatnonzero(seen[:-1] == ord("\n"))
            if np.isin(seen[ends + 1], _BLANKS).any():  # a line that is blank, or may be
                return None
            lines += len(ends)
            last = chunk[-1:]
    return lines


def _joined(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in fewer frames."""
    while parts := list(islice(frames, _GIVEN_BLOCKS)):
        yield pl.concat(parts, rechunk=True)


class _Reader:
    """One pass over a file.

    Attributes:
        lines: Lines read so far.
        bad: Rows left out, ``lines_of_bad`` the lines that they take, ``first_bad`` the first ones.
    """

    def __init__(self, path: Path, form: CsvFormat, names: Sequence[str]):
        self.path, self.form, self.names = path, form, list(names)
        self.lines, self.bad, self.lines_of_bad = 0, 0, 0
        self.first_bad: list[str] = []

    def frames(self, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        """Blocks of some columns; None gives all, by their numbers."""
        done, block_bytes = 0, _BLOCK_BYTES
        while True:
            try:
                for frame in self._attempt(columns, block_bytes, done):
                    done += frame.height
                    yield frame
            except pa.ArrowInvalid as error:
                # A row that is longer than a block: once more with larger ones, behind what was given.
                if "straddl" not in str(error) or block_bytes >= _MOST_BYTES:
                    raise self._told(error) from error
                block_bytes *= 8
            else:
                return

    def _attempt(self, columns: Sequence[str] | None, block_bytes: int, skip: int) -> Iterator[pl.DataFrame]:
        import pyarrow.csv as pc  # Slow to import, and only csv files need it.

        self.bad, self.lines_of_bad, self.first_bad = 0, 0, []
        # Names may come twice, or not be text: columns are read by their numbers.
        numbers = [str(number) for number in range(len(self.names))]
        wanted = numbers if columns is None else [str(self.names.index(name)) for name in columns]
        with _open(self.path) as raw:
            text = _Text(self.path, self.form, raw)
            reader = pc.open_csv(
                pa.PythonFile(text, mode="r"),
                pc.ReadOptions(use_threads=False, block_size=block_bytes, column_names=numbers),
                pc.ParseOptions(
                    delimiter=self.form.sep,
                    quote_char=self.form.quote_char or False,
                    newlines_in_values=self.form.quote_char is not None,
                    invalid_row_handler=self._bad_row,
                ),
                pc.ConvertOptions(
                    include_columns=wanted or numbers[:1],
                    column_types=dict.fromkeys(numbers, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
            first = True
            for batch in reader:
                frame = pl.DataFrame(pl.from_arrow(batch))
                if first:  # the header, which is parsed like every row
                    frame, first = frame.slice(1), False
                if skip:
                    skip, frame = max(0, skip - frame.height), frame.slice(skip)
                if columns is not None:
                    frame = frame.rename(dict(zip(wanted, columns, strict=True))) if wanted else frame
                if frame.height:
                    yield frame
            self.lines = text.lines

    def _bad_row(self, row: Any) -> str:
        if not row.text.strip():
            return "skip"  # blanks only: counted with the blank lines
        if self.form.bad_rows == "raise":
            return "error"
        self.bad += 1
        self.lines_of_bad += 1 + len(re.findall("\r\n|\r|\n", row.text))
        if len(self.first_bad) < _SHOWN:
            self.first_bad.append(f"row {row.number - 1} has {row.actual_columns} fields")
        return "skip"

    def _told(self, error: pa.ArrowInvalid) -> DataError:
        """The same error in the words of the stanza."""
        message = str(error)
        counted = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", message, re.DOTALL)
        if counted:
            row, expected, got, text = counted.groups()
            remedy = "Quote the field, or set bad_rows: skip."
            if self.form.quote_char and text.count(self.form.quote_char) % 2:
                remedy = (
                    "A quote opens here and ends in another line, or never: mend it or set quote_char: null."
                )
            shown = text if len(text) <= 80 else f"{text[:77]}..."
            return DataError(
                f"{self.path}, row {int(row) - 1}: {got} fields, the header has {expected}: {shown!r}. "
                f"{remedy}"
            )
        garbled = re.search(r"In CSV column #(\d+): (?:Row #(\d+): )?.*invalid UTF8", message)
        if garbled:
            column, row = self.names[int(garbled[1])], garbled[2]
            place = f", row {int(row) - 1}" if row else ""
            return DataError(
                f"{self.path}, column {column!r}{place}: the bytes are no {self.form.encoding}. Set "
                "encoding, such as gbk, latin-1 or utf-16."
            )
        return DataError(f"{self.path} cannot be read as csv: {message.splitlines()[0]}")


class _Text:
    """The bytes of a file as UTF-8, which counts the lines that go through it."""

    mode, closed = "r", False

    def __init__(self, path: Path, form: CsvFormat, raw: Any):
        self.path, self.form, self._raw = path, form, raw
        self.lines, self._last = 0, b"\n"
        self._decoder = None if form.is_utf8 else codecs.getincrementaldecoder(form.encoding)()

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        chunk = self._raw.read(size)
        if self._decoder is not None:
            try:
                ended = not chunk
                text = self._decoder.decode(chunk, final=ended)
                while not text and not ended:  # an incomplete character only
                    chunk = self._raw.read(size)
                    ended = not chunk
                    text = self._decoder.decode(chunk, final=ended)
            except UnicodeError as error:
                raise DataError(f"{self.path} is no {self.form.encoding} ({error}). Set encoding.") from error
            chunk = text.encode()
        self._count(chunk)
        return chunk

    def _count(self, chunk: bytes) -> None:
        if not chunk:
            self.lines += self._last not in (b"\n", b"\r")  # the last line needs no end
            self._last = b"\n"
            return
        if b"\0" in chunk:
            line = self.lines + chunk[: chunk.index(b"\0")].count(b"\n") + 1
            raise DataError(
                f"{self.path}, line {line}: a NUL byte. The file is damaged, or UTF-16: set encoding: utf-16."
            )
        self.lines += chunk.count(b"\n")
        if b"\r" in chunk:
            self.lines += chunk.count(b"\r") - chunk.count(b"\r\n")
        if self._last == b"\r" and chunk[:1] == b"\n":
            self.lines -= 1
        self._last = chunk[-1:]

    def close(self) -> None:
        """The file is closed by who opened it."""

    def seekable(self) -> bool:
        """It is read once, from front to back."""
        return False


def _open(path: Path) -> Any:
    if path.suffix in PACKED:
        return io.BufferedReader(pa.input_stream(str(path), compression="detect"))
    return path.open("rb")


def _check_mark(path: Path, form: CsvFormat, start: bytes) -> None:
    if form.is_utf8 and start in _MARKS:
        raise DataError(f"{path} begins as UTF-16 does: set encoding: utf-16.")


def _check_names(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if names.count(name) > 1:
            raise DataError(f"{path} has {names.count(name)} columns called {name!r}: rename them.")

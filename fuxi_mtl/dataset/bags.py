"""Layout of sequences and of dense vectors in columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError


@dataclass(frozen=True)
class Bag:
    """The layout of a sequence or vector. A missing member of a vector is 0.

    Attributes:
        max_len: Columns.
        splitter: What separates the members of a text.
        padding: ``post`` pads behind the members and keeps the first ones, ``pre`` pads before them and keeps
            the last ones, unless there is an order.
        weights: Column with the weights of the members. A missing weight is 1, a padded one 0.
        fill_na: Text that stands for a bag without members.
        gaps: Whether a missing member takes a place, as in vectors and in sequences encoded by version 0.1.0.
        order: ``oldest_first`` keeps the last members and ``newest_first`` the first, however it is padded.
        zeros: Whether the id 0 takes one, though it is padding, as in ids encoded before there was this word.
    """

    max_len: int
    splitter: str = "^"
    padding: str = "post"
    weights: str | None = None
    fill_na: str | None = None
    gaps: bool = False
    zeros: bool = True
    order: str | None = None

    @property
    def cuts_front(self) -> bool:
        """Whether the first members of a bag that is too long are left out, not the last ones."""
        return self.order == "oldest_first" if self.order else self.padding == "pre"

    def members(self, entries: pl.Series) -> tuple[pl.Series, np.ndarray]:
        """All members of all bags that take a place, one after the other, and their number in each bag."""
        if self.fill_na is not None:
            entries = self._filled(entries, self.fill_na)
        members, lengths = raw.lists(entries, self.splitter)
        return raw.where_present(members, lengths, self.present(members))

    def present(self, members: pl.Series) -> np.ndarray:
        """Which members take a place, as booleans."""
        if self.gaps:
            return np.ones(len(members), bool)
        found = ~raw.is_missing(members)
        return found if self.zeros else found & ~raw.is_zero(members)

    def _empty(self, entries: pl.Series) -> pl.Series:
        """Which bags have no member that takes a place."""
        members, lengths = raw.lists(entries, self.splitter)
        return pl.Series(raw.where_present(members, lengths, self.present(members))[1] == 0)

    def _filled(self, entries: pl.Series, text: str) -> pl.Series:
        if not isinstance(entries.dtype, pl.List | pl.Array):
            entries = entries.cast(pl.String).fill_null(raw.MISSING)
            return entries.set(entries == raw.MISSING if self.gaps else self._empty(entries), text)
        members = pl.Series([text.split(self.splitter)]).cast(pl.List(entries.dtype.inner))
        empty = entries.is_null() if self.gaps else self._empty(entries)
        return pl.select(pl.when(empty).then(pl.lit(members)).otherwise(entries)).to_series()

    def layout(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the members go.

        Args:
            lengths: Members of each bag, ``(rows,)``.

        Returns:
            Row and column of each member that is kept, and for every member whether it is kept.
        """
        rows = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        if self.cuts_front:
            places -= np.maximum(lengths - self.max_len, 0)[rows]
        kept = (places >= 0) & (places < self.max_len)
        if self.padding == "pre":
            places += np.maximum(self.max_len - lengths, 0)[rows]
        return rows[kept], places[kept], kept


@contextmanager
def errors_by_row(column: str, rows: np.ndarray) -> Iterator[None]:
    """Turns the index of a member into that of its row."""
    try:
        yield
    except BadEntryError as error:
        raise BadEntryError(column, int(rows[error.index]), error.value, error.wanted) from None

"""Errors of data, with the file, the column, the row and the value."""

from collections.abc import Iterable


class DataError(ValueError):
    """The data, or what the stanza says about them, cannot be used."""


class BadEntryError(DataError):
    """One entry of a column cannot be read.

    Attributes:
        column: The column.
        index: Row of the entry in the frame at hand, from 0.
        value: The entry.
        wanted: What would have worked.
    """

    def __init__(self, column: str, index: int, value: object, wanted: str):
        super().__init__(f"column {column!r}, row {index + 1}: {value!r} is not {wanted}.")
        self.column, self.index, self.value, self.wanted = column, index, value, wanted

    def located(self, file: str, row: int) -> DataError:
        """The same error, in row ``row`` (from 0) of a file."""
        return DataError(
            f"{file}, column {self.column!r}, row {row + 1}: {self.value!r} is not {self.wanted}."
        )


def shortened(names: Iterable[str], most: int = 20) -> str:
    """Names for an error message, which must fit on a screen."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest

"""Errors of data, with the file, the column, the row and the value."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import polars as pl


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


class BadTypeError(DataError):
    """A column holds a type of which no token or number can be made.

    Attributes:
        column: The column.
        problem: What it holds, and what would have worked.
    """

    def __init__(self, column: str, problem: str):
        super().__init__(f"column {column!r} {problem}")
        self.column, self.problem = column, problem

    def located(self, file: str) -> DataError:
        """The same error, in a file."""
        return DataError(f"{file}, column {self.column!r} {self.problem}")


@contextmanager
def errors_of(column: str, dtype: pl.DataType) -> Iterator[None]:
    """Makes errors of libraries those of a column of this type.

    Raises:
        BadTypeError: polars or arrow refused the entries; what is a :class:`DataError` passes.
    """
    try:
        yield
    except DataError:
        raise
    # Those of arrow are ValueErrors, TypeErrors and NotImplementedErrors.
    except (pl.exceptions.PolarsError, ValueError, TypeError, NotImplementedError, OverflowError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadTypeError(
            column, f"holds {type_of(dtype)}, which cannot be read here ({reason}). Make it text or a number."
        ) from error


def type_of(dtype: pl.DataType) -> str:
    """A type in words, where it has parts."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return f"lists of {type_of(dtype.inner)}"
    return "mappings" if isinstance(dtype, pl.Struct) else str(dtype)


def shortened(names: Iterable[str], most: int = 20) -> str:
    """Names for an error message, which must fit on a screen."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest

"""Where a value was written, so that an error can point at it."""

from dataclasses import dataclass
from typing import Any


class ConfigError(ValueError):
    """A mistake in a configuration; the message begins with the location where it was written."""

    def __init__(self, location: "SourceLocation | str", message: str):
        super().__init__(f"{location}: {message}")


@dataclass(frozen=True)
class SourceLocation:
    """A line of a YAML file, or a ``--set`` on the command line.

    Attributes:
        source: The file, or the words of the command line.
        line: Counted from 1; None on the command line.
        stanza: The expid or dataset id in whose stanza the line is.
    """

    source: str
    line: int | None = None
    stanza: str = ""

    def __str__(self) -> str:
        text = self.source if self.line is None else f"{self.source}, line {self.line}"
        return f"{text} ({self.stanza})" if self.stanza else text


@dataclass(frozen=True)
class Located:
    """A YAML value that knows its location.

    Attributes:
        value: A scalar, a list of `Located`, or a dict of `Located` by name.
        location: Where it was written.
    """

    value: Any
    location: SourceLocation

    def error(self, message: str) -> ConfigError:
        """An error at this location."""
        return ConfigError(self.location, message)

"""Source locations of values, so that errors can point at them."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from fuxi_mtl.files.remote import without_secrets


class ConfigError(ValueError):
    """A mistake in a configuration; the message begins with the location where it was written.

    What a program gives has none: then the message stands alone.

    Attributes:
        location: Where it was written.
        mistakes: The mistake itself, or all of them where several are told at once.
        unfinished: Whether there may be others, which only models that are imported tell.
    """

    def __init__(self, location: "SourceLocation | str", message: str):
        # The location may be a --set whose value is refused for the password in it.
        super().__init__(without_secrets(f"{location}: {message}" if str(location) else message))
        self.location = location
        self.mistakes: tuple[ConfigError, ...] = (self,)
        self.unfinished = False


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


def as_located(value: Any, location: SourceLocation) -> Located:
    """A plain Python value as if it were written in YAML: tuples are lists, objects of options mappings.

    Args:
        value: A scalar, also one of numpy, a path, a list, a mapping, or a dataclass of options, of which the
            fields count that differ from their defaults.
        location: Of the value and all in it.

    Raises:
        ConfigError: It is something else.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return Located(value, location)
    if isinstance(value, Path):
        return Located(str(value), location)
    if is_dataclass(value) and not isinstance(value, type):
        value = changed_fields(value)
    if isinstance(value, Mapping):
        return Located({str(key): as_located(each, location) for key, each in value.items()}, location)
    if hasattr(value, "tolist"):  # an array or a number of numpy
        value = value.tolist()
        return as_located(value, location)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return Located([as_located(each, location) for each in value], location)
    raise ConfigError(
        location,
        f"{type(value).__name__} is no value of an option: give a text, a number, true or false, a list or a "
        "mapping of such.",
    )


def changed_fields(options: Any) -> dict[str, Any]:
    """The fields of a dataclass of options that differ from their defaults, ``name`` and ``type`` always."""
    changed = {}
    for each in fields(options):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        value = getattr(options, each.name)
        if value != default or each.name in ("name", "type"):
            changed[each.name.removesuffix("_")] = value
    return changed

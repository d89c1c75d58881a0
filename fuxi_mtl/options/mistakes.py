"""Mistakes that are found one after the other and told at once."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from fuxi_mtl.options.source_location import ConfigError, SourceLocation


class Mistakes:
    """What has been found so far.

    ::

        mistakes = Mistakes()
        for key, entry in entries.items():
            with mistakes.noted():
                values[key] = convert(entry, types[key], key)
        mistakes.tell()

    Attributes:
        found: All of them.
        unfinished: Whether something has not been looked at, because it needs models that are imported.
    """

    def __init__(self) -> None:
        self.found: list[ConfigError] = []
        self.unfinished = False
        self._causes: set[Hashable] = set()

    def add(self, mistake: ConfigError) -> None:
        """Notes one."""
        self.found += mistake.mistakes

    @contextmanager
    def noted(self, cause: Hashable = None) -> Iterator[None]:
        """Notes the mistakes that end the block. One that follows from a mistake noted before is none.

        Args:
            cause: What all mistakes of some blocks come from, such as one value for several tasks; only those
                of the first block are noted.
        """
        try:
            yield
        except ConfigError as error:
            if cause is None or cause not in self._causes:
                self.add(error)
            self._causes.add(cause)
        except UnjudgedError:
            pass

    def tell(self) -> None:
        """Ends if something was found.

        Raises:
            ConfigError: All mistakes, each with its location and once.
        """
        if self.found:
            error = together(self.found)
            error.unfinished = self.unfinished
            raise error


def together(mistakes: Sequence[ConfigError]) -> ConfigError:
    """One error that lists some, by file and line; a single one as it is."""
    once = list({str(each): each for each in mistakes}.values())
    if len(once) == 1:
        return once[0]
    inner = "".join("\n  " + str(each).replace("\n", "\n  ") for each in sorted(once, key=_place))
    error = ConfigError("", f"{len(once)} mistakes:{inner}")
    error.mistakes = tuple(once)
    return error


def _place(mistake: ConfigError) -> tuple[str, int]:
    location = mistake.location
    if isinstance(location, SourceLocation):
        return location.source, location.line or 0
    return location, 0


class UnjudgedError(Exception):
    """A value was asked for that a mistake has made unknown."""


class _Unjudged:
    """Stands for a value that a mistake has made unknown: every use of it ends the judgement."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise UnjudgedError

    __getattribute__ = __getitem__ = __iter__ = __len__ = __contains__ = __bool__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __add__ = __radd__ = __float__ = __int__ = __str__ = __repr__ = __format__ = _refuse


UNJUDGED: Any = _Unjudged()

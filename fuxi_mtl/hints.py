"""Guesses at the name that was meant; texts that a terminal may show; packages that an extra brings."""

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

_ALIKE = 0.6  # of names whose words begin with the same letters
_ALL_BUT_EQUAL = 0.85  # of any names
# What moves a cursor, rings or writes to the clipboard; colours and line ends stay.
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, colours: bool = False) -> str:
    """The text with control characters as escapes: names in files are not to steer a terminal.

    Args:
        text: What is to be shown.
        colours: Whether sequences that set a colour stay.
    """

    def escaped(found: re.Match) -> str:
        mark = found.group()
        return mark if colours and len(mark) > 1 else mark.encode("unicode_escape").decode()

    return _CONTROL.sub(escaped, text)


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`` Did you mean 'num_experts'?`` where a known name is near, else nothing."""
    near = nearest(str(name), map(str, known))
    return "" if near is None else f" Did you mean {near!r}?"


def among(name: object, known: Iterable[object]) -> str:
    """`` Did you mean 'AUC'? Known: AUC, gAUC.``, the question only where a known name is near."""
    names = [str(each) for each in known]
    return f"{did_you_mean(name, names)} Known: {', '.join(names)}."


def no_objective(what: str, name: str, objectives: Iterable[str]) -> str:
    """That an option names an objective that there is not, and those that there are."""
    return f"{what} names {name!r}, which is no objective. Objectives: {', '.join(objectives)}."


def extra_package(name: str, extra: str, what: str, otherwise: str = "") -> Any:
    """A package that only an extra brings.

    Args:
        name: Of the module.
        extra: The extra of this package.
        what: What needs it.
        otherwise: What to do without it, behind a comma.

    Raises:
        ValueError: It is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{what} needs the package {name}, which is not installed: pip install 'fuxi-mtl[{extra}]'"
            f"{otherwise and f', {otherwise}'}."
        ) from error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is a misspelling, a reordering or an abbreviation of; None if none is.

    Capitals and underscores do not count. Two names whose words begin with other letters are near only if
    they are all but equal: ``condition_mode`` is not ``monitor_mode``. A name of which all words occur in one
    known name alone is near to that: ``warmup`` to ``warmup_steps``, ``expert_num`` to ``num_experts``.
    """
    names = list(dict.fromkeys(known))
    likeness = {each: _likeness(name, each) for each in names}
    best = max(names, key=lambda each: likeness[each], default=None)
    if best is not None and likeness[best]:
        return best
    holding = [each for each in names if _holds(each, name)]
    same = [each for each in holding if len(_words(each)) == len(_words(name))]
    only = same or holding
    return only[0] if len(only) == 1 else None


def _likeness(first: str, second: str) -> float:
    """From 0 to 1; 0 for names that are far from each other."""
    ratio = difflib.SequenceMatcher(None, "".join(_words(first)), "".join(_words(second))).ratio()
    same_initials = [word[0] for word in _words(first)] == [word[0] for word in _words(second)]
    return ratio if ratio >= (_ALIKE if same_initials else _ALL_BUT_EQUAL) else 0.0


def _holds(known: str, name: str) -> bool:
    """Whether every word of `name` is a word of `known`, or the beginning of one."""
    words = _words(name)
    return bool(words) and all(
        any((other.startswith(word) and len(word) > 2) or other == word for other in _words(known))
        for word in words
    )


def _words(name: str) -> list[str]:
    return [word for word in name.lower().split("_") if word]

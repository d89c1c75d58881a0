"""Stanzas as the text of a YAML file, with comments that say where lines came from."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

WIDTH = 110


@dataclass
class StanzaText:
    """A stanza to be written.

    Attributes:
        name: Its expid or dataset id.
        values: Plain values by key.
        comments: Lines above a key; those of ``""`` stand at the end.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)

    def comment(self, key: str, text: str) -> None:
        """Adds a line above a key, or at the end."""
        self.comments.setdefault(key, []).append(text)

    def __str__(self) -> str:
        lines = [f"{_flow(self.name)}:"]
        for key, value in self.values.items():
            lines += _commented(self.comments.get(key, ()))
            lines += [f"  {line}" for line in _entry(key, value)]
        if self.comments.get(""):
            lines += _commented(["Left out:", *self.comments[""]])
        if not self.values:
            lines[0] += " {}"
        return "\n".join(lines) + "\n"


def file_text(head: Iterable[str], stanzas: Iterable[StanzaText]) -> str:
    """The text of a file: comment lines, then stanzas."""
    comments = "".join(f"# {line}\n" for line in head)
    return "\n".join([comments, *map(str, stanzas)])


def _commented(texts: Iterable[str]) -> list[str]:
    wrapped = (
        textwrap.wrap(text, WIDTH - 4, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for text in texts
    )
    return [f"  # {line}" for lines in wrapped for line in lines]


def _entry(key: str, value: Any) -> list[str]:
    """One key: a block of mappings is written open, everything else on one line if it fits."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return [f"{key}:", *(line for each in value for line in _hanging("  - ", _flow(each)))]
    flat = _flow(value)
    if isinstance(value, dict) and len(flat) + len(key) > WIDTH - 4:
        inner = [line for name, each in value.items() for line in _entry(name, each)]
        return [f"{key}:", *(f"  {line}" for line in inner)] if flat else []
    return _hanging(f"{key}: ", flat)


def _hanging(first: str, text: str) -> list[str]:
    """A flow value on as many lines as it needs; YAML wants them further in than the key."""
    lines = text.splitlines()
    return [first + lines[0], *(f"      {line.strip()}" for line in lines[1:])]


def _flow(value: Any) -> str:
    dumped = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=WIDTH - 30, sort_keys=False)
    return dumped.removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Writes what two keys share twice, instead of a reference that nobody can read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias."""
        return True

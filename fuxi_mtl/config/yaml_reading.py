"""Safe YAML in which every value knows its line.

Only plain data is read: mappings, lists, texts, numbers, true, false and null. Anchors, aliases and
``<<`` merges work; tags such as ``!!python/object`` are errors, and so is a key that appears twice. What a
small file may blow up is bounded: levels, and values that aliases repeat.
"""

import contextlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from fuxi_mtl.options.source_location import ConfigError, Located, SourceLocation

_TAG = "tag:yaml.org,2002:"
_NUMBERS_AND_SUCH = {_TAG + kind for kind in ("null", "bool", "int", "float")}
# A date or a lone '=' is text here: no key takes one.
_TEXTS = {_TAG + kind for kind in ("str", "timestamp", "value")}
_MOST_LEVELS = 100
_MOST_REPEATED = 100_000  # values that aliases bring in
# 010 is 8 to YAML 1.1 and 10 to YAML 1.2; 1:00 is 60.
_OCTAL, _SEXAGESIMAL = re.compile(r"[-+]?0[0-7_]+"), re.compile(r"[-+]?[0-9][0-9_]*(:[0-9.]+)+")
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_BY_LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where it is, ten times as fast


def read_stanzas(path: Path) -> dict[str, Located]:
    """The stanzas of a file, by name.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or is not a mapping of stanzas.
    """
    content = read_mapping(path, of_stanzas=True)
    for name, stanza in content.items():
        if not isinstance(stanza.value, dict):
            raise stanza.error(f"{name!r} is no stanza: write its keys indented below it.")
    return content


def read_mapping(path: Path, of_stanzas: bool = False) -> dict[str, Located]:
    """The keys of a file, each with its value.

    Args:
        path: The file.
        of_stanzas: Whether each key names a stanza, so that errors inside it say which.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or has no keys.
    """
    try:
        # utf-8-sig: editors on Windows put a byte-order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}.") from error
    return dict(_keys(str(path), text, of_stanzas))


@lru_cache(maxsize=64)
def _keys(source: str, text: str, of_stanzas: bool) -> dict[str, Located]:
    """The keys of a text. A command reads its folder twice: before TensorFlow is there, and with it."""
    content = _Reader(source, of_stanzas).read(text)
    if content.value is None:
        return {}
    if not isinstance(content.value, dict):
        raise content.error(f"expected keys with values, not {type(content.value).__name__}.")
    return content.value


def read_value(text: str, source: str) -> Located:
    """One value as typed behind ``--set key=``.

    Raises:
        ConfigError: It is not YAML.
    """
    return _Reader(source, False, with_lines=False).read(text)


class _Reader:
    """Turns YAML nodes into located values."""

    def __init__(self, source: str, of_stanzas: bool, with_lines: bool = True):
        self._source = source
        self._of_stanzas = of_stanzas
        self._with_lines = with_lines
        self._open: list[yaml.Node] = []
        self._seen: set[int] = set()
        self._repeated = 0
        self._key = ""

    def read(self, text: str) -> Located:
        try:
            self._check_levels(text)
            node = _composed(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            location = self._location(mark, "") if mark else SourceLocation(self._source)
            raise ConfigError(location, f"not YAML: {error.problem}.") from error
        except (RecursionError, MemoryError) as error:
            raise ConfigError(self._source, "too large or too deep to be read.") from error
        except yaml.YAMLError as error:  # a character that YAML forbids: it has no mark
            raise ConfigError(self._source, f"not YAML: {' '.join(str(error).split())}.") from error
        return Located(None, SourceLocation(self._source)) if node is None else self._located(node, "", 0)

    def _check_levels(self, text: str) -> None:
        """The parser of nodes calls itself for each level, and would end the process."""
        level = 0
        for event in _events(text):
            if isinstance(event, yaml.CollectionStartEvent):
                level += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                level -= 1
            if level > _MOST_LEVELS:
                location = self._location(event.start_mark, "")
                raise ConfigError(location, f"more than {_MOST_LEVELS} levels inside each other.")

    def _count(self, node: yaml.Node, location: SourceLocation) -> None:
        """Values that aliases repeat are few: ten aliases of ten aliases are a hundred."""
        if id(node) in self._seen:
            self._repeated += 1
            if self._repeated > _MOST_REPEATED:
                raise ConfigError(
                    location,
                    f"aliases repeat more than {_MOST_REPEATED:,} values: write fewer, or less in one.",
                )
        self._seen.add(id(node))

    def _location(self, mark: Any, stanza: str) -> SourceLocation:
        return SourceLocation(self._source, mark.line + 1 if self._with_lines else None, stanza)

    def _located(self, node: yaml.Node, stanza: str, depth: int) -> Located:
        location = self._location(node.start_mark, stanza)
        self._count(node, location)
        if isinstance(node, yaml.ScalarNode):
            return Located(self._scalar(node, location), location)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            raise ConfigError(location, f"the tag {node.tag} is not allowed: only plain data is read.")
        if any(node is outer for outer in self._open):
            raise ConfigError(location, "an alias inside the value that it names.")
        self._open.append(node)
        if isinstance(node, yaml.MappingNode):
            value = Located(self._mapping(node, stanza, depth), location)
        else:
            value = Located([self._located(each, stanza, depth + 1) for each in node.value], location)
        self._open.pop()
        return value

    def _scalar(self, node: yaml.ScalarNode, location: SourceLocation):
        if node.tag in _TEXTS:
            return node.value
        if node.tag in _NUMBERS_AND_SUCH:
            self._check_plain_number(node, location)
            try:
                return _CONSTRUCTOR.construct_object(node)
            except (ValueError, KeyError, IndexError) as error:  # an explicit tag on another text
                raise ConfigError(location, f"{node.value!r} is not what its tag {node.tag} says.") from error
        raise ConfigError(location, f"the tag {node.tag} is not allowed: only plain data is read.")

    def _check_plain_number(self, node: yaml.ScalarNode, location: SourceLocation) -> None:
        """No number in base 8 or 60, which hardly anybody means."""
        for pattern, base in ((_OCTAL, 8), (_SEXAGESIMAL, 60)):
            if not node.style and pattern.fullmatch(node.value):
                key = f"{self._key}: " if self._key else ""
                raise ConfigError(
                    location,
                    f"{key}{node.value} is {_CONSTRUCTOR.construct_object(node):g} to YAML 1.1, which reads "
                    f"base {base}. Write the number that you mean, or {node.value!r} in quotes for the text.",
                )

    def _mapping(self, node: yaml.MappingNode, stanza: str, depth: int) -> dict[str, Located]:
        merged: dict[str, Located] = {}
        own: dict[str, Located] = {}
        first: dict[str, SourceLocation] = {}
        for key_node, value_node in node.value:
            location = self._location(key_node.start_mark, stanza)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(location, "a key must be a name.")
            key = key_node.value
            if key_node.tag == _TAG + "merge":
                merged = {**self._merge(value_node, stanza, depth, location), **merged}
                continue
            if key in first:
                raise ConfigError(location, f"{key!r} appears twice; the first is on line {first[key].line}.")
            first[key] = location
            self._key = key
            value = self._located(
                value_node, stanza or (key if depth == 0 and self._of_stanzas else ""), depth + 1
            )
            if value.location.line != location.line:  # the key's counts: a list may begin on the next one
                place = SourceLocation(location.source, location.line, value.location.stanza)
                value = Located(value.value, place)
            own[key] = value
        return {**merged, **own}

    def _merge(
        self, node: yaml.Node, stanza: str, depth: int, location: SourceLocation
    ) -> dict[str, Located]:
        """What ``<<: *name`` or ``<<: [*first, *second]`` brings; earlier names win."""
        content = self._located(node, stanza, depth)
        parts = content.value if isinstance(content.value, list) else [content]
        if not all(isinstance(part.value, dict) for part in parts):
            raise ConfigError(location, "'<<' merges mappings: write '<<: *name' for an anchor '&name'.")
        merged: dict[str, Located] = {}
        for part in parts:
            merged = {**part.value, **merged}
        return merged


def _events(text: str) -> Iterator[Any]:
    """What the parser meets, up to the first mistake, which is told where nodes are composed."""
    with contextlib.suppress(yaml.YAMLError):
        yield from yaml.parse(text, Loader=_BY_LIBYAML)


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_BY_LIBYAML)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)  # says more plainly what is wrong, and where

"""Encoding of raw rows as ids and numbers, by rules that were fitted on the training split.

Nothing is pickled: ``encoders.json`` holds the rules, ``feature_vocab.json`` the tokens and their ids,
``feature_map.json`` what the encoded columns mean, ``checksums.json`` how these three should look.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.bags import Bag, errors_by_row
from fuxi_mtl.dataset.errors import BadEntryError, DataError, errors_of, shortened
from fuxi_mtl.dataset.rules import RULES, Buckets, HashBuckets, Ids, Number, Rule, Vocabulary
from fuxi_mtl.dataset.token_ids import TokenIds, ids_of_numbered
from fuxi_mtl.features import PAD, Feature, FeatureMap
from fuxi_mtl.files import checksum_of, read_json
from fuxi_mtl.hints import did_you_mean

__all__ = ["Bag", "Buckets", "Column", "Encoder", "HashBuckets", "Ids", "Number", "Rule", "Vocabulary"]

PAD_TOKEN, OOV_TOKEN = "__PAD__", "__OOV__"
CHECKSUMS = "checksums.json"
SEEN = "tokens_seen.parquet"
FREE_TOKEN = re.compile(r"__FREE_(\d+)__")  # what stands in a vocabulary in the place of an id that is free
_STORED = ("feature_map.json", "feature_vocab.json", "encoders.json")
# Of encoders.json; 1, which had no number, kept 3.0 and 3 apart, gave a missing member of a sequence a place,
# and took the last id of a column of ids for OOV.
FORMAT = 2
_PART = 4096  # rows that are turned at once
_MOST_SEEN = 10_000  # values of a column whose ids are remembered


@dataclass(frozen=True)
class Column:
    """One input: the raw column of its name, its rule, and its layout if it is a sequence or a vector."""

    name: str
    rule: Rule
    bag: Bag | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; the rule's class is named."""
        rule = {"rule": type(self.rule).__name__, **asdict(self.rule)}
        return {**rule, "bag": None if self.bag is None else asdict(self.bag)}

    @classmethod
    def from_json(cls, name: str, content: Mapping[str, Any]) -> "Column":
        """Reads what :meth:`to_json` wrote."""
        rule = {key: value for key, value in content.items() if key not in ("rule", "bag")}
        if "boundaries" in rule:
            rule["boundaries"] = tuple(rule["boundaries"])
        bag = content["bag"] and Bag(**content["bag"])
        return cls(name, RULES[content["rule"]](**rule), bag)


@dataclass(frozen=True)
class Encoder:
    """The fitted encoding of a dataset.

    Attributes:
        feature_map: What the encoded columns mean.
        columns: One entry a feature, in the same order.
        tokens: The vocabulary of each owner, most frequent first, then what came in later days; token i has
            id i + 1.
        unknown: Share of validation entries (test entries if there are none) that no vocabulary knows, by
            feature: what to expect of new rows.
    """

    feature_map: FeatureMap
    columns: tuple[Column, ...]
    tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: Mapping[str, float] = field(default_factory=dict)
    seen: pl.DataFrame | None = field(default=None, compare=False, repr=False)

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """The raw columns that :meth:`encode` reads."""
        weights = [column.bag.weights for column in self.columns if column.bag and column.bag.weights]
        return tuple(dict.fromkeys([*(column.name for column in self.columns), *weights]))

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """Those of the raw columns of which :meth:`encode` needs the different texts alone.

        Of integers a mistake is told with its entry.
        """
        weights = {column.bag.weights for column in self.columns if column.bag}
        return tuple(
            column.name
            for column in self.columns
            if isinstance(column.rule, Vocabulary)
            and (column.bag is None and column.rule.dtype != "int" and column.name not in weights)
        )

    @cached_property
    def _token_ids(self) -> dict[str, TokenIds]:
        return {owner: TokenIds(tokens) for owner, tokens in self.tokens.items()}

    @cached_property
    def _seen(self) -> dict[Rule, dict[Any, int]]:
        """The ids of texts and integers that were looked up, by rule.

        In most columns a block has no other ones than the block before it.
        """
        return {}

    @cached_property
    def _free(self) -> dict[str, np.ndarray]:
        """The ids that no token has, of vocabularies that have some."""
        found = {owner: free_ids(tokens) for owner, tokens in self.tokens.items()}
        return {owner: ids for owner, ids in found.items() if len(ids)}

    @cached_property
    def identity(self) -> str:
        """Changes with everything that a row is encoded by."""
        content = hashlib.sha256(json.dumps(self.feature_map.to_json(), sort_keys=True).encode())
        columns = {column.name: column.to_json() for column in self.columns}
        content.update(json.dumps(columns, sort_keys=True, default=str).encode())
        content.update(_vocabularies(self.tokens).encode())
        return content.hexdigest()

    def encode(
        self,
        frame: pl.DataFrame,
        each: Callable = map,
        known: Mapping[str, np.ndarray] | None = None,
        texts: Mapping[str, raw.Distinct] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encodes raw rows; labels and other columns are not looked at.

        Args:
            frame: Rows with at least :attr:`raw_columns`, but for `texts`.
            each: ``map``, or that of an executor to encode features in parallel.
            known: For columns that hold numbers of texts, the id of every number.
            texts: Some of :attr:`text_columns` as their different texts.

        Returns:
            ids ``(rows, id columns)`` int32 and numeric ``(rows, numeric columns)`` float32.

        Raises:
            DataError: A column is missing, or an entry cannot be read.
        """
        texts = texts or {}
        for name in self.raw_columns:
            if name not in frame.columns and name not in texts:
                raise DataError(
                    f"the input has no column {name!r}.{did_you_mean(name, frame.columns)} "
                    f"Columns: {shortened(frame.columns)}."
                )
        # Each column is written in one piece, and all are turned into rows at the end: many times faster.
        ids = np.zeros((self.feature_map.id_columns, frame.height), np.int32).T
        numeric = np.zeros((self.feature_map.numeric_columns, frame.height), np.float32).T

        def fill(feature: Feature, column: Column) -> None:
            if column.name in texts and isinstance(column.rule, Vocabulary):
                target = ids[:, feature.columns]
                target[:, 0] = self._ids_of_each(column.rule, texts[column.name])
                return
            with errors_of(column.name, frame[column.name].dtype):
                encoded(feature, column)

        def encoded(feature: Feature, column: Column) -> None:
            target = (ids if feature.has_ids else numeric)[:, feature.columns]
            if known and column.name in known:
                target[:, 0] = known[column.name][frame[column.name].to_numpy()]
            elif column.bag is None:
                target[:, 0] = self._apply(column.rule, frame[column.name])
            else:
                self._fill_bag(feature, column, column.bag, frame, target)
                if feature.weight_start is not None:
                    weights = numeric[:, feature.weight_start : feature.weight_start + feature.max_len]
                    _fill_weights(column, column.bag, frame, weights)
                    weights[target == PAD] = 0

        # Going through the results raises what a worker raised.
        for _ in each(fill, self.feature_map.features, self.columns):
            pass
        return _by_rows(ids), _by_rows(numeric)

    def ids_of(self, vocabulary: Vocabulary, tokens: pl.Series) -> np.ndarray:
        """The ids of tokens by one of the fitted vocabularies, ``(rows,)`` int32.

        Args:
            vocabulary: That one.
            tokens: Texts, or all texts of a numbering of its own.
        """
        return self._known(vocabulary.owner, self.look_up(vocabulary, tokens))

    def look_up(self, vocabulary: Vocabulary, tokens: pl.Series) -> np.ndarray:
        """Their ids before those that are free are left out, for many tokens at once."""
        if isinstance(tokens.dtype, pl.Categorical):
            return ids_of_numbered(tokens, self.tokens[vocabulary.owner])
        return self._token_ids[vocabulary.owner](tokens)

    def _known(self, owner: str, ids: np.ndarray) -> np.ndarray:
        """The ids, OOV in the place of one that no token has: its name may stand in a row."""
        free = self._free.get(owner)
        return ids if free is None else np.where(np.isin(ids, free), len(self.tokens[owner]) + 1, ids)

    def _apply(self, rule: Rule, entries: pl.Series) -> np.ndarray:
        if not isinstance(rule, Vocabulary):
            return rule.apply(entries)
        return self._ids_of_each(rule, raw.near_integers(entries) or raw.distinct(entries))

    def _ids_of_each(self, rule: Vocabulary, entries: raw.Distinct) -> np.ndarray:
        values, rows = entries
        plain = values.dtype == pl.String or values.dtype.is_integer()  # floats and booleans equal integers
        seen = self._seen.setdefault(rule, {}) if plain else {}
        given = values.to_list() if plain and len(values) <= _MOST_SEEN else []
        found = [seen.get(value) for value in given]
        if found and None not in found:
            return np.array(found, np.int32)[rows]
        ids = self.ids_of(rule, rule.tokens_of(values, rows))
        if len(seen) + len(given) <= _MOST_SEEN:
            seen.update(zip(given, ids.tolist(), strict=False))
        return ids[rows]

    def _fill_bag(
        self, feature: Feature, column: Column, bag: Bag, frame: pl.DataFrame, target: np.ndarray
    ) -> None:
        members, lengths = bag.members(frame[column.name])
        if not feature.has_ids:
            _check_lengths(
                column.name, frame, lengths, np.full_like(lengths, bag.max_len), f"of {bag.max_len}"
            )
        rows, places, kept = bag.layout(lengths)
        members = members.filter(pl.Series(kept))
        with errors_by_row(column.name, rows):
            values = self._apply(column.rule, members)
        if feature.has_ids:
            values = np.where(raw.is_missing(members), PAD, values)
        target[rows, places] = values

    def save(self, folder: str | Path) -> None:
        """Writes all that :meth:`load` needs, pretrained rows included, into an existing folder."""
        folder = Path(folder)
        write_json(folder / "feature_map.json", self.feature_map.to_json())
        (folder / "feature_vocab.json").write_text(_vocabularies(self.tokens), encoding="utf-8")
        columns = {column.name: column.to_json() for column in self.columns}
        write_json(
            folder / "encoders.json", {"format": FORMAT, "columns": columns, "unknown": dict(self.unknown)}
        )
        own, stored = Path(self.feature_map.folder), [*_STORED]
        if self.seen is not None:
            self.seen.write_parquet(folder / SEEN)
            stored.append(SEEN)
        for feature in self.feature_map.features:
            if feature.pretrained:
                stored.append(feature.pretrained)
                if own.resolve() != folder.resolve():
                    shutil.copyfile(own / feature.pretrained, folder / feature.pretrained)
        write_json(folder / CHECKSUMS, {name: checksum_of(folder / name) for name in stored})

    def moved(self, folder: str | Path) -> "Encoder":
        """The same encoder whose files have been moved into another folder."""
        return replace(self, feature_map=replace(self.feature_map, folder=str(folder)))

    @classmethod
    def load(cls, folder: str | Path) -> "Encoder":
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: A file was changed since, or is of a newer format.
        """
        _verify(Path(folder))

        def read(name: str) -> dict[str, Any]:
            return json.loads((Path(folder) / name).read_text(encoding="utf-8"))

        feature_map = FeatureMap.from_json(read("feature_map.json"), str(folder))
        content = read("encoders.json")
        columns = tuple(Column.from_json(*each) for each in _columns(content, folder).items())
        unknown = content["unknown"] if content.get("format") == FORMAT else {}
        # The first entry is padding and the last is OOV.
        tokens = {owner: tuple(entries)[1:-1] for owner, entries in read("feature_vocab.json").items()}
        seen = pl.read_parquet(Path(folder) / SEEN) if (Path(folder) / SEEN).is_file() else None
        return cls(feature_map, columns, tokens, unknown, seen)


def _by_rows(columns: np.ndarray) -> np.ndarray:
    """Columns that lie one behind the other as rows that do, part by part: each fits into the cache."""
    found = np.empty(columns.shape, columns.dtype)
    for start in range(0, len(found), _PART):
        found[start : start + _PART] = columns[start : start + _PART]
    return found


def free_token(number: int) -> str:
    """What stands in a vocabulary for an id that no token has."""
    return f"__FREE_{number}__"


def known_ids(tokens: Sequence[str]) -> dict[str, int]:
    """The id of each token of a vocabulary."""
    free = set(free_ids(tokens).tolist())
    return {token: number for number, token in enumerate(tokens, 1) if number not in free}


def free_ids(tokens: Sequence[str]) -> np.ndarray:
    """The ids that no token of a vocabulary has, rising."""
    if "__FREE_" not in "\n".join(tokens):  # a look at each token takes many times as long
        return np.zeros(0, np.int32)
    free = [number for number, token in enumerate(tokens, 1) if token == free_token(number)]
    return np.array(free, np.int32)


def _verify(folder: Path) -> None:
    """Makes sure that the files are those that were written."""
    marks = folder / CHECKSUMS
    if marks.is_file():  # runs of the first format have none
        for name, mark in read_json(marks, "train the experiment again.").items():
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}, which {CHECKSUMS} names, is missing")
            if checksum_of(folder / name) != mark:
                raise DataError(f"{folder / name} was changed after it was written: ids mean something else")


def format_of(folder: str | Path) -> int:
    """The format in which :meth:`Encoder.save` wrote into a folder.

    Raises:
        DataError: A file was changed since.
    """
    _verify(Path(folder))
    return _format_of(json.loads((Path(folder) / "encoders.json").read_text(encoding="utf-8")))


def _format_of(content: Mapping[str, Any]) -> int:
    number = content.get("format", 1)
    return number if isinstance(number, int) else 1  # a column of that name, in a file without a number


def _columns(content: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """The columns of encoders.json, in the words of today's format."""
    number = _format_of(content)
    if number > FORMAT:
        raise DataError(
            f"{Path(folder) / 'encoders.json'} has format {number}, this version reads up to {FORMAT}: "
            "use the version of fuxi_mtl that wrote it, or a newer one."
        )
    if number == FORMAT:
        return content["columns"]
    return {name: _of_format_1(each) for name, each in content.items()}


def _of_format_1(column: Mapping[str, Any]) -> dict[str, Any]:
    """A column of the first format, as today's would say the same."""
    as_it_is = {"str": "text", "float": "text", "list": "text"}
    found = dict(column)
    if "dtype" in found:
        found["dtype"] = as_it_is.get(found["dtype"], found["dtype"])
    if found["rule"] == "Ids":
        found["count"] = found.pop("vocab_size")
        found["unknown"] = found["count"] - 1
    if found["bag"]:
        found["bag"] = {**found["bag"], "gaps": True}
    return found


def _vocabularies(tokens: Mapping[str, Sequence[str]]) -> str:
    """``{owner: {token: id}}`` as JSON; millions of tokens take a fifth of the time of ``json.dumps``."""
    owners = [
        f"{_quoted(owner)}: {{{_pairs([PAD_TOKEN, *known, OOV_TOKEN])}}}" for owner, known in tokens.items()
    ]
    return f"{{{', '.join(owners)}}}"


_quoted = json.encoder.encode_basestring


def _pairs(entries: Sequence[str]) -> str:
    """``"token": id, ...`` of tokens in the order of their ids."""
    tokens, numbers = pl.Series(entries, dtype=pl.String), pl.int_range(len(entries))
    pairs = pl.select(pl.format('"{}": {}', tokens, numbers).str.join(", ")).item()
    least = np.frombuffer(pairs.encode(), np.uint8).min()
    if pairs.count('"') == 2 * len(tokens) and "\\" not in pairs and least >= ord(" "):
        return pairs  # none of them has anything that JSON writes otherwise
    return ", ".join([f"{_quoted(token)}: {number}" for number, token in enumerate(entries)])


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Writes JSON that a person can read too; without ``indent`` it is written many times faster."""
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")


def _fill_weights(column: Column, bag: Bag, frame: pl.DataFrame, target: np.ndarray) -> None:
    """Weights go where their members went; those of a missing member take no place either."""
    weights, lengths = raw.lists(frame[bag.weights], bag.splitter)
    if bag.gaps:
        members, expected = bag.members(frame[column.name])
    else:  # a weight for each member, missing ones included
        members, expected = raw.lists(frame[column.name], bag.splitter)
    _check_lengths(bag.weights or "", frame, lengths, expected, f"as long as {column.name!r}")
    if not bag.gaps:
        alike = lengths == expected
        members = members.filter(pl.Series(np.repeat(alike, expected)))
        weights = weights.filter(pl.Series(np.repeat(alike, lengths)))
        lengths = np.where(alike, lengths, 0)
        weights, lengths = raw.where_present(weights, lengths, bag.present(members))
    rows, places, kept = bag.layout(lengths)
    with errors_by_row(bag.weights or "", rows):
        given = weights.filter(pl.Series(kept))
        values = raw.numbers(given)
        unbounded = np.isnan(values) & ~np.isnan(raw.doubles(given))
        if unbounded.any():
            index = int(np.argmax(unbounded))
            raise BadEntryError(given.name, index, given[index], "a finite weight")
    target[:] = 1
    target[rows, places] = np.where(np.isnan(values), 1, values)


def _check_lengths(
    name: str, frame: pl.DataFrame, lengths: np.ndarray, expected: np.ndarray, wanted: str
) -> None:
    """A bag that is there has the expected length; an empty text counts as one member."""
    bad = np.flatnonzero((lengths != expected) & (lengths > 1) | (lengths == 1) & (expected > 1))
    for index in bad:
        value = frame[name][int(index)]
        shown = value.to_list() if isinstance(value, pl.Series) else value
        if lengths[index] > 1 or shown not in (None, raw.MISSING):
            raise BadEntryError(name, int(index), shown, f"a list {wanted}")

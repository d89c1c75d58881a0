"""The fitted encoding as one file beside a model that takes ids, for clients in any language.

``encoding.json`` has an entry for each input in order, with its columns among ``ids`` or ``numeric``, its
rule, and the layout of a bag, and the tokens of each vocabulary. What it leaves out is the network's.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.encoding import Column, Encoder, free_ids, free_token, known_ids
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.raw import MISSING
from fuxi_mtl.dataset.rules import Rule, Vocabulary
from fuxi_mtl.features import PAD, Feature, FeatureMap
from fuxi_mtl.files import checked_json, read_json, write_bytes, write_text

ENCODING = "encoding.json"
LARGE = 1_000_000  # tokens of a vocabulary that is a file of its own
_FORMAT = 1
_AGAIN = "export the run again."
# Of a feature, what its columns in a batch mean; where they are is said by `columns` and `weight_columns`.
_OF_INPUT = ("type", "source", "vocab_size", "max_len", "order", "weighted")


def write_encoding(encoder: Encoder, folder: Path, model: str, said: Mapping[str, Any]) -> None:
    """Writes ``encoding.json``, and beside it a file for each vocabulary of a million tokens or more.

    Args:
        encoder: The fitted encoding.
        folder: An existing folder.
        model: The file or folder of the model; the encoding of another one is not replaced.
        said: What else stands in the file: what the model is, and which columns are one history.

    Raises:
        DataError: The folder holds the encoding of another model.
        OSError: A file cannot be written.
    """
    check_place(folder, model)
    vocabularies: dict[str, Any] = {}
    for number, (owner, tokens) in enumerate(encoder.tokens.items()):
        known = _with_gaps(tokens)
        vocabularies[owner] = known
        if len(known) >= LARGE:
            content = _lines(known).encode()
            file = folder / f"vocabulary_{number}.json"
            write_bytes(file, content)
            vocabularies[owner] = {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()}
    features = encoder.feature_map
    document = {
        "format": _FORMAT,
        "model": model,
        "identity": identity_of(encoder),
        "dataset_id": features.dataset_id,
        "ids": {"dtype": "int32", "columns": features.id_columns},
        "numeric": {"dtype": "float32", "columns": features.numeric_columns},
        "raw_columns": list(encoder.raw_columns),
        "inputs": _inputs(encoder),
        **said,
        "unknown": dict(encoder.unknown),
        "vocabularies": vocabularies,
    }
    write_text(folder / ENCODING, checked_json(document, indent=1) + "\n")


def check_place(folder: Path, model: str) -> None:
    """The folder holds no encoding of another model.

    Raises:
        DataError: It does, or what stands there is no encoding.
    """
    file = folder / ENCODING
    if not file.exists():
        return
    other = _document(file)["model"]
    if other != model:
        raise DataError(f"{file} belongs to {other}: write {model} into another folder.")


class RequestEncoder(Encoder):
    """An encoder of few rows at a time, again and again.

    A look-up of many tokens goes through the whole vocabulary, which takes longer than a request may; here
    each token is looked up by itself, in tables that are made at the beginning.
    """

    @cached_property
    def _ids(self) -> dict[str, dict[str, int]]:
        return {owner: known_ids(tokens) for owner, tokens in self.tokens.items()}

    def look_up(self, vocabulary: Vocabulary, tokens: pl.Series) -> np.ndarray:
        """See :meth:`Encoder.look_up`."""
        return self._ids_of(vocabulary, tokens.to_list())

    def _apply(self, rule: Rule, entries: pl.Series) -> np.ndarray:
        if isinstance(rule, Vocabulary) and rule.dtype != "int" and entries.dtype == pl.String:
            missing = MISSING if rule.fill_na is None else rule.fill_na
            texts = [text or missing for text in entries.to_list()]
            if rule.dtype == "text" or not any(text.endswith(".0") for text in texts):
                return self._ids_of(rule, texts)  # they are tokens as they are
        return super()._apply(rule, entries)

    def _ids_of(self, vocabulary: Vocabulary, tokens: Sequence[str]) -> np.ndarray:
        ids, unknown = self._ids[vocabulary.owner], len(self.tokens[vocabulary.owner]) + 1
        return np.array([ids.get(token, unknown) for token in tokens], np.int32)


def read_encoding(file: Path) -> RequestEncoder:
    """The encoding that :func:`write_encoding` wrote.

    Args:
        file: ``encoding.json``; files of vocabularies lie beside it.

    Raises:
        DataError: It is missing, damaged or of a newer format.
    """
    document = _document(file)
    features, columns = [], []
    for entry in document["inputs"]:
        name, weights = entry["name"], entry["weight_columns"]
        features.append(
            Feature(
                name,
                **{key: entry[key] for key in _OF_INPUT},
                start=entry["columns"][0],
                weight_start=weights and weights[0],
            )
        )
        columns.append(Column.from_json(name, {**entry["rule"], "bag": entry["bag"]}))
    tokens = {owner: _tokens(file, known) for owner, known in document["vocabularies"].items()}
    feature_map = FeatureMap(document["dataset_id"], tuple(features))
    return RequestEncoder(feature_map, tuple(columns), tokens, document["unknown"])


def identity_of(encoder: Encoder) -> str:
    """What changes with the ids and numbers of a row: ``encoding.json`` says it, and so does the model."""
    content = hashlib.sha256(json.dumps(_inputs(encoder), sort_keys=True).encode())
    for owner, tokens in encoder.tokens.items():
        content.update(_lines([owner, *_with_gaps(tokens)]).encode())
    return content.hexdigest()


def _inputs(encoder: Encoder) -> list[dict[str, Any]]:
    """What each input is, in order."""
    entries = []
    for column, feature in zip(encoder.columns, encoder.feature_map.features, strict=True):
        rule = column.to_json()
        bag = rule.pop("bag")
        start = feature.weight_start
        entries.append(
            {
                "name": feature.name,
                **{key: value for key, value in asdict(feature).items() if key in _OF_INPUT},
                "into": "ids" if feature.has_ids else "numeric",
                "columns": [feature.columns.start, feature.columns.stop],
                "weight_columns": None if start is None else [start, start + feature.max_len],
                "pad": PAD if feature.has_ids else None,
                "oov": feature.vocab_size - 1 if feature.has_ids else None,
                "rule": rule,
                "bag": bag,
            }
        )
    return entries


def _with_gaps(tokens: Sequence[str]) -> list[str | None]:
    """The tokens, token i having id i + 1, with null where an id is free."""
    known: list[str | None] = [*tokens]
    for number in free_ids(tokens):
        known[number - 1] = None
    return known


def _lines(known: Sequence[str | None]) -> str:
    """A list in JSON, a token a line: many times faster than json.dumps with an indent."""
    text = json.encoder.encode_basestring
    return "[\n" + ",\n".join(["null" if token is None else text(token) for token in known]) + "\n]\n"


def _tokens(file: Path, known: Any) -> tuple[str, ...]:
    if isinstance(known, Mapping):
        beside = file.parent / known["file"]
        try:
            content = beside.read_bytes()
        except OSError as error:
            raise DataError(f"{beside}, which {file.name} names, cannot be read: {_AGAIN}") from error
        if hashlib.sha256(content).hexdigest() != known["sha256"]:
            raise DataError(f"{beside} is not what was written with {file.name}: {_AGAIN}")
        known = json.loads(content)
    return tuple([free_token(i) if token is None else token for i, token in enumerate(known, 1)])


def _document(file: Path) -> dict[str, Any]:
    try:
        document = read_json(file, _AGAIN)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {file}: export --signature from_ids writes {ENCODING} beside the model."
        ) from error
    number = document.get("format") if isinstance(document, dict) else None
    if not isinstance(number, int) or "inputs" not in document:
        raise DataError(f"{file} is no encoding of a model: {_AGAIN}")
    if number > _FORMAT:
        raise DataError(
            f"{file} has format {number}, this version reads up to {_FORMAT}: use the version of fuxi_mtl "
            "that wrote it, or a newer one."
        )
    return document

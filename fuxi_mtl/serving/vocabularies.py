"""Vocabularies inside a graph: tokens to ids, as constants or as files beside it."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from fuxi_mtl.dataset.encoding import OOV_TOKEN, known_ids

LARGE = (
    1_000_000  # tokens; a graph with its constants is one message of at most 2 GB, held twice while it loads
)
_ENDS = re.compile("[\t\n\r]")  # what a token of a file may not hold: TensorFlow ends lines and columns there


class GraphVocabulary(tf.Module):
    """The ids of tokens; one that is not known gets the last id.

    Token i of the list has id i + 1, and ids may be free. A large vocabulary is a file of lines
    ``token<tab>id``, which TensorFlow reads when a model is loaded; tokens that such a line cannot hold stay
    constants of the graph.

    Args:
        known: The tokens.
        file: Where a large vocabulary is written; without it all tokens are constants.
    """

    def __init__(self, known: tuple[str, ...], file: Path | None = None):
        super().__init__()
        self._unknown = len(known) + 1
        ids = known_ids(known)
        self.tables = []
        if file is not None and len(ids) >= LARGE:
            ids, of_file = _split(ids)
            self.tables.append(self._table(_file_of(of_file, file)))
        if ids or not self.tables:
            self.tables.append(self._table(_constants(ids, self._unknown)))

    def lookup(self, tokens: tf.Tensor) -> tf.Tensor:
        """Their ids, int64, in the shape of the tokens."""
        found = [table.lookup(tokens) for table in self.tables]
        return functools.reduce(tf.minimum, found)  # an unknown id is above all others

    def _table(
        self, content: tf.lookup.KeyValueTensorInitializer | tf.lookup.TextFileInitializer
    ) -> tf.lookup.StaticHashTable:
        return tf.lookup.StaticHashTable(content, self._unknown)


def _constants(ids: Mapping[str, int], unknown: int) -> tf.lookup.KeyValueTensorInitializer:
    # A table must not be empty, though a vocabulary may be.
    keys, values = tf.constant([*ids, OOV_TOKEN], tf.string), tf.constant([*ids.values(), unknown], tf.int64)
    return tf.lookup.KeyValueTensorInitializer(keys, values)


def _split(ids: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Tokens that a line cannot hold, and the others."""
    odd = {token: number for token, number in ids.items() if _ENDS.search(token)}
    return odd, {token: number for token, number in ids.items() if token not in odd}


def _file_of(ids: Mapping[str, int], file: Path) -> tf.lookup.TextFileInitializer:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(f"{token}\t{number}\n" for token, number in ids.items())
    return tf.lookup.TextFileInitializer(
        str(file), tf.string, 0, tf.int64, 1, vocab_size=len(ids), delimiter="\t"
    )

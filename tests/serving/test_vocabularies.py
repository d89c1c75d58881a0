"""Vocabularies of a graph: as constants and as files, the same ids."""

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.dataset.encoding import free_token
from fuxi_mtl.serving import vocabularies
from fuxi_mtl.serving.vocabularies import GraphVocabulary

KNOWN = (
    "a",
    "",
    "two words",
    free_token(4),
    "tab\there",
    "line\nfeed",
    "return\r",
    "\u00e9",
    "\u5546\u54c1",
    " a",
)
ASKED = [*KNOWN, "b", "tab", "return", "__OOV__"]
UNKNOWN = len(KNOWN) + 1
# Independent of the code: places in the list; a token in the place of a free id is as unknown as any other.
EXPECTED = [1, 2, 3, UNKNOWN, 5, 6, 7, 8, 9, 10, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(vocabularies, "LARGE", 2)


def test_tokens_have_their_places_and_unknown_ones_the_last_id():
    assert GraphVocabulary(KNOWN).lookup(tf.constant(ASKED)).numpy().tolist() == EXPECTED


def test_a_vocabulary_without_tokens_knows_none():
    assert GraphVocabulary(()).lookup(tf.constant([["a", ""]])).numpy().tolist() == [[1, 1]]


def test_a_large_vocabulary_is_a_file_that_moves_with_the_model(small, tmp_path):
    module = tf.Module()
    module.table = GraphVocabulary(KNOWN, tmp_path / "words" / "known.tsv")
    module.lookup = tf.function(module.table.lookup, [tf.TensorSpec([None], tf.string)], autograph=False)
    assert module.lookup(tf.constant(ASKED)).numpy().tolist() == EXPECTED
    tf.saved_model.save(module, str(tmp_path / "model"))
    (tmp_path / "words" / "known.tsv").unlink()
    (tmp_path / "model").rename(tmp_path / "moved")
    assert [file.name for file in (tmp_path / "moved" / "assets").iterdir()] == ["known.tsv"]
    loaded = tf.saved_model.load(str(tmp_path / "moved"))
    assert loaded.lookup(tf.constant(ASKED)).numpy().tolist() == EXPECTED


def test_plain_tokens_need_no_second_table(small, tmp_path):
    known = ("x", "y", "z")
    table = GraphVocabulary(known, tmp_path / "known.tsv")
    assert len(table.tables) == 1
    np.testing.assert_array_equal(table.lookup(tf.constant(["z", "?", "x"])), [3, 4, 1])


def test_a_small_vocabulary_writes_no_file(tmp_path):
    assert GraphVocabulary(KNOWN, tmp_path / "known.tsv").lookup(tf.constant("two words")) == 3
    assert not (tmp_path / "known.tsv").exists()

"""Training files are read once; what comes out is what reading them twice gives."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, reading
from fuxi_mtl.dataset.coding import SeenTexts
from fuxi_mtl.dataset.rules import Vocabulary

TABLE = {
    "user": ["u1", "", "u2", "u1", None, "u3", "u1", "u2", ""],
    "age": ["3", "3.0", "", "7", " 3", "7", "8", "3", "7"],
    "click": [1, 0, 1, 0, 1, 0, 1, 0, 1],
}
FEATURES = [{"name": "user", "type": "categorical"}, {"name": "age", "type": "categorical", "dtype": "int"}]


@pytest.mark.parametrize("block_rows", [1, 2, 4, 100])
def test_ids_do_not_depend_on_the_blocks(load, block_rows):
    """By hand: '' is seen 3 times, u1 3, u2 2, u3 1; 3 is seen 4 times, 7 3, '' and 8 once."""
    dataset = load(TABLE, FEATURES, data_block_size=block_rows)
    assert dataset.encoder.tokens == {"user": ("", "u1", "u2", "u3"), "age": ("3", "7", "", "8")}
    assert dataset.train.ids[:, 0].tolist() == [2, 1, 3, 2, 1, 4, 2, 3, 1]
    assert dataset.train.ids[:, 1].tolist() == [1, 1, 3, 2, 1, 2, 4, 1, 2]


def test_rows_for_validation_make_no_vocabulary(load):
    table = {**TABLE, "part": ["train"] * 6 + ["valid"] * 3}
    dataset = load(table, FEATURES, split_type="column", split_col="part", data_block_size=2)
    assert dataset.encoder.tokens == {"user": ("", "u1", "u2", "u3"), "age": ("3", "7", "")}
    assert dataset.valid.ids.tolist() == [[2, 4], [3, 1], [1, 2]]


def test_rare_tokens_and_missing_ones_are_as_the_stanza_says(load):
    features = [{**FEATURES[0], "fill_na": "u2"}, {**FEATURES[1], "fill_na": "8"}]
    dataset = load(TABLE, features, min_categr_count=2)
    assert dataset.encoder.tokens == {"user": ("u2", "u1"), "age": ("3", "7", "8")}
    assert dataset.train.ids[:, 0].tolist() == [2, 1, 1, 2, 1, 3, 2, 1, 1]
    assert dataset.train.ids[:, 1].tolist() == [1, 1, 3, 2, 1, 2, 3, 1, 2]


def test_a_shared_vocabulary_counts_both_columns(load):
    table = {"a": ["x", "y", "x"], "b": ["z", "z", "z"], "click": [1, 0, 1]}
    features = [{"name": "a", "type": "categorical"}]
    features.append({"name": "b", "type": "categorical", "share_embedding": "a"})
    dataset = load(table, features)
    assert dataset.encoder.tokens == {"a": ("z", "x", "y")}
    assert dataset.train.ids.tolist() == [[2, 1], [3, 1], [2, 1]]


def test_an_input_that_is_carried_along_keeps_its_texts(load):
    features = [{"name": "user", "type": "categorical"}, {"name": "user", "type": "meta"}]
    dataset = load(TABLE, features)
    assert dataset.train.meta(["user"])["user"].fill_null("").to_list()[:4] == ["u1", "", "u2", "u1"]
    assert dataset.train.ids[:4, 0].tolist() == [2, 1, 3, 2]


@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_numbers_are_parsed_once_and_scaled_when_all_were_seen(load, block_rows):
    """By hand: 'inf' and blanks are missing, so 9; the numbers run from 1 to 9; meta columns keep texts."""
    table = {"x": ["1", " 5", "", "inf", None, "3.0"], "kept": ["1", "2.50", "3", "4", "5", "6"]}
    table["click"] = [0, 1, 0, 1, 0, 1]
    features = [
        {"name": "x", "type": "numeric", "fill_na": 9, "normalizer": "MinMaxScaler"},
        {"name": "kept", "type": "meta", "dtype": "str"},
    ]
    dataset = load(table, features, data_block_size=block_rows)
    assert dataset.train.numeric[:, 0].tolist() == [0, 0.5, 1, 1, 1, 0.25]
    assert dataset.train.meta()["kept"].to_list() == table["kept"]


def test_what_is_no_number_is_named_with_its_file_row_and_value(load):
    table = {**TABLE, "price": ["1", "2", "3", "4", "5", "6", "dear", "8", "9"]}
    with pytest.raises(DataError, match=r"train\.csv, column 'price', row 7: 'dear' is not a number"):
        load(table, [{"name": "price", "type": "numeric"}], data_block_size=2)


def test_what_is_no_integer_is_named_with_its_file_row_and_value(load):
    table = {"age": ["1", "2", "x"], "click": [1, 0, 1]}
    with pytest.raises(DataError, match=r"train.csv, column 'age', row 3: 'x' is not a number\."):
        load(table, [FEATURES[1]], data_block_size=2)


@pytest.mark.parametrize("file", ["train.csv", "train.parquet", "train.npz"])
def test_every_format_gives_the_same_ids(load, file):
    table = {"item": [5, 7, 5, 9], "click": [1, 0, 1, 0]}
    dataset = load(table, [{"name": "item", "type": "categorical", "dtype": "int"}], file=file)
    assert dataset.encoder.tokens == {"item": ("5", "7", "9")}
    assert dataset.train.ids[:, 0].tolist() == [1, 2, 1, 3]


def test_the_training_file_is_read_once_and_nothing_else_stays(load, monkeypatch):
    reads = []
    blocks = reading.blocks
    monkeypatch.setattr(reading, "blocks", lambda *given: reads.append(given) or blocks(*given))
    dataset = load(TABLE, FEATURES)
    assert len(reads) == 1
    assert not (dataset.folder / "coded").exists()


def test_many_rare_texts_are_counted_as_few_common_ones():
    """With far more texts than rows in a block, counting goes another way."""
    texts = SeenTexts("item", Vocabulary("item"))
    texts.codes(pl.Series([f"t{i}" for i in range(1000)]), np.ones(1000, bool))
    texts.codes(pl.Series(["t5", "t5", "t999", None]), np.ones(4, bool))
    texts.codes(pl.Series(["t5", "later"]), np.zeros(2, bool))
    counts = dict(texts.observed().total().iter_rows())
    assert (counts["t5"], counts["t999"], counts["t0"], counts[""]) == (3, 2, 1, 1)
    assert "later" not in counts
    ids = texts.ids(lambda rule, entries: np.arange(1, len(entries) + 1))
    assert sorted(ids.tolist()) == list(range(1, 1003))


def test_integers_are_the_texts_that_they_are_written_as_whether_near_or_far_or_missing():
    for entries in ([3, 4, 3, 3], [3, 10**9, -4, 3], [3, None, 3, None]):
        texts = SeenTexts("x", Vocabulary("x", "int"))
        counted = np.array([True, True, False, True])
        codes = [texts.codes(pl.Series("x", entries, dtype=pl.Int64), counted) for _ in range(2)]
        assert codes[0].equals(codes[1])
        assert codes[0].dtype == pl.UInt32
        names, numbers = texts._texts()
        written = dict(zip(numbers.tolist(), names.to_list(), strict=True))
        assert [written[code] for code in codes[0]] == ["" if x is None else str(x) for x in entries]
        expected = pl.Series(entries, dtype=pl.Int64).filter(pl.Series(counted)).value_counts()
        found = {written[i]: count for i, count in enumerate(texts._counts.tolist()) if count}
        assert found == {"" if x is None else str(x): 2 * count for x, count in expected.rows()}

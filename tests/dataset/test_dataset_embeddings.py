"""Shared tables, pretrained rows, widths of embeddings, and columns carried along."""

import h5py
import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, Encoder

CLICKS = {"click": [0, 1, 0]}


def test_a_shared_vocabulary_counts_both_columns(load):
    columns = {"item": ["a", "b", "a"], "seen": ["b^c", "c^c", ""], **CLICKS}
    features = [
        {"name": "seen", "type": "sequence", "share_embedding": "item"},
        {"name": "item", "min_categr_count": 2, "embedding_dim": 8},
    ]
    dataset = load(columns, features)
    assert dataset.encoder.tokens == {"item": ("c", "a", "b")}
    assert dataset.train.ids.tolist() == [[3, 1, 2], [1, 1, 3], [0, 0, 2]]
    seen = dataset.feature_map["seen"]
    assert (seen.share_embedding, seen.vocab_size) == ("item", 5)
    assert dataset.feature_map.total_features == 5


def test_a_chain_of_shared_tables_ends_at_its_owner(load):
    columns = {"a": ["x", "y", "z"], "b": ["x", "x", "x"], "c": ["y", "y", "w"], **CLICKS}
    features = [{"name": "a"}, {"name": "b", "share_embedding": "a"}, {"name": "c", "share_embedding": "b"}]
    dataset = load(columns, features)
    assert [f.share_embedding for f in dataset.feature_map.features] == [None, "a", "a"]
    assert dataset.encoder.tokens == {"a": ("x", "y", "w", "z")}


def test_hash_buckets_and_ids_are_shared_too(load):
    columns = {"a": ["x", "y", "z"], "b": ["z^x", "", "y"], "i": [1, 2, 3], "j": [3, 0, 1], **CLICKS}
    features = [
        {"name": "a", "category_processor": "hash_bucket", "num_buckets": 5},
        {"name": "b", "type": "sequence", "share_embedding": "a"},
        {"name": "i", "dtype": "int", "remap": False, "vocab_size": 4},
        {"name": "j", "dtype": "int", "share_embedding": "i"},
    ]
    dataset = load(columns, features)
    assert dataset.train.ids[0, 1] == dataset.train.ids[2, 0]
    assert dataset.train.ids[:, 4].tolist() == [3, 0, 1]
    assert [f.vocab_size for f in dataset.feature_map.features] == [7, 7, 5, 5]


def test_each_feature_keeps_its_embedding_dim_and_source(load):
    features = [{"name": "a", "embedding_dim": 4, "source": "user"}, {"name": "b"}]
    dataset = load({"a": ["x"] * 3, "b": ["y"] * 3, **CLICKS}, features)
    assert [f.embedding_dim for f in dataset.feature_map.features] == [4, None]
    assert dataset.feature_map["a"].source == "user"


def save_vectors(path, keys, values):
    if path.suffix == ".npz":
        np.savez(path, key=np.asarray(keys), value=np.asarray(values, np.float32))
        return path
    with h5py.File(path, "w") as file:
        file["key"], file["value"] = keys, np.asarray(values, np.float32)
    return path


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_pretrained_rows_lie_at_their_ids(load, tmp_path, suffix):
    path = save_vectors(tmp_path / f"rows.{suffix}", ["b", "zz"], [[1, 2], [3, 4]])
    feature = {"name": "x", "pretrained_emb": str(path), "pretrain_dim": 2, "freeze_emb": True}
    dataset = load({"x": ["a", "b", "a"], **CLICKS}, [feature])
    encoded = dataset.feature_map["x"]
    rows = np.load(dataset.folder / encoded.pretrained)
    assert rows.shape == (5, 2)
    assert rows.dtype == np.float32
    assert rows[0].tolist() == [0, 0]
    assert rows[2].tolist() == [1, 2]
    assert rows[3].tolist() == [3, 4]  # a key that no training row has
    assert np.all(rows[[1, 4]] != 0)
    assert np.abs(rows[[1, 4]]).max() < 0.1
    assert (encoded.embedding_dim, encoded.trainable) == (2, False)


def test_keys_without_a_training_row_can_be_left_out(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["zz", "b"], [[3, 4], [1, 2]])
    feature = {"name": "x", "pretrained_emb": str(path), "pretrained_keys": "train"}
    dataset = load({"x": ["a", "b", "a"], **CLICKS}, [feature])
    rows = np.load(dataset.folder / dataset.feature_map["x"].pretrained)
    assert rows.shape == (4, 2)
    assert rows[2].tolist() == [1, 2]
    assert np.abs(rows[[1, 3]]).max() < 0.1  # of what is not in the file, and of OOV


def test_a_cold_item_of_the_file_has_its_vector_however_rare_it_is(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["a", "cold", "rare"], [[1, 2], [3, 4], [5, 6]])
    feature = {"name": "x", "pretrained_emb": str(path), "min_categr_count": 2}
    dataset = load({"x": ["a", "rare", "a"], **CLICKS}, [feature])
    rows = np.load(dataset.folder / dataset.feature_map["x"].pretrained)
    ids = dataset.encoder.encode(pl.DataFrame({"x": ["a", "cold", "rare", "never"]}))[0][:, 0]
    assert rows[ids[:3]].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert ids[3] == len(rows) - 1


def test_keys_that_match_nothing_and_vectors_of_nan_are_refused(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["item_a"], [[1, 2]])
    with pytest.raises(
        DataError, match=r"no key of .*rows.npz is one of its 2 tokens. Keys: 'item_a'; tokens: "
    ):
        load({"x": ["a", "b", "a"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}])
    path = save_vectors(tmp_path / "nan.npz", ["a", "b"], [[1, 2], [np.nan, 4]])
    with pytest.raises(DataError, match=r"1 rows with NaN or infinite numbers, first for the key 'b'"):
        load({"x": ["a", "b", "a"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}])


def test_a_token_with_two_vectors_is_refused_and_one_that_is_only_repeated_is_not(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["1", "2", "1.0"], [[1, 2], [3, 4], [5, 6]])
    feature = {"name": "x", "pretrained_emb": str(path)}
    with pytest.raises(DataError, match=r"rows.npz has two vectors for '1', in rows 1 and 3. Leave one"):
        load({"x": ["1", "2", "1"], **CLICKS}, [feature])
    save_vectors(path, ["1", "2", "1", "", ""], [[1, 2], [3, 4], [1, 2], [5, 6], [7, 8]])
    dataset = load({"x": ["1", "2", "1"], **CLICKS}, [feature])
    assert np.load(dataset.folder / dataset.feature_map["x"].pretrained)[1].tolist() == [1, 2]


def test_keys_of_nan_and_names_of_padding_are_no_tokens(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", np.array([1.0, np.nan, 7.0]), [[1, 2], [3, 4], [5, 6]])
    dataset = load({"x": ["1", "2", "1"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}])
    assert dataset.encoder.tokens["x"] == ("1", "2", "7")
    save_vectors(path, ["1", "__PAD__", "__OOV__"], [[1, 2], [3, 4], [5, 6]])
    dataset = load({"x": ["1", "2", "1"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}])
    assert dataset.encoder.tokens["x"] == ("1", "2")
    assert Encoder.load(dataset.folder).tokens == dataset.encoder.tokens


def test_vectors_without_a_number_are_refused(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["1"], np.ones((1, 0)))
    with pytest.raises(DataError, match=r"1 keys and values of shape \(1, 0\); one row for each key"):
        load({"x": ["1", "2", "1"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}])


def test_any_name_of_a_column_makes_a_file(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["a"], [[1, 2]])
    name = "item/../../id"
    dataset = load({name: ["a", "b", "a"], **CLICKS}, [{"name": name, "pretrained_emb": str(path)}])
    assert (dataset.folder / dataset.feature_map[name].pretrained).parent == dataset.folder


def test_pretrained_rows_of_integer_keys(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", [7, 5], [[1, 2], [3, 4]])
    dataset = load({"x": [5, 7, 5], **CLICKS}, [{"name": "x", "dtype": "int", "pretrained_emb": str(path)}])
    assert np.load(dataset.folder / dataset.feature_map["x"].pretrained)[1:3].tolist() == [[3, 4], [1, 2]]


def test_pretrained_rows_are_saved_with_the_encoder(load, tmp_path):
    path = save_vectors(tmp_path / "rows.npz", ["a"], [[1, 2]])
    encoder = load({"x": ["a", "b", "a"], **CLICKS}, [{"name": "x", "pretrained_emb": str(path)}]).encoder
    copy = tmp_path / "copy"
    copy.mkdir()
    encoder.save(copy)
    assert np.load(copy / "x.pretrained.npy").shape == (4, 2)


def test_other_pretrained_rows_are_another_dataset(load, tmp_path):
    feature = {"name": "x", "pretrained_emb": str(tmp_path / "rows.npz")}
    keys = []
    for value in ([[1, 2]], [[1, 2, 3]]):
        save_vectors(tmp_path / "rows.npz", ["a"], value)
        keys.append(load({"x": ["a", "b", "a"], **CLICKS}, [feature]).key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pretrain_dim": 3}, "pretrain_dim is 3, but the rows in .* have 2 numbers"),
        ({"embedding_dim": 8}, "embedding_dim is 8, but the rows in .* have 2 numbers"),
        ({"pretrained_emb": "nowhere.npz"}, "pretrained_emb nowhere.npz is no file"),
        ({"pretrained_emb": "/tmp"}, "pretrained_emb /tmp is no file"),
        ({"category_processor": "hash_bucket", "num_buckets": 3}, "needs a vocabulary of its own"),
        ({"share_embedding": "y"}, "needs a vocabulary of its own"),
    ],
)
def test_pretrained_rows_that_cannot_be_used_are_an_error(load, tmp_path, given, message):
    path = save_vectors(tmp_path / "rows.npz", ["a"], [[1, 2]])
    features = [{"name": "x", "pretrained_emb": str(path), **given}, {"name": "y"}]
    with pytest.raises(DataError, match=message):
        load({"x": ["a"] * 3, "y": ["b"] * 3, **CLICKS}, features)


def test_a_pretrained_file_of_another_shape_is_an_error(load, tmp_path):
    feature = {"name": "x", "pretrained_emb": str(tmp_path / "rows.npz")}
    save_vectors(tmp_path / "rows.npz", ["a", "b"], [[1, 2]])
    with pytest.raises(DataError, match=r"2 keys and values of shape \(1, 2\)"):
        load({"x": ["a"] * 3, **CLICKS}, [feature])
    np.savez(tmp_path / "rows.npz", other=np.ones(3))
    with pytest.raises(DataError, match="cannot be read: .*key"):
        load({"x": ["a"] * 3, **CLICKS}, [feature])


def test_meta_columns_are_carried_along_in_row_order(load):
    columns = {
        "x": ["a", "b", "c"],
        "request": ["r1", "r2", ""],
        "day": ["3", "", "5.0"],
        "t": [0.5, 1, 2],
        **CLICKS,
    }
    features = [
        {"name": "x"},
        {"name": ["request", "x"], "type": "meta"},
        {"name": "day", "type": "meta", "dtype": "int"},
        {"name": "t", "type": "meta", "dtype": "float"},
    ]
    for block in (1, 100):
        split = load(columns, features, data_block_size=block).train
        expected = pl.DataFrame(
            {"request": ["r1", "r2", ""], "x": ["a", "b", "c"], "day": [3, None, 5], "t": [0.5, 1.0, 2.0]}
        )
        assert split.meta().equals(expected)
        assert split.meta(["x"]).columns == ["x"]


def test_an_unknown_meta_column_is_named(load):
    columns = {"x": ["a", "b", "c"], "user": ["r1", "r2", ""], **CLICKS}
    split = load(columns, [{"name": "x"}, {"name": "user", "type": "meta"}]).train
    with pytest.raises(
        DataError, match=r"'usr' is no meta column. Did you mean 'user'\?.* Meta columns: user"
    ):
        split.meta(["usr"])
    without = load(columns, [{"name": "x"}]).train
    assert without.meta().is_empty()
    with pytest.raises(DataError, match="Meta columns: none"):
        without.meta(["user"])

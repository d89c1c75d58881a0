import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset import DataError, Encoder
from fuxi_mtl.dataset.encoding import Bag, Buckets, HashBuckets, Number, _vocabularies
from fuxi_mtl.dataset.loading import load_as_encoded
from fuxi_mtl.features import PAD
from fuxi_mtl.tasks import parse_task


def with_clicks(**columns) -> dict:
    rows = len(next(iter(columns.values())))
    return columns | {"click": [i % 2 for i in range(rows)]}


def test_a_vocabulary_is_sorted_by_frequency_then_by_text(load):
    dataset = load(with_clicks(x=["c", "b", "a", "b", "c", "d"]), [{"name": "x"}])
    assert dataset.encoder.tokens["x"] == ("b", "c", "a", "d")
    assert dataset.feature_map["x"].vocab_size == 6
    vocabulary = json.loads((dataset.folder / "feature_vocab.json").read_text())
    assert vocabulary == {"x": {"__PAD__": 0, "b": 1, "c": 2, "a": 3, "d": 4, "__OOV__": 5}}


@pytest.mark.parametrize("token", ["a", 'a"b', "a\\b", "a\nb", "\x01", "\u2028 ü 😀", "", '"'])
def test_a_vocabulary_is_written_as_json_writes_it(token):
    tokens = {"x": (token, "plain"), 'y"': ("z",), "empty": ()}
    ids = {name: {t: i for i, t in enumerate(["__PAD__", *of, "__OOV__"])} for name, of in tokens.items()}
    assert _vocabularies(tokens) == json.dumps(ids, ensure_ascii=False)


def test_rare_and_unseen_tokens_are_oov(load, write):
    valid = write("valid.csv", with_clicks(x=["b", "new", "a"]))
    dataset = load(
        with_clicks(x=["a", "a", "b"]), [{"name": "x", "min_categr_count": 2}], valid_data=str(valid)
    )
    assert dataset.encoder.tokens["x"] == ("a",)
    assert dataset.train.ids[:, 0].tolist() == [1, 1, 2]
    assert dataset.valid.ids[:, 0].tolist() == [2, 2, 1]


def test_the_vocabulary_comes_from_the_training_split_only(load):
    columns = with_clicks(x=["a", "b", "c", "d"])
    dataset = load(columns, [{"name": "x"}], split_type="sequential", test_size=2)
    assert dataset.encoder.tokens["x"] == ("a", "b")
    assert dataset.test.ids[:, 0].tolist() == [3, 3]


def test_a_missing_category_is_a_token_of_its_own_or_fill_na(load):
    columns = with_clicks(x=["a", "", "a", ""], y=["a", "", "a", ""], n=["1", "", "1", ""])
    features = [{"name": "x"}, {"name": "y", "fill_na": "a"}, {"name": "n", "dtype": "int", "fill_na": 1}]
    dataset = load(columns, features)
    assert dataset.encoder.tokens == {"x": ("", "a"), "y": ("a",), "n": ("1",)}
    assert dataset.train.ids.tolist() == [[2, 1, 1], [1, 1, 1]] * 2


def test_reserved_tokens_are_oov(load):
    dataset = load(with_clicks(x=["__PAD__", "__OOV__", "a"]), [{"name": "x"}])
    assert dataset.train.ids[:, 0].tolist() == [2, 2, 1]


def test_numbers_are_scaled_by_the_training_rows(load, write):
    valid = write("valid.csv", with_clicks(x=[9.0, None], y=[4.0, None], z=[5.0, None], c=[7, None]))
    columns = with_clicks(
        x=[1.0, 2.0, 3.0, None], y=[0.0, 2.0, None, 1.0], z=[1.0, 2.0, 3.0, 4.0], c=[7, 7, 7, 7]
    )
    features = [
        {"name": "x", "normalizer": "StandardScaler"},
        {"name": "y", "normalizer": "MinMaxScaler", "fill_na": 4},  # of which the range is made, too
        {"name": "z"},
        {"name": "c", "normalizer": "StandardScaler"},
    ]
    features = [feature | {"type": "numeric", "dtype": "float"} for feature in features]
    for block in (1, 1000):
        dataset = load(columns, features, valid_data=str(valid), data_block_size=block)
        deviation = np.sqrt(2 / 3)
        expected = [[-1 / deviation, 0, 1, 0], [0, 0.5, 2, 0], [1 / deviation, 1, 3, 0], [0, 0.25, 4, 0]]
        np.testing.assert_allclose(dataset.train.numeric, expected, rtol=1e-6)
        np.testing.assert_allclose(dataset.valid.numeric, [[7 / deviation, 1, 5, 0], [0, 1, 0, 0]], rtol=1e-6)


def test_a_number_without_any_value_becomes_zero(load):
    feature = {"name": "x", "type": "numeric", "dtype": "float", "normalizer": "StandardScaler"}
    assert load(with_clicks(x=["", ""]), [feature]).train.numeric.tolist() == [[0], [0]]


def test_quantile_buckets_cut_into_equal_parts_with_an_id_for_missing(load, write):
    valid = write("valid.csv", with_clicks(x=[-5.0, 2.9, 3.0, 99.0, None]))
    for kind in ("numeric", "categorical"):
        feature = {
            "name": "x",
            "type": kind,
            "dtype": "float",
            "category_processor": "quantile_bucket",
            "num_buckets": 3,
        }
        dataset = load(with_clicks(x=[1, 2, 3, 4, 5, 6, 7]), [feature], valid_data=str(valid))
        encoded = dataset.feature_map["x"]
        assert (encoded.type, encoded.vocab_size) == ("categorical", 5)
        assert dataset.encoder.columns[0].rule.boundaries == (3, 5)
        assert dataset.train.ids[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 3]
        assert dataset.valid.ids[:, 0].tolist() == [1, 1, 2, 3, 4]


def test_buckets_of_a_constant_and_of_a_missing_column(load):
    feature = {"name": "x", "dtype": "float", "category_processor": "quantile_bucket", "num_buckets": 4}
    dataset = load(with_clicks(x=[5, 5, 5], y=["", "", ""]), [feature, feature | {"name": "y"}])
    assert dataset.train.ids.tolist() == [[2, 2]] * 3
    assert [f.vocab_size for f in dataset.feature_map.features] == [4, 3]


def test_a_billion_ids_need_no_vocabulary_and_few_rows(load):
    composed = {"compositional": "quotient_remainder"}
    features = [
        {"name": "x", "category_processor": "hash_bucket", "num_buckets": 10**9, **composed},
        {"name": "y", "dtype": "int", "remap": False, "vocab_size": 2 * 10**9, **composed},
        {"name": "z", "num_remainder_buckets": 3, **composed},
        {"name": "w", "share_embedding": "x"},
    ]
    rows = {"x": ["a", "b", ""], "y": ["5", "1999999998", ""], "z": ["a", "b", "c"], "w": ["b", "a", "q"]}
    dataset = load(with_clicks(**rows), features)
    x, y, z, w = dataset.feature_map.features
    expected = tf.strings.to_hash_bucket_fast(["a", "b", ""], 10**9).numpy() + 1
    np.testing.assert_array_equal(dataset.train.ids[:, 0], expected)
    assert dataset.train.ids[:, 1].tolist() == [5, 1999999998, 2000000000]
    assert (x.vocab_size, x.num_remainder_buckets, x.parts) == (10**9 + 2, 31623, (31624, 31624))
    assert (y.num_remainder_buckets, y.parts) == (44722, (44723, 44722))
    assert (z.vocab_size, z.parts) == (5, (4, 3))
    assert w.num_remainder_buckets is None
    assert dataset.feature_map.owner(w) == x
    assert dataset.feature_map.from_json(dataset.feature_map.to_json()) == dataset.feature_map


def test_hash_buckets_are_those_of_the_graph(load):
    feature = {"name": "x", "category_processor": "hash_bucket", "num_buckets": 7}
    dataset = load(with_clicks(x=["a", "b", "", "a"]), [feature])
    expected = tf.strings.to_hash_bucket_fast(["a", "b", "", "a"], 7).numpy() + 1
    assert dataset.train.ids[:, 0].tolist() == expected.tolist()
    assert dataset.feature_map["x"].vocab_size == 9


def test_buckets_agree_with_bucketize_in_float32():
    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    boundaries = tuple(float(x) for x in np.sort(numbers[:20]))
    ids = Buckets(boundaries).apply(pl.Series(numbers))
    graph = tf.raw_ops.Bucketize(input=numbers, boundaries=list(boundaries)).numpy() + 1
    np.testing.assert_array_equal(ids, graph)


def test_sequences_are_cut_and_padded_at_the_named_end(load):
    columns = with_clicks(x=["a^b^c", "b", "", "a^^b"])
    for padding, expected in (
        ("post", [[2, 1], [1, 0], [0, 0], [2, 1]]),
        ("pre", [[1, 3], [0, 1], [0, 0], [2, 1]]),
    ):
        feature = {"name": "x", "type": "sequence", "max_len": 2, "padding": padding}
        dataset = load(columns, [feature])
        assert dataset.encoder.tokens["x"] == ("b", "a", "c")
        assert dataset.train.ids.tolist() == expected


def test_a_sequence_is_as_long_as_the_longest_of_training(load, write):
    valid = write("valid.csv", with_clicks(x=["a|b|c|d"]))
    feature = {"name": "x", "type": "sequence", "splitter": "|", "pooling": "max"}
    dataset = load(with_clicks(x=["a|b|z", "a"]), [feature], valid_data=str(valid))
    assert (dataset.feature_map["x"].max_len, dataset.feature_map["x"].pooling) == (3, "max")
    assert dataset.valid.ids.tolist() == [[1, 2, 4]]


def test_list_columns_are_sequences(load):
    columns = pl.DataFrame(with_clicks(x=[["a", "b"], [], None, ["b", None]], n=[[1, 2], [2], [], None]))
    features = [{"name": "x", "type": "sequence"}, {"name": "n", "type": "sequence", "dtype": "list"}]
    dataset = load(columns, features, file="train.parquet")
    assert dataset.train.ids.tolist() == [[2, 1, 2, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert dataset.encoder.tokens == {"x": ("b", "a"), "n": ("2", "1")}


def test_a_missing_bag_can_be_filled(load):
    feature = {"name": "x", "type": "sequence", "fill_na": "b^c", "max_len": 2}
    assert load(with_clicks(x=["b", ""]), [feature]).train.ids.tolist() == [[1, 0], [1, 2]]
    lists = pl.DataFrame(with_clicks(x=[["b"], None]))
    assert load(lists, [feature], file="train.parquet").train.ids.tolist() == [[1, 0], [1, 2]]


def test_feature_encoders_of_fuxictr_name_the_pooling(load):
    feature = {"name": "x", "type": "sequence", "feature_encoder": "MaskedSumPooling"}
    assert load(with_clicks(x=["a", "b"]), [feature]).feature_map["x"].pooling == "sum"


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_weights_lie_beside_their_ids_and_padding_weighs_nothing(load, padding):
    columns = with_clicks(x=["a^b^c", "a", "", "a^^b"], w=["1^2^3", "", "", "4^5^6"])
    feature = {"name": "x", "type": "sequence", "weights": "w", "padding": padding}
    dataset = load(columns, [feature])
    encoded = dataset.feature_map["x"]
    assert encoded.weighted
    assert dataset.train.numeric.shape == (4, 3)
    expected = {
        "post": [[1, 2, 3], [1, 0, 0], [0, 0, 0], [4, 6, 0]],
        "pre": [[1, 2, 3], [0, 0, 1], [0, 0, 0], [0, 4, 6]],
    }
    assert dataset.train.numeric.tolist() == expected[padding]
    np.testing.assert_array_equal(dataset.train.ids == PAD, dataset.train.numeric == 0)


def test_weights_of_another_length_are_an_error(load):
    feature = {"name": "x", "type": "sequence", "weights": "w"}
    for weights in ("1^2^3", "1"):
        with pytest.raises(DataError, match=r"column 'w', row 2: .* is not a list as long as 'x'"):
            load(with_clicks(x=["a", "a^b"], w=["1", weights]), [feature])


def test_a_bad_weight_is_named_with_its_row(load):
    feature = {"name": "x", "type": "sequence", "weights": "w"}
    with pytest.raises(DataError, match=r"column 'w', row 2: 'heavy' is not a number"):
        load(with_clicks(x=["a^b^c", "a^b"], w=["1^1^1", "1^heavy"]), [feature])


def test_a_bad_member_of_a_sequence_is_named_with_its_row(load):
    feature = {"name": "x", "type": "sequence", "dtype": "int"}
    with pytest.raises(DataError, match=r"column 'x', row 3: 'six' is not a number"):
        load(with_clicks(x=["1^2^3", "4", "5^six"]), [feature])


def test_weights_are_for_sequences_only(load):
    with pytest.raises(DataError, match="'x': weights is for a sequence, but its type is categorical"):
        load(with_clicks(x=["a"], w=["1"]), [{"name": "x", "weights": "w"}])


def test_dense_vectors_come_as_they_are(load):
    feature = {"name": "x", "type": "embedding", "dtype": "float", "splitter": ","}
    dataset = load(with_clicks(x=["1,2.5", "", "3,"]), [feature])
    assert dataset.train.numeric.tolist() == [[1, 2.5], [0, 0], [3, 0]]
    assert (dataset.feature_map["x"].type, dataset.feature_map["x"].max_len) == ("embedding", 2)


def test_a_vector_of_another_length_is_an_error(load):
    feature = {"name": "x", "type": "embedding", "dtype": "float", "splitter": ","}
    with pytest.raises(DataError, match=r"column 'x', row 2: '3' is not a list of 2"):
        load(with_clicks(x=["1,2", "3"]), [feature])


@pytest.mark.parametrize("given", [{"remap": False}, {"rebuild_dataset": False}])
def test_columns_may_already_hold_ids(load, write, given):
    valid = write("valid.csv", with_clicks(x=[4, 9, None], s=["4^0", "", "9"]))
    remap = {"remap": False} if "remap" in given else {}
    rebuild = {"rebuild_dataset": False} if "rebuild_dataset" in given else {}
    features = [
        {"name": "x", "dtype": "int", "vocab_size": 5, **remap},
        {"name": "s", "type": "sequence", "dtype": "int", "vocab_size": 5, "max_len": 2, **remap},
    ]
    dataset = load(with_clicks(x=[3, 0], s=["1^2", "3^0"]), features, valid_data=str(valid), **rebuild)
    assert dataset.train.ids.tolist() == [[3, 1, 2], [0, 3, 0]]
    assert dataset.valid.ids.tolist() == [[4, 4, 0], [5, 0, 0], [5, 5, 0]]
    assert dataset.feature_map["x"].vocab_size == 6
    assert any("'s': 1 members of the training rows are 0, which is padding" in w for w in dataset.warnings)


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_a_zero_in_a_list_of_ids_takes_no_place_and_neither_does_its_weight(load, padding):
    feature = {"name": "s", "type": "sequence", "vocab_size": 9, "remap": False, "max_len": 2}
    feature |= {"weights": "w", "padding": padding}
    lists, weights = ["0^7^0.0^8", "3^ 0 ^4", "0", "^5"], ["1^2^3^4", "5^6^7", "8", "9^10"]
    dataset = load(with_clicks(s=lists, w=weights), [feature])
    alone = {"post": ([5, 0], [10, 0]), "pre": ([0, 5], [0, 10])}[padding]
    assert dataset.train.ids.tolist() == [[7, 8], [3, 4], [0, 0], alone[0]]
    assert dataset.train.numeric.tolist() == [[2, 4], [5, 7], [0, 0], alone[1]]
    assert sum("'s': 4 members of the training rows are 0, which is" in w for w in dataset.warnings) == 1


def test_a_list_of_zeros_is_empty_where_another_stands_for_empty_ones(load):
    feature = {"name": "s", "type": "sequence", "vocab_size": 9, "remap": False, "max_len": 2}
    dataset = load(with_clicks(s=["0^0", "", "0^2", "1^0"]), [feature | {"fill_na": "7^8"}])
    assert dataset.train.ids.tolist() == [[7, 8], [7, 8], [2, 0], [1, 0]]
    arrays = pl.DataFrame({"s": [[0, 0], None, [0, 2], [1, 0]], "click": [0, 1, 0, 1]})
    dataset = load(arrays, [feature | {"fill_na": "7^8"}], file="train.parquet")
    assert dataset.train.ids.tolist() == [[7, 8], [7, 8], [2, 0], [1, 0]]


def test_ids_outside_of_vocab_size_are_unknown_and_counted(load):
    feature = {"name": "x", "dtype": "int", "vocab_size": 5, "remap": False}
    dataset = load(with_clicks(x=[3, 5, -2, 4, None, 0]), [feature])
    assert dataset.train.ids[:, 0].tolist() == [3, 5, 5, 4, 5, 0]
    told = (
        "feature 'x': 2 ids of the training rows, the first 5, lie outside 0 to 4 (vocab_size 5): all of "
        "them have the row of unknown ids (OOV)."
    )
    assert told in dataset.warnings


def test_ids_need_vocab_size(load):
    with pytest.raises(DataError, match="'x' already holds ids .* vocab_size must say how many"):
        load(with_clicks(x=[3, 5]), [{"name": "x", "dtype": "int", "remap": False}])


def test_an_encoder_is_the_same_after_saving(load, tmp_path):
    features = [
        {"name": "a"},
        {"name": "s", "type": "sequence", "weights": "w"},
        {"name": "h", "category_processor": "hash_bucket", "num_buckets": 9},
        {"name": "q", "dtype": "float", "category_processor": "quantile_bucket", "num_buckets": 2},
        {"name": "i", "dtype": "int", "remap": False, "vocab_size": 9},
        {"name": "n", "type": "numeric", "normalizer": "MinMaxScaler"},
    ]
    columns = with_clicks(
        a=["ä", ""], s=["x^y", ""], w=["1^2", ""], h=["b", "c"], q=[1, 2], i=[3, 4], n=[0.1, 0.7]
    )
    encoder = load(columns, features).encoder
    encoder.save(tmp_path)
    loaded = Encoder.load(tmp_path)
    assert loaded == encoder
    frame = pl.DataFrame(
        {name: pl.Series(values, dtype=pl.String, strict=False) for name, values in columns.items()}
    )
    for before, after in zip(encoder.encode(frame), loaded.encode(frame), strict=True):
        np.testing.assert_array_equal(before, after)


def test_rows_are_encoded_without_labels_as_in_training(load):
    columns = with_clicks(x=["a", "b"], n=[1.5, 2.5])
    dataset = load(columns, [{"name": "x"}, {"name": "n", "type": "numeric", "normalizer": "StandardScaler"}])
    assert dataset.encoder.raw_columns == ("x", "n")
    ids, numeric = dataset.encoder.encode(pl.DataFrame({"n": [1.5, 2.5], "x": ["a", "b"]}))
    np.testing.assert_array_equal(ids, dataset.train.ids)
    np.testing.assert_array_equal(numeric, dataset.train.numeric)


def test_encoding_rows_without_a_column_names_it(load):
    encoder = load(with_clicks(city=["a", "b"]), [{"name": "city"}]).encoder
    with pytest.raises(DataError, match=r"no column 'city'. Did you mean 'ciy'\? Columns: ciy"):
        encoder.encode(pl.DataFrame({"ciy": ["a"]}))


def test_the_rules_are_plain_json(load):
    dataset = load(with_clicks(x=["a^b", "b"]), [{"name": "x", "type": "sequence"}])
    content = json.loads((dataset.folder / "encoders.json").read_text())
    rules = content["columns"]
    assert content["format"] == 2
    assert rules["x"]["rule"] == "Vocabulary"
    assert rules["x"]["bag"] == {
        "max_len": 2,
        "splitter": "^",
        "padding": "post",
        "weights": None,
        "fill_na": None,
        "gaps": False,
        "zeros": True,
        "order": None,
    }


def test_ids_and_gaps_of_the_first_format_keep_their_meaning(load, tmp_path):
    ids = {"dtype": "int", "remap": False, "vocab_size": 5}
    features = [{"name": "i", **ids}, {"name": "s", "type": "sequence", "max_len": 3}]
    load(with_clicks(i=[4, 0], s=["a^^b", "b"]), features).encoder.save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    stored = json.loads((tmp_path / "encoders.json").read_text())["columns"]
    stored["i"] = {"rule": "Ids", "vocab_size": 5, "fill_na": None, "bag": None}
    del stored["s"]["bag"]["gaps"]
    (tmp_path / "encoders.json").write_text(json.dumps(stored))
    encoder = Encoder.load(tmp_path)
    frame = pl.DataFrame({"i": ["4", "5", "", "0"], "s": ["a^^b", "^b", "", "a"]})
    assert encoder.encode(frame)[0].tolist() == [[4, 2, 0, 1], [4, 0, 1, 0], [4, 0, 0, 0], [0, 2, 0, 0]]


def test_a_missing_member_that_takes_a_place_is_no_token_in_the_first_format(options, write):
    stanza = options(write("train.csv", with_clicks(s=["a^^b", "^a"])), [{"name": "s", "type": "sequence"}])
    dataset = load_as_encoded(stanza, [parse_task("click", "click")], "old", 1)
    assert dataset.encoder.tokens["s"] == ("a", "b")
    assert dataset.train.ids.tolist() == [[1, 0, 2], [0, 1, 0]]


def test_a_bag_is_laid_out_by_hand():
    rows, places, kept = Bag(max_len=2, padding="pre").layout(np.array([3, 0, 1]))
    assert (rows.tolist(), places.tolist(), kept.tolist()) == (
        [0, 0, 2],
        [0, 1, 1],
        [False, True, True, True],
    )


def test_a_rule_by_itself():
    assert Number(offset=1, scale=2, fill_na=5).apply(pl.Series([3.0, None])).tolist() == [1, 2]
    assert HashBuckets(1).apply(pl.Series(["a", "b"])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"type": "numeric", "fill_na": "x"}, "'x': fill_na 'x' is not a number"),
        ({"dtype": "int", "fill_na": "1.5"}, "'x': fill_na '1.5' is not an integer"),
        ({"category_processor": "hash_bucket"}, "category_processor hash_bucket needs num_buckets"),
        (
            {"category_processor": "hash_bucket", "num_buckets": 2**31},
            "'x': num_buckets is 2147483648; the most is 2147483645, as ids are int32",
        ),
        ({"vocab_size": 2**40, "remap": False}, "'x': vocab_size is 1099511627776; the most is"),
        (
            {"type": "numeric", "compositional": "quotient_remainder"},
            "'x': compositional is for a categorical or sequence feature",
        ),
        ({"num_remainder_buckets": 5}, "num_remainder_buckets has no effect without compositional"),
        (
            {"type": "sequence", "category_processor": "quantile_bucket", "num_buckets": 2},
            "quantile_bucket is for a single number",
        ),
        ({"share_embedding": "z"}, "share_embedding names 'z', which is no active input"),
        ({"share_embedding": "x"}, "share_embedding goes in a circle: x -> x"),
    ],
)
def test_options_that_cannot_be_are_named(load, feature, message):
    with pytest.raises(DataError, match=message):
        load(with_clicks(x=["1", "2"]), [{"name": "x", **feature}])


def test_a_dataset_needs_an_input(load):
    with pytest.raises(DataError, match="no active input"):
        load(with_clicks(x=["1"]), [{"name": "x", "type": "meta"}, {"name": "x", "active": False}])

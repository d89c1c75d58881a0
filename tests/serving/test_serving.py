"""The encoding inside a graph gives what the encoder gives, entry by entry."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset import Column, Encoder
from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.rules import Buckets, Ids, Vocabulary
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.serving import MISSING_INTEGER, GraphEncoder
from fuxi_mtl.serving.bags import lists
from fuxi_mtl.serving.raw import integers, numbers
from tests import raw_rows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return raw_rows.fitted(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return raw_rows.frame(500, seed=2, unseen=True)


def one_column(rule, bag: Bag, tokens: dict[str, tuple[str, ...]] | None = None) -> Encoder:
    feature = Feature("x", "sequence", vocab_size=6, max_len=bag.max_len, weighted=bool(bag.weights))
    return Encoder(FeatureMap("one", assign_columns([feature])), (Column("x", rule, bag),), tokens or {})


def assert_same(encoder: Encoder, frame: pl.DataFrame, raw: dict) -> None:
    encoded = tf.function(GraphEncoder(encoder), autograph=False)(raw)  # as it is exported
    for name, expected in zip(("ids", "numeric"), encoder.encode(frame), strict=True):
        np.testing.assert_array_equal(encoded[name].numpy(), expected, err_msg=name)
        assert encoded[name].dtype == expected.dtype


@pytest.mark.parametrize("form", ["texts", "padded", "ragged"])
def test_every_rule_gives_the_same_ids_and_numbers_in_every_form_of_bags(encoder, rows, form):
    raw = getattr(raw_rows, form)(rows)
    assert_same(encoder, rows, {name: tf.constant(x) if form == "texts" else x for name, x in raw.items()})


def test_the_rows_of_these_tests_show_oov_and_padding_in_every_place(encoder, rows):
    ids, numeric = encoder.encode(rows)
    always_known = {"session", "ad", "topics", "spent"}  # hash buckets, and a number that is filled
    for feature in encoder.feature_map.features:
        if feature.has_ids and feature.name not in always_known:
            assert (ids[:, feature.columns] == feature.vocab_size - 1).any(), feature.name
        if feature.type == "sequence":
            assert (ids[:, feature.columns] == 0).any(), feature.name
    assert (numeric == 0).any(axis=0).sum() >= 3


def test_no_rows_give_an_empty_batch(encoder, rows):
    assert_same(encoder, rows[:0], {name: tf.constant(x) for name, x in raw_rows.texts(rows[:0]).items()})


@pytest.mark.parametrize(
    ("rule", "entries", "expected"),
    [
        (Buckets((1.0, 2.5)), [0.5, 1.0, 2.0, 2.5, 3.0, np.nan], [1, 2, 2, 3, 3, 4]),
        (Buckets((1.0, 2.5), fill_na=1.0), [np.nan, np.inf], [2, 2]),
        (Ids(3), [-1, 0, 2, 3, MISSING_INTEGER], [3, 0, 2, 3, 3]),
        (Ids(3, fill_na=1), [-1, 0, 2, 3, MISSING_INTEGER], [3, 0, 2, 3, 1]),
        (Ids(3, unknown=2), [-1, 0, 2, 3, MISSING_INTEGER], [2, 0, 2, 2, 2]),  # as version 0.1.0 had it
    ],
)
def test_what_lies_on_a_boundary_has_the_same_id(rule, entries, expected):
    (feature,) = assign_columns([Feature("x", "categorical", vocab_size=5)])
    encoder = Encoder(FeatureMap("one", (feature,)), (Column("x", rule),))
    given = tf.constant(entries, tf.float32 if isinstance(rule, Buckets) else tf.int64)
    assert encoder.encode(pl.DataFrame({"x": entries}))[0][:, 0].tolist() == expected
    assert GraphEncoder(encoder)({"x": given})["ids"].numpy()[:, 0].tolist() == expected


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("fill_na", [None, "b^a"])
def test_a_missing_member_takes_no_place_in_any_form_of_a_list(padding, fill_na):
    lists_ = [["a", "", "b"], ["", "a"], ["a", ""], [""], ["", ""], ["b", "b", "b", "", "a"], ["z"]]
    texts = ["^".join(each) for each in lists_]
    encoder = one_column(Vocabulary("x"), Bag(3, padding=padding, fill_na=fill_na), {"x": ("a", "b")})
    padded = tf.constant([each + [""] * (5 - len(each)) for each in lists_])
    for given in (tf.constant(texts), padded, tf.ragged.constant(lists_)):
        assert_same(encoder, pl.DataFrame({"x": texts}), {"x": given})
    assert_same(encoder, pl.DataFrame({"x": lists_}), {"x": tf.constant(texts)})
    two = encoder.encode(pl.DataFrame({"x": ["a^^b"]}))[0]
    assert two.tolist() == [[1, 2, 0] if padding == "post" else [0, 1, 2]]


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_the_weight_of_a_missing_member_takes_no_place_either(padding):
    encoder = one_column(Vocabulary("x"), Bag(2, padding=padding, weights="w"), {"x": ("a", "b")})
    frame = pl.DataFrame({"x": ["a^^b", "^b", "", "a^b"], "w": ["1^2^3", "4^5", "", ""]})
    assert_same(encoder, frame, {name: tf.constant(frame[name].to_list()) for name in "xw"})
    assert encoder.encode(frame)[1][0].tolist() == [1, 3]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("fill_na", [None, "2^3"])
def test_an_id_0_takes_no_place_in_any_form_of_a_list_unless_it_did_when_it_was_encoded(
    padding, fill_na, zeros
):
    lists_ = [[1, 0, 2], [0, 4], [0, 0], [], [3, 9, 0, 1, 2], [0, 2, 0]]
    weights = [[float(10 * i + j) for j in range(len(each))] for i, each in enumerate(lists_)]
    bag = Bag(3, padding=padding, fill_na=fill_na, weights=None if fill_na else "w", zeros=zeros)
    encoder = one_column(Ids(5), bag)
    texts = {name: ["^".join(map(str, each)) for each in x] for name, x in (("x", lists_), ("w", weights))}
    texts["x"][0] = "1^ 0.0^2"
    padded = {
        "x": [each + [MISSING_INTEGER] * (5 - len(each)) for each in lists_],
        "w": [each + [0.0] * (5 - len(each)) for each in weights],
    }
    ragged = {"x": tf.ragged.constant(lists_, tf.int64), "w": tf.ragged.constant(weights, tf.float32)}
    for given in (texts, padded, ragged):
        assert_same(
            encoder, pl.DataFrame(texts), {name: _tensor(given[name]) for name in encoder.raw_columns}
        )
    first = encoder.encode(pl.DataFrame(texts))[0][0].tolist()
    assert first == [1, 0, 2] if zeros else [1, 2, 0] if padding == "post" else [0, 1, 2]


def _tensor(given) -> tf.Tensor | tf.RaggedTensor:
    if isinstance(given, tf.RaggedTensor):
        return given
    whole = isinstance(given[0], list) and isinstance(given[0][0], int)
    return tf.constant(given, tf.int64 if whole else None)


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_in_encodings_of_the_first_format_a_missing_member_takes_a_place(padding):
    texts = ["a^^b", "^a", "a^", "", "^", "b^b^b^^a", "z"]
    encoder = one_column(Vocabulary("x"), Bag(3, padding=padding, gaps=True), {"x": ("a", "b")})
    assert_same(encoder, pl.DataFrame({"x": texts}), {"x": tf.constant(texts)})
    assert encoder.encode(pl.DataFrame({"x": texts}))[0][0].tolist() == [1, 0, 2]


def test_integer_members_may_be_written_as_floats_with_blanks_or_zeros_in_front():
    texts = [
        "3^4.0^ 5",
        "003^+4^-1",
        "^nan^5e0",
        "4611686018427387905",
        "9007199254740993^9007199254740995.0",
    ]
    known = ("4", "3", "5", "4611686018427387905", "9007199254740992", "9007199254740993", "9007199254740995")
    encoder = one_column(Vocabulary("x", "int"), Bag(3), {"x": known})
    assert_same(encoder, pl.DataFrame({"x": texts}), {"x": tf.constant(texts)})


@pytest.mark.parametrize("dtype", ["str", "text"])
def test_whole_numbers_with_a_point_are_their_integers_unless_they_are_text(dtype):
    texts = ["3.0^4", "-1.0^v1.0", "3^4.0", "4.00^3.0", "", "1.0.0"]
    encoder = one_column(Vocabulary("x", dtype), Bag(3), {"x": ("3", "3.0", "4", "-1", "v1.0")})
    assert_same(encoder, pl.DataFrame({"x": texts}), {"x": tf.constant(texts)})


def test_a_list_without_members_takes_the_filling_of_a_missing_text():
    encoder = one_column(Ids(6), Bag(2, fill_na="4^2"))
    expected = [[4, 2], [1, 0]]
    for given in (["", "1"], [[], [1]]):
        x = tf.constant(given) if given[0] == "" else tf.ragged.constant(given, tf.int64)
        np.testing.assert_array_equal(GraphEncoder(encoder)({"x": x})["ids"], expected)


def test_a_missing_weight_is_one_and_a_padded_weight_is_zero():
    encoder = one_column(Ids(6), Bag(3, weights="w"))
    frame = pl.DataFrame({"x": ["1^2", "1^2^3", "1", ""], "w": ["^0.5", None, "2.5", ""]})
    assert_same(encoder, frame, {name: tf.constant(frame[name].fill_null("").to_list()) for name in "xw"})


def test_a_row_with_more_or_fewer_weights_than_members_is_refused():
    encode = GraphEncoder(one_column(Ids(6), Bag(3, weights="w")))
    for weights in ("0.5", "0.5^1^2"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="w: a row has not as many weights"):
            encode({"x": tf.constant(["1", "1^2"]), "w": tf.constant(["0.5", weights])})


def test_an_entry_of_an_integer_column_that_is_no_integer_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="no integer"):
        integers(tf.constant(["1.5"]))


def test_numbers_round_through_float64_as_the_training_data_did():
    texts = ["16777217.000000001", "0.1", "1e400", " 2 ", ""]
    np.testing.assert_array_equal(
        numbers(tf.constant(texts)), np.array([16777216, 0.1, np.nan, 2, np.nan], np.float32)
    )


def test_padded_lists_end_with_their_last_member_that_is_not_missing():
    given = tf.constant([[1, MISSING_INTEGER, 2, MISSING_INTEGER], [MISSING_INTEGER] * 4], tf.int64)
    assert lists(given, "^").to_list() == [[1, MISSING_INTEGER, 2], []]
    assert lists(tf.zeros([2, 0], tf.int64), "^").to_list() == [[], []]


def test_weights_of_padded_lists_may_be_padded_with_zeros():
    encoder = one_column(Ids(6), Bag(2, padding="pre", weights="w"))
    given = {
        "x": tf.constant([[1, MISSING_INTEGER, MISSING_INTEGER], [3, 4, 5]], tf.int64),
        "w": tf.constant([[0.5, 0, 0], [1, 2, 3]]),
    }
    assert_same(encoder, pl.DataFrame({"x": [[1], [3, 4, 5]], "w": [[0.5], [1.0, 2.0, 3.0]]}), given)

"""Ids of few rows and of many: what is remembered between look-ups changes no id and no message."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.ahead import ahead
from fuxi_mtl.dataset.encoding import Column, Encoder, Vocabulary
from fuxi_mtl.dataset.errors import BadEntryError
from fuxi_mtl.dataset.token_ids import TokenIds, ids_of_numbered
from fuxi_mtl.features import Feature, FeatureMap


def encoder_of(dtype="str", tokens=("b", "3", "")):
    features = (Feature("x", "categorical", vocab_size=len(tokens) + 2),)
    return Encoder(FeatureMap("data", features), (Column("x", Vocabulary("x", dtype)),), {"x": tokens})


def ids_of(encoder, entries):
    return encoder.encode(pl.DataFrame({"x": entries}))[0][:, 0].tolist()


def test_a_token_has_its_place_and_any_other_text_the_one_behind_the_last():
    ids = TokenIds(("b", "a", "__FREE_3__"))
    assert ids(pl.Series(["a", "new", "b", None], dtype=pl.String)).tolist() == [2, 4, 1, 4]
    assert ids(pl.Series([], dtype=pl.String)).tolist() == []
    assert TokenIds(())(pl.Series(["a"])).tolist() == [1]
    assert ids(pl.Series(["a"])).dtype == np.int32


def test_texts_that_are_no_token_are_forgotten_when_they_are_many():
    ids = TokenIds(("b", "a"), most_others=3)
    before = ids._known
    for i in range(4):
        assert ids(pl.Series([f"new {i}", "a", "b"])).tolist() == [3, 2, 1]
    assert ids._known is not before
    assert ids(pl.Series(["new 1", "b"])).tolist() == [3, 1]


def test_a_value_has_the_same_id_again_in_whatever_type_it_comes():
    encoder = encoder_of()
    for _ in range(2):
        assert ids_of(encoder, ["3", "b", "3.0", None, "", "c"]) == [2, 1, 2, 3, 3, 4]
        assert ids_of(encoder, [3, 4, 3]) == [2, 4, 2]
        assert ids_of(encoder, [3, None, 3]) == [2, 3, 2]
        assert ids_of(encoder, [3.0, 4.5, float("nan")]) == [2, 4, 3]
        assert ids_of(encoder, [3, 1000, -3]) == [2, 4, 4]  # far from each other
        assert ids_of(encoder, [True, False]) == [4, 4]


def test_an_entry_that_cannot_be_read_is_named_by_its_first_row_however_often_others_were_seen():
    encoder = encoder_of("int", ("3",))
    assert ids_of(encoder, ["3", "4"]) == [1, 2]
    for _ in range(2):
        with pytest.raises(BadEntryError) as told:
            ids_of(encoder, ["3", "4", "x", "3", "x"])
        assert (told.value.index, told.value.value) == (2, "x")


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int64])
def test_integers_near_each_other_are_those_of_every_other_way(dtype):
    entries = pl.Series("x", [5, 3, 3, 100, 5, 7], dtype=dtype).extend(
        pl.Series("x", list(range(100)), dtype=dtype)
    )
    values, rows = raw.near_integers(entries)
    assert values.dtype == dtype
    assert values.to_list() == sorted(set(entries.to_list()))
    assert values.gather(rows).equals(entries)


@pytest.mark.parametrize("entries", [[1, None], [], [1, 10**6], [1.0, 2.0], ["1"]])
def test_other_entries_are_no_integers_near_each_other(entries):
    assert raw.near_integers(pl.Series(entries, dtype=None if entries else pl.Int64)) is None


def test_the_next_part_is_made_while_one_is_worked_on_and_its_error_is_raised():
    def parts():
        yield 1
        yield 2
        raise ValueError("the third")

    made = ahead(parts())
    assert [next(made), next(made)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(made)
    assert list(ahead(iter(()))) == []


def test_texts_that_have_numbers_have_the_ids_that_they_have_without():
    texts = pl.Series(["c", "a", "b", "a", "__FREE_2__", "a"])
    numbered = texts.cast(pl.Categorical(pl.Categories.random()))
    for tokens in (("b", "__FREE_2__", "a", "z"), ("c",), ()):
        encoder = encoder_of(tokens=tokens)
        for _ in range(2):  # the tokens have numbers now, too
            assert encoder.ids_of(Vocabulary("x"), numbered).tolist() == [
                tokens.index(x) + 1 if x in tokens and x[0] != "_" else len(tokens) + 1 for x in texts
            ]
    assert ids_of_numbered(numbered[:0], ("a",)).tolist() == []

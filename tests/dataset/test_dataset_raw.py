import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError, DataError


def test_integers_from_any_source_are_the_same_tokens():
    for entries in (["3", "", "-7"], ["3.0", None, " -7 "], [3.0, np.nan, -7.0], [3, None, -7]):
        assert raw.tokens(pl.Series("x", entries, strict=False), "int").to_list() == ["3", "", "-7"]


def test_text_is_a_token_as_it_is():
    entries = pl.Series(["3.50", " a", None, ""])
    assert raw.tokens(entries, "str").to_list() == ["3.50", " a", "", ""]


def test_large_integers_keep_every_digit():
    assert raw.tokens(pl.Series(["9007199254740993"]), "int").to_list() == ["9007199254740993"]


EXACT = "an exact id: floats from 2^53 on lose digits. Store the column as integers or as text"


@pytest.mark.parametrize(
    ("entries", "index", "wanted"),
    [(["1", "2", "x"], 2, "a number"), (["1", "2.5"], 1, "an integer"), ([1.0, 2**53], 1, EXACT)],
)
def test_what_is_no_integer_is_named_with_its_row(entries, index, wanted):
    with pytest.raises(BadEntryError) as error:
        raw.integers(pl.Series("age", entries))
    assert (error.value.column, error.value.index, error.value.wanted) == ("age", index, wanted)
    assert f"row {index + 1}" in str(error.value)


def test_numbers_are_float32_and_nan_where_missing_or_infinite():
    x = raw.numbers(pl.Series(["1.5", "", " 2 ", "nan", "inf", "1e3", None]))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [1.5, np.nan, 2, np.nan, np.nan, 1000, np.nan])


def test_what_is_no_number_is_named_with_its_row():
    with pytest.raises(BadEntryError, match="'price', row 3: '12 EUR' is not a number"):
        raw.numbers(pl.Series("price", ["1", None, "12 EUR"]))


def test_a_column_of_dates_is_no_column_of_numbers():
    with pytest.raises(DataError, match="column 'day' holds Date, which is not a number"):
        raw.doubles(pl.Series("day", ["2026-01-01"]).str.to_date())


def test_booleans_are_numbers():
    assert raw.numbers(pl.Series([True, False])).tolist() == [1, 0]
    assert raw.tokens(pl.Series([True, False]), "int").to_list() == ["1", "0"]


def test_texts_lists_and_arrays_are_the_same_lists():
    text = pl.Series(["1^2", None, "3"])
    lists = pl.Series([["1", "2"], [], ["3"]])
    for entries in (text, lists):
        members, lengths = raw.lists(entries, "^")
        assert members.to_list() == ["1", "2", "3"]
        assert lengths.tolist() == [2, 0, 1]
    members, lengths = raw.lists(pl.Series(np.array([[1, 2], [3, 4]])), "^")
    assert (members.to_list(), lengths.tolist()) == ([1, 2, 3, 4], [2, 2])


def test_missing_is_null_nan_or_empty_text():
    assert raw.is_missing(pl.Series(["", None, "0"])).tolist() == [True, True, False]
    assert raw.is_missing(pl.Series([np.nan, None, 0.0])).tolist() == [True, True, False]
    assert raw.is_missing(pl.Series([0, None])).tolist() == [False, True]

"""Data that look right and are not: what is refused, and what is said of the rest."""

import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, load_dataset
from fuxi_mtl.dataset.csv_reading import CsvFormat
from fuxi_mtl.dataset.frames import as_frame, rows_of
from fuxi_mtl.dataset.rules import Number, Vocabulary
from fuxi_mtl.dataset.sources import find_sources
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import parse_task

NUMBER = {"name": "x", "type": "numeric", "dtype": "float"}
BAG = {"name": "x", "type": "sequence"}


def with_clicks(**columns) -> dict:
    rows = len(next(iter(columns.values())))
    return {**columns, "click": [i % 2 for i in range(rows)]}


@pytest.fixture
def load_bytes(options, tmp_path):
    def load(content: bytes):
        (tmp_path / "t.csv").write_bytes(content)
        options_ = options(tmp_path / "t.csv", [{"name": "x"}])
        return load_dataset(options_, [parse_task("click", "click")], "odd", progress=False)

    return load


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"sep": "||"}, "sep '||' is not one character of ASCII."),
        ({"sep": ""}, "sep '' is not one character of ASCII."),
        ({"sep": "\n"}, r"sep '\n' is not one character of ASCII."),
        ({"sep": "§"}, "sep '§' is not one character of ASCII."),
        ({"sep": "\\t"}, r"""sep '\\t' is not one character of ASCII. A tab is "\t", in double quotes."""),
        ({"quote_char": "''"}, """quote_char "''" is not one character of ASCII."""),
        ({"quote_char": ","}, "sep and quote_char are both ','."),
        ({"encoding": "utf8-mb4"}, "encoding 'utf8-mb4' is no codec of Python, such as utf-8"),
    ],
)
def test_marks_and_encodings_that_no_csv_file_has_are_refused(form, message):
    with pytest.raises(DataError) as caught:
        CsvFormat(**form)
    assert str(caught.value).startswith(message)


def test_a_header_in_utf_16_without_its_mark_is_told(load_bytes):
    with pytest.raises(
        DataError, match=r"t.csv: a NUL byte in the header. Is it UTF-16\? Set encoding: utf-16"
    ):
        load_bytes("x,click\na,0\n".encode("utf-16-le"))


@pytest.mark.parametrize(
    ("day", "token"), [("__HIVE_DEFAULT_PARTITION__", ""), ("2020-01-01", "2020-01-01"), ("a%2Fb", "a/b")]
)
def test_the_default_partition_of_hive_is_a_missing_value(load, tmp_path, day, token):
    (tmp_path / f"day={day}").mkdir()
    dataset = load(with_clicks(x=["a", "b"]), [{"name": "day"}, {"name": "x"}], file=f"day={day}/a.parquet")
    assert dataset.encoder.tokens["day"] == (token,)


def test_files_that_programs_keep_for_themselves_are_left_out_and_counted(write, tmp_path, caplog):
    names = ["p.csv", "_metadata.csv", "._p.csv", "_temporary/0/p.csv", "sub/p.csv", "_day=1/p.csv"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write(f"in/{name}", with_clicks(x=["a", "b"]))

    def found(pattern):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            files = find_sources(DatasetOptions(train_data=pattern))["train"]
        return [str(file.relative_to(tmp_path / "in")) for file in files.files]

    assert found(str(tmp_path / "in")) == ["p.csv"]
    assert (
        "train_data: 2 files are left out as their names, or those of their folders, begin with"
        in caplog.text
    )
    assert found(str(tmp_path / "in/**/*.csv")) == ["_day=1/p.csv", "p.csv", "sub/p.csv"]
    assert found(str(tmp_path / "in/_m*.csv")) == ["_metadata.csv"]
    assert found(str(tmp_path / "in/_temporary/**/*.csv")) == ["_temporary/0/p.csv"]
    assert found(str(tmp_path / "in/_metadata.csv")) == ["_metadata.csv"]
    assert "left out" not in caplog.text


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("other", [1_600_000_003_000, 1_600_000_003_000_000, 1_600_000_003_000_000_000])
def test_seconds_and_thousandths_of_them_are_no_order_of_times(load, as_text, other):
    times = [5, 1_600_000_000, 1_600_000_001, other]
    columns = with_clicks(x=["a", "b", "a", "b"], t=list(map(str, times)) if as_text else times)
    with pytest.raises(
        DataError, match=f"column 't', row 4: .?{other}.? is not a time in the unit of .?1600000000"
    ):
        load(columns, [{"name": "x"}], split_type="time", split_col="t", test_size=0.25)


@pytest.mark.parametrize(("kind", "wanted"), [("user", "a user"), ("time", "a time")])
def test_lists_are_no_users_and_no_times(load, kind, wanted):
    columns = pl.DataFrame(with_clicks(x=["a", "b", "a", "b"], u=[["a"], ["b"], ["c"], ["d"]]))
    with pytest.raises(DataError, match=f"column 'u' holds lists of String, which is not {wanted}"):
        load(columns, [{"name": "x"}], split_type=kind, split_col="u", test_size=0.25, file="t.parquet")


def test_a_regression_of_one_number_is_said(load):
    label = {"name": "click", "kind": "regression", "normalizer": "StandardScaler"}
    told = load({"x": ["a", "b"], "click": [2.5, 2.5]}, [{"name": "x"}], labels=[label]).warnings
    assert told == (
        "label 'click' is 2.5 in all 2 rows of train that have it: nothing can be learned from it.",
    )


@pytest.mark.parametrize(
    ("lists", "splitter"),
    [
        (["[1, 2, 3]", "[2]", "", "[]"], ","),
        (["['a', 'b']", "['b']", "['c']", "x"], ","),
        (["[1 2]", " [2 3]", "[3]", "[1]"], " "),
        (["(1, 2)", "(2, 1)", "(3,)", "()"], ","),
    ],
)
def test_lists_that_a_program_printed_are_said(load, lists, splitter):
    told = load(with_clicks(x=lists), [BAG | {"splitter": splitter}]).warnings
    first = [each for each in told if each.startswith("feature 'x': its lists are printed, such as ")]
    assert len(first) == 1
    assert repr(lists[0])[1:-1] in first[0]
    assert not load(with_clicks(x=["a^b", "[x]^c", "a", "(b"]), [BAG]).warnings


def test_an_empty_splitter_is_refused(load):
    with pytest.raises(DataError, match="feature 'x': splitter is empty: nothing would be split"):
        load(with_clicks(x=["ab", "c"]), [BAG | {"splitter": ""}])


@pytest.mark.parametrize(
    ("tokens", "more", "first"),
    [
        (["007", "7", "8", "+8"], 2, "'007'|'+8'"),
        (["caf\u00e9", "cafe\u0301", "a", "b"], 1, "'cafe"),
        (["a", "a\u200b", "\u2060a", "b"], 2, "'"),
        (["1", "\uff11", "a", "b"], 1, "'\uff11'"),
        (["u1", " u1", "b", "00"], 1, "' u1'"),
    ],
)
def test_tokens_that_look_alike_are_said_unless_they_are_text(load, tokens, more, first):
    (told,) = load(with_clicks(x=tokens), [{"name": "x"}]).warnings
    assert told.startswith(
        f"feature 'x': {more} tokens differ from others only in spaces around them, zeros in"
    )
    assert any(f"such as {each}" in told for each in first.split("|"))
    assert load(with_clicks(x=tokens), [{"name": "x", "dtype": "text"}]).warnings == ()


def test_a_token_with_the_mark_of_a_file_that_was_joined_to_another_is_said(load):
    (told,) = load(with_clicks(x=["a", "\ufeffb", "c"]), [{"name": "x"}]).warnings
    assert told == (
        "feature 'x': 1 tokens begin with the mark that opens a file, such as '\\ufeffb': files were joined "
        "with their marks. Take \\ufeff out."
    )


def test_tokens_that_stand_for_padding_and_unknown_ones_are_counted(load):
    columns = with_clicks(x=["__PAD__", "a", "__OOV__", "b", "__PAD__"])
    dataset = load(columns, [{"name": "x"}])
    assert dataset.warnings == (
        "feature 'x': 3 entries of the training rows are __PAD__ or __OOV__, which stand for padding and "
        "unknown ones: they are read as unknown.",
    )
    assert dataset.train.ids[:, 0].tolist() == [3, 1, 3, 2, 3]


@pytest.mark.parametrize("normalizer", ["MinMaxScaler", "StandardScaler"])
def test_numbers_whose_differences_are_beyond_float32_are_scaled_all_the_same(load, normalizer):
    x = np.array([3.3e38, -3.3e38, 3e38, 0])
    dataset = load(with_clicks(x=x), [NUMBER | {"normalizer": normalizer}])
    scaled = (x - x.min()) / (x.max() - x.min()) if normalizer == "MinMaxScaler" else (x - x.mean()) / x.std()
    np.testing.assert_allclose(dataset.train.numeric[:, 0], scaled, rtol=1e-6)


def test_a_number_far_from_all_others_that_makes_them_one_is_said(load):
    (told,) = load(with_clicks(x=[1.0, 2.0, 3.0, 1e30]), [NUMBER | {"normalizer": "StandardScaler"}]).warnings
    assert told == (
        "feature 'x': normalizer: StandardScaler leaves 2 of 4 distinct numbers, from 1 to 1e+30. "
        "Are the outer ones mistakes?"
    )
    x = np.random.default_rng(0).normal(size=4000)
    assert not load(with_clicks(x=x), [NUMBER | {"normalizer": "StandardScaler"}]).warnings


def test_bytes_and_sparse_columns_of_a_frame_are_what_they_hold():
    frame = pd.DataFrame(
        {"c": [b"a", "é".encode(), None, b""], "x": pd.arrays.SparseArray([0.0, 1.5, np.nan, 0.0])}
    )
    found = rows_of("rows", frame, {"c": Vocabulary("c"), "x": Number()}, ["c", "x"])
    assert Vocabulary("c").tokens(found["c"]).to_list() == ["a", "é", "", ""]
    np.testing.assert_array_equal(found["x"].fill_null(np.nan), [0, 1.5, np.nan, 0])
    assert as_frame("rows", {"x": [1]}, ["x"])["x"].to_list() == [1]


def test_unknown_tokens_of_rows_cut_off_training_have_no_examples(load):
    users = [f"u{i // 10}" for i in range(100)]
    columns = with_clicks(u=users, x=["a", "b"] * 50)
    told = load(
        columns, [{"name": "u"}, {"name": "x"}], split_type="user", split_col="u", test_size=0.2
    ).warnings
    (unknown,) = [each for each in told if "'u'" in each]
    assert unknown.startswith("feature 'u': 100% of its entries in test are unknown; training knows 'u")

"""Splits by time, by user and in the order of files, with data as they come."""

from datetime import datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.dataset.errors import BadEntryError, DataError
from fuxi_mtl.dataset.times import ranks
from fuxi_mtl.tasks import parse_task


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["9", "10", "8.5"], [2, 3, 1]),
        (["1700000000000000001", "1700000000000000000"], [2, 1]),
        (["2020-01-08", "2019-12-31", "2020-01-08"], [2, 1, 2]),
        (["2020-01-08T10:00", "2020-01-08 09:30:00", "2020-01-08T09:30:00.5"], [3, 1, 2]),
        (["2020-01-01T00:30:00+01:00", "2019-12-31T23:29:00Z", "2019-12-31T18:31:00-0500"], [2, 1, 3]),
        ([" 2020-02-29 ", "2020-02-28"], [2, 1]),
        ([3, 1, 2], [3, 1, 2]),
        ([datetime(2020, 1, 2), datetime(2020, 1, 1)], [2, 1]),
        (
            [
                datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
                datetime(2020, 1, 1, 0, 30, tzinfo=timezone.utc),
            ],
            [1, 2],
        ),
    ],
)
def test_times_are_in_order(times, expected):
    assert ranks(pl.Series("day", times)).tolist() == expected


@pytest.mark.parametrize(
    ("times", "row"),
    [
        (["2020-01-08", "12/31/2019"], 2),
        (["9:30", "10:00"], 1),
        (["1", "NULL", "2"], 2),
        (["1", "nan", "2"], 2),
        (["2020-01-08", ""], 2),
        (["2020-01-08", "2020-02-30"], 2),
        (["2020-01-08T10:00", "2020-01-08T24:99"], 2),
        (["2020-01-08T10:00Z", "2020-01-08T10:00"], 2),
        ([1.0, float("nan")], 2),
        ([1.0, float("inf")], 2),
        ([1, None], 2),
        ([timedelta(1), timedelta(2)], 1),
    ],
)
def test_what_is_no_time_is_named_with_its_row(times, row):
    with pytest.raises(BadEntryError, match=rf"column 'day', row {row}: "):
        ranks(pl.Series("day", times))


def test_a_bad_time_is_named_with_its_file_and_the_row_there(options, write, tmp_path):
    write("part_1.csv", {"x": ["a", "b"], "day": ["2020-01-01", "2020-01-02"], "click": [0, 1]})
    write("part_2.csv", {"x": ["a", "b"], "day": ["2020-01-03", "4/1/2020"], "click": [0, 1]})
    stanza = options(
        tmp_path / "part_*.csv", [{"name": "x"}], split_type="time", split_col="day", valid_size=1
    )
    with pytest.raises(DataError, match=r"part_2.csv, column 'day', row 2: '4/1/2020' is not a time"):
        load_dataset(stanza, [parse_task("ctr", "click")], "small", threads=1, progress=False)


def test_a_split_column_of_two_types_is_refused_with_both_files(options, write, tmp_path):
    write("part_1.parquet", {"x": ["a", "b"], "day": [1, 2], "click": [0, 1]})
    write("part_2.parquet", {"x": ["a", "b"], "day": ["3", "4"], "click": [0, 1]})
    stanza = options(
        tmp_path / "part_*.parquet", [{"name": "x"}], split_type="time", split_col="day", valid_size=1
    )
    with pytest.raises(
        DataError, match=r"split_col 'day' is Int64 in .*part_1.parquet and String in .*part_2"
    ):
        load_dataset(stanza, [parse_task("ctr", "click")], "small", threads=1, progress=False)


def test_files_come_in_natural_order_from_all_levels_and_folders_give_their_column(options, tmp_path):
    for day, number, above in (("2", 10, ""), ("2", 9, ""), ("10", 1, ""), ("11%2F2", 1, "late/")):
        folder = tmp_path / f"logs/{above}day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = {"x": [f"{day}_{number}"] * 2, "click": [0, 1]}
        pl.DataFrame(rows).write_parquet(folder / f"part_{number}.parquet")
    features = [{"name": "x", "type": "meta"}, {"name": "day"}]
    stanza = options(tmp_path / "logs/**/*.parquet", features)
    dataset = load_dataset(stanza, [parse_task("ctr", "click")], "small", threads=1, progress=False)
    expected = ["2_9", "2_10", "10_1", "11%2F2_1"]
    assert dataset.train.meta()["x"].to_list() == [each for each in expected for _ in range(2)]
    assert set(dataset.encoder.tokens["day"]) == {"2", "10", "11/2"}


def by_user(load, users, **sizes):
    columns = {"u": users, "x": ["a", "b", "b", "a"] * (len(users) // 4), "click": [0, 1] * (len(users) // 2)}
    features = [{"name": "x"}, {"name": "u", "type": "meta"}]
    return load(columns, features, split_type="user", split_col="u", **sizes)


def test_rows_without_a_user_are_spread(load):
    dataset = by_user(load, [""] * 200 + [f"u{i}" for i in range(200)], valid_size=0.2, test_size=0.2)
    for split in (dataset.valid, dataset.test):
        missing = int(split.meta()["u"].fill_null("").eq("").sum())
        assert 78 <= split.rows <= 82
        assert 20 <= missing <= 60


def test_a_user_of_half_of_the_rows_starves_no_split(load):
    for seed in range(4):
        users = ["giant"] * 200 + [f"u{i // 2}" for i in range(200)]
        dataset = by_user(load, users, valid_size=0.1, test_size=0.1, split_seed=seed)
        assert "giant" in dataset.train.meta()["u"].to_list()
        assert 40 <= dataset.test.rows <= 42
        assert 36 <= dataset.valid.rows <= 44
        assert not dataset.warnings


def test_a_split_that_misses_its_size_is_said(load):
    dataset = by_user(load, ["a"] * 50 + ["b"] * 50, valid_size=0.1)
    assert "split_type user: valid has 50 rows, 10 were asked for." in dataset.warnings


def test_a_share_of_no_row_is_refused(load):
    with pytest.raises(DataError, match=r"valid_size 0.1 of 4 rows is no row: give a larger share"):
        load({"x": ["a"] * 4, "click": [0, 1, 0, 1]}, [{"name": "x"}], valid_size=0.1)


def test_minus_one_of_a_regression_is_a_value_unless_asked_and_masked_labels_are_counted(load):
    columns = {"x": ["a"] * 4, "click": [0, 1, -1, 1], "spend": [-1.0, 2.0, 0.5, -1.0]}
    labels = ["click", {"name": "spend", "kind": "regression"}]
    dataset = load(columns, [{"name": "x"}], labels)
    assert np.array_equal(dataset.train.events, [[0, -1], [1, 2], [np.nan, 0.5], [1, -1]], equal_nan=True)
    assert "label 'click': 1 entries are -1, which means missing (mask_value)." in dataset.warnings
    asked = ["click", {"name": "spend", "kind": "regression", "mask_value": -1}]
    masked = load(columns, [{"name": "x"}], asked)
    assert np.isnan(masked.train.events[:, 1]).tolist() == [True, False, False, True]
    assert "label 'spend': 2 entries are -1, which means missing (mask_value)." in masked.warnings


def test_a_file_without_a_header_is_suspected(load, tmp_path):
    path = tmp_path / "valid.csv"
    path.write_text("a,0\nb,1\n")
    with pytest.raises(DataError, match=r"None that is needed is there: has it a header\?"):
        load({"x": ["a", "b"], "click": [0, 1]}, [{"name": "x"}], valid_data=str(path))

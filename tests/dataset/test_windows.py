"""Days in patterns of files, and columns in the folders of their paths."""

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, data_key, load_dataset
from fuxi_mtl.dataset.sources import find_sources
from fuxi_mtl.dataset.windows import Window
from fuxi_mtl.tasks import parse_task

TASKS = [parse_task("click", "click")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("dt={2026-02-27..2026-03-01}/a", ["dt=2026-02-27/a", "dt=2026-02-28/a", "dt=2026-03-01/a"]),
        ("{last_day-1..last_day}.csv", ["2026-11-07.csv", "2026-11-08.csv"]),
        ("{ last_day - 1 .. last_day + 1 }", ["2026-11-07", "2026-11-08", "2026-11-09"]),
        ("{last_day}", ["2026-11-08"]),
        ("{2026-11-08..2026-11-08+1:%Y%m%d}*", ["20261108*", "20261109*"]),
        ("{last_day:%Y/%m/%d}/*", ["2026/11/08/*"]),
    ],
)
def test_a_pattern_is_written_for_each_of_its_days(pattern, expected):
    assert [each for _, each in Window("train_data", pattern, "2026-11-08").patterns()] == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{last_day-1..last_day:%Y%m%d}/*", "{2026-11-07..2026-11-08:%Y%m%d}/*"),
        ("dt={last_day-6..last_day}/*", "dt={2026-11-02..2026-11-08}/*"),
        ("dt={last_day}/*", "dt=2026-11-08/*"),
        ("{name}.csv", "{name}.csv"),
    ],
)
def test_what_is_told_of_a_pattern_does_not_move_with_the_last_day(pattern, expected):
    dated = Window("train_data", pattern, "2026-11-08").dated
    assert dated == expected
    same = Window("train_data", pattern, "2026-11-08").patterns()
    assert [*Window("train_data", dated, "2027-01-01").patterns()] in ([*same], [])


@pytest.mark.parametrize("pattern", ["a/*.csv", "{name}.csv", "{a:b}.csv"])
def test_other_braces_are_names_of_files(pattern):
    assert not Window("train_data", pattern).has_days
    assert list(Window("train_data", pattern).patterns()) == []


@pytest.mark.parametrize(
    ("pattern", "last_day", "message"),
    [
        ("{last_day}", None, "needs last_day, a date"),
        ("{last_day}", "today", "last_day is 'today', which is no date"),
        ("{2026-11-31}", None, "'2026-11-31', which is no date"),
        ("{a..b}", None, "'a' is no day. Write a date such as 2026-11-08, or last_day"),
        ("{2026-11-08..2026-11-01}", None, "has -6 days, from 2026-11-08 to 2026-11-01"),
        ("{1900-01-01..2026-11-01}", None, "there are from 1 to 3660"),
    ],
)
def test_what_is_no_window_is_told(pattern, last_day, message):
    with pytest.raises(DataError, match=message):
        list(Window("train_data", pattern, last_day).patterns())


@pytest.fixture
def logs(tmp_path):
    """A file for each of four days, with a gap; the day stands in the path only."""
    for day, items in {
        "2026-11-05": "ab",
        "2026-11-07": "bc",
        "2026-11-08": "cd",
        "2026-11-09": "de",
    }.items():
        folder = tmp_path / "logs" / f"dt={day}"
        folder.mkdir(parents=True)
        pl.DataFrame({"item": list(items) * 2, "click": [0, 1, 1, 0]}).write_parquet(folder / "part.parquet")
    return tmp_path / "logs"


def test_a_window_moves_with_one_key(logs, options):
    given = options(
        logs / "dt={last_day-1..last_day}" / "*.parquet", [{"name": "item"}], last_day="2026-11-08"
    )
    moved = replace(given, last_day="2026-11-09")
    for each, items, first in ((given, "cbd", "2026-11-07"), (moved, "dce", "2026-11-08")):
        assert find_sources(each)["train"].files[0].parent.name == f"dt={first}"
        assert load_dataset(each, TASKS, "d", progress=False).encoder.tokens["item"] == tuple(items)
    assert data_key(given, TASKS, "d") != data_key(moved, TASKS, "d")
    # The same files are the same data, however they are named.
    spelled = replace(given, train_data=str(logs / "dt={2026-11-07..2026-11-08}/*.parquet"), last_day=None)
    assert data_key(spelled, TASKS, "d") == data_key(given, TASKS, "d")


def test_days_without_a_file_are_named_or_skipped(logs, options, caplog):
    given = options(logs / "dt={2026-11-04..2026-11-07}" / "*.parquet", [{"name": "item"}])
    with pytest.raises(DataError, match="has no file of 2026-11-04, 2026-11-06. Set missing_days: skip"):
        find_sources(given)
    found = find_sources(replace(given, missing_days="skip"))["train"].files
    assert [file.parent.name for file in found] == ["dt=2026-11-05", "dt=2026-11-07"]
    assert "2 days have no file and are skipped: 2026-11-04, 2026-11-06." in caplog.text
    none = replace(given, train_data=str(logs / "dt={2026-12-01..2026-12-02}/*.parquet"), missing_days="skip")
    with pytest.raises(DataError, match="has no file of 2026-12-01, 2026-12-02"):
        find_sources(none)


def test_partition_columns_are_features_meta_and_split_columns(logs, options, caplog):
    features = [{"name": "item"}, {"name": "dt"}]
    by_time = {"split_type": "time", "split_col": "dt", "valid_size": 4.0}
    data = load_dataset(options(logs, features, data_format="parquet", **by_time), TASKS, "d", progress=False)
    assert data.encoder.tokens["dt"] == ("2026-11-05", "2026-11-07", "2026-11-08")
    assert data.train.rows == 12
    assert data.valid.rows == 4
    assert (np.asarray(data.valid.ids[:, 1]) == 4).all()  # the latest day, which training does not know
    carried = options(logs, [{"name": "item"}, {"name": "dt", "type": "meta"}], data_format="parquet")
    meta = load_dataset(carried, TASKS, "d", progress=False).train.meta()
    assert meta["dt"].unique(maintain_order=True).to_list() == [
        "2026-11-05",
        "2026-11-07",
        "2026-11-08",
        "2026-11-09",
    ]
    with caplog.at_level(logging.INFO):
        find_sources(carried)
    assert "4 files" in caplog.text

"""What the log says of the data before a training."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.config import make_dataset
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.workflow import opening

STANZA = {
    "dataset_id": "shop",
    "train_data": "train",
    "valid_data": "valid",
    "feature_cols": [
        {"name": "user", "type": "categorical", "dtype": "str"},
        {"name": "seen", "type": "sequence", "splitter": "^", "max_len": 3, "share_embedding": "user"},
        {"name": "price", "type": "numeric", "dtype": "float", "normalizer": "StandardScaler"},
        {"name": "age", "type": "numeric", "dtype": "float", "category_processor": "quantile_bucket",
         "num_buckets": 2},
        {"name": "session", "type": "meta", "dtype": "str"},
    ],
    "label_col": [{"name": "click", "dtype": "float"}, {"name": "buy", "dtype": "float"},
                  {"name": "seconds", "dtype": "float", "kind": "regression"}],
    "tasks": {"ctr": "click", "cvr": "buy | click", "watch": "seconds"},
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    train = pl.DataFrame({
        "user": ["a", "b", "a", "c"], "seen": ["a^b", "", "c", "a"], "price": [1.0, 3.0, 1.0, 3.0],
        "age": [1.0, 2.0, 3.0, 4.0], "session": ["s"] * 4, "click": [1, 1, 0, 0], "buy": [1, 0, 0, 0],
        "seconds": [1.0, 2.0, 3.0, 6.0],
    })  # fmt: skip
    valid = train.with_columns(user=pl.Series(["a", "x", "y", "z"]))
    options, tasks = make_dataset(STANZA, "here")
    root = tmp_path_factory.mktemp("data")
    made = load_dataset(options, tasks, "shop", frames={"train": train, "valid": valid}, root=root)
    again = load_dataset(options, tasks, "shop", frames={"train": train, "valid": valid}, root=root)
    assert again.unknown == made.unknown  # from the cache, too
    return made, tasks


def test_rows_and_labels_are_told_by_split(dataset):
    assert opening.label_lines(*dataset) == [
        "Data shop: 4 train, 4 valid rows.",
        "Task ctr (click): train 2 of 4 (50.00%), valid 2 of 4 (50.00%).",
        "Task cvr (buy | click): train 1 of 2 (50.00%), valid 1 of 2 (50.00%).",
        "Task watch (seconds): train 4 with mean 3, valid 4 with mean 3.",
    ]


def test_labels_are_counted_in_blocks(dataset, monkeypatch):
    whole = opening.label_lines(*dataset)
    monkeypatch.setattr(opening, "_BLOCK_ROWS", 3)
    assert opening.label_lines(*dataset) == whole


def test_a_split_without_a_label_says_so():
    (task,) = make_dataset({**STANZA, "tasks": {"ctr": "click"}}, "here")[1]
    counts = opening.LabelCounts(task)
    counts.observe(np.array([np.nan], np.float32))
    assert str(counts) == "no label"


def test_columns_are_told_with_what_became_of_them(dataset):
    made, _ = dataset
    shown, more = opening.column_lines(made)
    assert shown == [
        "Column user: 3 ids, unknown 75.00% in valid.",
        "Column seen: sequence of at most 3, ids of user.",
        "Column age: number in 2 buckets.",
        "Column price: number, less 2, divided by 1.",
        "Columns carried along, not learned from: session.",
    ]
    assert not more


def test_of_many_columns_the_log_file_has_the_rest(dataset, monkeypatch):
    made, tasks = dataset
    monkeypatch.setattr(opening, "MOST_COLUMNS", 2)
    shown, more = opening.column_lines(made)
    assert shown[2] == "2 more columns are in the log file, and here with --verbose."
    assert more == ["Column age: number in 2 buckets.", "Column price: number, less 2, divided by 1."]
    records = []
    monkeypatch.setattr(opening.logger, "info", lambda *_, **detail: records.append(bool(detail)))
    opening.tell_data(made, tasks)
    assert records.count(True) == 2


def test_a_run_keeps_what_it_was_told_of_labels_and_of_unknown_entries(dataset):
    told = opening.tell_data(*dataset)
    counts = {
        "ctr": {"rows": 4, "positives": 2},
        "cvr": {"rows": 2, "positives": 1},
        "watch": {"rows": 4, "mean": 3.0},
    }
    assert told["labels"] == {"train": counts, "valid": counts}
    assert told["unknown"]["valid"]["user"] == 0.75

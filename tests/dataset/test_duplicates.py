"""Rows that stand in two splits."""

import logging

import numpy as np
import pytest

from fuxi_mtl.dataset import duplicates

FEATURES = [{"name": "user"}, {"name": "age", "type": "numeric", "dtype": "float"}]


def rows(users, ages=None, click=None) -> dict:
    return {
        "user": users,
        "age": np.arange(len(users)) * 0.5 if ages is None else ages,
        "click": np.arange(len(users)) % 2 if click is None else click,
    }


def taken(columns: dict, places) -> dict:
    return {name: np.asarray(values)[places] for name, values in columns.items()}


def joined(*parts: dict) -> dict:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


TRAIN = rows([f"u{i}" for i in range(100)])
NEW = rows([f"v{i}" for i in range(30)])


def test_rows_of_a_split_that_training_has_too_are_counted_in_any_order(load, write):
    test = joined(taken(TRAIN, [70, 3, 3, 15, 99]), NEW)
    told = load(TRAIN, FEATURES, test_data=str(write("test.csv", test))).warnings
    assert told == (
        "5 of 35 rows of test (14.3%) are in train too, equal in all inputs and labels; 100.0% of the rows "
        "of train are different ones: metrics on them are of what was learned by heart.",
    )


def test_rows_are_copies_only_if_inputs_and_labels_are_equal(load, write):
    other = [
        taken(TRAIN, [1]) | {"age": [7.25]},
        taken(TRAIN, [2]) | {"user": ["u50"]},
        taken(TRAIN, [3]) | {"click": [0]},
    ]
    dataset = load(TRAIN, FEATURES, test_data=str(write("test.csv", joined(*other, NEW))))
    assert dataset.warnings == ()


def test_validation_rows_that_test_a_model_are_said_once_for_each_pair_of_splits(load, write):
    valid = joined(taken(TRAIN, [4]), taken(NEW, slice(0, 19)))
    test = joined(taken(TRAIN, [4, 5]), taken(NEW, slice(15, 30)))
    splits = {"valid_data": str(write("valid.csv", valid)), "test_data": str(write("test.csv", test))}
    told = load(TRAIN, FEATURES, **splits).warnings
    assert [each.split(",")[0] for each in told] == [
        "1 of 20 rows of valid (5.0%) are in train too",
        "2 of 17 rows of test (11.8%) are in train too",
        "5 of 17 rows of test (29.4%) are in valid too",
    ]
    assert told[2].endswith(": the model is chosen by rows that then judge it.")


def test_the_same_rows_in_another_order_are_the_very_rows(load, write):
    order = np.random.default_rng(0).permutation(100)
    told = load(TRAIN, FEATURES, test_data=str(write("test.csv", taken(TRAIN, order)))).warnings
    assert told == ("test has the very rows of train: metrics on them are of what was learned by heart.",)


@pytest.mark.parametrize("kind", ["few", "repeating"])
def test_few_copies_and_rows_that_must_repeat_are_logged_and_no_warning(load, write, caplog, kind):
    if kind == "few":
        train, test = TRAIN, joined(taken(TRAIN, [8]), rows([f"w{i}" for i in range(199)]))
    else:
        train = rows(["a", "b"] * 50, [0.5] * 100, [0, 0, 1, 1] * 25)
        test = rows(["a", "b", "a"], [0.5] * 3, [0, 1, 1])
    with caplog.at_level(logging.INFO):
        dataset = load(train, FEATURES, test_data=str(write("test.csv", test)))
    assert not [each for each in dataset.warnings if "are in train too" in each]
    assert (
        "1 of 200 rows of test (0.5%)" if kind == "few" else "3 of 3 rows of test (100.0%)"
    ) in caplog.text


def test_missing_labels_and_negative_zeros_of_copies_are_equal(load, write):
    train = joined(TRAIN, {"user": ["z"], "age": [-0.0], "click": [np.nan]})
    test = joined(NEW, {"user": ["z"], "age": [0.0], "click": [np.nan]})
    told = load(train, FEATURES, test_data=str(write("test.csv", test))).warnings
    assert told[0].startswith("1 of 31 rows of test (3.2%) are in train too")


def test_of_many_rows_some_stand_for_all(load, write, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_HASHES", 400)
    monkeypatch.setattr(duplicates, "_BLOCK_ENTRIES", 4 * 300)  # several blocks
    train = rows([f"u{i}" for i in range(4000)])
    test = joined(taken(train, np.arange(0, 4000, 2)), rows([f"w{i}" for i in range(2000)]))
    told = load(train, FEATURES, test_data=str(write("test.csv", test))).warnings[0]
    assert told.startswith("about ")
    share = float(told.split("(")[1].split("%")[0]) / 100
    # 400 of the 4,000 rows of test are looked at, give or take: four standard deviations of a half.
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(400)

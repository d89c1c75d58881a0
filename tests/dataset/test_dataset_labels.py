import logging
from dataclasses import replace

import numpy as np
import pytest

from fuxi_mtl.dataset import DataError, checks, load_dataset
from fuxi_mtl.dataset.checks import single_aucs
from fuxi_mtl.features import Feature
from fuxi_mtl.tasks import Task, parse_task

FUNNEL = {"ctr": "click", "cvr": "buy | click"}


def with_x(**labels) -> dict:
    rows = len(next(iter(labels.values())))
    return {"x": [f"t{i % 3}" for i in range(rows)]} | labels


def test_nan_and_the_mask_value_are_missing(load):
    columns = with_x(click=[1, 0, -1, "", 1], buy=[9, 0, "nan", 1, 9])
    dataset = load(columns, [{"name": "x"}], ["click", {"name": "buy", "mask_value": 9}])
    nan = np.nan
    np.testing.assert_array_equal(dataset.train.events, [[1, nan], [0, 0], [nan, nan], [nan, 1], [1, nan]])


def test_a_conditional_task_is_defined_where_its_condition_holds(load):
    dataset = load(with_x(click=[1, 0, 1], buy=[1, 0, 0]), [{"name": "x"}], ["click", "buy"], FUNNEL)
    labels = dataset.train.labels([parse_task(*item) for item in FUNNEL.items()])
    np.testing.assert_array_equal(labels["cvr"], [1, np.nan, 0])
    np.testing.assert_array_equal(labels["ctr"], [1, 0, 1])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(2, r"'2' is not 0, 1 or missing \(empty, or -1\)"), ("yes", "'yes' is not a number")],
)
def test_a_label_that_is_not_0_or_1_is_named_with_its_row(load, value, wanted):
    with pytest.raises(DataError, match=f"train.csv, column 'click', row 4: {wanted}"):
        load(with_x(click=[1, 0, -1, value]), [{"name": "x"}], data_block_size=3)


def test_a_regression_label_is_any_finite_number(options, write):
    path = write("train.csv", with_x(time=["0.5", "700", "", "-2"]))
    tasks = [Task("time", ("time",), kind="regression")]
    dataset = load_dataset(options(path, [{"name": "x"}], ["time"]), tasks, "small", progress=False)
    np.testing.assert_array_equal(dataset.train.events[:, 0], np.float32([0.5, 700, np.nan, -2]))
    for value in ("inf", "1e39"):
        write("train.csv", with_x(time=["0.5", value, "", "-2"]))
        with pytest.raises(
            DataError, match=f"'time', row 2: '{value}' is not a finite number, of at most 3.4"
        ):
            load_dataset(options(path, [{"name": "x"}], ["time"]), tasks, "small", progress=False)


def test_numbers_of_a_label_that_float32_does_not_tell_apart_are_said(load):
    columns = with_x(click=[0, 1, 0, 1], time=[1_700_000_000 + i for i in range(4)])
    labels = ["click", {"name": "time", "kind": "regression"}]
    told = " ".join(load(columns, [{"name": "x"}], labels, {"ctr": "click"}).warnings)
    assert "label 'time': float32 tells 1 of 4 distinct numbers apart, near 1700000002. Subtract" in told


def test_an_event_without_its_condition_is_an_error_that_says_what_to_do(load):
    columns = with_x(click=[1, 0, 0, 0], buy=[1, 0, 1, 1])
    with pytest.raises(
        DataError, match=r"buy = 1 with click = 0 in 2 of rows 1 to 4, first in row 3. Set inconsistent"
    ):
        load(columns, [{"name": "x"}], ["click", "buy"], FUNNEL)


def test_an_unknown_condition_is_not_a_contradiction(load):
    columns = with_x(click=[1, 0, "", 0], buy=[1, 0, 1, 0])
    assert load(columns, [{"name": "x"}], ["click", "buy"], FUNNEL).train.rows == 4


def test_contradicting_rows_are_left_out_on_request(load, caplog):
    columns = with_x(click=[1, 0, 0, 0], buy=[1, 0, 1, 1]) | {"row": [0, 1, 2, 3]}
    features = [{"name": "x"}, {"name": "row", "type": "meta", "dtype": "int"}]
    with caplog.at_level(logging.WARNING):
        dataset = load(columns, features, ["click", "buy"], FUNNEL, inconsistent="drop")
    assert dataset.train.meta()["row"].to_list() == [0, 1]
    assert dataset.encoder.tokens["x"] == ("t0", "t1")
    assert "buy = 1 with click = 0 in 2 rows: left out." in dataset.warnings
    assert "small: buy = 1 with click = 0 in 2 rows: left out." in caplog.messages


def test_contradicting_events_are_set_to_zero_on_request_along_the_chain(load):
    columns = with_x(click=[0, 1, 0], cart=[1, 1, 0], buy=[1, 1, 0])
    tasks = {"ctr": "click", "buy": "buy | cart", "cart": "cart | click"}
    dataset = load(columns, [{"name": "x"}], ["click", "cart", "buy"], tasks, inconsistent="zero")
    assert dataset.train.events.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert "cart = 1 with click = 0 in 1 rows: set to 0." in dataset.warnings


def test_contradictions_are_looked_for_in_every_split(load, write):
    test = write("test.csv", with_x(click=[0], buy=[1]))
    with pytest.raises(DataError, match=r"test.csv: buy = 1 with click = 0"):
        load(with_x(click=[1, 0], buy=[1, 0]), [{"name": "x"}], ["click", "buy"], FUNNEL, test_data=str(test))


def test_a_label_that_is_missing_everywhere_is_an_error(load):
    with pytest.raises(DataError, match="label 'click' is missing in all 3 training rows"):
        load(with_x(click=["", -1, ""]), [{"name": "x"}])


def test_a_label_of_one_class_is_a_warning(load, write):
    valid = write("valid.csv", with_x(click=[0, 0], buy=["", ""]))
    dataset = load(with_x(click=[1, 0], buy=[1, 1]), [{"name": "x"}], ["click", "buy"], valid_data=str(valid))
    assert dataset.warnings == (
        "label 'buy' is 1 in all 2 rows of train that have it: nothing can be learned from it.",
        "label 'click' is 0 in all 2 rows of valid that have it: its AUC is undefined there.",
        "label 'buy' is missing in all rows of valid: its metrics are undefined there.",
    )


def test_a_label_among_the_inputs_is_an_error(load):
    with pytest.raises(DataError, match="'click' is a label and an input too"):
        load(with_x(click=[1, 0]), [{"name": "x"}, {"name": "click"}])


def test_a_label_may_be_carried_along(load):
    dataset = load(with_x(click=[1, 0]), [{"name": "x"}, {"name": "click", "type": "meta", "dtype": "int"}])
    assert dataset.train.meta()["click"].to_list() == [1, 0]


def test_a_dataset_needs_a_label(load):
    with pytest.raises(DataError, match="label_col names no label"):
        load(with_x(click=[1, 0]), [{"name": "x"}], labels=[])


def test_a_task_reads_only_known_labels(load):
    with pytest.raises(DataError, match="a task reads the label 'buy', which label_col does not name: click"):
        load(with_x(click=[1, 0]), [{"name": "x"}], tasks={"cvr": "buy | click"})


def test_sample_weights_lie_beside_the_rows(load):
    columns = with_x(click=[1, 0, 1]) | {"w": ["0", "2.5", "1"]}
    assert load(columns, [{"name": "x"}], sample_weight="w").train.sample_weight.tolist() == [0, 2.5, 1]
    assert load(columns, [{"name": "x"}]).train.sample_weight is None


@pytest.mark.parametrize("weight", ["-1", ""])
def test_a_weight_below_zero_or_missing_is_named_with_its_row(load, weight):
    with pytest.raises(DataError, match="column 'w', row 2: '?(-1|None)?'? ?is not a weight"):
        load(with_x(click=[1, 0]) | {"w": ["1", weight]}, [{"name": "x"}], sample_weight="w")


def leaking(rows: int = 400) -> dict:
    rng = np.random.default_rng(0)
    click = rng.integers(0, 2, rows)
    buy = click * rng.integers(0, 2, rows)
    return {
        "noise": rng.normal(size=rows),
        "unique": [f"u{i}" for i in range(rows)],
        "dwell": click * 3.0 + rng.random(rows),
        "minus": np.where(click == 1, -1.0, 1.0),
        "code": np.where(click == 1, rng.integers(0, 5, rows), rng.integers(5, 9, rows)),
        "words": ["seen^cart" if b else "seen" for b in buy],
        "click": click,
        "buy": buy,
    }


def test_a_feature_that_tells_a_label_alone_is_named(load):
    features = [{"name": n, "type": "numeric", "dtype": "float"} for n in ("noise", "dwell", "minus")]
    features += [{"name": ["unique", "code"]}, {"name": "words", "type": "sequence"}]
    dataset = load({n: list(v) for n, v in leaking().items()}, features, ["click", "buy"], FUNNEL)
    named = [(w.split("'")[1], w.split("'")[3]) for w in dataset.warnings]
    assert named == [("words", "buy"), ("dwell", "click"), ("minus", "click"), ("code", "click")]
    assert dataset.warnings[1].startswith("feature 'dwell' alone has an AUC of 1.000 against label 'click'")


@pytest.mark.parametrize("vocab_size", [50, 10**9])
def test_ids_of_few_and_of_many_tokens_tell_a_label_alike(vocab_size):
    rng = np.random.default_rng(0)
    labels, ids = rng.integers(0, 2, 400), rng.integers(1, 49, 400)
    known, asked = ids[:200], ids[200:]
    means = [labels[:200][known == i].sum() + labels[:200].mean() for i in range(50)]
    scores = (np.array(means) / (np.bincount(known, minlength=50) + 1))[asked]
    higher = scores[labels[200:] == 1][:, None] - scores[labels[200:] == 0]
    share = (np.sign(higher) / 2 + 0.5).mean()
    feature = Feature("x", "categorical", vocab_size=vocab_size)
    assert checks._single_auc(feature, ids[:, None], labels) == pytest.approx(max(share, 1 - share))


class Reading(np.ndarray):
    """An array that notes which rows are taken of it."""

    taken: list[np.ndarray]

    def __getitem__(self, rows):
        if isinstance(rows, np.ndarray):
            self.taken.append(rows)
        return np.asarray(self)[rows]


def test_rows_in_which_a_leak_is_sought_are_read_in_the_order_of_the_file(load):
    """At random, 2 GB of memory and 30 million rows meant reading all of them a hundred times."""
    features = [
        {"name": ["noise", "dwell"], "type": "numeric", "dtype": "float"},
        {"name": ["unique", "code"]},
    ]
    dataset = load({n: list(v) for n, v in leaking().items()}, features, ["click", "buy"], FUNNEL)
    binary, required = ["click", "buy"], {"buy": ("click",)}
    plain = list(single_aucs(dataset.train, dataset.feature_map.features, binary, required))
    watched = replace(
        dataset.train, ids=dataset.train.ids.view(Reading), numeric=dataset.train.numeric.view(Reading)
    )
    watched.ids.taken, watched.numeric.taken = [], []
    assert list(single_aucs(watched, dataset.feature_map.features, binary, required)) == plain
    assert [len(rows) for rows in watched.ids.taken] == [len(rows) for rows in watched.numeric.taken]
    assert len(watched.ids.taken) == 2  # once a label, not once a feature
    assert all((np.diff(rows) > 0).all() for rows in (*watched.ids.taken, *watched.numeric.taken))


def test_rows_are_sampled_as_from_all_places_in_parts_of_them(monkeypatch):
    rng = np.random.default_rng(3)
    column = rng.integers(0, 2, 1000).astype(np.float32)
    defined = rng.random(1000) < 0.7
    monkeypatch.setattr(checks, "LEAK_ROWS", 100)
    monkeypatch.setattr(checks, "_BLOCK", 64)
    drawn, rng = checks._sample(column, defined), np.random.default_rng(0)
    classes = [np.flatnonzero(defined & (column == value)) for value in (0, 1)]
    expected = rng.permutation(np.concatenate([rng.choice(each, 100, replace=False) for each in classes]))
    np.testing.assert_array_equal(drawn, expected)


def test_too_few_positives_say_nothing_about_leaks(load):
    columns = leaking(30) | {"click": [0] * 28 + [1, 1], "dwell": [0] * 28 + [1, 1]}
    feature = {"name": "dwell", "type": "numeric", "dtype": "float"}
    assert load({n: list(v) for n, v in columns.items()}, [feature]).warnings == ()


def test_the_unit_of_a_label_is_fitted_on_training_rows_where_its_task_is_defined(options, write):
    """Mean and range by hand: rows without a click, and validation rows, do not count."""
    columns = with_x(click=[1, 0, 1, 1, 1], spend=[2, 900, 4, "", 900]) | {"part": ["train"] * 4 + ["valid"]}
    tasks = (Task("ctr", ("click",)), Task("value", ("spend",), ("click",), kind="regression"))
    split = {"split_type": "column", "split_col": "part"}
    for normalizer, offset, scale in (("StandardScaler", 3, 1), ("MinMaxScaler", 2, 2)):
        labels = ["click", {"name": "spend", "kind": "regression", "normalizer": normalizer}]
        stanza = options(write("train.csv", columns), [{"name": "x"}], labels, **split)
        units = load_dataset(stanza, tasks, "units", progress=False).feature_map.label_units
        assert (units["spend"].offset, units["spend"].scale, units["spend"].log) == (offset, scale, False)


def test_a_label_whose_logarithm_is_no_number_is_named_with_its_row(load):
    labels = ["click", {"name": "spend", "kind": "regression", "normalizer": "log1p"}]
    with pytest.raises(DataError, match="'spend', row 2: '-1' is not a finite .* log1p asks; mask_value"):
        load(with_x(click=[1, 0], spend=[3, -1]), [{"name": "x"}], labels, {"ctr": "click"})


def test_a_binary_label_has_no_unit(load):
    labels = [{"name": "click", "normalizer": "StandardScaler"}]
    with pytest.raises(DataError, match="label 'click': normalizer StandardScaler is for a regression"):
        load(with_x(click=[1, 0]), [{"name": "x"}], labels)

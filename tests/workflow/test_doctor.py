"""What the doctor finds in data and in scores, against what was put there."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.config import make_dataset
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.workflow.doctor import Finding, examine_data, told
from fuxi_mtl.workflow.doctor import run as of_runs
from fuxi_mtl.workflow.doctor.data import auc_error

ROWS = 1000
STANZA = {
    "dataset_id": "ill",
    "train_data": "train",
    "valid_data": "valid",
    "feature_cols": [
        {"name": ["request", "user", "country"], "type": "categorical", "dtype": "str"},
        {"name": "price", "type": "numeric", "dtype": "float"},
    ],
    "label_col": [{"name": "click", "dtype": "float"}, {"name": "buy", "dtype": "float"}],
    "tasks": {"ctr": "click", "cvr": "buy | click"},
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Of data in which each thing that is looked for is wrong once."""
    rng = np.random.default_rng(3)
    i = np.arange(ROWS)
    click = (rng.random(ROWS) < 0.5).astype(float)
    train = pl.DataFrame({
        "request": [f"r{k}" for k in i], "user": [f"u{k % 50}" for k in i], "country": ["no"] * ROWS,
        "price": click + rng.normal(scale=0.5, size=ROWS), "click": click,
        "buy": click * (rng.random(ROWS) < 0.5),
    })  # fmt: skip
    valid = train.head(400).with_columns(
        user=pl.Series([f"v{k}" if k % 4 else "u1" for k in range(400)]),
        click=(pl.int_range(400) < 60).cast(float),
        buy=0.0,
    )
    options, tasks = make_dataset(STANZA, "here")
    root = tmp_path_factory.mktemp("data")
    made = load_dataset(options, tasks, "ill", frames={"train": train, "valid": valid}, root=root)
    return "\n".join(told(examine_data(made, tasks)))


@pytest.mark.parametrize(
    "line",
    [
        "WRONG  task cvr (buy | click), valid: 0 of 60 rows are positive.",
        # .038 is the root of .1875 + 59 x .0375 + 339 x .0803571 over 60 x 340, by hand.
        "LOOK   task ctr (click), valid: 60 positives; the standard error of an AUC of .75 is about 0.038.",
        "LOOK   feature country: one value in all of 1,000 training rows looked at.",
        "LOOK   feature request: 1,000 ids for 1,000 training rows.",
        "LOOK   feature user: 75.0% of its entries in valid are unknown.",
        "LOOK   feature price alone has an AUC of 0.9",
        "are positive in train and 15.000% in valid.",
    ],
)
def test_what_is_wrong_with_data_is_found_with_its_number(findings, line):
    assert line in findings


def test_the_last_line_counts_and_what_is_wrong_comes_first(findings):
    lines = findings.splitlines()
    wrong = [line.startswith("WRONG") for line in lines[:-1]]
    assert wrong == sorted(wrong, reverse=True)
    assert lines[-1] == f"{sum(wrong)} wrong, {len(wrong) - sum(wrong)} worth a look."
    assert told([]) == ["0 wrong, 0 worth a look."]


def test_the_error_of_an_auc_is_that_of_exponential_scores_of_which_its_authors_thought():
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        ones, zeros = rng.exponential(3, size=60), rng.exponential(1, size=340)  # P(one > zero) = 3 / 4
        drawn.append((ones[:, None] > zeros).mean())
    assert auc_error(0.75, 60, 340) == pytest.approx(np.std(drawn), rel=0.05)


Y = np.repeat([0.0, 1.0], 500)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full(1000, 0.5), "100.0% of the predictions are 0.5."),
        (np.tile(np.linspace(0.4, 0.6, 500), 2), "AUC 0.5000 is no better than chance"),
        (np.concatenate([np.linspace(0.3, 0.7, 500), np.linspace(0.2, 0.6, 500)]), "is below .5."),
        (np.concatenate([np.linspace(0, 0.4, 500), np.linspace(0.6, 1, 500)]), "AUC 1.0000 is too good."),
        (np.concatenate([np.linspace(0.0, 0.2, 500), np.linspace(0.1, 0.3, 500)]),
         "150 positives predicted, 500 observed."),
        (np.concatenate([np.full(300, 1e-9), np.full(200, 0.9), np.full(200, 0.1), np.full(300, 1 - 1e-9)]),
         "60.0% of the probabilities are 0 or 1 to six digits."),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_right_are_found(scores, said):
    found = list(of_runs._scores("task ctr, valid", Y, scores, {}))
    assert any(said in each.told for each in found), found


def test_good_scores_and_numbers_are_left_alone():
    rng = np.random.default_rng(1)
    p = rng.random(4000)
    y = (rng.random(4000) < p).astype(float)
    aucs: dict = {}
    assert list(of_runs._scores("task ctr, test", y, p, aucs)) == []
    assert aucs["test"] > 0.7
    assert list(of_runs._scores("task watch, test", 3 * p, p, {})) == []
    assert list(of_runs._scores("task none, test", y[:0], p[:0], {})) == []


def test_the_course_of_a_training_is_judged():
    steps = [{"step": step} for step in (10, 20, 30)]
    assert "at step 10, was the best" in next(of_runs._length(steps, 10)).told
    assert "at step 30, was the best" in next(of_runs._length(steps, 30)).told
    assert list(of_runs._length(steps, 20)) == []
    assert list(of_runs._length(steps, None)) == []
    record = {"losses": {"ctr": 0.1, "watch": 2000.0}, "weights": {"ctr": 1.0, "watch": 0.5}}
    (apart,) = of_runs._losses([record])
    assert apart.told == "weighted losses lie apart: watch 1000, ctr 0.1."
    assert list(of_runs._losses([{**record, "weights": {"ctr": 1.0, "watch": 0.04}}])) == []
    assert list(of_runs._losses([])) == []


def test_a_drop_between_the_splits_is_found():
    assert list(of_runs._drops({"ctr": {"valid": 0.8, "test": 0.76}, "cvr": {"test": 0.5}})) == []
    (drop,) = of_runs._drops({"ctr": {"valid": 0.8, "test": 0.7}})
    assert drop.told == "task ctr: AUC 0.8000 on validation and 0.7000 on test rows."


def test_a_finding_is_a_line():
    assert str(Finding(True, "It is so.", "Do this.")) == "WRONG  It is so. Do this."

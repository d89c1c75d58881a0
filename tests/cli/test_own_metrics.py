"""A user's own metrics, from a file: measured, watched, broken down and compared, with sample weights."""

import json

import graphs
import numpy as np
import pytest
from command_line import Trained, call, toy_columns, write_csv

from fuxi_mtl.metrics import METRICS

OWN = '''
import numpy as np
from fuxi_mtl.metrics import mean_of, register_metric

def brier_sums(labels, predictions, weights=None):
    return mean_of((predictions - labels) ** 2, weights)

@register_metric("Brier", direction="min", sums=brier_sums)
def brier(labels, predictions, weights=None):
    """Mean squared distance between the probability and the label."""
    return np.average((predictions - labels) ** 2, weights=weights)

@register_metric("top_lift", needs="positive")
def top_lift(labels, predictions, weights=None):
    """Share of positives among the rows of the highest score, over that among all rows."""
    top = predictions >= np.quantile(predictions, 0.8)
    return np.average(labels[top], weights=None if weights is None else weights[top]) / np.average(
        labels, weights=weights
    )

@register_metric("best_row", not_resampled="a maximum over rows has no interval.")
def best_row(labels, predictions, weights=None):
    """Highest score of a positive row."""
    return predictions[labels == 1].max(initial=0)
'''
SETTINGS = (
    "metrics=[AUC, Brier, top_lift, best_row]",
    "monitor={click_Brier: -1, click_top_lift: 0.01}",
    "metrics_by=item",
    "epochs=1",
    "batch_size=60",
    "eval_steps=2",
    "steps_per_execution=1",
)
EXPIDS = ("Toy", "ToyDomains")


@pytest.fixture(scope="module")
def own(in_place, tmp_path_factory):
    """The file; what it registers is forgotten afterwards."""
    known = dict(METRICS)
    path = tmp_path_factory.mktemp("own") / "my_metrics.py"
    path.write_text(OWN)
    yield path
    for name in METRICS.keys() - known.keys():
        del METRICS[name]


@pytest.fixture(scope="module")
def compared(own, in_place, tmp_path_factory):
    """Two experiments in whose metrics sample weights count, and their table."""
    root = tmp_path_factory.mktemp("runs")
    data = []
    for seed, split in enumerate(("train", "valid", "test")):
        weight = np.random.default_rng(seed).integers(0, 4, 240)
        data.append(f"{split}_data={write_csv(root / f'{split}.csv', 240, seed, weight=weight)}")
    settings = (f"model_root={root}", *SETTINGS, *data, "sample_weight=weight", "eval_sample_weight=true")
    with graphs.without_graphs():
        done = call("run", "--models", own, "--expid", *EXPIDS, "--set", *settings)
    assert (done.status, done.err) == (0, "")
    folders = {expid: next(root.glob(f"*/{expid}/seed_1")) for expid in EXPIDS}
    table = call("compare", *EXPIDS, "--models", own, "--model_root", root, "--format", "json")
    assert table.status == 0, table.err
    return {expid: Trained(folder, done.out) for expid, folder in folders.items()}, json.loads(table.out)[0]


def scores_of(run):
    with np.load(run.folder / "test_scores.npz") as arrays:
        return dict(arrays)


def test_a_metric_of_ones_own_is_measured_with_the_weights_of_the_rows(compared):
    runs, _ = compared
    for run in runs.values():
        scores, found = scores_of(run), run.read("metrics.json")
        assert found["eval_sample_weight"] is True
        p, y, w = (scores[name].astype(np.float64) for name in ("click_pred", "click_label", "weight"))
        assert np.array_equal(w, np.random.default_rng(2).integers(0, 4, 240))
        assert found["test"]["click_Brier"] == pytest.approx((w * (p - y) ** 2).sum() / w.sum(), rel=1e-5)
        assert found["test"]["click_AUC"] == pytest.approx(
            METRICS["AUC"].function(np.repeat(y, w.astype(int)), np.repeat(p, w.astype(int)))
        )
        bought = scores["buy_label"]
        assert found["test"]["buy_best_row"] == pytest.approx(
            scores["buy_pred"][(bought == 1) & (w > 0)].max()
        )
        assert "[Task: click][Metrics] AUC: " in run.out
        assert " - top_lift: " in run.out


def test_it_is_watched_and_broken_down(compared):
    runs, _ = compared
    run = runs["Toy"]
    watched = {
        each["step"]: -each["metrics"]["click_Brier"] + 0.01 * each["metrics"]["click_top_lift"]
        for each in run.evaluations
    }
    assert len(watched) == 2
    assert run.read("metrics.json")["best_step"] == max(watched, key=watched.get)
    block = run.read("metrics.json")["metrics_by"]["values"]
    scores = scores_of(run)
    here = toy_columns(240, 2)["item"] == 3
    p, y, w = (scores[name].astype(np.float64)[here] for name in ("click_pred", "click_label", "weight"))
    assert block["3"]["metrics"]["click_Brier"] == pytest.approx((w * (p - y) ** 2).sum() / w.sum(), rel=1e-5)


def test_it_is_compared_with_intervals_or_the_reason_why_it_has_none(compared):
    _, table = compared
    row = next(row for row in table["rows"] if row["expid"] == "ToyDomains")
    for column in ("click_Brier", "buy_Brier", "click_top_lift", "Brier", "top_lift"):
        difference = row["differences"][column]
        assert difference["low"] < difference["high"], column
    assert row["differences"]["best_row"]["reason"] == "a maximum over rows has no interval"
    assert (
        "Intervals of top_lift rest on 200 resamples, on each of which it is computed anew." in table["notes"]
    )
    (note,) = [each for each in table["notes"] if "a maximum over rows has no interval" in each]
    assert note.startswith("No interval of ")
    assert "best_row" in note
    assert "Sample weights count in the metrics." in table["notes"]
    values = {r["expid"]: r["metrics"]["click_Brier"]["mean"] for r in table["rows"]}
    assert table["best"]["click_Brier"] == [min(values, key=values.get)]


def test_a_table_without_the_file_says_what_is_missing(compared, monkeypatch):
    runs, _ = compared
    for name in ("Brier", "top_lift", "best_row"):
        monkeypatch.delitem(METRICS, name)
    root = runs["Toy"].folder.parents[2]
    table = json.loads(call("compare", *EXPIDS, "--model_root", root, "--format", "json").out)[0]
    assert (
        "No interval of click_Brier against Toy: no metric that is known measures click_Brier (--models)."
        in table["notes"]
    )

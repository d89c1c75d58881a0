"""Conversion checks as columns of a comparison, and as plots of its page."""

import numpy as np
import pytest
from synthetic_runs import labels_of_test, noisy_scores, write_run

from fuxi_mtl.comparison import compare, read_run
from fuxi_mtl.evaluation.conversion_checks import check_conversions, conversion_pairs
from fuxi_mtl.options import ConversionOptions
from fuxi_mtl.report import render
from fuxi_mtl.tasks import parse_task

PAIR = conversion_pairs([parse_task("ctr", "click"), parse_task("cvr", "conversion | click")])


def checks(seed=0, **changes):
    """A block as a run leaves it."""
    labels = labels_of_test()
    price = np.random.default_rng(seed).normal(size=4000) + labels["ctr"]
    block = check_conversions(
        PAIR,
        labels,
        {"ctr": noisy_scores(labels["ctr"], 1, seed), "cvr": noisy_scores(labels["cvr"], 1, seed + 1)},
        ConversionOptions(resamples=20),
        covariates=lambda: [("price", price), ("member", price > 1)],
    )
    return {"split": "test", **block, **changes}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        write_run(root, "ESMM_x", seed, conversion_checks=checks(seed))
        write_run(root, "MMoE_x", seed)
    return [read_run(folder) for folder in sorted(root.glob("*/*/*"))]


def test_the_numbers_are_columns_on_request_only(runs):
    (plain,), (table,) = compare(runs, resamples=0), compare(runs, checks=True, resamples=0)
    added = [column for column in table.columns if column not in plain.columns]
    assert added == list(runs[0].conversion_checks["values"])
    assert table.columns[: len(plain.columns)] == plain.columns
    seen = {run.seed: run.conversion_checks["values"]["cvr_CRR.1"] for run in runs if run.expid == "ESMM_x"}
    assert table.rows[0].cells["cvr_CRR.1"].by_seed == seen
    assert table.rows[1].cells["cvr_CRR.1"].reason == "this experiment does not measure it"
    assert table.best["cvr_CRR.1"] == frozenset()


def test_a_difference_of_checks_has_a_value_and_no_interval(tmp_path):
    runs = [read_run(write_run(tmp_path, name, conversion_checks=checks(i))) for i, name in enumerate("ab")]
    (table,) = compare(runs, "a", checks=True, resamples=100)
    found = table.rows[1].differences["cvr_CRR.1"]
    first, second = (run.conversion_checks["values"]["cvr_CRR.1"] for run in runs)
    assert found.value == pytest.approx(second - first)
    assert np.isnan(found.low)
    (note,) = [each for each in table.notes if "conversion checks are not resampled" in each]
    assert note.startswith("No interval of ")
    assert note.endswith(" against a: conversion checks are not resampled.")
    assert not np.isnan(table.rows[1].differences["cvr_AUC"].low)


def test_an_undefined_number_keeps_its_reason(tmp_path):
    block = checks()
    block["values"]["cvr_CRR.1"] = None
    block["undefined"]["cvr_CRR.1"] = "no clicked row has a match within the caliper"
    run = read_run(write_run(tmp_path, "a", conversion_checks=block))
    (table,) = compare([run], checks=True)
    assert table.rows[0].cells["cvr_CRR.1"].reason == "no clicked row has a match within the caliper"


def test_checks_that_no_run_has_cannot_be_shown(tmp_path):
    with pytest.raises(ValueError, match="no run has conversion checks. Run an experiment with"):
        compare([write_run(tmp_path, "a")], checks=True)


def test_the_page_heads_the_numbers_with_their_task(runs):
    page = render(compare(runs, checks=True, resamples=0), "html")
    assert 'title="cvr_CRR.1"><button type="button"><span class="wide">CRR.1</span>' in page
    # The table has two parts, cut between tasks.
    spans = "".join(part.split("</tr>")[0] for part in page.split('<tr class="tasks">')[1:])
    assert [each.split("<")[0] for each in spans.split('scope="colgroup">')[1:]] == [
        "ctr",
        "cvr",
        "mean over tasks",
        "cvr",
    ]

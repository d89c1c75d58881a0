"""Metrics of values: golden numbers, conventions and where they have none."""

import numpy as np
import pytest

from fuxi_mtl.comparison.bootstrap import Direct, replicates, resampling, statistic
from fuxi_mtl.metrics import METRICS, Observations, auc
from fuxi_mtl.metrics.values import gini, xauc, xgauc


def test_xauc_counts_pairs_with_different_labels_and_half_of_ties():
    assert xauc([1, 3, 3, 10], [0.2, 0.5, 0.4, 0.4]) == pytest.approx(3.5 / 5)
    assert xauc([1, 2, 3], [7, 7, 7]) == 0.5
    assert np.isnan(xauc([2, 2], [1, 3]))
    assert np.isnan(xauc([], []))


@pytest.mark.parametrize("weighted", [False, True])
def test_xauc_is_the_share_of_all_pairs_one_by_one(weighted):
    rng = np.random.default_rng(0)
    for count in [1, 2, 3, *rng.integers(4, 70, 30)]:
        y, v = rng.integers(0, 6, count).astype(float), rng.integers(-3, 5, count) / 4
        w = rng.random(count) if weighted else np.ones(count)
        comparable = np.outer(w, w) * (y[:, None] > y)
        won = (comparable * ((v[:, None] > v) + (v[:, None] == v) / 2)).sum()
        found = xauc(y, v, w if weighted else None)
        assert found == pytest.approx(won / comparable.sum()) if comparable.any() else np.isnan(found)


def test_xauc_of_two_classes_is_auc_whatever_the_size():
    rng = np.random.default_rng(1)
    y, v = (rng.random(5000) < 0.2).astype(np.float32), rng.normal(size=5000).astype(np.float32)
    assert xauc(y, v) == pytest.approx(auc(y, v), abs=1e-12)


def test_xgauc_leaves_out_who_has_one_label_or_no_group_and_weighs_by_rows():
    groups = np.array(["a", "a", "a", "b", "b", "c", ""])
    found = xgauc([1, 2, 3, 5, 4, 9, 1], [1, 3, 2, 2, 1, 0, 0], groups)
    assert (found.groups, found.coverage) == (2, 5 / 7)
    assert found.value == pytest.approx((3 * 2 / 3 + 2 * 1) / 5)
    metric, rows = METRICS["XGAUC"], ([1.0, 2.0], [1.0, 2.0])
    assert metric.undefined(np.array(rows[0]), np.array(rows[1]), np.array(["a", "b"])) == (
        "no group has rows with different labels"
    )


def test_gini_is_the_area_between_rows_with_a_line_across_ties():
    assert gini([0, 5, 0, 20], [0.1, 0.5, 0.1, 0.9]) == pytest.approx(1)
    assert gini([0, 5, 0, 20], [0.9, 0.3, 0.2, 0.1]) == pytest.approx(-0.55 / 0.65)
    assert gini([0, 5, 0, 20], [1, 1, 1, 1]) == pytest.approx(0)
    assert np.isnan(gini([-1, 5], [0, 1]))


def test_a_correlation_without_two_predictions_says_so():
    metric = METRICS["Spearman"]
    assert metric.undefined(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == "all predictions are 3"
    assert METRICS["R2"].function([1, 2, 3], [1, 2, 3]) == 1


def test_resamples_of_xauc_have_the_spread_of_exact_ones():
    rng = np.random.default_rng(2)
    y = rng.exponential(size=300)
    v = y + rng.normal(size=300) * 2
    built, drawn = statistic(METRICS["XAUC"], y, v), resampling(300, None, resamples=200)
    direct = Direct(METRICS["XAUC"], Observations.of(y, v), np.ones(300, bool)).replicates(drawn)
    values = replicates({"XAUC": built}, drawn)["XAUC"]
    assert np.std(values) == pytest.approx(np.std(direct), rel=0.05)
    assert np.corrcoef(values, direct)[0, 1] > 0.98

"""The paired bootstrap against metrics recomputed on every resample."""

import numpy as np
import pytest

from fuxi_mtl import metrics
from fuxi_mtl.comparison.bootstrap import (
    MAX_UNITS,
    _distinct,
    interval,
    replicates,
    resampling,
    statistic,
)
from fuxi_mtl.metrics import METRICS, sums_of


def small_data(rows=1500, rate=0.3):
    rng = np.random.default_rng(8)
    labels = (rng.random(rows) < rate).astype(np.float32)
    predictions = np.clip(0.4 * labels + 0.6 * rng.random(rows), 0.01, 0.99).astype(np.float32)
    labels[::7] = np.nan
    return labels, predictions


def counted(drawn, resample):
    return drawn.surplus[resample].astype(np.int64) + 1


def exact(name, labels, predictions, weights, **arguments):
    """The metric of one resample, recomputed from scratch with the draws as weights."""
    rows = np.repeat(np.arange(len(labels)), weights)
    arguments = {
        key: value[rows] if isinstance(value, np.ndarray) else value for key, value in arguments.items()
    }
    return metrics.METRICS[name].function(labels[rows], predictions[rows], **arguments)


@pytest.mark.parametrize("name", ["logloss", "PCOC", "MAE", "RMSE", "precision", "recall", "F1", "accuracy"])
def test_a_resampled_sum_is_the_metric_of_the_resample(name):
    labels, predictions = small_data()
    threshold = {"threshold": 0.5} if "threshold" in metrics.METRICS[name].inputs else {}
    built = statistic(METRICS[name], labels, predictions, **threshold)
    drawn = resampling(len(labels), resamples=20)
    values = replicates({name: built}, drawn)[name]
    expected = [exact(name, labels, predictions, counted(drawn, i), **threshold) for i in range(20)]
    assert values == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "tolerance"), [("AUC", 0.03), ("KS", 0.15)])
@pytest.mark.parametrize(("rows", "rate"), [(1500, 0.3), (3000, 0.015)])
def test_metrics_that_are_no_sums_vary_as_those_of_the_resamples(name, tolerance, rows, rate):
    labels, predictions = small_data(rows, rate)
    drawn = resampling(len(labels), resamples=200)
    values = replicates({name: statistic(METRICS[name], labels, predictions)}, drawn)[name]
    expected = [exact(name, labels, predictions, counted(drawn, i)) for i in range(200)]
    assert values.std() == pytest.approx(np.std(expected), rel=tolerance)
    assert np.corrcoef(values, expected)[0, 1] > 1 - tolerance


def test_ece_keeps_the_bins_of_all_rows():
    labels, predictions = small_data()
    built = statistic(METRICS["ECE"], labels, predictions)
    assert built.value() == pytest.approx(metrics.ece(labels, predictions))
    drawn = resampling(len(labels), resamples=3)
    seen = ~np.isnan(labels)
    bin_of = metrics.equal_bins(predictions[seen])
    for i, value in enumerate(replicates({"ECE": built}, drawn)["ECE"]):
        weights = counted(drawn, i)[seen]
        gaps = np.bincount(bin_of, weights * (predictions - labels)[seen])
        assert value == pytest.approx(np.abs(gaps).sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("name", ["AUC", "KS", "ECE", "logloss"])
def test_without_both_classes_a_resampled_metric_is_nan_or_defined_but_never_a_crash(name):
    for labels in (np.full(3, np.nan, np.float32), np.ones(3, np.float32)):
        built = statistic(METRICS[name], labels, np.array([0.1, 0.2, 0.3], np.float32))
        assert replicates({name: built}, resampling(3, resamples=4))[name].shape == (4,)


@pytest.mark.parametrize("weight", ["exposures", "clicks"])
def test_gauc_is_resampled_by_whole_groups(weight):
    labels, predictions = small_data()
    groups = np.random.default_rng(3).integers(0, 60, len(labels))
    built = statistic(METRICS["gAUC"], labels, predictions, groups=groups, gauc_weight=weight)
    assert built.value() == pytest.approx(metrics.gauc(labels, predictions, groups, weight).value)
    drawn = resampling(len(labels), groups, resamples=5)
    values = replicates({"gAUC": built}, drawn)["gAUC"]
    for i in range(5):
        weights = counted(drawn, i)[drawn.unit_of_row]
        rows = np.repeat(np.arange(len(labels)), weights)
        copy = np.concatenate([np.arange(n) for n in weights])  # a group drawn twice is two groups
        expected = metrics.gauc(labels[rows], predictions[rows], groups[rows] * 100 + copy, weight).value
        assert values[i] == pytest.approx(expected, abs=1e-6)


def test_rows_of_a_group_are_drawn_together_and_rows_without_one_alone():
    groups = np.array(["a", "b", "a", None, None], object)
    units = resampling(5, groups, resamples=1).unit_of_row
    assert units[0] == units[2]
    assert len(set(units)) == 4


def test_many_rows_are_bundled_without_changing_the_spread():
    rows = MAX_UNITS + 50_000
    values = np.random.default_rng(0).random(rows).astype(np.float32)
    drawn = resampling(rows, resamples=100)
    assert drawn.surplus.shape == (100, MAX_UNITS)
    means = replicates({"MAE": statistic(METRICS["MAE"], np.zeros(rows, np.float32), values)}, drawn)["MAE"]
    assert means.std() == pytest.approx(values.std() / np.sqrt(rows), rel=0.25)


def test_a_statistic_without_what_it_needs_is_refused():
    labels, predictions = small_data()
    with pytest.raises(ValueError, match="the threshold of F1 was not stored"):
        statistic(METRICS["F1"], labels, predictions)
    with pytest.raises(ValueError, match="the groups of gAUC were not stored"):
        statistic(METRICS["gAUC"], labels, predictions)
    assert replicates({}, resampling(3, resamples=2)) == {}


@pytest.mark.parametrize(("level", "ends"), [(0.95, (25, 975)), (0.8, (100, 900))])
def test_an_interval_lies_between_percentiles(level, ends):
    assert interval(np.random.default_rng(4).permutation(np.arange(1001.0)), level) == pytest.approx(ends)


def test_an_interval_needs_nine_values_of_ten():
    values = np.arange(100.0)
    values[:10] = np.nan
    assert interval(values, 0.9) == pytest.approx((14.45, 94.55))
    values[10] = np.nan
    assert interval(values, 0.9) is None


def test_a_seed_draws_the_same_resamples_and_another_one_others():
    first, again, other = (resampling(20, resamples=5, seed=seed).surplus for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (first.sum(axis=1) == 0).all()  # as many as there are


def test_what_models_share_is_multiplied_once_and_every_value_is_that_of_all_columns():
    labels, predictions = small_data(400)
    labels[np.isnan(labels)] = 0
    models = [predictions, predictions[::-1].copy(), np.round(predictions, 1)]
    built = {
        (i, name): statistic(METRICS[name], labels, each)
        for i, each in enumerate(models)
        for name in ("AUC", "logloss", "KS")
    }
    of_means = [each for (_, name), each in built.items() if name != "KS"]
    table, places = _distinct(of_means)
    assert len(table) == 3 + 3 * len(models)  # both classes and ones, then three of each model
    assert [len(own) for own in places] == [4, 2] * len(models)
    drawn = resampling(len(labels), resamples=300)  # some blocks
    found = replicates(built, drawn)
    counts = drawn.surplus.astype(np.float64) + 1
    for key, each in built.items():
        assert found[key] == pytest.approx(each.finish(counts @ each.columns.astype(np.float64)), abs=1e-6)


@pytest.mark.parametrize("digits", [1, 7])  # many ties, and few
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_auc_rest_on_the_pairs_of_rows(digits, weighted):
    rng = np.random.default_rng(5)
    labels, predictions = rng.random(300) < 0.2, np.round(rng.random(300), digits)
    weights = rng.random(300) if weighted else None
    built = METRICS["AUC"].sums(labels, predictions, weights)
    mass = np.ones(300) if weights is None else weights
    above = predictions[:, None] - predictions
    beats = (above > 0) + 0.5 * (above == 0)  # (row, other)
    of_ones = (beats * mass)[:, ~labels].sum(axis=1) / mass[~labels].sum()
    of_zeros = 1 - (beats * mass)[:, labels].sum(axis=1) / mass[labels].sum()
    value = (mass * of_ones)[labels].sum() / mass[labels].sum()
    expected = [np.where(labels, of_ones - value, 0), labels, np.where(labels, 0, of_zeros - value), ~labels]
    np.testing.assert_allclose(built.columns, (np.array(expected, float) * mass).T, atol=1e-12)


def test_columns_of_one_sum_are_not_one_column():
    first, second = np.array([1.0, 2.0, 0.0]), np.array([2.0, 1.0, 0.0])
    table, places = _distinct([sums_of(first, second), sums_of(second, first)])
    assert table.tolist() == [first.tolist(), second.tolist()]
    assert places == [[0, 1], [1, 0]]

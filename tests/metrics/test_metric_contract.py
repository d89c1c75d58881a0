"""What every metric of the tables keeps to: values, sample weights, direction, sums, reasons."""

import numpy as np
import pytest

from fuxi_mtl import metrics
from fuxi_mtl.comparison.bootstrap import Direct, replicates, resampling, statistic
from fuxi_mtl.metrics import METRICS, NO_PARTS, TRUTH_METRICS, Observations, Parts

ALL = {**METRICS, **TRUTH_METRICS}
BINARY_LABELS = {name for name, metric in METRICS.items() if "binary" in metric.kinds} | {"truth_AUC"}
# Least correlation of what the sums only come near to: linearised, on 32 thresholds, in the bins of all rows.
NEAR = {"AUC": 0.98, "KS": 0.85, "ECE": 0.65, "truth_AUC": 0.98, "truth_ECE": 0.65}
NEAR |= {"XAUC": 0.95, "bucket_bias": 0.65, "macro_AUC": 0.98}
THRESHOLD = 0.5
TAUS = (0.1, 0.25, 0.9)


def parts_of(name, labels, away=0.0):
    """What lies `away` of the labels, from 0 up: chances with ties, or quantiles."""
    if "chances" in ALL[name].inputs:
        own = np.arange(3) == labels[:, None]
        far = np.random.default_rng(1).integers(1, 9, own.shape) / 8
        return Parts(chances=(own + away * far) / (own + away * far).sum(axis=1, keepdims=True))
    if "quantiles" in ALL[name].inputs:
        drawn = np.round(np.random.default_rng(1).random(len(labels)), 1)
        middle = labels + away * (drawn - 0.5)
        return Parts(quantiles=middle[:, None] + 0.05 * np.arange(-1, 2), taus=TAUS)
    return NO_PARTS


def rows_of(name, count=400, seed=0, weights=None):
    """Tied scores, their labels or truth, groups, and sample weights."""
    rng = np.random.default_rng(seed)
    truth = np.round(rng.random(count), 2)
    labels = (rng.random(count) < truth).astype(np.float32) if name in BINARY_LABELS else truth
    if "chances" in ALL[name].inputs:
        labels = np.floor(3 * truth).clip(0, 2)
    predictions = np.clip(np.floor((0.6 * truth + 0.4 * rng.random(count)) * 25) / 25, 0.02, 0.98)
    groups = rng.integers(0, 30, count).astype(np.float64)
    groups[::11] = np.nan
    if weights == "whole":
        weights = rng.integers(0, 4, count)
    elif weights:
        weights = rng.random(count) * 3
    return Observations.of(
        labels,
        predictions.astype(np.float32),
        weights=weights,
        groups=groups,
        threshold=THRESHOLD,
        parts=parts_of(name, labels, 2.0),
    )


def pairs(y, p, w):
    """Won weight and weight of all pairs of a positive and a negative row."""
    weight = np.outer(w[y == 1], w[y == 0])
    above = np.sign(np.subtract.outer(p[y == 1], p[y == 0])) / 2 + 0.5
    return (weight * above).sum(), weight.sum()


def auc(y, p, w, groups):
    won, all_pairs = pairs(y, p, w)
    return won / all_pairs


def gauc(y, p, w, groups):
    total = weight = 0.0
    for group in np.unique(groups[~np.isnan(groups)]):
        inside = groups == group
        if len(set(y[inside])) == 2:
            total += w[inside].sum() * auc(y[inside], p[inside], w[inside], None)
            weight += w[inside].sum()
    return total / weight


def ks(y, p, w, groups):
    def share(klass, t):
        return w[(y == klass) & (p >= t)].sum() / w[y == klass].sum()

    return max(abs(share(1, t) - share(0, t)) for t in np.unique(p))


def ece(y, p, w, groups):
    """In bins that a row enters when the rows at or below a score are more than its share of all weight."""
    whole = w.sum()
    edges = sorted(
        {min(s for s in np.unique(p) if w[p <= s].sum() > i * whole / 10 - 1e-9) for i in range(1, 10)}
    )
    bin_of = np.array([sum(score >= edge for edge in edges) for score in p])
    gaps = [abs((w * (p - y))[bin_of == i].sum()) for i in range(len(edges) + 1)]
    return sum(gaps) / whole


def value_pairs(y, p, w):
    """Won weight and weight of all pairs of rows with different labels."""
    weight = np.outer(w, w) * (np.subtract.outer(y, y) > 0)
    above = np.sign(np.subtract.outer(p, p)) / 2 + 0.5
    return (weight * above).sum(), weight.sum()


def xgauc(y, p, w, groups):
    total = weight = 0.0
    for group in np.unique(groups[~np.isnan(groups)]):
        inside = groups == group
        won, pairs = value_pairs(y[inside], p[inside], w[inside])
        if pairs:
            total += w[inside].sum() * won / pairs
            weight += w[inside].sum()
    return total / weight


def spearman(y, p, w, groups):
    ranks = [[w[x < each].sum() + w[x == each].sum() / 2 for each in x] for x in (y, p)]
    a, b = (np.array(rank) - mean(np.array(rank), w) for rank in ranks)
    return mean(a * b, w) / np.sqrt(mean(a * a, w) * mean(b * b, w))


def gini(y, p, w, groups):
    """One minus twice the area between the curve, a line across ties, and the axis of rows."""

    def area(by):
        x = held = total = 0.0
        for each in sorted(set(by), reverse=True):
            rows, sums = w[by == each].sum(), (w * y)[by == each].sum()
            total += rows * (held + sums / 2)
            x, held = x + rows, held + sums
        return 2 * total / (x * held) - 1

    return area(p) / area(y)


def kl(y, p, w, groups):
    """Bins end where the labels at or below an edge are more than their share of all weight."""
    edges = sorted(
        {min(s for s in np.unique(y) if w[y <= s].sum() > i * w.sum() / 20 + 1e-9) for i in range(1, 20)}
    )
    held = np.ones((2, len(edges) + 1))
    for row, x in zip(held, (y, p), strict=True):
        for value, weight in zip(x, w, strict=True):
            row[sum(value >= edge for edge in edges)] += weight
    a, b = held / held.sum(axis=1, keepdims=True)
    return (a * np.log(a / b)).sum()


def macro_auc(y, chances, w):
    found = [np.divide(*pairs((y == c).astype(float), chances[:, c], w)) for c in range(3)]
    return np.mean(found)


def pinball(y, quantiles, w):
    away = y[:, None] - quantiles
    losses = np.where(away > 0, np.array(TAUS) * away, (np.array(TAUS) - 1) * away)
    return mean(losses.mean(axis=1), w)


def mean(values, w):
    return (values * w).sum() / w.sum()


def cases(y, p, w):
    yes = p >= THRESHOLD
    return w[yes & (y == 1)].sum(), w[yes].sum(), w[y == 1].sum()


BY_HAND = {
    "AUC": auc,
    "gAUC": gauc,
    "KS": ks,
    "ECE": ece,
    "logloss": lambda y, p, w, g: mean(-np.log(np.where(y == 1, p, 1 - p)), w),
    "precision": lambda y, p, w, g: cases(y, p, w)[0] / cases(y, p, w)[1],
    "recall": lambda y, p, w, g: cases(y, p, w)[0] / cases(y, p, w)[2],
    "F1": lambda y, p, w, g: 2 * cases(y, p, w)[0] / (cases(y, p, w)[1] + cases(y, p, w)[2]),
    "accuracy": lambda y, p, w, g: mean((p >= THRESHOLD) == (y == 1), w),
    "PCOC": lambda y, p, w, g: mean(p, w) / mean(y, w),
    "MAE": lambda y, p, w, g: mean(abs(p - y), w),
    "RMSE": lambda y, p, w, g: np.sqrt(mean((p - y) ** 2, w)),
    "XAUC": lambda y, p, w, g: np.divide(*value_pairs(y, p, w)),
    "XGAUC": xgauc,
    "value_PCOC": lambda y, p, w, g: mean(p, w) / mean(y, w),
    "NMAE": lambda y, p, w, g: mean(abs(p - y), w) / mean(y, w),
    "R2": lambda y, p, w, g: 1 - mean((p - y) ** 2, w) / mean((y - mean(y, w)) ** 2, w),
    "Spearman": spearman,
    "bucket_bias": lambda y, p, w, g: ece(y, p, w, g) / mean(y, w),
    "Gini": gini,
    "KL": kl,
    "macro_AUC": lambda y, o, w, g: macro_auc(y, o.chances, w),
    "class_logloss": lambda y, o, w, g: mean(
        [-np.log(p[int(c)]) for p, c in zip(o.chances, y, strict=True)], w
    ),
    "class_accuracy": lambda y, o, w, g: mean(
        [list(p).index(max(p)) == c for p, c in zip(o.chances, y, strict=True)], w
    ),
    "pinball": lambda y, o, w, g: pinball(y, o.quantiles, w),
    "coverage_gap": lambda y, o, w, g: (
        mean((o.quantiles[:, 0] <= y) & (y <= o.quantiles[:, 2]), w) - (TAUS[2] - TAUS[0])
    ),
    "bias": lambda y, p, w, g: mean(p - y, w),
    "truth_MSE": lambda y, p, w, g: mean((p - y) ** 2, w),
    "truth_AUC": auc,
    "truth_PCOC": lambda y, p, w, g: mean(p, w) / mean(y, w),
    "truth_ECE": ece,
}


@pytest.mark.parametrize("weights", [None, "whole", "any"])
@pytest.mark.parametrize("name", ALL)
def test_the_value_is_that_of_its_definition_with_and_without_weights(name, weights):
    rows = rows_of(name, weights=weights)
    w = np.ones(len(rows.labels)) if weights is None else rows.weights
    by_hand = BY_HAND[name.removesuffix("_clicked").removesuffix("_unclicked")]
    p, y = rows.predictions.astype(np.float64), rows.labels.astype(np.float64)
    p = p if rows.chances is None and rows.quantiles is None else rows  # what is predicted beside
    assert ALL[name].measure(rows).value == pytest.approx(by_hand(y, p, w, rows.groups), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ALL)
def test_a_row_of_weight_two_is_that_row_twice_and_of_weight_zero_none(name, seed):
    weighted = rows_of(name, 150, seed, weights="whole")
    rows = np.repeat(np.arange(len(weighted.labels)), weighted.weights.astype(int))
    repeated = Observations.of(
        weighted.labels[rows],
        weighted.predictions[rows],
        groups=weighted.groups[rows],
        threshold=THRESHOLD,
        parts=weighted.parts.take(rows),
    )
    for gauc_weight in ("exposures", "clicks"):
        ours, theirs = (
            ALL[name].measure(
                Observations(o.labels, o.predictions, o.weights, o.groups, o.threshold, gauc_weight, o.parts)
            )
            for o in (weighted, repeated)
        )
        assert ours.value == pytest.approx(theirs.value, rel=1e-9)
        assert ours.notes == pytest.approx(dict(theirs.notes))


@pytest.mark.parametrize("choose", [metrics.base_rate_threshold, metrics.best_f1_threshold])
@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_those_of_the_repeated_rows(choose, seed):
    rows = rows_of("AUC", 60, seed, weights="whole")
    repeated = np.repeat(np.arange(len(rows.labels)), rows.weights.astype(int))
    expected = choose(rows.labels[repeated], rows.predictions[repeated])
    assert choose(rows.labels, rows.predictions, rows.weights) == expected


@pytest.mark.parametrize("name", ALL)
def test_predictions_that_are_the_labels_are_better_than_noisy_ones(name):
    rows = rows_of(name)
    noisy = ALL[name].measure(rows).value
    right = ALL[name].measure(
        Observations(
            rows.labels,
            rows.labels.astype(np.float32),
            None,
            rows.groups,
            THRESHOLD,
            parts=parts_of(name, rows.labels),
        )
    )
    assert ALL[name].merit(right.value) > ALL[name].merit(noisy)
    assert ALL[name].larger_is_better == {"max": True, "min": False}.get(ALL[name].direction)


@pytest.mark.parametrize("weights", [None, "any"])
@pytest.mark.parametrize("name", ALL)
def test_the_sums_of_a_resample_are_the_metric_of_its_rows(name, weights):
    rows, metric = rows_of(name, weights=weights), ALL[name]
    built = statistic(
        *(metric, rows.labels, rows.predictions),
        weights=rows.weights,
        groups=rows.groups,
        threshold=THRESHOLD,
        parts=rows.parts,
    )
    assert isinstance(built, Direct) == (metric.sums is None)
    assert built.value() == pytest.approx(metric.measure(rows).value, rel=1e-6)
    # What asks for groups is drawn by groups; a group that is drawn twice is two groups.
    units = rows.groups if "groups" in metric.inputs else None
    drawn = resampling(len(rows.labels), units, resamples=100)
    direct = Direct(metric, rows, np.ones(len(rows.labels), bool)).replicates(drawn)
    values = replicates({name: built}, drawn)[name]
    if name in NEAR:
        assert np.std(values) == pytest.approx(np.std(direct), rel=0.2)
        assert np.corrcoef(values, direct)[0, 1] > NEAR[name]
    else:
        assert values == pytest.approx(direct, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_has_a_value_or_a_reason(name, value):
    labels, predictions = np.full(6, value), np.linspace(0.1, 0.9, 6)
    weights, groups = np.array([1, 2, 0, 1, 1, 1.0]), np.array([1, 1, 1, 2, 2, np.nan])
    parts = parts_of(name, labels, 2.0)
    rows = Observations.of(
        labels, predictions, weights=weights, groups=groups, threshold=THRESHOLD, parts=parts
    )
    measured, reason = METRICS[name].measure(rows).value, METRICS[name].why_undefined(rows)
    needs = METRICS[name].needs
    if needs in ("both", "different") or (needs == "positive" and value == 0):
        assert np.isnan(measured)
        assert reason == f"all 5 labels are {value:g}"
    else:
        assert not np.isnan(measured)
        assert reason == ""


@pytest.mark.parametrize("name", ALL)
def test_each_says_in_a_sentence_what_it_is(name):
    assert ALL[name].doc.endswith(".")
    assert len(ALL[name].doc) > 15


def test_weights_that_are_none_are_refused():
    for strange in (-1.0, np.nan):
        with pytest.raises(ValueError, match="a sample weight is .*: it must be 0 or more"):
            metrics.auc([1, 0], [0.2, 0.1], [1.0, strange])


def test_classes_and_quantiles_that_are_not_there_are_a_reason():
    rows = Observations.of([0.0, 1.0], [0.2, 0.7])
    assert METRICS["class_logloss"].why_undefined(rows) == (
        "it measures classes, and there are no probabilities of any"
    )
    assert METRICS["pinball"].why_undefined(rows) == "it measures quantiles, and none are predicted"
    assert np.isnan(METRICS["pinball"].measure(rows).value)
    with pytest.raises(ValueError, match="the quantiles of pinball were not stored with the run"):
        METRICS["pinball"].resampled(rows)
    single = Observations.of([0.0, 1.0], [0.2, 0.7], parts=Parts(quantiles=np.ones((2, 1)), taus=(0.5,)))
    assert METRICS["coverage_gap"].why_undefined(single) == "the quantile 0.5 alone makes no interval"
    bad = Observations.of([0.0, 1.0], [0.2, 0.7], parts=Parts(chances=np.array([[np.nan, 1], [0.5, 0.5]])))
    assert METRICS["class_logloss"].why_undefined(bad) == "1 of 2 predictions are NaN"


def test_a_class_that_no_row_has_is_no_part_of_the_mean():
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    assert metrics.METRICS["macro_AUC"].function(np.array([0, 1, 0]), np.zeros(3), chances) == 1.0


def test_pinball_and_the_golden_losses_of_the_sheet_agree():
    found = METRICS["pinball"].function(np.array([3.0]), np.zeros(1), np.zeros((1, 2)), (0.5, 0.9))
    assert found == pytest.approx((1.5 + 2.7) / 2)
    found = METRICS["pinball"].function(np.array([-2.0]), np.zeros(1), np.zeros((1, 2)), (0.5, 0.9))
    assert found == pytest.approx((1 + 0.2) / 2)

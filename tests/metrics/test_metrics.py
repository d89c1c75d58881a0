"""Metrics against hand numbers, scikit-learn and plain loops."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import ks_2samp

from fuxi_mtl import metrics

LABELS = np.array([1, 0, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.8, 0.3, 0.1])


def rows_with_ties(seed, rows=3000, rate=0.2, levels=40):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(np.float32)
    scores = np.round(rng.random(rows) * 0.7 + 0.3 * labels * rng.random(rows), 3)
    scores = np.floor(scores * levels) / levels
    return labels, scores.astype(np.float32), rng.random(rows) + 0.1


def test_auc_and_ks_of_five_rows_are_the_hand_numbers():
    assert metrics.auc(LABELS, SCORES) == pytest.approx(11 / 12)
    assert metrics.ks(LABELS, SCORES) == pytest.approx(2 / 3)


def test_auc_is_one_zero_and_half_for_perfect_reversed_and_constant_scores():
    assert metrics.auc(LABELS, LABELS) == 1.0
    assert metrics.auc(LABELS, -LABELS) == 0.0
    assert metrics.auc(LABELS, np.full(5, 0.3)) == 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_every_metric_equals_scikit_learn_with_ties_and_weights(seed, weighted):
    labels, scores, weights = rows_with_ties(seed)
    weights = weights if weighted else None
    assert metrics.auc(labels, scores, weights) == pytest.approx(
        sk.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    assert metrics.logloss(labels, scores, weights) == pytest.approx(
        sk.log_loss(labels, scores, sample_weight=weights), rel=1e-6
    )
    yes = scores >= 0.5
    for ours, theirs in [
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
        (metrics.accuracy, sk.accuracy_score),
    ]:
        assert ours(labels, scores, 0.5, weights) == pytest.approx(
            theirs(labels, yes, sample_weight=weights), abs=1e-12
        )
    assert metrics.mae(labels, scores, weights) == pytest.approx(
        sk.mean_absolute_error(labels, scores, sample_weight=weights)
    )
    assert metrics.rmse(labels, scores, weights) == pytest.approx(
        sk.root_mean_squared_error(labels, scores, sample_weight=weights)
    )
    false_rate, true_rate, _ = sk.roc_curve(labels, scores, sample_weight=weights)
    assert metrics.ks(labels, scores, weights) == pytest.approx(np.abs(true_rate - false_rate).max())


def test_ks_equals_the_two_sample_statistic():
    labels, scores, _ = rows_with_ties(7)
    expected = ks_2samp(scores[labels == 1], scores[labels == 0]).statistic
    assert metrics.ks(labels, scores) == pytest.approx(expected)


def test_auc_is_exact_at_a_base_rate_of_one_in_ten_thousand():
    rng = np.random.default_rng(1)
    logits = rng.normal(-9.5, 1, 400_000)
    chance = 1 / (1 + np.exp(-logits))
    labels = (rng.random(400_000) < chance).astype(np.float32)
    assert 0 < labels.mean() < 3e-4
    assert metrics.auc(labels, chance.astype(np.float32)) == pytest.approx(
        sk.roc_auc_score(labels, chance.astype(np.float32)), abs=1e-12
    )


def test_rows_without_a_label_are_dropped_everywhere():
    labels, scores, weights = rows_with_ties(3)
    groups = np.arange(len(labels)) % 50
    holes = labels.copy()
    holes[::3] = np.nan
    kept = ~np.isnan(holes)
    for function in (metrics.auc, metrics.ks, metrics.logloss, metrics.pcoc, metrics.ece, metrics.mae):
        assert function(holes, scores) == function(labels[kept], scores[kept])
        assert function(holes, scores, weights) == function(labels[kept], scores[kept], weights[kept])
    assert metrics.gauc(holes, scores, groups) == metrics.gauc(labels[kept], scores[kept], groups[kept])


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_nan_with_its_reason(value):
    labels = np.full(4, value)
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    for name in ("AUC", "KS"):
        assert np.isnan(metrics.METRICS[name].function(labels, scores))
        assert metrics.why_undefined(name, labels, scores) == f"all 4 labels are {value}"


def test_no_labelled_row_is_nan_with_its_reason():
    labels, scores = np.array([np.nan, np.nan]), np.array([0.1, 0.2])
    for name, metric in metrics.METRICS.items():
        if not metric.inputs & {"threshold", "groups", "chances", "quantiles"}:
            assert np.isnan(metric.function(labels, scores)), name
        if "groups" not in metric.inputs:
            assert metrics.why_undefined(name, labels, scores) == "no row has a label"


def test_nan_predictions_are_nan_with_their_count():
    scores = np.array([0.9, np.nan, 0.8, np.nan, 0.1])
    for name, metric in metrics.METRICS.items():
        beside = np.stack([1 - scores, scores], axis=1)
        given = {"threshold": 0.5, "groups": np.zeros(5, int), "taus": (0.1, 0.9)}
        given |= {"chances": beside, "quantiles": beside}
        value = metric.function(LABELS, scores, **{key: given[key] for key in metric.inputs & given.keys()})
        assert np.isnan(getattr(value, "value", value)), name
    assert metrics.why_undefined("AUC", LABELS, scores) == "2 of 5 predictions are NaN"
    assert np.isnan(metrics.base_rate_threshold(LABELS, scores))
    assert np.isnan(metrics.best_f1_threshold(LABELS, scores))


def test_without_a_positive_row_recall_f1_pcoc_and_thresholds_are_nan():
    zeros = np.zeros(3)
    scores = np.array([0.1, 0.2, 0.3])
    assert np.isnan(metrics.recall(zeros, scores, 0.15))
    assert np.isnan(metrics.f1(zeros, scores, 0.15))
    assert np.isnan(metrics.pcoc(zeros, scores))
    assert np.isnan(metrics.base_rate_threshold(zeros, scores))
    assert np.isnan(metrics.best_f1_threshold(zeros, scores))
    assert metrics.why_undefined("F1", zeros, scores, threshold=0.15) == "all 3 labels are 0"


def test_precision_without_a_predicted_row_is_nan_and_f1_is_zero():
    assert np.isnan(metrics.precision(LABELS, SCORES, 0.95))
    assert metrics.f1(LABELS, SCORES, 0.95) == 0.0
    assert (
        metrics.why_undefined("precision", LABELS, SCORES, threshold=0.95)
        == "no prediction reaches the threshold 0.95"
    )


def test_a_threshold_that_could_not_be_chosen_leaves_no_decision():
    assert np.isnan(metrics.accuracy(LABELS, SCORES, np.nan))
    assert (
        metrics.why_undefined("accuracy", LABELS, SCORES, threshold=np.nan) == "no threshold could be chosen"
    )


def test_a_weight_of_zero_on_a_class_is_nan():
    weights = np.array([0.0, 1, 0, 1, 1])
    assert np.isnan(metrics.auc(LABELS, SCORES, weights))
    assert np.isnan(metrics.ks(LABELS, SCORES, weights))
    assert np.isnan(metrics.pcoc(LABELS, SCORES, weights))


def test_defined_metrics_have_no_reason():
    assert metrics.why_undefined("AUC", LABELS, SCORES) == ""


def test_base_rate_predicts_as_many_positives_as_there_are():
    rng = np.random.default_rng(5)
    labels = (rng.random(5000) < 0.03).astype(np.float32)
    scores = rng.random(5000).astype(np.float32)
    threshold = metrics.base_rate_threshold(labels, scores)
    assert (scores >= threshold).sum() == labels.sum()
    assert metrics.precision(labels, scores, threshold) == metrics.recall(labels, scores, threshold)


def test_best_f1_is_the_best_of_all_thresholds():
    for seed in range(5):
        labels, scores, _ = rows_with_ties(seed, rows=300)
        chosen = metrics.f1(labels, scores, metrics.best_f1_threshold(labels, scores))
        assert chosen == max(metrics.f1(labels, scores, value) for value in np.unique(scores))


def test_logloss_survives_certain_predictions():
    assert metrics.logloss([1, 0], np.array([1, 0], np.float32)) == pytest.approx(0, abs=1e-6)
    assert metrics.logloss([1, 0], np.array([0, 1], np.float32)) == pytest.approx(-np.log(2**-23))


def test_pcoc_is_mean_prediction_over_mean_label():
    assert metrics.pcoc(LABELS, SCORES) == pytest.approx(2.9 / 2)


def test_ece_of_two_bins_is_the_hand_number():
    labels = np.array([0, 0, 1, 0, 1, 1])
    chance = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.8])
    # Bins {.1 .2 .3} with labels 0 0 1 and {.6 .7 .8} with labels 0 1 1.
    expected = (3 * abs(0.2 - 1 / 3) + 3 * abs(0.7 - 2 / 3)) / 6
    assert metrics.ece(labels, chance, bins=2) == pytest.approx(expected)


def test_ece_does_not_depend_on_the_order_of_tied_rows():
    labels, scores, _ = rows_with_ties(2, levels=5)
    order = np.random.default_rng(0).permutation(len(labels))
    assert metrics.ece(labels, scores) == pytest.approx(metrics.ece(labels[order], scores[order]))


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"Shapes given: \(5,\), \(4,\)."):
        metrics.auc(LABELS, SCORES[:4])
    with pytest.raises(ValueError, match="same length"):
        metrics.mae(np.zeros((2, 1)), np.zeros((2, 1)))


def test_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"labels 0 and 1 \(NaN where missing\), not -1"):
        metrics.auc([1, 0, -1], [0.1, 0.2, 0.3])


def test_a_metric_is_found_by_its_name_or_fuxictrs():
    assert metrics.find_metric("binary_crossentropy").name == "logloss"
    with pytest.raises(ValueError, match=r"unknown metric 'aucc'. Did you mean 'AUC'\? Known: AUC, gAUC"):
        metrics.find_metric("aucc")


def test_a_metric_is_found_in_any_case():
    written = ("auc", "GAUC", "ks", "f1", "Recall", "LOGLOSS", "Binary_CrossEntropy")
    assert [metrics.find_metric(name).name for name in written] == [
        *("AUC", "gAUC", "KS", "F1", "recall", "logloss", "logloss")
    ]


def test_merit_grows_towards_the_better_value():
    assert metrics.METRICS["AUC"].merit(0.8) > metrics.METRICS["AUC"].merit(0.7)
    assert metrics.METRICS["logloss"].merit(0.1) > metrics.METRICS["logloss"].merit(0.2)
    assert metrics.METRICS["PCOC"].merit(0.95) > metrics.METRICS["PCOC"].merit(1.1)


def test_metrics_evaluation_and_comparison_import_no_tensorflow():
    code = (
        "import sys; import fuxi_mtl.comparison, fuxi_mtl.evaluation.evaluate; "
        "import fuxi_mtl.metrics, fuxi_mtl.report.page; "
        "print([m for m in ('tensorflow', 'keras', 'sklearn', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("seed", range(5))
def test_ks_and_the_best_threshold_equal_a_loop_over_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(200) < 0.3).astype(np.float32)
    for scores in (rng.normal(size=200), np.floor(rng.random(200) * 9) / 9, -labels, labels):
        thresholds = np.unique(scores)[::-1]
        rates = [(scores[labels == 1] >= t).mean() - (scores[labels == 0] >= t).mean() for t in thresholds]
        assert metrics.ks(labels, scores) == pytest.approx(np.abs(rates).max(), abs=1e-12)
        assert metrics.ks(labels, scores, np.full(200, 3.0)) == pytest.approx(np.abs(rates).max(), abs=1e-12)
        f1s = [metrics.f1(labels, scores, t) for t in thresholds]
        assert metrics.best_f1_threshold(labels, scores) == thresholds[np.argmax(f1s)]

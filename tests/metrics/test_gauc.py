"""AUC inside groups against a loop over the groups."""

import numpy as np
import pytest
import sklearn.metrics as sk

from fuxi_mtl import metrics


def grouped_by_loop(labels, scores, groups, weight):
    values, weights = [], []
    for group in np.unique(groups):
        inside = groups == group
        if 0 < labels[inside].sum() < inside.sum():
            values.append(sk.roc_auc_score(labels[inside], scores[inside]))
            weights.append(labels[inside].sum() if weight == "clicks" else inside.sum())
    return np.average(values, weights=weights), len(values)


def rows_with_ties(seed, rows=3000):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.2).astype(np.float32)
    return labels, (np.floor((rng.random(rows) + 0.3 * labels) * 40) / 40).astype(np.float32)


@pytest.mark.parametrize("weight", ["exposures", "clicks"])
def test_c9_gauc_equals_a_loop_over_groups(weight):
    labels, scores = rows_with_ties(11)
    groups = np.random.default_rng(2).integers(-100, 50, len(labels))
    for predicted in (scores, scores.astype(np.float64), -scores, scores - np.float32(0.5)):
        result = metrics.gauc(labels, predicted, groups, weight)
        value, count = grouped_by_loop(labels, predicted, groups, weight)
        assert result.value == pytest.approx(value, abs=1e-12)
        assert result.groups == count


def test_c9_gauc_of_200k_rows_in_20k_groups_equals_a_loop_over_some_of_them():
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 20_000, 200_000)
    labels = (rng.random(200_000) < 0.2).astype(np.float32)
    scores = np.round(rng.random(200_000), 2).astype(np.float32)
    whole = metrics.gauc(labels, scores, groups)
    assert 15_000 < whole.groups < 20_000
    assert 0.8 < whole.coverage < 1
    order = np.lexsort((scores, groups))
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)[:300]
    rows = np.concatenate(parts)
    result = metrics.gauc(labels[rows], scores[rows], groups[rows])
    value, count = grouped_by_loop(labels[rows], scores[rows], groups[rows], "exposures")
    assert result.value == pytest.approx(value, abs=1e-12)
    assert result.groups == count


def test_gauc_takes_strings_and_leaves_out_rows_without_a_group():
    labels = np.array([1, 0, 1, 0, 1, 0])
    scores = np.array([0.9, 0.1, 0.2, 0.8, 0.1, 0.9])
    names = np.array(["a", "a", "b", "b", None, ""], object)
    result = metrics.gauc(labels, scores, names)
    assert (result.value, result.groups, result.coverage) == (0.5, 2, pytest.approx(4 / 6))
    assert metrics.gauc(labels, scores, np.array(["a", "a", "b", "b", "c", "c"])).groups == 3
    for others in (
        [1, 1, 2, 2, np.nan, np.nan],
        ["b", "b", "c", "c", "", ""],
        [b"b", b"b", b"c", b"c", b"", b""],
    ):
        assert metrics.gauc(labels, scores, np.array(others)) == result
    assert metrics.gauc(labels, scores, [True] * 4 + [False] * 2).groups == 2


def test_gauc_takes_groups_that_lie_far_apart():
    groups = np.array([0, 0, 2**62, 2**62])
    assert metrics.gauc([1, 0, 1, 0], np.array([0.9, 0.1, 0.2, 0.8]), groups).value == 0.5


def test_negative_zero_ties_with_zero_in_gauc():
    scores = np.array([0.0, -0.0], np.float32)
    assert metrics.gauc([1, 0], scores, [7, 7]).value == 0.5


def test_gauc_without_a_group_of_both_classes_is_nan_with_its_reason():
    labels = [1, 0]
    for groups in (np.array([1, 2]), np.array([None, None])):
        assert np.isnan(metrics.gauc(labels, [0.2, 0.4], groups).value)
        assert (
            metrics.why_undefined("gAUC", labels, [0.2, 0.4], groups=groups)
            == "no group has rows of both classes"
        )
    assert metrics.why_undefined("gAUC", [1, 0], [0.2, 0.4]) == "group_id names no column of groups"
    assert metrics.gauc([], [], []).groups == 0


def test_gauc_refuses_an_unknown_weight():
    with pytest.raises(ValueError, match=r"gauc_weight is 'rows'. It can be: exposures, clicks."):
        metrics.gauc([1, 0], [0.2, 0.4], [1, 1], "rows")


def test_groups_far_apart_are_known_by_their_codes():
    """Codes that do not fit a table of counts: 2 ** 30 apart, and one row without a group."""
    groups = np.array([0, 0, 2**30, 2**30, 2**30, 5, np.nan])
    labels, scores = np.array([1, 0, 1, 0, 0, 1, 0]), np.array([0.9, 0.1, 0.5, 0.8, 0.2, 0.4, 0.3])
    by_group = metrics.group_aucs(labels, scores, metrics.group_codes(groups))
    assert by_group.code.tolist() == [0, 2**30]
    assert by_group.auc.tolist() == [1.0, 0.5]
    assert by_group.rows.tolist() == [2, 3]
    assert by_group.positives.tolist() == [1, 1]


def test_groups_are_the_same_as_integers_as_floats_and_as_text():
    integers = np.array([3, 0, 3, 12, 0])
    assert metrics.group_codes(integers.astype(np.float64)).tolist() == [3, 0, 3, 12, 0]
    assert metrics.group_codes(np.array([0.5, np.nan, 2.25, 0.5])).tolist() == [0, -1, 1, 0]
    assert metrics.group_codes(np.array([1e300, 2.0])).tolist() == [1, 0]
    assert metrics.group_codes(np.array(["b", "a", "b"])).tolist() == [1, 0, 1]


def test_scores_that_differ_beyond_float32_are_no_ties_in_gauc():
    scores = np.array([0.5 + 1e-12, 0.5])
    assert metrics.gauc([1, 0], scores, [7, 7]).value == 1.0
    assert metrics.gauc([0, 1], scores, [7, 7]).value == 0.0

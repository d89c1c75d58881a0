"""Matching against every pair, the risk ratio, and the level of pCVR."""

import numpy as np
import pytest

from fuxi_mtl.evaluation.conversion_checks import calibration, causal_risk_ratio, level, match


def every_pair(treated, pool, matches, caliper=None):
    """Rows of the pool for each treated row, from the full matrix of distances."""
    distances = np.abs(np.subtract.outer(treated, pool))
    farthest = np.sort(distances, axis=1)[:, [matches - 1]]
    near = distances <= farthest
    return near if caliper is None else near & (distances <= caliper)


def as_matrix(found, rows):
    """The same as booleans ``(treated, pool)``."""
    near = np.zeros((len(found.first), rows), bool)
    for i, (first, last) in enumerate(zip(found.first, found.last, strict=True)):
        near[i, found.order[first:last]] = True
    return near


@pytest.mark.parametrize("matches", [1, 3, 7])
@pytest.mark.parametrize("caliper", [None, 0.0, 0.0625, 0.25])
@pytest.mark.parametrize("levels", [8, 64, 2**20], ids=["many ties", "some ties", "hardly any tie"])
def test_matching_equals_a_look_at_every_pair(matches, caliper, levels):
    rng = np.random.default_rng(matches)
    treated, pool = (rng.integers(0, levels, size) / levels for size in (60, 90))
    near = every_pair(treated, pool, matches, caliper)
    found = match(treated, pool, matches, caliper)
    assert (as_matrix(found, len(pool)) == near).all()
    assert (found.found == near.any(axis=1)).all()
    values = rng.random(len(pool))
    rows = near.any(axis=1)
    expected = (near[rows] @ values) / near[rows].sum(axis=1)
    np.testing.assert_allclose(found.means(values)[rows], expected, rtol=1e-12)
    assert np.isnan(found.means(values)[~rows]).all()
    shares = near[rows] / near[rows].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.weights(), shares.sum(axis=0), atol=1e-12)


def test_the_whole_pool_can_be_the_match():
    found = match([0.5], [0.1, 0.9, 0.2], 3)
    assert found.means([1.0, 2.0, 3.0]) == pytest.approx([2.0])


def test_a_tie_does_not_depend_on_the_order_of_rows():
    assert match([0.5], [0.25, 0.75], 1).means([0.0, 1.0]) == pytest.approx([0.5])
    assert match([0.5], [0.75, 0.25], 1).means([1.0, 0.0]) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], [np.nan, 0.1], 1), "a score is NaN: rows cannot be matched by it"),
        (([0.5], [0.1], 2), "2 matches are wanted, and the pool has 1 rows"),
        (([0.5], [0.1], 0), r"matches \(0\) is 1 or more"),
        (([0.5], [0.1], 1, -1.0), r"caliper \(-1.0\) is 0 or more"),
    ],
)
def test_what_cannot_be_matched_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        match(*arguments)


def test_a_hundred_thousand_clicks_find_their_matches_among_a_million_at_once():
    rng = np.random.default_rng(0)
    treated, pool = rng.random(100_000), rng.random(1_000_000)
    found = match(treated, pool, 5)
    # The nearest five of ten: a spot check of rows by the definition.
    for i in (0, 1, 99_999):
        nearest = np.sort(np.abs(pool - treated[i]))[:5]
        assert found.last[i] - found.first[i] == 5
        rows = found.order[found.first[i] : found.last[i]]
        np.testing.assert_array_equal(np.sort(np.abs(pool[rows] - treated[i])), nearest)


def test_groups_that_are_alike_have_a_risk_ratio_of_one():
    rng = np.random.default_rng(1)
    scores, values = rng.random(20_000), rng.random(20_000)
    clicked = rng.random(20_000) < 0.1
    found = match(scores[clicked], scores[~clicked], 3)
    ratio = causal_risk_ratio(values[clicked], values[~clicked], found)
    assert ratio.low < 1 < ratio.high
    assert ratio.value == pytest.approx(1, abs=0.05)
    assert ratio.matched == 1


def test_predictions_that_are_a_function_of_the_propensity_have_a_risk_ratio_of_one():
    rng = np.random.default_rng(2)
    scores = rng.random(50_000)
    clicked = rng.random(50_000) < scores
    found = match(scores[clicked], scores[~clicked], 1)
    ratio = causal_risk_ratio(scores[clicked] ** 2, scores[~clicked] ** 2, found)
    assert scores[clicked].mean() / scores[~clicked].mean() > 1.8  # without matching they are far apart
    assert ratio.value == pytest.approx(1, abs=2e-3)


def test_a_planted_shift_is_recovered():
    rng = np.random.default_rng(3)
    scores = rng.random(20_000)
    clicked = rng.random(20_000) < scores
    values = 0.1 + 0.2 * scores
    found = match(scores[clicked], scores[~clicked], 3)
    ratio = causal_risk_ratio(1.5 * values[clicked], values[~clicked], found)
    assert ratio.value == pytest.approx(1.5, abs=5e-3)
    assert ratio.low < ratio.value < ratio.high


def test_the_interval_is_the_same_for_the_same_seed_only():
    rng = np.random.default_rng(4)
    treated, pool = rng.random(200), rng.random(900)
    found = match(treated, pool, 1)
    first, again, other = (causal_risk_ratio(treated, pool**2, found, seed=seed) for seed in (5, 5, 6))
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)
    assert first.value == other.value


def test_groups_are_resampled_whole():
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(40), 25)
    treated = rng.random(40)[users] * 0.2 + 0.5  # rows of one user convert alike
    pool = np.full(1000, 0.5)
    found = match(rng.random(1000), rng.random(1000), 1)
    rows = causal_risk_ratio(treated, pool, found)
    whole = causal_risk_ratio(treated, pool, found, groups=users)
    # Forty independent values have sqrt(25) times the error of a thousand.
    assert (whole.high - whole.low) / (rows.high - rows.low) == pytest.approx(5, rel=0.4)


def test_no_match_and_no_resample_leave_nan_and_say_how_many_matched():
    found = match([0.5, 0.9], [0.1, 0.2], 1, caliper=0.05)
    none = causal_risk_ratio([0.1, 0.2], [0.3, 0.4], found)
    assert np.isnan([none.value, none.low, none.high]).all()
    assert none.matched == 0
    half = causal_risk_ratio([0.1, 0.2], [0.3, 0.4], match([0.1, 0.9], [0.1, 0.2], 1, 0.05), resamples=0)
    assert half.value == pytest.approx(0.1 / 0.3)
    assert half.matched == 0.5
    assert np.isnan(half.low)


def test_the_level_is_that_of_exposures_clicks_and_the_rest():
    clicked = np.array([1, 1, 0, 0, 0], bool)
    found = level([0.4, 0.2, 0.1, 0.1, 0.2], clicked, [1, 0, np.nan, np.nan, 0])
    assert (found.exposures, found.clicks, found.nonclicks) == pytest.approx((0.2, 0.3, 0.4 / 3))
    assert found.rate == 0.5
    assert found.bias == pytest.approx(-0.3)
    assert found.ratio == pytest.approx(0.4)
    unknown = level([0.4], np.array([True]), [np.nan])
    assert np.isnan([unknown.rate, unknown.ratio, unknown.nonclicks]).all()


def test_calibration_has_bins_of_equally_many_rows_and_keeps_equal_predictions_together():
    scores = np.arange(20) / 20
    labels = np.r_[np.zeros(10), np.ones(10)]
    found = calibration(scores, labels, 4)
    assert [rows for *_, rows in found] == [5, 5, 5, 5]
    assert [rate for _, rate, _ in found] == [0, 0, 1, 1]
    assert [mean for mean, *_ in found] == pytest.approx([0.1, 0.35, 0.6, 0.85])
    assert calibration([0.25, 0.25, 0.25, 0.75], [0, 1, np.nan, 1], 10) == [(0.25, 0.5, 2), (0.75, 1, 1)]
    assert calibration([0.3], [np.nan]) == []
    with pytest.raises(ValueError, match="bins is 0; the least is 1"):
        calibration([0.3], [1], 0)


def test_rows_without_a_group_are_resampled_one_by_one():
    rng = np.random.default_rng(6)
    treated, pool = rng.random(200), np.full(200, 0.5)
    found = match(rng.random(200), rng.random(200), 1)
    alone = causal_risk_ratio(treated, pool, found)
    for groups in (np.full(200, np.nan), [""] * 200):
        assert causal_risk_ratio(treated, pool, found, groups=groups) == alone

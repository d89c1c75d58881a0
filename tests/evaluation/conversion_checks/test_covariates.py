"""Balance of covariates by hand, against scipy, and against a direct computation with weights."""

import numpy as np
import pytest
from scipy import stats

from fuxi_mtl.evaluation.conversion_checks import balance, ks_statistic, standardised_mean_difference


def gap_at_every_value(first, second, first_weights, second_weights):
    """The largest difference of weighted distribution functions, one threshold after the other."""
    return max(
        abs(
            first_weights[first <= t].sum() / first_weights.sum()
            - second_weights[second <= t].sum() / second_weights.sum()
        )
        for t in np.concatenate([first, second])
    )


def test_the_standardised_difference_by_hand():
    # Means 3 and 2, variances 4 and 1: 1 / sqrt(2.5).
    assert standardised_mean_difference([1, 3, 5], [1, 2, 3]) == pytest.approx(1 / np.sqrt(2.5))
    # Weights move the mean to (1 + 3 + 2 * 5) / 4 = 3.5; the ruler stays.
    assert standardised_mean_difference([1, 3, 5], [1, 2, 3], [1, 1, 2]) == pytest.approx(1.5 / np.sqrt(2.5))
    assert standardised_mean_difference([1, 3, 5], [1, 2, 3], None, [0, 0, 7]) == pytest.approx(0)
    assert standardised_mean_difference([2, 2], [2, 2]) == 0
    assert np.isnan(standardised_mean_difference([2, 2], [3, 3]))
    assert np.isnan(standardised_mean_difference([], [3, 3]))
    assert np.isnan(standardised_mean_difference([1, 2], [3, 4], [0, 0]))


@pytest.mark.parametrize("levels", [3, 40, 10**9])
def test_without_weights_the_ks_statistic_is_scipys(levels):
    rng = np.random.default_rng(levels)
    first, second = rng.integers(0, levels, 300), rng.integers(0, levels, 170) ** 1.01
    assert ks_statistic(first, second) == pytest.approx(stats.ks_2samp(first, second).statistic, abs=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 10**9])
def test_with_weights_the_ks_statistic_is_that_of_the_weighted_distribution_functions(levels):
    rng = np.random.default_rng(levels)
    first, second = rng.integers(0, levels, 80), rng.integers(0, levels, 50)
    weights = rng.exponential(size=80), rng.exponential(size=50)
    expected = gap_at_every_value(first, second, *weights)
    assert ks_statistic(first, second, *weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 6, 10**9])
def test_balance_is_both_of_them_for_each_weighting(levels):
    rng = np.random.default_rng(levels)
    values, treated = rng.integers(0, levels, 200) * 0.3, rng.random(200) < 0.3
    weights = rng.exponential(size=200)
    (found,) = balance([("price", values)], treated, [None, weights])
    groups, by_group = (values[treated], values[~treated]), (weights[treated], weights[~treated])
    assert found.name == "price"
    smd = standardised_mean_difference(*groups), standardised_mean_difference(*groups, *by_group)
    assert found.smd == pytest.approx(smd, abs=1e-12)
    assert found.ks == pytest.approx((ks_statistic(*groups), ks_statistic(*groups, *by_group)), abs=1e-12)


def test_inverse_propensities_balance_what_decides_on_the_click():
    rng = np.random.default_rng(7)
    price = rng.normal(size=40_000)
    propensity = 1 / (1 + np.exp(-price))
    clicked = rng.random(40_000) < propensity
    weights = 1 / np.where(clicked, propensity, 1 - propensity)
    (found,) = balance([("price", price)], clicked, [None, weights])
    assert found.smd[0] > 0.5
    assert abs(found.smd[1]) < 0.05
    assert found.ks[0] > 0.25
    assert found.ks[1] < 0.03


@pytest.mark.parametrize(
    ("treated", "weightings", "message"),
    [
        ([True, True], [None], "balance compares two groups; 2 of 2 rows are treated"),
        ([False, False], [None], "0 of 2 rows are treated"),
        ([True, False], [np.ones(3)], "one weight for each of the 2 rows"),
    ],
)
def test_what_cannot_be_compared_is_refused(treated, weightings, message):
    with pytest.raises(ValueError, match=message):
        balance([("price", np.ones(2))], treated, weightings)

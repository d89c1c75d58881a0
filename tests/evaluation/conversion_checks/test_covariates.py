"""Balance of covariates by hand, against scipy, and against a direct computation with weights."""

import numpy as np
import pytest
from scipy import stats

from fuxi_mtl.evaluation.conversion_checks import balance


def gap_at_every_value(first, second, first_weights, second_weights):
    """The largest difference of weighted distribution functions, one threshold after the other."""
    return max(
        abs(
            first_weights[first <= t].sum() / first_weights.sum()
            - second_weights[second <= t].sum() / second_weights.sum()
        )
        for t in np.concatenate([first, second])
    )


def balanced(first, second, *weightings):
    """What balance says of two groups, under weights of the rows of both."""
    treated = np.arange(len(first) + len(second)) < len(first)
    weights = [None if each is None else np.concatenate(each) for each in weightings]
    (found,) = balance([("price", np.concatenate([first, second]))], treated, weights)
    assert found.name == "price"
    return found


def test_the_standardised_difference_by_hand():
    ones = [1, 1, 1]
    # Means 3 and 2, variances 4 and 1: 1 / sqrt(2.5). Weights move the first to (1 + 3 + 2 * 5) / 4 = 3.5, or
    # the second to 3; the ruler stays.
    found = balanced([1, 3, 5], [1, 2, 3], None, ([1, 1, 2], ones), (ones, [0, 0, 7]))
    assert found.smd == pytest.approx((1 / np.sqrt(2.5), 1.5 / np.sqrt(2.5), 0))
    assert balanced([2, 2], [2, 2], None).smd == (0,)
    assert np.isnan(balanced([2, 2], [3, 3], None).smd[0])
    assert np.isnan(balanced([1, 2], [3, 4], ([0, 0], [1, 1])).smd[0])


@pytest.mark.parametrize("levels", [1, 2, 3, 40, 10**9])
def test_the_ks_statistic_is_scipys_and_with_weights_that_of_the_weighted_distribution_functions(levels):
    rng = np.random.default_rng(levels)
    first, second = rng.integers(0, levels, 80) * 0.3, rng.integers(0, levels, 50) * 0.3
    weights = rng.exponential(size=80), rng.exponential(size=50)
    expected = stats.ks_2samp(first, second).statistic, gap_at_every_value(first, second, *weights)
    assert balanced(first, second, None, weights).ks == pytest.approx(expected, abs=1e-12)


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

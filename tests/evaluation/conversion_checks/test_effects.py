"""Average effects where the truth is known."""

import numpy as np
import pytest

from fuxi_mtl.evaluation.conversion_checks import (
    aipw_effect,
    inverse_weights,
    ipw_effect,
    self_normalised_effect,
    trim,
    winsorise,
)

TAU = 2.0
ROWS = 20_000


@pytest.fixture(scope="module")
def confounded():
    """A constant effect of 2; what raises the chance of treatment raises the outcome, too."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=ROWS)
    propensity = 1 / (1 + np.exp(-x))
    treated = rng.random(ROWS) < propensity
    outcome = 1 + 3 * x + TAU * treated + rng.normal(size=ROWS)
    return {"x": x, "propensity": propensity, "treated": treated, "outcome": outcome}


def regressions(rows):
    return {"treated_outcome": 1 + 3 * rows["x"] + TAU, "control_outcome": 1 + 3 * rows["x"]}


def test_the_plain_difference_is_far_from_the_effect(confounded):
    treated, outcome = confounded["treated"], confounded["outcome"]
    assert outcome[treated].mean() - outcome[~treated].mean() > TAU + 1.5


def test_by_hand():
    # Weights 2, 4/3, 4 and 2.
    outcome, treated, chance = [2.0, 1.0, 3.0, 4.0], [1, 0, 1, 0], [0.5, 0.25, 0.25, 0.5]
    assert ipw_effect(outcome, treated, chance).value == pytest.approx((4 - 4 / 3 + 12 - 8) / 4)
    # Arms: weights 2, 4 and 4/3, 2.
    hajek = (2 * 2 + 4 * 3) / 6 - (4 / 3 * 1 + 2 * 4) / (4 / 3 + 2)
    assert self_normalised_effect(outcome, treated, chance).value == pytest.approx(hajek)
    with_it, without = np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 1, 2])
    first = (2 - 1) / 0.5 + (3 - 3) / 0.25 + with_it.sum()
    second = (1 - 1) / 0.75 + (4 - 2) / 0.5 + without.sum()
    assert aipw_effect(outcome, treated, chance, with_it, without).value == pytest.approx(
        (first - second) / 4
    )


@pytest.mark.parametrize("estimate", [ipw_effect, self_normalised_effect])
def test_weighting_finds_the_effect_if_the_propensity_is_right_and_not_if_it_is_wrong(confounded, estimate):
    outcome, treated = confounded["outcome"], confounded["treated"]
    right = estimate(outcome, treated, confounded["propensity"])
    assert abs(right.value - TAU) < 3 * right.error
    wrong = estimate(outcome, treated, np.full(ROWS, treated.mean()))
    assert wrong.value - TAU > 10 * wrong.error


@pytest.mark.parametrize("wrong", ["nothing", "propensity", "outcome"])
def test_the_augmented_form_finds_the_effect_if_one_of_its_models_is_right(confounded, wrong):
    treated, models = confounded["treated"], regressions(confounded)
    chance = confounded["propensity"]
    if wrong == "propensity":
        chance = np.full(ROWS, treated.mean())
    elif wrong == "outcome":
        models = {"treated_outcome": np.full(ROWS, 5.0), "control_outcome": np.full(ROWS, -1.0)}
    found = aipw_effect(confounded["outcome"], treated, chance, **models)
    assert abs(found.value - TAU) < 3 * found.error


def test_the_augmented_form_is_wrong_if_both_are(confounded):
    found = aipw_effect(
        confounded["outcome"], confounded["treated"], np.full(ROWS, 0.5), np.zeros(ROWS), np.zeros(ROWS)
    )
    assert abs(found.value - TAU) > 10 * found.error


def test_the_standard_error_is_that_of_repetitions():
    rng = np.random.default_rng(9)
    estimates, errors = {"ipw": [], "own": []}, {"ipw": [], "own": []}
    for _ in range(200):
        x = rng.normal(size=500)
        chance = 1 / (1 + np.exp(-x))
        treated = rng.random(500) < chance
        outcome = x + treated
        for name, estimate in (("ipw", ipw_effect), ("own", self_normalised_effect)):
            found = estimate(outcome, treated, chance)
            estimates[name].append(found.value)
            errors[name].append(found.error)
    for name, values in estimates.items():
        assert np.median(errors[name]) == pytest.approx(np.std(values), rel=0.25)


def test_weights_of_each_kind_by_hand():
    chance, treated = [0.5, 0.25, 0.01], [1, 0, 1]
    np.testing.assert_allclose(inverse_weights(chance, treated), [2, 4 / 3, 100])
    np.testing.assert_allclose(inverse_weights(chance, treated, clip=0.1), [2, 4 / 3, 10])
    stabilised = inverse_weights(chance, treated, stabilised=True)
    np.testing.assert_allclose(stabilised, [4 / 3, 4 / 9, 200 / 3])


def test_winsorised_weights_stay_and_trimmed_ones_go():
    weights = np.arange(1.0, 102)  # the 5th and 95th percentile are 6 and 96
    assert winsorise(weights, 0.05, 0.95).min() == 6
    assert winsorise(weights, 0.05, 0.95).max() == 96
    kept = trim(weights, 0.05, 0.95)
    assert (kept == 0).sum() == 10
    assert kept[kept > 0].tolist() == list(range(6, 97))


def test_what_has_no_effect_to_speak_of_is_refused():
    with pytest.raises(ValueError, match="a propensity is 0, 1, NaN or no probability at all"):
        ipw_effect([1.0, 2.0], [1, 0], [0.0, 0.5])
    with pytest.raises(ValueError, match="clip is 0.5; it is at least 0 and below 0.5"):
        inverse_weights([0.5], [1], clip=0.5)
    with pytest.raises(ValueError, match="both arms; 2 of 2 rows are treated"):
        self_normalised_effect([1.0, 2.0], [1, 1], [0.5, 0.5])

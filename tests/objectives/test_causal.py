"""Estimators of the conversion risk: numbers done by hand, and means over all patterns of clicks."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import (
    Imputation,
    InversePropensity,
    chain_of,
    doubly_robust,
    error_imputation,
    heuristic_error,
    imputation_loss,
    inverse_propensity,
)
from fuxi_mtl.tasks import Task

TASKS = (Task("ctr", ("o",)), Task("cvr", ("r",), ("o",)), Task("ctcvr", ("o", "r")))
CHAIN = chain_of(TASKS)
CLICKED, R = np.array([1, 0, 1, 0.0]), np.array([1, 0, 0, 0.0])
CVR, P, E_HAT = (
    np.array([0.5, 0.5, 0.2, 0.1]),
    np.array([0.5, 0.1, 0.05, 0.2]),
    np.array([0.5, 0.4, 0.3, 0.2]),
)
RAW = {"eps_clip": 1e-6}
ERROR, LABEL = Imputation("e"), Imputation("e", "label")


def logit(p):
    return np.log(p / (1 - p))


def error_of(r, cvr=CVR):
    return -(r * np.log(cvr) + (1 - r) * np.log(1 - cvr))


def heads_of(p=P, cvr=CVR, imputed=E_HAT):
    """Logits of the click and the conversion, and what softplus turns into the imputed error."""
    values = {"ctr": logit(p), "cvr": logit(cvr), "e": np.log(np.expm1(imputed))}
    return {name: tf.constant(value, tf.float32) for name, value in values.items()}


def labels_of(o=CLICKED, r=R):
    return {task.name: tf.constant(task.label({"o": o, "r": r})) for task in TASKS}


def loss_of(objective, heads=None, labels=None):
    return float(objective.loss(heads or heads_of(), labels or labels_of())[0])


def gradients(objective, heads=None, labels=None):
    heads = heads or heads_of()
    with tf.GradientTape() as tape:
        tape.watch(heads)
        loss, _ = objective.loss(heads, labels or labels_of())
    found = tape.gradient(loss, heads)
    return {name: np.zeros(4) if g is None else g.numpy() for name, g in found.items()}


def ips(**block):
    return inverse_propensity(CHAIN, InversePropensity(RAW | block))


def dr(imputation=ERROR, **block):
    return doubly_robust(CHAIN, InversePropensity(RAW | block), imputation.in_risk(CHAIN))


def stabilised(rate):
    weights = InversePropensity(RAW | {"stabilised": True})
    weights.start_at(rate)
    return inverse_propensity(CHAIN, weights)


# ---- the golden batch ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (lambda: supervised(TASKS[1]), 0.458145),
        (ips, 1.462291),
        (lambda: ips(eps_clip=0.1), 0.904432),
        (lambda: ips(self_normalised=True), 0.265871),
        (lambda: stabilised(0.5), 0.731146),
        (dr, 0.0622913),
        (lambda: error_imputation(CHAIN, ERROR.in_risk(CHAIN)), 0.379073),
        (lambda: imputation_loss(CHAIN, InversePropensity(RAW), ERROR), 0.0481875),
    ],
    ids="naive ips clipped snips stabilised dr eib imputation".split(),
)
def test_c1_the_golden_batch(objective, expected):
    assert loss_of(objective()) == pytest.approx(expected, rel=2e-6)


def test_c1_taking_unclicked_rows_for_negatives():
    heads = heads_of() | {"ctcvr": heads_of()["cvr"]}
    assert loss_of(supervised(TASKS[2]), heads) == pytest.approx(0.428700, rel=2e-6)


def test_a_doubly_robust_risk_may_be_negative():
    cvr = np.array([0.99, 0.5, 0.2, 0.1])
    assert loss_of(dr(), heads_of(cvr=cvr, imputed=np.array([1.5, 0.1, 0.3, 0.1]))) < 0
    assert dr().kind == imputation_loss(CHAIN, None, ERROR).kind == "fixed"
    assert error_imputation(CHAIN, ERROR.in_risk(CHAIN)).kind == "fixed"


def test_c8_an_imputed_error_is_positive_and_may_exceed_one():
    heads = {"e": tf.constant([-30.0, 0.0, 5.0, 30.0])}
    imputed = ERROR.in_risk(CHAIN)(heads, {}).numpy()
    assert (imputed > 0).all()
    np.testing.assert_allclose(imputed[1:], [np.log(2), np.log1p(np.exp(5)), 30], rtol=1e-6)


# ---- gradients ----------------------------------------------------------------------------------


def test_c2_the_gradient_of_inverse_propensity_scoring():
    found = gradients(ips())
    np.testing.assert_allclose(found["cvr"], CLICKED * (CVR - R) / P / 4, rtol=1e-5)
    assert (found["ctr"] == 0).all()


def test_without_stop_gradient_the_propensity_rises_where_the_error_is_large():
    found = gradients(ips(propensity_stop_gradient=False))
    np.testing.assert_allclose(found["ctr"], -CLICKED * error_of(R) * (1 - P) / P / 4, rtol=1e-5)
    detached = imputation_loss(CHAIN, InversePropensity(RAW | {"propensity_stop_gradient": False}), ERROR)
    assert (gradients(detached)["ctr"] == 0).all()


def test_c3_with_a_separate_error_head_doubly_robust_has_the_gradient_of_inverse_propensity_scoring():
    found = gradients(dr())
    np.testing.assert_allclose(found["cvr"], gradients(ips())["cvr"], rtol=1e-6)
    slope = 1 - np.exp(-E_HAT)  # of softplus
    np.testing.assert_allclose(found["e"], (1 - CLICKED / P) / 4 * slope, rtol=1e-5)
    assert (gradients(dr(Imputation("e", detached=True)))["e"] == 0).all()


def test_a_pseudo_label_trains_the_conversion_on_unclicked_rows():
    pseudo = 1 - np.exp(-E_HAT)  # sigmoid of the same head
    found = gradients(dr(LABEL))
    expected = (1 - CLICKED / P) * (CVR - pseudo) / 4 + CLICKED * (CVR - R) / P / 4
    np.testing.assert_allclose(found["cvr"], expected, rtol=1e-4)
    assert (found["e"] == 0).all()
    assert (found["cvr"][CLICKED == 0] != 0).all()


def test_the_gradient_of_a_guessed_error():
    eta = 0.01
    objective = doubly_robust(CHAIN, InversePropensity(RAW), heuristic_error(CHAIN, eta))
    clicked = ((1 - 1 / P) * (CVR - eta) + (CVR - R) / P) / 4
    expected = np.where(CLICKED == 1, clicked, (CVR - eta) / 4)
    np.testing.assert_allclose(gradients(objective)["cvr"], expected, rtol=1e-5)


def test_the_gradient_of_error_imputation():
    found = gradients(error_imputation(CHAIN, ERROR.in_risk(CHAIN)))
    np.testing.assert_allclose(
        found["cvr"], gradients(supervised(TASKS[1]))["cvr"] * CLICKED.mean(), rtol=1e-6
    )
    pseudo = 1 - np.exp(-E_HAT)
    found = gradients(error_imputation(CHAIN, LABEL.in_risk(CHAIN)))
    expected = np.where(CLICKED == 1, CVR - R, CVR - pseudo) / 4
    np.testing.assert_allclose(found["cvr"], expected, rtol=1e-5)


@pytest.mark.parametrize("imputation", [ERROR, LABEL])
def test_the_imputation_loss_moves_the_imputation_alone(imputation):
    found = gradients(imputation_loss(CHAIN, InversePropensity(RAW), imputation))
    assert (found["cvr"] == 0).all()
    assert (found["ctr"] == 0).all()
    assert (found["e"][CLICKED == 0] == 0).all()
    assert found["e"][2] != 0  # at pCVR = 0.5, the first row, every pseudo-label has the same error


# ---- over all patterns of clicks ----------------------------------------------------------------

TRUE_R = np.array([1.0, 0.0, 0.0, 1.0])  # what every row would do if clicked
TRUE_P = np.array([0.5, 0.3, 0.15, 0.8])


def expectation(objective, p=TRUE_P, imputed=E_HAT):
    """Mean of an estimate over the 2^4 sets of clicks, each with its probability."""
    total, heads = 0.0, heads_of(p, imputed=imputed)
    for pattern in itertools.product([0.0, 1.0], repeat=4):
        o = np.array(pattern)
        chance = np.prod(np.where(o == 1, TRUE_P, 1 - TRUE_P))
        total += chance * loss_of(objective, heads, labels_of(o, np.where(o == 1, TRUE_R, np.nan)))
    return total


def expectation_with_gaps(objective, known, p=TRUE_P, imputed=E_HAT):
    """The same where a clicked row's conversion is known with a chance only."""
    total, heads = 0.0, heads_of(p, imputed=imputed)
    for pattern in itertools.product(["not clicked", "not known", "known"], repeat=4):
        seen = np.array(pattern)
        chances = {"not clicked": 1 - TRUE_P, "not known": TRUE_P * (1 - known), "known": TRUE_P * known}
        chance = np.prod([chances[what][row] for row, what in enumerate(seen)])
        o = (seen != "not clicked").astype(float)
        total += chance * loss_of(objective, heads, labels_of(o, np.where(seen == "known", TRUE_R, np.nan)))
    return total


def known_at(rate, estimator, **block):
    """An estimator whose weights know how many conversions are known."""
    weights = InversePropensity(RAW | block)
    weights.start_at(0.5, rate)
    return estimator(weights)


TRUTH = error_of(TRUE_R).mean()
WRONG_P = np.array([0.2, 0.6, 0.4, 0.5])


def test_inverse_propensity_scoring_is_unbiased_with_the_true_propensity_and_biased_with_another():
    assert expectation(ips()) == pytest.approx(TRUTH, rel=1e-5)
    assert expectation(ips(), WRONG_P) != pytest.approx(TRUTH, rel=0.02)
    assert expectation(ips(eps_clip=0.4)) < 0.95 * TRUTH


@pytest.mark.parametrize("known", [0.5, 0.93])
def test_conversions_that_are_missing_at_random_leave_the_risks_unbiased(known):
    risk = known_at(known, lambda weights: inverse_propensity(CHAIN, weights))
    assert expectation_with_gaps(risk, known) == pytest.approx(TRUTH, rel=1e-5)
    robust = known_at(known, lambda weights: doubly_robust(CHAIN, weights, ERROR.in_risk(CHAIN)))
    assert expectation_with_gaps(robust, known) == pytest.approx(TRUTH, rel=1e-5)
    assert expectation_with_gaps(robust, known, WRONG_P, error_of(TRUE_R)) == pytest.approx(TRUTH, rel=1e-5)
    imputation = known_at(known, lambda weights: imputation_loss(CHAIN, weights, ERROR))
    expected = np.square(error_of(TRUE_R) - E_HAT).mean()
    assert expectation_with_gaps(imputation, known) == pytest.approx(expected, rel=1e-5)
    imputed = error_imputation(CHAIN, ERROR.in_risk(CHAIN))
    assert expectation_with_gaps(imputed, known, imputed=error_of(TRUE_R)) == pytest.approx(TRUTH, rel=1e-5)


def test_without_knowing_how_many_are_missing_the_risk_is_too_small():
    assert expectation_with_gaps(ips(), 0.5) == pytest.approx(0.5 * TRUTH, rel=1e-5)


def test_self_normalised_weights_need_no_share_of_known_conversions():
    risks = [
        known_at(rate, lambda weights: inverse_propensity(CHAIN, weights), self_normalised=True)
        for rate in (0.5, 1.0)
    ]
    labels = labels_of(np.array([1, 1, 1, 0.0]), np.array([1, 0, np.nan, np.nan]))
    assert loss_of(risks[0], labels=labels) == loss_of(risks[1], labels=labels)


def test_c4_doubly_robust_needs_one_of_the_two():
    assert expectation(dr()) == pytest.approx(TRUTH, rel=1e-5)
    assert expectation(dr(), WRONG_P, error_of(TRUE_R)) == pytest.approx(TRUTH, rel=1e-5)
    assert expectation(dr(), WRONG_P) != pytest.approx(TRUTH, rel=0.02)


def test_error_imputation_needs_the_imputed_error():
    objective = error_imputation(CHAIN, ERROR.in_risk(CHAIN))
    assert expectation(objective, imputed=error_of(TRUE_R)) == pytest.approx(TRUTH, rel=1e-5)
    assert expectation(objective) != pytest.approx(TRUTH, rel=0.02)


def test_the_mean_of_clicked_rows_is_biased():
    assert expectation(supervised(TASKS[1])) != pytest.approx(TRUTH, rel=0.02)


def test_doubly_robust_with_the_error_itself_is_its_mean_whatever_the_propensity():
    for p in (P, WRONG_P):
        heads = heads_of(p, imputed=error_of(R))
        assert loss_of(dr(), heads) == pytest.approx(error_of(R).mean(), rel=1e-5)


def test_doubly_robust_with_every_row_clicked_for_certain_is_the_plain_mean():
    labels, heads = labels_of(np.ones(4), TRUE_R), heads_of(np.full(4, 1 - 1e-7))
    assert loss_of(dr(), heads, labels) == pytest.approx(TRUTH, rel=1e-5)
    assert loss_of(ips(), heads, labels) == pytest.approx(TRUTH, rel=1e-5)


# ---- self-normalised ----------------------------------------------------------------------------


def test_c6_self_normalised_risks_ignore_the_scale_of_the_propensity():
    objective = ips(self_normalised=True)
    full, half = (loss_of(objective, heads_of(P * c)) for c in (1, 0.5))
    assert full == pytest.approx(half, rel=1e-5)
    errors = error_of(R)[CLICKED == 1]
    assert errors.min() <= full <= errors.max()
    assert gradients(objective)["ctr"].tolist() == [0] * 4


def test_self_normalised_doubly_robust_divides_the_correction_by_the_weights():
    w, e = (CLICKED / P)[CLICKED == 1], error_of(R)[CLICKED == 1]
    expected = E_HAT.mean() + (w * (e - E_HAT[CLICKED == 1])).sum() / w.sum()
    assert loss_of(dr(self_normalised=True)) == pytest.approx(expected, rel=1e-5)
    imputing = imputation_loss(CHAIN, InversePropensity(RAW | {"self_normalised": True}), ERROR)
    expected = (w * (e - E_HAT[CLICKED == 1]) ** 2).sum() / w.sum()
    assert loss_of(imputing) == pytest.approx(expected, rel=1e-5)


def test_a_constant_propensity_gives_a_multiple_of_the_naive_loss():
    constant = loss_of(ips(), heads_of(np.full(4, 0.25)))
    assert constant == pytest.approx(loss_of(supervised(TASKS[1])) * CLICKED.mean() / 0.25, rel=1e-5)


# ---- rows ---------------------------------------------------------------------------------------

ALL = {
    "ips": ips,
    "snips": lambda: ips(self_normalised=True),
    "dr": dr,
    "label": lambda: dr(LABEL),
    "eib": lambda: error_imputation(CHAIN, LABEL.in_risk(CHAIN)),
    "imputation": lambda: imputation_loss(CHAIN, InversePropensity(RAW), LABEL),
}


@pytest.mark.parametrize("name", ALL)
def test_n6_a_conversion_without_a_click_is_never_read(name):
    found = [gradients(ALL[name](), labels=labels_of(CLICKED, r)) for r in (R, np.array([1, 1, 0, np.nan]))]
    for head in found[0]:
        np.testing.assert_array_equal(found[0][head], found[1][head])


@pytest.mark.parametrize("name", ALL)
def test_n5_a_batch_without_a_click_gives_numbers(name):
    objective, labels = ALL[name](), labels_of(np.zeros(4))
    assert np.isfinite(loss_of(objective, labels=labels))
    assert all(np.isfinite(g).all() for g in gradients(objective, labels=labels).values())
    if name in ("ips", "snips", "imputation"):
        assert loss_of(objective, labels=labels) == 0


@pytest.mark.parametrize("name", [name for name in ALL if name != "snips"])
def test_an_exposure_whose_click_is_unknown_does_not_count(name):
    more = [np.append(x, y) for x, y in ((P, 0.3), (CVR, 0.7), (E_HAT, 0.6))]
    labels = labels_of(np.append(CLICKED, np.nan), np.append(R, 1))
    assert loss_of(ALL[name](), heads_of(*more), labels) == pytest.approx(loss_of(ALL[name]()), rel=1e-6)


OF_FOUR = {
    "ips": (ips, 0),
    "imputation": (ALL["imputation"], 0),
    "dr": (dr, 0.6),
    "eib": (lambda: error_imputation(CHAIN, ERROR.in_risk(CHAIN)), 0.6),
}


@pytest.mark.parametrize("name", OF_FOUR)
def test_a_clicked_exposure_without_a_known_conversion_counts_with_what_is_imputed(name):
    make, imputed = OF_FOUR[name]
    more = [np.append(x, y) for x, y in ((P, 0.3), (CVR, 0.7), (E_HAT, 0.6))]
    labels = labels_of(np.append(CLICKED, 1), np.append(R, np.nan))
    assert loss_of(make(), heads_of(*more), labels) == pytest.approx(
        (4 * loss_of(make()) + imputed) / 5, rel=1e-6
    )
    assert all(np.isfinite(g).all() for g in gradients(make(), heads_of(*more), labels).values())


def test_sample_weights_count_rows_more_than_once():
    twice = [np.append(x, x[0]) for x in (P, CVR, E_HAT, CLICKED, R)]
    expected = loss_of(dr(), heads_of(*twice[:3]), labels_of(*twice[3:]))
    weighted = dr().loss(heads_of(), labels_of(), tf.constant([2.0, 1, 1, 1]))[0]
    assert float(weighted) == pytest.approx(expected, rel=1e-5)


# ---- weights ------------------------------------------------------------------------------------


def weights_of(block, p, lower=None, upper=None, rate=None):
    layer = InversePropensity(block)
    for variable, value in ((layer.lower, lower), (layer.upper, upper), (layer.click_rate, rate)):
        if value is not None:
            variable.assign(value)
    return layer(tf.constant(logit(np.asarray(p)), tf.float32)).numpy()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({}, [2, 5, 10, 10]),  # the paper's clip at 0.1
        (RAW, [2, 5, 20, 50]),
        (RAW | {"max_weight": 15}, [2, 5, 15, 15]),
        (RAW | {"percentile": "winsorise"}, [4, 5, 20, 30]),
        (RAW | {"percentile": "trim"}, [0, 5, 20, 0]),
        (RAW | {"stabilised": True}, [0.5, 1.25, 5, 12.5]),
        (RAW | {"stabilised": True, "percentile": "winsorise", "max_weight": 6}, [1, 1.25, 5, 6]),
    ],
)
def test_c7_clip_winsorise_and_trim_by_hand(block, expected):
    found = weights_of(block, [0.5, 0.2, 0.05, 0.02], lower=4, upper=30, rate=0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def observe(layer, p, click, conversion=None):
    logits, click = tf.constant(logit(np.asarray(p)), tf.float32), tf.constant(click, tf.float32)
    conversion = click if conversion is None else tf.constant(conversion, tf.float32)
    return {k: float(v) for k, v in layer.observe(logits, click, conversion).items()}


def test_weights_say_how_many_are_clipped_and_how_far_they_reach():
    numbers = observe(InversePropensity(), [0.5, 0.2, 0.05, 0.02], [1, 1, 1, 0])
    expected = {"clipped_share": 1 / 3, "weight_min": 2, "weight_mean": 17 / 3, "weight_max": 10}
    assert numbers == pytest.approx({f"ipw_{name}": value for name, value in expected.items()}, rel=1e-5)


def test_a_batch_without_clicks_leaves_the_numbers_of_the_weights_as_they_are():
    layer = InversePropensity()
    first = observe(layer, [0.5, 0.02], [1, 1])
    lower, upper = float(layer.lower), float(layer.upper)
    assert observe(layer, [0.3, 0.3], [0, 0]) == first
    assert (float(layer.lower), float(layer.upper)) == (lower, upper)


def test_the_click_rate_and_the_percentiles_run_along():
    block = RAW | {"percentile": "winsorise", "lower_percentile": 0, "upper_percentile": 75, "momentum": 0.5}
    layer = InversePropensity(block)
    p = 1 / np.array([2.0, 4, 6, 8, 100])
    observe(layer, p, [1, 1, 1, 1, 0])  # the first batch is all there is
    assert [float(v) for v in (layer.click_rate, layer.lower, layer.upper)] == pytest.approx([0.8, 2, 6.5])
    observe(layer, p, [0, 1, 0, 0, 1])  # and half of what is there after the second: 4 and 100, at 75 %: 76
    expected = [(0.8 + 0.4) / 2, (2 + 4) / 2, (6.5 + 76) / 2]
    assert [float(v) for v in (layer.click_rate, layer.lower, layer.upper)] == pytest.approx(expected)


def test_the_share_of_known_conversions_runs_along():
    layer = InversePropensity(RAW | {"momentum": 0.5})
    nan = np.nan
    observe(layer, [0.5] * 4, [1, 1, 1, 0], [1, nan, 0, nan])
    assert float(layer.known_rate) == pytest.approx(2 / 3)
    observe(layer, [0.5] * 4, [0, 0, 0, 0], [nan] * 4)
    assert float(layer.known_rate) == pytest.approx(2 / 3)
    numbers = observe(layer, [0.5, 0.25, 0.5, 0.5], [1, 1, 0, nan], [0, nan, nan, nan])
    assert numbers["ipw_weight_max"] == pytest.approx(4 / (2 / 3))
    assert numbers["ipw_clipped_share"] == 0
    assert float(layer.known_rate) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_known_click_rate_is_where_the_running_one_starts():
    layer = InversePropensity({"momentum": 0.9})
    layer.start_at(0.2)
    observe(layer, [0.5, 0.5], [1, 0])
    assert float(layer.click_rate) == pytest.approx(0.9 * 0.2 + 0.1 * 0.5)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"eps_clp": 0.1}, "ipw: unknown key 'eps_clp' .value 0.1.. Did you mean 'eps_clip'?"),
        ({"eps_clip": 0}, "ipw.eps_clip is 0; it lies from 1e-09 to 1"),
        ({"eps_clip": 1.5}, "ipw.eps_clip is 1.5"),
        ({"max_weight": -1}, "ipw.max_weight is -1"),
        ({"max_weight": "high"}, "ipw.max_weight expects a number or null"),
        ({"percentile": "winsorize"}, "Did you mean 'winsorise'?"),
        ({"lower_percentile": -1}, "ipw.lower_percentile is -1"),
        ({"lower_percentile": 60, "upper_percentile": 40}, "ipw.upper_percentile is 40; it lies from 60"),
        ({"momentum": 1}, "ipw.momentum is 1"),
        (
            {"self_normalised": True, "propensity_stop_gradient": False},
            "self_normalised weights are constants",
        ),
        ("clip", "ipw expects a mapping"),
    ],
)
def test_a_mistake_in_the_block_is_refused(block, message):
    with pytest.raises(ValueError, match=message):
        InversePropensity(block)


def test_an_imputation_is_of_the_error_or_of_the_label():
    with pytest.raises(ValueError, match="imputation is 'labels'. Did you mean 'label'?"):
        Imputation("e", "labels")

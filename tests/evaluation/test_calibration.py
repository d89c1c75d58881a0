"""Calibration: the closed form against numpy, the fits against scikit-learn, and all of it as JSON."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fuxi_mtl import ESMM
from fuxi_mtl.evaluation.calibration import (
    Calibration,
    Isotonic,
    Map,
    Platt,
    Resampled,
    Unweighted,
    closed_form,
    fitted,
)
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.options import (
    AuxFocalOptions,
    ClipScheduleOptions,
    ImbalanceOptions,
    why_not_closed_form,
)
from fuxi_mtl.tasks import Task

CHAIN = tiny.tasks_of(tiny.NAMED["chain"])
TRAINED = ("ctr", "ctcvr")


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p, np.float64))


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def applied(each, z):
    return each(tf.constant(z, tf.float32)).numpy()


# ---- in closed form -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "predicted", "rate"),
    [(24.7, 0.49993, 0.0389), (4800, 0.5, 1 / 4801), (300, 0.0588, 1 / 4801), (30, 0.0062, 1 / 4801)],
)
def test_a_weight_is_undone(weight, predicted, rate):
    assert applied(Unweighted(weight), [logit(predicted)])[0] == pytest.approx(rate, rel=3e-3)
    q = predicted
    assert applied(Unweighted(weight), [logit(q)])[0] == pytest.approx(q / (q + weight * (1 - q)), rel=1e-5)


def test_the_rate_between_two_weighted_tasks_is_a_rate_again():
    options = ImbalanceOptions(static_pos_weight={"ctr": 24.7, "ctcvr": 300.0})
    calibration = closed_form(Imbalance(options), CHAIN, TRAINED, step=0)
    weighted = {"ctr": 0.49993, "cvr": 0.118, "ctcvr": 0.0588}
    heads = {name: tf.constant([logit(q)], tf.float32) for name, q in weighted.items()}
    found = calibration(heads, {name: tf.sigmoid(z) for name, z in heads.items()})
    assert float(found["ctr"][0]) == pytest.approx(0.0389, rel=1e-3)
    assert float(found["ctcvr"][0]) == pytest.approx(1 / 4801, rel=1e-3)
    assert float(found["cvr"][0]) == pytest.approx(0.00535, rel=2e-3)


def test_a_joint_task_without_a_loss_is_the_product_of_the_undone_two():
    options = ImbalanceOptions(static_pos_weight={"ctr": 10.0, "cvr": 4.0})
    calibration = closed_form(Imbalance(options), CHAIN, ("ctr", "cvr"), step=0)
    click, buy = 0.04, 0.1
    heads = {"ctr": logit(10 * click / (10 * click + 1 - click)), "cvr": logit(4 * buy / (4 * buy + 1 - buy))}
    heads["ctcvr"] = logit(sigmoid(heads["ctr"]) * sigmoid(heads["cvr"]))
    logits = {name: tf.constant([z], tf.float32) for name, z in heads.items()}
    found = calibration(logits, {name: tf.sigmoid(z) for name, z in logits.items()})
    rates = {name: float(p[0]) for name, p in found.items()}
    assert rates == pytest.approx({"ctr": click, "cvr": buy, "ctcvr": click * buy}, rel=1e-4)


def test_a_rate_is_never_above_one_and_nothing_over_nothing_is_zero():
    calibration = Calibration("platt", {}, {"cvr": ("ctcvr", "ctr")})
    plain = {"ctr": tf.constant([0.1, 0.0]), "ctcvr": tf.constant([0.2, 0.0]), "cvr": tf.constant([0.5, 0.5])}
    assert calibration({}, plain)["cvr"].numpy().tolist() == [1, 0]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_a_focal_term_is_undone(gamma, alpha):
    weight, factor = 5.0, 0.7
    up, down = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    rate = np.array([1e-4, 0.02, 0.3, 0.9])
    low, high = np.full(4, -30.0), np.full(4, 30.0)
    for _ in range(200):  # where the expected gradient of weighted cross-entropy and focal term is zero
        z = (low + high) / 2
        q = sigmoid(z)
        slope = (1 - rate) * (q + factor * down * q**gamma * q)
        slope -= rate * (weight * (1 - q) + factor * up * (1 - q) ** gamma * (1 - q))
        low, high = np.where(slope < 0, z, low), np.where(slope < 0, high, z)
    np.testing.assert_allclose(applied(Unweighted(weight, factor, gamma, alpha), z), rate, rtol=1e-5)


def test_the_step_decides_which_weight_and_whether_the_focal_term_is_undone():
    schedule = ClipScheduleOptions(True, "ctcvr", "piecewise", [0, 8000], [300.0, 30.0])
    focal = AuxFocalOptions(enabled=True, warmup_steps=8000, lambda_=0.05, gamma=2.0, use_alpha=True)
    options = ImbalanceOptions(
        static_pos_weight={"ctcvr": 4800.0}, pos_weight_clip_schedule=schedule, aux_focal=focal
    )
    before, after = (closed_form(Imbalance(options), CHAIN, TRAINED, step) for step in (7999, 8000))
    assert before.maps == {"ctcvr": Unweighted(300.0, 0.0, 2.0, 0.25)}
    assert after.maps == {"ctcvr": Unweighted(30.0, 0.05, 2.0, 0.25)}
    assert closed_form(Imbalance(), CHAIN, TRAINED, 1) == Calibration("closed_form")


def undone(tasks, trained, probabilities, **options):
    """Probabilities after the closed form, float32 by task."""
    calibration = closed_form(Imbalance(ImbalanceOptions(**options)), tasks, trained, step=0)
    plain = {name: tf.constant([p], tf.float32) for name, p in probabilities.items()}
    heads = {name: tf.constant([logit(p)], tf.float32) for name, p in probabilities.items()}
    return {name: float(p[0]) for name, p in calibration(heads, plain).items()}


PLAIN = {"negative_sampling": "plain", "neg_keep_prob_train": 0.4}


def test_negatives_that_were_left_out_are_put_back():
    click = tiny.tasks_of({"click": "click"})
    assert undone(click, ("click",), {"click": 0.048544}, **PLAIN)["click"] == pytest.approx(0.02, rel=1e-4)
    buy = tiny.tasks_of({"cvr": "buy | click"})  # negatives are clicks without a purchase
    assert undone(buy, ("cvr",), {"cvr": 0.048544}, **PLAIN)["cvr"] == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize("trained", [TRAINED, ("ctr", "cvr"), ("ctr", "cvr", "ctcvr"), ("ctr",)])
def test_sampling_leaves_the_conversion_rate_of_clicks_and_shrinks_the_rest(trained):
    """In numbers of rows: 1000 exposures, 40 clicks, 8 purchases; 0.4 of the 960 others are kept."""
    kept = 40 + 0.4 * 960
    seen = {"ctr": 40 / kept, "cvr": 8 / 40, "ctcvr": 8 / kept}
    expected = {"ctr": 0.04, "cvr": 0.2, "ctcvr": 0.008}
    assert undone(CHAIN, trained, seen, **PLAIN) == pytest.approx(expected, rel=1e-5)


def test_a_weight_is_undone_before_the_sampling():
    seen = {"ctr": 40 / 424, "ctcvr": 8 / 424}
    weighted = {name: 7 * p / (7 * p + 1 - p) for name, p in seen.items()}
    weights = {"ctr": 7.0, "ctcvr": 7.0}
    found = undone(CHAIN, TRAINED, {**weighted, "cvr": 0.5}, static_pos_weight=weights, **PLAIN)
    assert found == pytest.approx({"ctr": 0.04, "cvr": 0.2, "ctcvr": 0.008}, rel=1e-4)


def test_reweighted_negatives_need_no_calibration():
    options = ImbalanceOptions(negative_sampling="reweighted", neg_keep_prob_train=0.4)
    assert closed_form(Imbalance(options), CHAIN, TRAINED, step=0) == Calibration("closed_form")


def test_sampling_has_a_closed_form_for_a_funnel_only():
    plain = ImbalanceOptions(**PLAIN)
    funnel = tiny.tasks_of(tiny.NAMED["funnel"])
    for tasks in (CHAIN, funnel, CHAIN[:1], (*CHAIN, Task("watch", ("watch",), kind="regression"))):
        assert why_not_closed_form(plain, tasks) is None
    unrelated = "negative_sampling plain has one for a single task or a funnel from one event"
    for expressions in (
        {"a": "click", "b": "buy"},
        {"a": "click", "b": "buy | cart"},
        {"a": "a & b", "b": "b & c"},
    ):
        assert why_not_closed_form(plain, tiny.tasks_of(expressions)) == unrelated


def test_losses_without_a_closed_form_are_told():
    focal = AuxFocalOptions(enabled=True)
    weights = {"ctr": 2.0}
    assert why_not_closed_form(ImbalanceOptions(static_pos_weight=weights, aux_focal=focal), CHAIN) is None
    assert why_not_closed_form(ImbalanceOptions(lambda_cvr_aux=0.1), CHAIN) is None
    for options, reason in (
        (ImbalanceOptions(pos_weight_dynamic=True), "pos_weight_dynamic has no weight"),
        (ImbalanceOptions(aux_focal=AuxFocalOptions(True, detach_p_for_weight=False)), "only with detach"),
        (ImbalanceOptions(lambda_cvr_aux=0.1, static_pos_weight=weights), "lambda_cvr_aux pulls cvr"),
    ):
        assert reason in why_not_closed_form(options, CHAIN)
    assert why_not_closed_form(ImbalanceOptions(), CHAIN, ["cvr_ips"]) is None
    reason = "cvr_ips would learn from probabilities that the other losses distort"
    assert why_not_closed_form(ImbalanceOptions(static_pos_weight=weights), CHAIN, ["cvr_ips"]) == reason


# ---- fitted -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    """Overconfident probabilities of a rare event, and labels."""
    random = np.random.default_rng(5)
    z = random.normal(-4, 1.5, 20_000)
    y = (random.random(20_000) < sigmoid(0.6 * z - 1)).astype(np.float32)
    return sigmoid(z).astype(np.float32), y


def test_platt_is_a_logistic_regression_on_logits(scored):
    p, y = scored
    task = Task("click", ("click",))
    found = fitted("platt", [task], ["click"], {"click": y}, {"click": p}).maps["click"]
    z = logit(p.astype(np.float64))
    other = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(z[:, None], y)
    new = np.linspace(-12, 12, 101)
    np.testing.assert_allclose(applied(found, new), other.predict_proba(new[:, None])[:, 1], atol=1e-6)
    assert found.slope == pytest.approx(0.6, abs=0.05)
    assert found.intercept == pytest.approx(-1, abs=0.15)
    # What a maximum of the likelihood must do: residuals balance, by themselves and against the logits.
    residual = applied(found, z) - y
    assert abs(residual.mean()) < 1e-5
    assert abs((residual * z).mean()) < 1e-4


def test_isotonic_is_scikit_learns_within_a_millionth(scored):
    p, y = scored
    task = Task("click", ("click",))
    found = fitted("isotonic", [task], ["click"], {"click": y}, {"click": p}).maps["click"]
    assert len(found.x) > 20
    other = IsotonicRegression(y_min=0.5 / len(y), y_max=1 - 0.5 / len(y), out_of_bounds="clip")
    other.fit(p.astype(np.float64), y)  # in float32 scikit-learn takes numbers a millionth apart for equal
    z = np.concatenate([np.linspace(-20, 20, 2001), logit(np.array(found.x))]).astype(np.float32)
    expected = other.predict(tf.sigmoid(z).numpy().astype(np.float64))
    np.testing.assert_allclose(applied(found, z), expected, atol=1e-6)
    calibrated = applied(found, logit(p.astype(np.float64)))
    assert calibrated.mean() == pytest.approx(y.mean(), rel=1e-3)
    assert 0 < calibrated.min() < calibrated.max() < 1


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_rows_without_a_label_are_no_part_of_a_fit(scored, method):
    p, y = scored
    known = np.random.default_rng(6).random(len(y)) < 0.5
    task, there = Task("click", ("click",)), np.where(known, y, np.nan).astype(np.float32)
    whole = fitted(method, [task], ["click"], {"click": there}, {"click": p})
    assert whole == fitted(method, [task], ["click"], {"click": y[known]}, {"click": p[known]})


def test_a_single_knot_is_a_constant():
    assert applied(Isotonic([0.3], [0.2]), [-9.0, 9.0]).tolist() == pytest.approx([0.2, 0.2])


def test_isotonic_is_linear_between_knots_and_constant_beyond():
    found = applied(Isotonic([0.2, 0.4, 0.8], [0.1, 0.1, 0.5]), logit([0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9]))
    np.testing.assert_allclose(found, [0.1, 0.1, 0.1, 0.1, 0.3, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_rate_without_a_loss_follows_from_its_joint_task_and_its_condition(scored, method):
    p, click = scored
    buy = np.where(np.arange(len(click)) % 3 == 0, click, 0)
    labels = {"ctr": click, "cvr": np.where(click == 1, buy, np.nan), "ctcvr": buy}
    scores = {"ctr": p, "cvr": np.full_like(p, 0.5), "ctcvr": p / 2}
    entire = fitted(method, CHAIN, TRAINED, labels, scores)
    assert entire.ratios == {"cvr": ("ctcvr", "ctr")}
    assert set(entire.maps) == {"ctr", "ctcvr"}
    apart = fitted(method, CHAIN, ("ctr", "cvr", "ctcvr"), labels, scores)
    assert (set(apart.maps), apart.ratios) == ({"ctr", "cvr", "ctcvr"}, {})
    product = fitted(method, CHAIN, ("ctr", "cvr"), labels, scores)
    assert set(product.maps) == {"ctr", "cvr"}
    assert (product.ratios, product.products) == ({}, {"ctcvr": ("ctr", "cvr")})
    weighed = fitted(method, CHAIN, ("ctr",), labels, scores)  # as inverse propensities do
    assert (set(weighed.maps), weighed.ratios) == ({"ctr", "ctcvr"}, {"cvr": ("ctcvr", "ctr")})
    alone = fitted(method, CHAIN[:2], ("ctr",), labels, scores)
    assert (set(alone.maps), alone.ratios) == ({"ctr", "cvr"}, {})


def test_regressions_and_labels_of_one_kind_are_left_alone(caplog):
    tasks = (Task("watch", ("watch",), kind="regression"), Task("buy", ("buy",)))
    labels = {"watch": np.ones(3, np.float32), "buy": np.array([0, 0, np.nan], np.float32)}
    found = fitted("platt", tasks, ("watch", "buy"), labels, dict.fromkeys(labels, np.full(3, 0.5)))
    assert found == Calibration("platt")
    assert caplog.messages == ["buy is not calibrated: its 2 validation labels are all alike."]


def test_an_unknown_method_names_the_known_ones():
    message = "no calibration is called 'beta'. Use none, closed_form, platt, isotonic. One of your"
    with pytest.raises(ValueError, match=message):
        fitted("beta", (), (), {}, {})


@pytest.mark.parametrize("method", ["none", "closed_form"])
def test_not_every_method_is_fitted(method):
    with pytest.raises(ValueError, match=f"calibration '{method}' is not fitted to rows."):
        fitted(method, (), (), {}, {})


def test_a_map_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match=r"Map must define __call__\(z\)."):
        Map()(tf.zeros(2))
    with pytest.raises(NotImplementedError, match=r"Unweighted is not fitted to rows."):
        Unweighted.fit(np.ones(2), np.ones(2))


# ---- stored, and in the model -------------------------------------------------------------------

STORED = Calibration(
    "isotonic",
    {"ctr": Isotonic([0.1, 0.2], [0.0, 1.0]), "a": Platt(2.0, -1.0), "b": Unweighted(3.0, 0.1, 1.0, None)},
    {"cvr": ("ctcvr", "ctr")},
    {"buy": ("ctr", "cvr")},
    Resampled("ctr", 0.4, ("ctr", "ctcvr")),
)


def test_a_calibration_survives_json():
    assert Calibration.of(json.loads(json.dumps(STORED.plain()))) == STORED


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("maps"),
        lambda plain: plain["maps"]["a"].update(kind="beta"),
        lambda plain: plain["maps"]["a"].update(slope=None, bias=1),
        lambda plain: plain["maps"]["a"].update(slope=float("nan")),
        lambda plain: plain["maps"]["ctr"].update(x=[0.2, 0.1]),
        lambda plain: plain["maps"]["ctr"].update(x=[0.1], y=[0.1, 0.2]),
        lambda plain: plain["maps"]["ctr"].update(x=[], y=[]),
        lambda plain: plain["ratios"].update(cvr=["ctcvr"]),
        lambda plain: plain.pop("products"),
        lambda plain: plain["resampled"].update(keep=0),
    ],
)
def test_anything_else_is_refused(change):
    plain = STORED.plain()
    change(plain)
    with pytest.raises(ValueError, match="this is no calibration"):
        Calibration.of(plain)


def test_a_model_predicts_calibrated_probabilities_until_it_is_told_otherwise():
    tf.keras.utils.set_random_seed(1)
    model = ESMM(tiny.FEATURES, CHAIN, **tiny.options_of(ESMM))
    model.build()
    inputs = tiny.inputs()
    before = model.predict(inputs, verbose=0)
    model.calibrate(Calibration("closed_form", {"ctr": Unweighted(4.0)}, {"cvr": ("ctcvr", "ctr")}))
    after = model.predict(inputs, verbose=0)
    q = before["ctr"].astype(np.float64)
    np.testing.assert_allclose(after["ctr"], q / (q + 4 * (1 - q)), rtol=1e-5)
    np.testing.assert_allclose(after["cvr"], np.minimum(1, before["ctcvr"] / after["ctr"]), rtol=1e-5)
    assert (after["ctcvr"] == before["ctcvr"]).all()
    model.calibrate(None)
    assert (model.predict(inputs, verbose=0)["ctr"] == before["ctr"]).all()

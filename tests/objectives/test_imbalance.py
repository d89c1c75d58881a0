"""Weighted positives, the focal term and auxiliary losses: against numpy, and bitwise against nothing."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESM2, ESMM, MMoE
from fuxi_mtl.objectives import losses, supervised
from fuxi_mtl.objectives.imbalance import Imbalance, scheduled_clip
from fuxi_mtl.options import AuxFocalOptions, ClipScheduleOptions, ImbalanceOptions
from fuxi_mtl.tasks import Task
from fuxi_mtl.weighting import GradNorm, Manual, Uncertainty

CHAIN = tiny.tasks_of(tiny.NAMED["chain"])
CTCVR = Task("ctcvr", ("click", "buy"))
Z = np.array([-60.0, -8.0, -2.0, -0.1, 0.0, 0.3, 3.0, 9.0, 60.0], np.float32)
# The schedule of the ranking model: 300 for the first 8000 steps, then 30.
STEPS_DOWN = ClipScheduleOptions(True, "ctcvr", "piecewise", [0, 8000], [300.0, 30.0])


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def value_and_gradient(function, z, y):
    z, y = tf.constant(z, tf.float32), tf.constant(y, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = function(z, y)
    return value.numpy(), tape.gradient(value, z).numpy()


def focal(**options):
    return AuxFocalOptions(enabled=True, **{"warmup_steps": 0, **options})


def objective(task=CTCVR, step=0, **options):
    """The objective of one task after its change."""
    imbalance = Imbalance(ImbalanceOptions(**options))
    return imbalance.apply([supervised(task)], [task], tf.constant(step, tf.int64))[0]


def loss_of(changed, z, y, sample_weight=None):
    z = tf.constant(z, tf.float32)
    weight = None if sample_weight is None else tf.constant(sample_weight, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss, _ = changed.loss(
            {changed.task.name: z}, {changed.task.name: tf.constant(y, tf.float32)}, weight
        )
    return float(loss), tape.gradient(loss, z).numpy()


# ---- weighted positives -------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.3, 1.0, 24.7, 4800.0])
def test_n3_a_weight_multiplies_the_positive_term_only(weight):
    for label in (0.0, 1.0):
        y = np.full_like(Z, label)
        value, gradient = value_and_gradient(lambda z, y: losses.bce_with_logits(z, y, weight), Z, y)
        # As in torch.nn.BCEWithLogitsLoss: (1 - y) z + (1 + (w - 1) y) softplus(-z).
        z = Z.astype(np.float64)
        np.testing.assert_allclose(
            value, (1 - y) * z + (1 + (weight - 1) * y) * np.logaddexp(0, -z), rtol=1e-5, atol=1e-12
        )
        expected = (1 - y) * sigmoid(z) - weight * y * sigmoid(-z)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(
    ("weight", "rate", "optimum"),
    [(24.7, 0.0389, 0.49993), (4800, 1 / 4801, 0.5), (300, 1 / 4801, 0.0588), (30, 1 / 4801, 0.0062)],
)
def test_the_optimum_under_a_weight_is_the_odds_times_the_weight(weight, rate, optimum):
    z = np.log(weight * rate / (1 - rate))
    assert sigmoid(z) == pytest.approx(optimum, abs=5e-5)
    # Rows in the ratio of the rate: at the optimum their mean loss does not change with the logit.
    _, gradient = loss_of(objective(static_pos_weight={"ctcvr": weight}), [z, z], [1, 0], [rate, 1 - rate])
    assert gradient.sum() == pytest.approx(0, abs=1e-6 * weight * rate)


def test_the_loss_is_a_mean_over_rows_and_not_over_weights():
    loss, _ = loss_of(objective(static_pos_weight={"ctcvr": 9.0}), [0, 0, 0, 5], [1, 0, 0, np.nan])
    assert loss == pytest.approx((9 + 1 + 1) * np.log(2) / 3)


@pytest.mark.parametrize(
    ("step", "clip"), [(0, 300), (1, 300), (7999, 300), (8000, 30), (8001, 30), (10**9, 30)]
)
def test_s3_a_piecewise_clip_is_the_value_of_the_last_milestone(step, clip):
    assert float(scheduled_clip(STEPS_DOWN, tf.constant(step, tf.int64))) == clip
    options = {"static_pos_weight": {"ctcvr": 4800.0}, "pos_weight_clip_schedule": STEPS_DOWN}
    changed = objective(step=step, **options)
    assert loss_of(changed, [0.0], [1.0])[0] == pytest.approx(clip * np.log(2))


@pytest.mark.parametrize(("step", "clip"), [(0, 400), (1000, 250), (2000, 100), (9999, 100)])
def test_a_linear_clip_goes_from_its_start_to_its_end(step, clip):
    ramp = ClipScheduleOptions(
        True, type="linear", start_step=0, end_step=2000, start_value=400.0, end_value=100.0
    )
    assert float(scheduled_clip(ramp, tf.constant(step, tf.int64))) == pytest.approx(clip)
    later = ClipScheduleOptions(
        True, type="linear", start_step=1500, end_step=2500, start_value=400.0, end_value=100.0
    )
    assert float(scheduled_clip(later, tf.constant(step, tf.int64))) == pytest.approx(
        {0: 400, 1000: 400, 2000: 250, 9999: 100}[step]
    )


def test_a_schedule_stands_in_for_the_clip_of_its_target_only():
    options = ImbalanceOptions(
        static_pos_weight={"ctr": 24.7, "ctcvr": 4800.0},
        pos_weight_clip={"ctr": 20.0, "ctcvr": 100.0},
        pos_weight_clip_schedule=STEPS_DOWN,
    )
    imbalance, step = Imbalance(options), tf.constant(8000, tf.int64)
    assert float(imbalance.pos_weight("ctr", step)) == 20
    assert float(imbalance.pos_weight("ctcvr", step)) == 30
    assert imbalance.pos_weight("cvr", step) is None
    both = ClipScheduleOptions(True, "both", "piecewise", [0], [7.0])
    imbalance = Imbalance(ImbalanceOptions(static_pos_weight={"ctr": 24.7}, pos_weight_clip_schedule=both))
    assert float(imbalance.pos_weight("ctr", step)) == 7


def test_a_weight_that_its_clip_never_lets_through_is_warned_about(caplog):
    weights = {"ctr": 24.7, "ctcvr": 4800.0}
    with caplog.at_level(logging.WARNING):
        Imbalance(ImbalanceOptions(static_pos_weight=weights, pos_weight_clip={"ctr": 30.0, "ctcvr": 5000.0}))
    assert not caplog.messages
    Imbalance(ImbalanceOptions(static_pos_weight=weights, pos_weight_clip_schedule=STEPS_DOWN))
    ramp = ClipScheduleOptions(True, "ctr", "linear", end_step=9, start_value=4.0, end_value=5.0)
    Imbalance(ImbalanceOptions(static_pos_weight=weights, pos_weight_clip_schedule=ramp))
    assert caplog.messages == [
        "static_pos_weight of ctcvr is 4800, but its clip is never above 300: it is never reached.",
        "static_pos_weight of ctr is 24.7, but its clip is never above 5: it is never reached.",
    ]


def test_a_dynamic_weight_is_negatives_over_positives_of_the_rows_that_count():
    y, weight = [1, 0, 0, 0, np.nan, 0, 1], [1, 1, 2, 1, 9, 3, 1]
    z = np.zeros(7)
    loss, _ = loss_of(objective(pos_weight_dynamic=True), z, y, weight)
    # Seven units of negatives to two of positives, nine units in all.
    assert loss == pytest.approx((2 * 3.5 + 7) / 9 * np.log(2))
    clipped = objective(pos_weight_dynamic=True, pos_weight_clip={"ctcvr": 2.0})
    assert loss_of(clipped, z, y, weight)[0] == pytest.approx((2 * 2 + 7) / 9 * np.log(2))
    loss, gradient = loss_of(objective(pos_weight_dynamic=True), [3.0, -3.0], [0, np.nan])
    assert loss == pytest.approx(np.logaddexp(0, 3))
    assert np.isfinite(gradient).all()


# ---- the focal term -----------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_n4_gamma_zero_is_the_cross_entropy_bit_for_bit(label):
    y = np.full_like(Z, label)
    focal_loss = value_and_gradient(lambda z, y: losses.focal_with_logits(z, y, gamma=0.0), Z, y)
    plain = value_and_gradient(losses.bce_with_logits, Z, y)
    for one, other in zip(focal_loss, plain, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_n4_a_detached_factor_scales_the_gradient(gamma):
    for label in (0.0, 1.0):
        y = np.full_like(Z, label)
        value, gradient = value_and_gradient(lambda z, y: losses.focal_with_logits(z, y, gamma), Z, y)
        wrong = sigmoid(Z) if label == 0 else sigmoid(-Z)  # 1 - p_t
        bce = np.logaddexp(0, Z if label == 0 else -Z)
        np.testing.assert_allclose(value, wrong**gamma * bce, rtol=1e-4, atol=1e-30)
        # Below the smallest normal number float32 has fewer digits, or none.
        np.testing.assert_allclose(gradient, wrong**gamma * (sigmoid(Z) - y), rtol=1e-4, atol=1e-36)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_a_factor_that_is_not_detached_has_the_gradient_of_the_paper(gamma):
    z = np.array([-6.0, -1.0, 0.0, 2.0, 6.0])
    p = sigmoid(z)
    expected = {
        1.0: -((1 - p) ** gamma) * ((1 - p) - gamma * p * np.log(p)),
        0.0: p**gamma * (p - gamma * (1 - p) * np.log(1 - p)),
    }
    for label, slope in expected.items():
        _, gradient = value_and_gradient(
            lambda z, y: losses.focal_with_logits(z, y, gamma, detach=False), z, np.full_like(z, label)
        )
        np.testing.assert_allclose(gradient, slope, rtol=1e-5)


def test_numbers_of_the_focal_factor():
    z = np.log([0.01 / 0.99, 1.0])  # probabilities 0.01 and 0.5 of a negative
    value, _ = value_and_gradient(lambda z, y: losses.focal_with_logits(z, y, 2.0), z, [0, 0])
    np.testing.assert_allclose(value / -np.log([0.99, 0.5]), [0.0001, 0.25], rtol=1e-4)


def test_alpha_weighs_positives_and_one_minus_alpha_negatives():
    plain, _ = value_and_gradient(lambda z, y: losses.focal_with_logits(z, y, 1.0), [0.3, 0.3], [1, 0])
    weighed, _ = value_and_gradient(
        lambda z, y: losses.focal_with_logits(z, y, 1.0, alpha=0.25), [0.3, 0.3], [1, 0]
    )
    np.testing.assert_allclose(weighed, plain * [0.25, 0.75], rtol=1e-6)


def test_the_focal_term_does_not_see_the_weight_of_positives():
    z, y = np.array([0.4, -1.0, 2.0]), np.array([1.0, 0.0, 0.0])
    changed = objective(
        static_pos_weight={"ctcvr": 10.0}, aux_focal=focal(lambda_=0.1, gamma=2.0, use_alpha=True)
    )
    bce = np.where(y == 1, 10 * np.logaddexp(0, -z), np.logaddexp(0, z))
    wrong = np.where(y == 1, sigmoid(-z), sigmoid(z))
    alpha = np.where(y == 1, 0.25, 0.75)
    term = alpha * wrong**2 * np.where(y == 1, np.logaddexp(0, -z), np.logaddexp(0, z))
    assert loss_of(changed, z, y)[0] == pytest.approx(np.mean(bce + 0.1 * term), rel=1e-5)


def test_the_factor_may_be_computed_in_the_precision_of_the_network():
    z, y = [0.123, -1.7], [1.0, 0.0]
    exact, rounded = objective(aux_focal=focal()), objective(aux_focal=focal(compute_fp32=False))
    assert loss_of(exact, z, y)[0] == loss_of(rounded, z, y)[0]
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        difference = abs(loss_of(exact, z, y)[0] - loss_of(rounded, z, y)[0])
    finally:
        keras.config.set_dtype_policy(before)
    assert 1e-7 < difference < 1e-2


@pytest.mark.parametrize(("step", "on"), [(0, 0), (7999, 0), (8000, 1), (8001, 1)])
def test_s3_the_focal_term_starts_with_the_step_of_its_warm_up(step, on):
    changed = objective(step=step, aux_focal=focal(warmup_steps=8000, lambda_=0.5, gamma=1.0))
    assert loss_of(changed, [0.0], [0.0])[0] == pytest.approx(np.log(2) * (1 + on * 0.5 * 0.5))


def test_one_graph_follows_the_step():
    step = tf.Variable(0, dtype=tf.int64)
    imbalance = Imbalance(
        ImbalanceOptions(
            static_pos_weight={"ctcvr": 4800.0},
            pos_weight_clip_schedule=STEPS_DOWN,
            aux_focal=focal(warmup_steps=9000, lambda_=1.0, gamma=0.0),
        )
    )

    @tf.function(autograph=False)
    def loss():
        changed = imbalance.apply([supervised(CTCVR)], [CTCVR], tf.convert_to_tensor(step))[0]
        return changed.loss({"ctcvr": tf.zeros(1)}, {"ctcvr": tf.ones(1)})[0] / np.float32(np.log(2))

    found = []
    for at in (0, 7999, 8000, 9000):
        step.assign(at)
        found.append(float(loss()))
    assert found == pytest.approx([300, 300, 30, 31])
    assert loss.experimental_get_tracing_count() == 1


# ---- nothing changes unless it is asked for ------------------------------------------------------


def trained(cls=ESMM, tasks=CHAIN, options=None, steps=3, eager=True, weighting=None, **changes):
    """Variables and logs after some steps on one batch."""
    keras.utils.set_random_seed(1)
    model = cls(tiny.FEATURES, cls.plan_tasks(tasks, True), **tiny.options_of(cls))
    imbalance = None if options is None else Imbalance(ImbalanceOptions(**options))
    model.compile(keras.optimizers.Adam(0.01), weighting, imbalance, run_eagerly=eager, **changes)
    data = tiny.batch(model.tasks)
    logs = []
    if eager:
        for _ in range(steps):
            logs.append({name: float(value) for name, value in model.train_step(data).items()})
            for metric in model.metrics:
                metric.reset_state()
    else:
        model.fit(tf.data.Dataset.from_tensors(data).repeat(steps), verbose=0, shuffle=False)
    return [variable.numpy().tobytes() for variable in model.variables], logs


WAITING = focal(warmup_steps=3, lambda_=0.5)
NOTHING = [
    {},
    {"aux_focal": AuxFocalOptions(enabled=False, warmup_steps=0, lambda_=0.5)},
    {"aux_focal": WAITING},
    {"aux_focal": focal(lambda_=0.0)},
    {"aux_focal": focal(lambda_=0.0, log_components=False)},
    {"static_pos_weight": {"ctr": 1.0, "ctcvr": 1.0}},
]


@pytest.fixture(scope="module")
def plain():
    return trained()


@pytest.mark.parametrize("options", NOTHING, ids=str)
def test_disabled_before_warm_up_and_at_lambda_zero_training_is_the_same_bit_for_bit(plain, options):
    variables, logs = trained(options=options)
    assert variables == plain[0]
    for one, other in zip(logs, plain[1], strict=True):
        assert {name: one[name] for name in other} == other


def test_a_focal_term_that_waits_leaves_a_graph_the_same_bit_for_bit():
    assert trained(options={"aux_focal": WAITING}, eager=False)[0] == trained(eager=False)[0]


def test_after_its_warm_up_the_focal_term_counts(plain):
    variables, logs = trained(options={"aux_focal": focal(warmup_steps=2, lambda_=0.5)})
    assert [each["watched_aux_focal_on"] for each in logs] == [0, 0, 1]
    assert variables != plain[0]
    for each in logs:
        expected = each["watched_loss_ctcvr_bce"]
        expected += each["watched_aux_focal_on"] * 0.5 * each["watched_loss_ctcvr_focal"]
        assert each["loss_ctcvr"] == pytest.approx(expected, rel=1e-6)
        assert 0 < each["watched_loss_ctcvr_focal"] < each["watched_loss_ctcvr_bce"]


def test_what_is_not_asked_for_leaves_the_very_objective():
    watch = supervised(Task("watch", ("watch",), kind="regression"))
    given = [supervised(CTCVR), watch]
    assert all(a is b for a, b in zip(Imbalance().apply(given, [], tf.constant(0)), given, strict=True))
    options = ImbalanceOptions(pos_weight_dynamic=True)
    assert Imbalance(options).apply(given, [], tf.constant(0))[1] is watch


# ---- factors, the auxiliary loss, and what is logged ---------------------------------------------


def test_factors_scale_losses_outside_the_weighting():
    weighting = Manual({"ctr": "binary", "ctcvr": "binary"}, {"ctr": 3.0, "ctcvr": 5.0})
    options = {"lambda_ctr": 0.5, "lambda_ctcvr": 2.0}
    _, logs = trained(options=options, weighting=weighting, steps=1)
    assert (logs[0]["weight_ctr"], logs[0]["weight_ctcvr"]) == (1.5, 10)
    assert logs[0]["loss"] == pytest.approx(1.5 * logs[0]["loss_ctr"] + 10 * logs[0]["loss_ctcvr"], rel=1e-5)


@pytest.mark.parametrize(("normalize", "divisor"), [("clicks", 4), ("batch", 9)])
def test_the_auxiliary_loss_counts_clicked_rows(normalize, divisor):
    options = ImbalanceOptions(lambda_cvr_aux=0.1, cvr_aux_normalize=normalize)
    added = Imbalance(options).apply([supervised(CHAIN[0])], CHAIN, tf.constant(0))[1]
    assert (added.name, added.scale) == ("cvr_aux", 0.1)
    z = np.array([0.2, 1.0, -1.0, 3.0, 0.0])
    y = np.array([1.0, 0.0, np.nan, np.nan, 1.0])
    weight = np.array([1.0, 1.0, 4.0, 1.0, 2.0])
    loss, rows = added.loss(
        {"cvr": tf.constant(z, tf.float32)},
        {"cvr": tf.constant(y, tf.float32)},
        tf.constant(weight, tf.float32),
    )
    total = np.logaddexp(0, -0.2) + np.logaddexp(0, 1.0) + 2 * np.logaddexp(0, 0.0)
    assert float(loss) == pytest.approx(total / divisor, rel=1e-5)
    assert float(rows) == divisor


@pytest.mark.parametrize("normalize", ["clicks", "batch"])
def test_n5_without_a_click_the_auxiliary_loss_is_zero_and_so_is_its_gradient(normalize):
    options = ImbalanceOptions(lambda_cvr_aux=0.1, cvr_aux_normalize=normalize)
    added = Imbalance(options).apply([], CHAIN, tf.constant(0))[0]
    assert loss_of(added, [3.0, -80.0], [np.nan, np.nan]) == (0, pytest.approx([0, 0], abs=0))


def test_the_auxiliary_loss_needs_a_conversion_rate_without_a_loss():
    wanted = Imbalance(ImbalanceOptions(lambda_cvr_aux=0.1))
    with pytest.raises(ValueError, match="but there is no such task under a condition"):
        wanted.apply([], [Task("cvr", ("buy",))], tf.constant(0))
    with pytest.raises(ValueError, match="but it has a loss of its own already"):
        wanted.apply([supervised(CHAIN[1])], CHAIN, tf.constant(0))


EVERYTHING = {
    "static_pos_weight": {"ctr": 24.7, "ctcvr": 4800.0},
    "pos_weight_clip": {"ctr": 30.0},
    "pos_weight_clip_schedule": ClipScheduleOptions(True, "ctcvr", "piecewise", [0, 1], [300.0, 30.0]),
    "aux_focal": focal(warmup_steps=1),
    "lambda_cvr_aux": 0.1,
}


def test_a_step_says_what_was_done():
    _, logs = trained(options=EVERYTHING, steps=2)
    assert [each["watched_pos_weight_ctcvr_effective"] for each in logs] == [300, 30]
    assert [each["watched_pos_weight_ctr_effective"] for each in logs] == pytest.approx([24.7, 24.7])
    assert [each["watched_aux_focal_on"] for each in logs] == [0, 1]
    assert all(each["weight_cvr_aux"] == pytest.approx(0.1) and each["loss_cvr_aux"] > 0 for each in logs)
    _, logs = trained(options={"aux_focal": focal(log_components=False)}, steps=1)
    assert {name for name in logs[0] if name.startswith("watched_")} == {"watched_aux_focal_on"}


@pytest.mark.parametrize("weighting", [Uncertainty, GradNorm])
def test_any_weighting_takes_what_is_added(weighting):
    kinds = dict.fromkeys(["ctr", "ctcvr", "cvr_aux"], "binary")
    _, logs = trained(options=EVERYTHING, weighting=weighting(kinds), steps=2)
    assert np.isfinite(list(logs[1].values())).all()
    assert logs[1]["weight_cvr_aux"] > 0


@pytest.mark.parametrize(("cls", "tasks"), [(ESM2, "funnel"), (MMoE, "chain")])
def test_any_model_takes_weights_and_the_focal_term(cls, tasks):
    options = {name: each for name, each in EVERYTHING.items() if name != "lambda_cvr_aux"}
    _, logs = trained(cls, tiny.tasks_of(tiny.NAMED[tasks]), options, steps=1)
    assert logs[0]["watched_pos_weight_ctcvr_effective"] == 300
    assert np.isfinite(list(logs[0].values())).all()

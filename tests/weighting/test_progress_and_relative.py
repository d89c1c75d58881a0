"""Weightings that look at what losses become, against numbers worked out apart from them."""

import tracemalloc
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import MMoE, ShareBottom
from fuxi_mtl.objectives.priors import constant_losses
from fuxi_mtl.options import SurgeryOptions, WeightingOptions
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.weighting import (
    CoefficientOfVariation,
    FastAdaptive,
    ImpartialLosses,
    NormalisedEntropy,
    SmoothTchebycheff,
    SoftOptimal,
    make_weighting,
)

TWO = {"ctr": "binary", "ctcvr": "binary"}
THREE = {"a": "binary", "b": "binary", "c": "binary"}
NAN = float("nan")


def numbers(weighting):
    return np.array([float(weight) for weight in weighting.weights().values()])


def told(weighting, *losses):
    weighting.update(dict(zip(weighting.names, losses, strict=True)))
    return numbers(weighting)


def progress(weighting, before, after):
    names = weighting.names
    weighting.learn_progress(dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)))
    return weighting.logits.numpy()


# ---- FAMO ---------------------------------------------------------------------------------------


def test_famo_weighs_relative_progress_and_takes_from_who_made_most():
    weighting = FastAdaptive(TWO)
    np.testing.assert_allclose(told(weighting, 0.5, 0.02) / 2, [0.03846156, 0.96153844], rtol=1e-5)
    np.testing.assert_allclose(progress(weighting, (0.5, 0.02), (0.48, 0.0199)), [-0.025, 0.025], rtol=1e-4)
    np.testing.assert_allclose(told(weighting, 0.48, 0.0199) / 2, [0.0379402, 0.9620598], rtol=1e-5)


def adam(gradients, rate, decay):
    """The logits after some steps of Adam with the decay inside the gradient."""
    xi = m = v = np.zeros(3)
    for t, each in enumerate(gradients, 1):
        g = each(xi) + decay * xi
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        xi = xi - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return xi


def test_famo_over_several_steps_is_adam_on_its_closed_gradient():
    losses = np.array([[0.6, 0.05, 1.2], [0.57, 0.0495, 1.23], [0.6, 0.03, 1.1], [0.5, 0.029, 1.3]])

    def gradient(before, after):
        def of(xi):
            z = np.exp(xi) / np.exp(xi).sum()
            delta = np.log(before) - np.log(after)
            return z * (delta - z @ delta)

        return of

    weighting = FastAdaptive(THREE, famo_lr=0.05, famo_decay=0.01)
    for before, after in pairwise(losses):
        found = progress(weighting, before, after)
    expected = adam([gradient(*pair) for pair in pairwise(losses)], 0.05, 0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_famo_of_three_with_logits_of_its_own():
    weighting = FastAdaptive(THREE)
    weighting.logits.assign([0.2, 0.0, -0.1])
    np.testing.assert_allclose(
        told(weighting, 0.6, 0.05, 1.2) / 3, [0.0893242, 0.8775893, 0.0330865], rtol=1e-5
    )


def test_famo_without_a_learning_rate_is_the_normalised_sum_of_logarithms():
    weighting = FastAdaptive(THREE, famo_lr=1e-30)
    for losses in ((0.6, 0.05, 1.2), (0.3, 0.04, 1.0)):
        inverse = 1 / np.array(losses)
        np.testing.assert_allclose(told(weighting, *losses), 3 * inverse / inverse.sum(), rtol=1e-5)


def test_famo_leaves_out_who_has_no_row_and_what_is_fixed():
    weighting = FastAdaptive({**THREE, "risk": "fixed"})
    weighting.update({"a": 0.5, "b": NAN, "c": 0.25, "risk": -3.0})
    np.testing.assert_allclose(numbers(weighting), [2 / 3, 1, 4 / 3, 1], rtol=1e-5)
    logits = progress(weighting, (0.5, NAN, 0.25, -3), (0.4, 0.1, 0.25, -2))
    assert logits[0] < 0 < logits[2]
    assert logits[1] == logits[3] == 0


def test_famo_holds_losses_against_their_lower_bounds():
    weighting = FastAdaptive(TWO, famo_floor={"ctr": 0.4})
    inverse = 1 / np.array([0.1, 0.02])
    np.testing.assert_allclose(told(weighting, 0.5, 0.02), 2 * inverse / inverse.sum(), rtol=1e-5)
    assert np.isfinite(told(weighting, 0.3, 0.02)).all()  # below its bound


def test_famo_may_take_the_next_batch_for_the_look_back():
    weighting, again = FastAdaptive(TWO, famo_reuse="next"), FastAdaptive(TWO)
    assert (weighting.needs_progress, again.needs_progress) == (False, True)
    told(weighting, 0.5, 0.02)
    told(weighting, 0.48, 0.0199)
    progress(again, (0.5, 0.02), (0.48, 0.0199))
    np.testing.assert_array_equal(weighting.logits, again.logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"famo_reuse": "both"}, "famo_reuse is 'both'. Choices: same, next."),
        (
            {"famo_floor": {"cvr": 0.1}},
            "famo_floor names 'cvr', which is no objective. Objectives: ctr, ctcvr.",
        ),
    ],
)
def test_what_famo_has_not_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FastAdaptive(TWO, **options)


def trained(model_options=None, **compile_options):
    keras.utils.set_random_seed(3)
    tasks = tiny.PLAIN["two"]
    model = MMoE(tiny.FEATURES, tasks, **{**tiny.options_of(MMoE), **(model_options or {})})
    model.build()
    weighting = FastAdaptive({task.name: "binary" for task in tasks})
    seen = []
    learn = weighting.learn_progress
    weighting.learn_progress = lambda before, after: (seen.append((before, after)), learn(before, after))
    model.compile(keras.optimizers.SGD(0.5), weighting=weighting, run_eagerly=True, **compile_options)
    return model, seen, tiny.batch(tasks)


def losses_of(model, batch):
    inputs, labels, weight = batch
    heads = model(inputs, training=False)
    return {o.name: float(o.loss(heads, labels, weight)[0]) for o in model.objectives()}


@pytest.mark.parametrize("options", [{}, {"net_dropout": 0.5}, {"batch_norm": True}], ids=str)
def test_a_step_tells_famo_the_losses_of_its_batch_before_and_after_it(options):
    """Those of prediction: of dropout, two masks would be most of their difference."""
    model, seen, batch = trained(options)
    before = losses_of(model, batch)
    model.train_step(batch)
    after = losses_of(model, batch)
    told_before, told_after = ({name: float(loss) for name, loss in each.items()} for each in seen[0])
    assert told_before == pytest.approx(before, rel=1e-5)
    assert told_after == pytest.approx(after, rel=1e-5)
    assert before != after


def test_famo_looks_back_after_a_surgery_too():
    surgery = make_surgery(SurgeryOptions(surgery="upgrad"), {t.name: "binary" for t in tiny.PLAIN["two"]})
    model, seen, batch = trained(surgery=surgery)
    model.train_step(batch)
    assert losses_of(model, batch) == pytest.approx(
        {n: float(loss) for n, loss in seen[0][1].items()}, rel=1e-5
    )


# ---- IMTL-L -------------------------------------------------------------------------------------


def test_imtl_l_takes_the_golden_path_and_settles_at_one_over_the_loss():
    weighting = ImpartialLosses(TWO, imtl_lr=0.1)
    for expected in ([0.05, 0.098], [0.0974365, 0.1957941], [0.1423194, 0.2933615]):
        found = told(weighting, 0.5, 0.02)
        np.testing.assert_allclose(weighting.log_weight, expected, rtol=1e-5)
    np.testing.assert_allclose(found, [1.1529448, 1.3409275], rtol=1e-5)
    weighting.log_weight.assign(np.log([2.0, 50.0]))
    np.testing.assert_allclose(told(weighting, 0.5, 0.02), [2, 50], rtol=1e-5)


def test_imtl_l_is_gradient_descent_on_uncertainty_with_another_sign():
    """``exp(-s) L + s`` with the same start and rate: s is the other's -s in every step."""
    weighting, s, rng = ImpartialLosses(TWO, imtl_lr=0.05), np.zeros(2), np.random.default_rng(0)
    for _ in range(40):
        losses = rng.uniform(0.01, 0.9, size=2)
        told(weighting, *losses)
        s = s - 0.05 * (1 - np.exp(-s) * losses)
        np.testing.assert_allclose(weighting.log_weight, -s, atol=1e-6)


def test_imtl_l_outlives_a_loss_of_a_million_and_one_of_nothing():
    weighting = ImpartialLosses(TWO, imtl_lr=0.5)
    for _ in range(100):
        found = told(weighting, 1e6, 0.0)
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx(weighting.largest)


# ---- STCH ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mu", "expected"),
    [(0.3, [2.7140824, 76.9754554, 0.3512547]), (0.1, [2.4379817, 99.1517352, 0.0211392])],
)
def test_stch_gives_the_golden_weights_after_its_first_stretch(mu, expected):
    weighting = SmoothTchebycheff(THREE, epoch_steps=9, stch_mu=mu, stch_warmup=2)
    np.testing.assert_allclose(told(weighting, 0.4, 0.03, 1.0), [2.5, 1 / 0.03, 1], rtol=1e-5)
    told(weighting, 0.6, 0.01, 2.0)
    np.testing.assert_allclose(weighting.nadir, [0.5, 0.02, 1.5], rtol=1e-6)
    np.testing.assert_allclose(told(weighting, 0.45, 0.019, 0.9), expected, rtol=1e-5)
    told(weighting, 5, 5, 5)
    np.testing.assert_allclose(weighting.nadir, [0.5, 0.02, 1.5], rtol=1e-6)


def test_the_first_stretch_of_stch_is_an_epoch_unless_said_and_counts_only_rows_that_there_are():
    weighting = SmoothTchebycheff(TWO, epoch_steps=3)
    for losses in ((0.4, NAN), (0.6, 0.1), (0.8, NAN)):
        told(weighting, *losses)
    np.testing.assert_allclose(weighting.nadir, [0.6, 0.1], rtol=1e-6)
    found = told(weighting, 0.3, NAN)
    assert found[0] == pytest.approx(1 / 0.3)  # alone it has the whole of its softmax


@pytest.mark.parametrize("mu", [0.0, -1.0, 1.0, 2.0])
def test_stch_has_no_mu_at_which_nothing_or_the_best_is_what_counts(mu):
    with pytest.raises(ValueError, match="stch_mu is .*; it lies above 0 and below 1"):
        SmoothTchebycheff(TWO, stch_mu=mu)


# ---- UW-SO and normalised entropy ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, [0, 1]), (10.0, [0.0081626, 0.9918374]), (50.0, [0.2768782, 0.7231218])],
)
def test_uw_so_of_bare_losses_saturates(temperature, expected):
    weighting = SoftOptimal(TWO, uwso_temperature=temperature, uwso_normalise="none")
    np.testing.assert_allclose(told(weighting, 0.5, 0.02), 2 * np.array(expected), rtol=1e-4, atol=1e-6)


def test_uw_so_of_three_and_of_losses_beside_their_entropy():
    weighting = SoftOptimal(THREE, uwso_temperature=50.0, uwso_normalise="none")
    expected = np.array([0.2119250, 0.5808076, 0.2072675])
    np.testing.assert_allclose(told(weighting, 0.45, 0.019, 0.9), 3 * expected, rtol=1e-5)
    weighting = SoftOptimal(TWO, {"ctr": 0.2, "ctcvr": 0.004})
    np.testing.assert_allclose(told(weighting, 0.18, 0.0028), [2 * 0.4604, 2 * 0.5396], rtol=1e-4)


def test_uw_so_knows_two_units():
    with pytest.raises(ValueError, match="uwso_normalise is 'loss'. Choices: base_entropy, none."):
        SoftOptimal(TWO, uwso_normalise="loss")


def test_a_constant_prediction_costs_the_entropy_or_the_variance():
    rng = np.random.default_rng(0)
    click = np.zeros(2000)
    click[:100] = 1
    buy, spend = np.where(rng.random(2000) < 0.5, NAN, 0.0), rng.normal(size=2000)
    buy[:1] = 1
    found = constant_losses(
        {"ctr": click, "buy": buy, "spend": spend, "never": np.zeros(9)},
        {"ctr": "binary", "buy": "binary", "spend": "regression", "never": "binary", "other": "binary"},
    )
    rate = 1 / np.isfinite(buy).sum()
    assert found["ctr"] == pytest.approx(0.1985152, rel=1e-6)
    assert found["buy"] == pytest.approx(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))
    assert found["spend"] == pytest.approx(np.mean((spend - spend.mean()) ** 2))
    assert set(found) == {"ctr", "buy", "spend"}


def test_what_a_constant_prediction_costs_is_found_without_a_copy_of_the_labels():
    """A billion labels take 4 GB, and copies in float64 took 16 more."""
    labels = np.zeros(1_000_000, np.float32)
    labels[::4], labels[1::4] = 1, NAN
    tracemalloc.start()
    found = constant_losses({"ctr": labels}, {"ctr": "binary"})["ctr"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == pytest.approx(-np.log(1 / 3) / 3 - 2 * np.log(2 / 3) / 3)
    assert peak < 2 * len(labels)  # which are known, a byte each


def test_normalised_entropy_takes_the_unit_from_losses():
    entropies = {"ctr": 0.1985152, "ctcvr": 0.0043003}  # of rates of .05 and .0005
    ctr, ctcvr = numbers(NormalisedEntropy(TWO, entropies))
    assert ctcvr / ctr == pytest.approx(46.16, rel=1e-4)
    assert ctr + ctcvr == pytest.approx(2)
    mixed = NormalisedEntropy({**TWO, "other": "regression", "risk": "fixed"}, entropies)
    assert numbers(mixed)[2:].tolist() == [1, 1]


def test_a_stanza_hands_the_entropies_on():
    weighting = make_weighting(
        WeightingOptions(loss_weight="NE"), TWO, constant_losses={"ctr": 0.2, "ctcvr": 0.1}
    )
    np.testing.assert_allclose(numbers(weighting), [2 / 3, 4 / 3], rtol=1e-6)


# ---- CoV ----------------------------------------------------------------------------------------

LOSSES = ((0.70, 0.050), (0.65, 0.048), (0.66, 0.040), (0.60, 0.041), (0.58, 0.036))


def test_cov_gives_the_golden_shares():
    weighting = CoefficientOfVariation(TWO)
    found = [told(weighting, *losses) / 2 for losses in LOSSES]
    expected = [
        [0.5, 0.5],
        [0.5, 0.5],
        [0.6447349, 0.3552651],
        [0.2655238, 0.7344762],
        [0.3609775, 0.6390225],
    ]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_cov_skips_a_batch_without_rows():
    weighting, whole = CoefficientOfVariation(TWO), CoefficientOfVariation(TWO)
    for step, losses in enumerate(LOSSES):
        expected = told(whole, *losses)
        if step == 2:
            told(weighting, NAN, NAN)
        np.testing.assert_array_equal(told(weighting, *losses), expected)


def test_cov_may_forget():
    weighting, decay = CoefficientOfVariation({"a": "binary", "b": "binary"}, cov_decay=0.5), 0.5
    rng, history = np.random.default_rng(1), {"a": [], "b": []}

    def statistics(losses):
        """Means with weights that halve from step to step, the first ones like a plain mean."""
        mean_loss = mean = square = 0.0
        for t, loss in enumerate(losses):
            share = max(1 / (t + 1), 1 - decay)
            ratio = loss / mean_loss if t else 1.0
            away = ratio - mean
            mean += share * away
            square = (1 - share) * square + share * away * (ratio - mean)
            mean_loss += share * (loss - mean_loss)
        return np.sqrt(square + 1e-8) / mean

    for t in range(8):
        if t >= 2:
            shares = np.array([statistics(history[name]) for name in "ab"])
        losses = rng.uniform(0.2, 0.8, size=2)
        found = told(weighting, *losses)
        for name, loss in zip("ab", losses, strict=True):
            history[name].append(loss)
        if t >= 2:
            np.testing.assert_allclose(found, 2 * shares / shares.sum(), rtol=1e-4)


@pytest.mark.parametrize("name", ["FAMO", "IMTL_L", "STCH", "UWSO", "COV", "NE"])
def test_all_of_them_train_in_a_graph(name):
    tasks = tiny.PLAIN["two"]
    keras.utils.set_random_seed(1)
    model = ShareBottom(tiny.FEATURES, tasks, **tiny.options_of(ShareBottom))
    weighting = make_weighting(WeightingOptions(loss_weight=name), {task.name: "binary" for task in tasks}, 1)
    model.compile("adam", weighting=weighting, steps_per_execution=2)
    data = tf.data.Dataset.from_tensors(tiny.batch(tasks)).repeat()
    logs = model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False).history
    assert np.isfinite(logs["loss"]).all()

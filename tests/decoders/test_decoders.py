"""Decoders against golden numbers, constant fits and their own definitions."""

import math

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.decoders import DECODERS, Decoder, make_decoder
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.options.decoders import kind_of
from fuxi_mtl.tasks import Task

FEATURES = FeatureMap.of("t", [Feature("price", "numeric"), Feature("duration", "numeric")], ["y"])
ALL = {
    name: {"by": "duration"} if name == "d2q" else {} for name in DECODERS if kind_of(name) == "regression"
}


def made(kind, **options) -> Decoder:
    task = Task("watch", ("y",), kind="regression", decoder=kind, decoder_options=tuple(options.items()))
    return make_decoder(task, FEATURES)


def numeric(durations):
    durations = np.asarray(durations, np.float32)
    return np.stack([np.full_like(durations, 7), durations], axis=1)


def fitted(kind, labels, durations=None, **options):
    decoder = made(kind, **options)
    labels = np.asarray(labels, np.float64)
    start = decoder.fit(labels, numeric(np.ones(len(labels)) if durations is None else durations))
    return decoder, start


def numbers(tensor):
    return np.asarray(tensor).tolist()


def constant(values):
    return tf.constant(values, tf.float32)


def error(decoder, raw, labels, durations=None):
    inputs = {"numeric": tf.constant(numeric(np.ones(len(labels)) if durations is None else durations))}
    return decoder.error(constant(raw), decoder.learnt(constant(labels), inputs))


def gradient(decoder, raw, labels):
    raw = constant(raw)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        found = decoder.error(raw, decoder.learnt(constant(labels), {}))
    return tape.gradient(found, raw).numpy()


# ---- zero-inflated lognormal ----------------------------------------------------------------------

RAW = [[-1, 2, 0.5], [0.3, 2, -0.2]]


def test_ziln_has_the_golden_errors_values_and_gradients():
    decoder, _ = fitted("ziln", [0, 10])
    np.testing.assert_allclose(error(decoder, RAW, [0, 10]), [0.313262, 3.389903], rtol=1e-5)
    np.testing.assert_allclose(decoder.value(constant(RAW), {}), [3.193608, 5.076032], rtol=1e-5)
    np.testing.assert_allclose(decoder.parts(constant(RAW))[0], [0.268941, 0.574443], rtol=1e-5)
    found = gradient(decoder, RAW, [0, 10])
    np.testing.assert_allclose(found[1], [-0.425557, -0.845753, 0.560009], rtol=1e-4)
    np.testing.assert_array_equal(found[0, 1:], [0, 0])


def test_ziln_over_positives_averages_the_amounts_over_them():
    decoder, _ = fitted("ziln", [0, 0, 0, 10], amount_over="positives")
    np.testing.assert_allclose(error(decoder, RAW, [0, 10]), [0.313262, 0.554355 + 4 * 2.835547], rtol=1e-5)


def test_ziln_starts_at_the_rate_and_the_logarithms_and_knows_a_unit():
    _, start = fitted("ziln", [0, 0, 1, math.e**2])
    np.testing.assert_allclose(start, [0, 1, 0.541325], rtol=1e-5)  # softplus(.541325) is 1
    plain, _ = fitted("ziln", [0, 10])
    scaled, _ = fitted("ziln", [0, 1000], unit=100)
    np.testing.assert_allclose(error(scaled, RAW, [0, 1000]), error(plain, RAW, [0, 10]), rtol=1e-5)
    np.testing.assert_allclose(
        scaled.value(constant(RAW), {}), 100 * np.array(plain.value(constant(RAW), {})), rtol=1e-5
    )


def test_the_value_of_ziln_is_the_mean_of_its_distribution():
    decoder, _ = fitted("ziln", [0, 1])
    z, mu, s = 0.4, 1.2, 0.3
    rng, sigma = np.random.default_rng(0), math.log1p(math.exp(s))
    drawn = (rng.random(400_000) < 1 / (1 + math.exp(-z))) * np.exp(rng.normal(mu, sigma, 400_000))
    value = decoder.value(constant([[z, mu, s]]), {})[0]
    assert abs(drawn.mean() - float(value)) < 4 * drawn.std() / math.sqrt(len(drawn))


# ---- log1p ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["smearing", "normal", "naive"])
def test_the_way_back_from_logarithms_is_put_right_on_other_rows(back):
    decoder, _ = fitted("log1p", [0, 1, 5], standardise=False, back=back)
    f, residuals = np.array([1.0, 2.0]), np.array([-0.5, 0.5, 0, 0.3, -0.3])
    naive = [1.718282, 6.389056]
    before = decoder.value(constant(f), {})
    np.testing.assert_allclose(before, naive, rtol=1e-6)
    assert decoder.settles == (back != "naive")
    decoder.settle(np.zeros(5), np.expm1(residuals))
    factor = {"smearing": 1.069186, "normal": math.exp(residuals.var() / 2), "naive": 1}[back]
    np.testing.assert_allclose(decoder.value(constant(f), {}), factor * np.exp(f) - 1, rtol=1e-5)


def test_a_way_back_that_no_factor_puts_right_is_said(caplog):
    decoder, _ = fitted("log1p", [0, 1, 5], standardise=False)
    # What is told to be small is far larger at times: one factor makes large values too large.
    f = np.array([1.0] * 50 + [9.0] * 50)
    labels = np.array([0.0, 20_000.0] * 25 + [8_000.0] * 50)
    decoder.settle(f, labels)
    factor = np.mean(np.exp(np.log1p(labels) - f))
    times = np.mean(factor * np.exp(f) - 1) / labels.mean()
    assert times > 100
    assert f"values are {times:.3g} times the labels on average: one factor (back: smearing)" in caplog.text
    caplog.clear()
    decoder.settle(f, np.expm1(f + np.array([-0.5, 0.5] * 50)))
    assert not caplog.text


def test_log1p_learns_scaled_logarithms():
    labels = np.array([0.0, 1, 5, 20])
    decoder, _ = fitted("log1p", labels)
    logarithms = np.log1p(labels)
    z = (logarithms - logarithms.mean()) / logarithms.std()
    np.testing.assert_allclose(error(decoder, [0.5] * 4, labels), (0.5 - z) ** 2, rtol=1e-4)
    np.testing.assert_allclose(decoder.value(constant(z), {}), labels, rtol=1e-4, atol=1e-5)


# ---- Poisson, Tweedie, WLR ------------------------------------------------------------------------


def test_poisson_and_tweedie_have_the_golden_errors_and_gradients():
    poisson, _ = fitted("poisson", [0, 3])
    np.testing.assert_allclose(error(poisson, [0.5, 0.5], [0, 3]), [1.648721, 0.148721], rtol=1e-5)
    np.testing.assert_allclose(gradient(poisson, [0.5, 0.5], [0, 3]), [1.648721, -1.351279], rtol=1e-5)
    tweedie, _ = fitted("tweedie", [0, 3])
    np.testing.assert_allclose(error(tweedie, [0.5, 0.5], [0, 3]), [2.568051, 7.240855], rtol=1e-5)
    np.testing.assert_allclose(gradient(tweedie, [0.5, 0.5], [0, 3]), [1.284025, -1.052377], rtol=1e-5)


def test_wlr_has_the_golden_errors():
    exact, _ = fitted("wlr", [0, 30], clip_quantile=1.0)
    np.testing.assert_allclose(error(exact, [1.0], [30]), [10.711112], rtol=1e-5)
    np.testing.assert_allclose(gradient(exact, [1.0], [30]), [-7.337184], rtol=1e-5)
    classic, _ = fitted("wlr", [0, 30], clip_quantile=1.0, exact=False)
    np.testing.assert_allclose(error(classic, [1.0], [30]), [9.397851], rtol=1e-5)
    np.testing.assert_allclose(error(classic, [1.0], [0]), [math.log1p(math.e)], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("poisson", {}, 7.5),
        ("tweedie", {}, 7.5),
        ("tweedie", {"power": 1.9}, 7.5),
        ("wlr", {"clip_quantile": 1.0}, 7.5),
        ("wlr", {"clip_quantile": 1.0, "unit": 10}, 7.5),
        ("wlr", {"clip_quantile": 1.0, "exact": False}, 10),  # the odds: 30 over the three without a click
    ],
)
def test_a_constant_starts_and_stays_at_the_mean_and_the_odds_of_the_paper_are_larger(
    kind, options, expected
):
    labels = np.array([0.0, 0, 0, 30])
    decoder, start = fitted(kind, labels, **options)
    raw = constant(np.repeat(start, 4))
    np.testing.assert_allclose(decoder.value(raw, {}), [expected] * 4, rtol=1e-5)
    assert gradient(decoder, raw, labels).sum() == pytest.approx(0, abs=1e-4)


def test_wlr_cuts_the_longest_times():
    labels = np.append(np.ones(999), 1e6)
    decoder, _ = fitted("wlr", labels, clip_quantile=0.99)
    assert float(error(decoder, [0.0], [1e6])[0]) == pytest.approx(2 * math.log(2), rel=1e-5)


# ---- D2Q ------------------------------------------------------------------------------------------


def test_d2q_has_the_golden_quantiles_and_comes_back():
    decoder, _ = fitted("d2q", [1, 2, 2, 5, 9], by="duration", groups=1)
    inputs = {"numeric": tf.constant(numeric(np.ones(6)))}
    labels = [0, 1, 2, 3, 5, 9]
    np.testing.assert_allclose(
        decoder.learnt(constant(labels), inputs), [0.1, 0.1, 0.4, 0.5, 0.7, 0.9], rtol=1e-5
    )
    quantiles = np.array([0.05, 0.3, 0.5, 0.7, 0.9, 0.99])
    raw = np.log(quantiles / (1 - quantiles))
    np.testing.assert_allclose(decoder.value(constant(raw), inputs), [1, 1.666667, 3, 5, 9, 9], rtol=1e-5)


def test_d2q_compares_with_videos_of_like_length():
    rng = np.random.default_rng(1)
    durations = np.repeat([10.0, 20, 30], 200)
    labels = np.round(rng.exponential(size=600) * durations)
    decoder, _ = fitted("d2q", labels, durations, by="duration", groups=3)
    inputs = {"numeric": tf.constant(numeric(durations))}
    learnt = decoder.learnt(constant(labels), inputs).numpy()
    for part in np.split(learnt, 3):
        assert part.mean() == pytest.approx(0.5, abs=1e-6)
    # Scaling the times of one group changes nothing that is learnt, and scales its values.
    scaled = np.where(durations == 20, 8 * labels, labels)
    other, _ = fitted("d2q", scaled, durations, by="duration", groups=3)
    np.testing.assert_allclose(other.learnt(constant(scaled), inputs), learnt, atol=1e-6)
    raw = constant(rng.normal(size=600))
    expected = np.where(durations == 20, 8, 1) * np.asarray(decoder.value(raw, inputs))
    np.testing.assert_allclose(other.value(raw, inputs), expected, rtol=1e-4, atol=1e-4)
    served, _ = fitted("d2q", labels, durations, by="duration", groups=3, serve="quantile")
    np.testing.assert_allclose(served.value(raw, inputs), tf.sigmoid(raw))


def test_d2q_groups_ties_together_and_thins_long_distributions():
    decoder, _ = fitted(
        "d2q", np.arange(5000.0), np.repeat([1.0, 2.0], 2500), by="duration", groups=10, max_knots=50
    )
    assert np.asarray(decoder.edges)[:2].tolist() == [2, np.finfo(np.float32).max]
    inputs = {"numeric": tf.constant(numeric([1, 2]))}
    np.testing.assert_allclose(decoder.learnt(constant([1250, 3750]), inputs), [0.5, 0.5], atol=0.01)


def test_d2q_learns_by_cross_entropy_too():
    decoder, _ = fitted("d2q", [1, 2, 2, 5, 9], by="duration", groups=1, loss="bce")
    found = float(error(decoder, [0.0], [3])[0])
    assert found == pytest.approx(math.log(2))


# ---- CREAD, TPM, ordinal, quantiles ---------------------------------------------------------------


def cread(restore):
    decoder = made("cread", thresholds=3, restore=restore, restore_weight=0.0, order_weight=0.0)
    decoder.at.assign([3.0, 8, 20])
    decoder.means.assign([1.0, 5, 12, 25])
    decoder.deviation.assign(1.0)
    return decoder


@pytest.mark.parametrize(("restore", "expected"), [("right", 7.6), ("trapezoid", 10.55), ("fitted", 10.7)])
def test_cread_puts_the_value_together(restore, expected):
    phi = np.array([[0.9, 0.5, 0.2]])
    assert cread(restore).value(constant(np.log(phi / (1 - phi))), {}).numpy() == pytest.approx([expected])


def test_cread_has_the_golden_errors():
    phi = np.array([[0.9, 0.5, 0.2]])
    raw = np.log(phi / (1 - phi))
    assert float(error(cread("right"), raw, [8.0])[0]) == pytest.approx(1.021651 / 3, rel=1e-5)
    with_value = cread("right")
    with_value.restore_weight = 1.0
    assert float(error(with_value, raw, [8.0])[0]) == pytest.approx(1.021651 / 3 + 0.08, rel=1e-5)
    ordered = cread("right")
    ordered.order_weight = 1.0
    phi = np.array([[0.6, 0.7, 0.2]])
    raw = np.log(phi / (1 - phi))
    plain = float(error(cread("right"), raw, [8.0])[0])
    assert float(error(ordered, raw, [8.0])[0]) == pytest.approx(plain + 0.1, rel=1e-5)


@pytest.mark.parametrize("count", [8, 32])
def test_cread_with_exact_chances_is_right_on_average_only_if_fitted(count):
    labels = np.minimum(np.random.default_rng(0).exponential(10, 100_000), 60)
    values = {}
    for restore in ("fitted", "right", "trapezoid"):
        decoder, start = fitted("cread", labels, thresholds=count, restore=restore)
        values[restore] = float(decoder.value(constant([start]), {})[0])
    assert values["fitted"] == pytest.approx(labels.mean(), rel=1e-3)
    assert values["right"] < 0.95 * labels.mean() < 1.05 * labels.mean() or count == 32
    assert values["right"] < values["fitted"] < values["trapezoid"]


def test_thresholds_that_labels_repeat_are_merged():
    decoder, start = fitted("cread", [0.0] * 50 + [4.0] * 50, thresholds=10)
    assert np.asarray(decoder.at)[:3].tolist() == [0, 4, np.finfo(np.float32).max]
    assert float(decoder.value(constant([start]), {})[0]) == pytest.approx(2, rel=0.02)
    assert np.isfinite(error(decoder, np.zeros((1, 10)), [4.0])).all()


def test_tpm_has_the_golden_leaves_values_and_errors():
    decoder = made("tpm", depth=2)
    decoder.edges.assign([1.0, 2, 3])
    decoder.means.assign([1.0, 3, 6, 15])
    raw = [[0.0, 1, -1]]
    np.testing.assert_allclose(
        decoder.leaves(constant(raw)), [[0.134471, 0.365529, 0.365529, 0.134471]], rtol=1e-5
    )
    assert decoder.value(constant(raw), {}).numpy() == pytest.approx([5.441295])
    assert error(decoder, raw, [2.5]).numpy() == pytest.approx([1.006409])
    found = gradient(decoder, raw, [2.5])
    assert found[0, 1] == 0  # the left child is off the path
    assert (found[0, [0, 2]] != 0).all()


def test_tpm_starts_with_every_leaf_at_its_share():
    labels = np.random.default_rng(0).exponential(size=4000)
    decoder, start = fitted("tpm", labels, depth=4)
    np.testing.assert_allclose(decoder.leaves(constant([start]))[0], [1 / 16] * 16, rtol=0.02)
    assert float(decoder.value(constant([start]), {})[0]) == pytest.approx(labels.mean(), rel=0.01)


def test_ordinal_has_the_golden_chances():
    decoder = made("ordinal", edges=[0.0, 1.0, 2.0])
    decoder.edges.assign([0.0, 1, 2])
    decoder.means.assign([0.0, 1, 2, 3])
    decoder.first.assign([-1.0])
    decoder.steps.assign(np.log(np.expm1([1.5, 1.5])))
    found = [float(error(decoder, [0.4], [y])[0]) for y in (0.0, 1.0, 2.0, 3.0)]
    np.testing.assert_allclose(np.exp(-np.array(found)), [0.197816, 0.327163, 0.307039, 0.167982], rtol=1e-5)
    assert decoder.value(constant([0.4]), {}).numpy() == pytest.approx([1.445186])


def test_ordinal_cuts_start_at_the_frequencies_and_stay_in_order():
    labels = np.repeat([0.0, 1, 2, 3], [4000, 3000, 2000, 1000])
    decoder, start = fitted("ordinal", labels, edges=[0, 1, 2])
    passed = 1 / (1 + np.exp(np.asarray(decoder.cuts()) - start[0]))
    np.testing.assert_allclose(passed, [0.6, 0.3, 0.1], rtol=0.01)
    decoder.steps.assign([-50.0, 3.0])
    assert (np.diff(decoder.cuts()) >= 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_all_that_is_learnt_from_few_different_labels_is_finite(kind):
    labels = np.repeat([1.0, 2, 3, 4, 5], [10, 20, 30, 25, 15])
    decoder, _ = fitted(kind, labels, **ALL[kind])
    assert all(np.isfinite(variable).all() for variable in decoder.weights)  # else there is no model


def test_ordinal_starts_right_on_average_for_a_rating_of_few_levels():
    decoder, start = fitted("ordinal", np.repeat([1.0, 2, 3, 4, 5], [10, 20, 30, 25, 15]))
    assert float(decoder.value(constant(start), {})[0]) == pytest.approx(3.15, rel=0.02)
    assert np.isfinite(error(decoder, [0.3] * 5, [1.0, 2, 3, 4, 5])).all()


def test_a_few_distinct_labels_are_levels_however_rare_they_are():
    ratings = np.repeat([1.0, 2, 3, 4, 5], [10, 100, 400, 300, 190])
    decoder, start = fitted("ordinal", ratings)
    np.testing.assert_array_equal(decoder.edges[:4], [1, 2, 3, 4])
    np.testing.assert_allclose(decoder.means[:5], [1, 2, 3, 4, 5], rtol=1e-6)
    assert float(decoder.value(constant(start), {})[0]) == pytest.approx(ratings.mean(), rel=1e-2)


def test_quantiles_have_the_golden_errors_and_never_cross():
    decoder = made("quantile", taus=[0.25, 0.5, 0.75], on="raw")
    decoder.offset.assign(0.0)
    decoder.scale.assign(1.0)
    np.testing.assert_allclose(
        decoder.quantiles(constant([[1, 0, -1]])), [[1, 1.693147, 2.006409]], rtol=1e-5
    )
    half = made("quantile", taus=[0.5], on="raw")
    half.offset.assign(0.0)
    half.scale.assign(1.0)
    np.testing.assert_allclose(error(half, [0.0, 0.0], [3, -2]), [1.5, 1])
    nine = made("quantile", taus=[0.9], on="raw")
    nine.offset.assign(0.0)
    nine.scale.assign(1.0)
    np.testing.assert_allclose(error(nine, [0.0, 0.0], [3, -2]), [2.7, 0.2], rtol=1e-5)


def test_the_mean_of_quantiles_joins_them_by_lines():
    decoder = made("quantile", taus=[0.25, 0.5, 0.75], on="raw", serve="mean")
    decoder.offset.assign(0.0)
    decoder.scale.assign(1.0)
    raw = [2, math.log(math.expm1(2)), math.log(math.expm1(5))]  # 2, 4, 9
    assert decoder.value(constant([raw]), {}).numpy() == pytest.approx([5.125])
    assert decoder.part_names == ("q25", "q50", "q75")
    np.testing.assert_allclose([float(q[0]) for q in decoder.parts(constant([raw]))], [2, 4, 9], rtol=1e-5)


@pytest.mark.parametrize("on", ["raw", "log1p"])
def test_quantiles_start_at_those_of_the_labels(on):
    labels = np.random.default_rng(0).exponential(size=3000)
    decoder, start = fitted("quantile", labels, on=on)
    found = [float(each[0]) for each in decoder.parts(constant([start]))]
    np.testing.assert_allclose(found, np.quantile(labels, [0.1, 0.3, 0.5, 0.7, 0.9]), rtol=0.02)


# ---- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_errors_and_gradients_are_finite_far_out_and_masked_rows_have_none(kind):
    labels = np.array([0.0, 1e-6, 1, 30, 1e6])
    decoder, start = fitted(kind, labels, np.arange(5.0), **ALL[kind])
    width = () if decoder.outputs == 1 else (decoder.outputs,)
    assert start is None or np.shape(start) == (decoder.outputs,)
    for far in (-80.0, 0.0, 80.0):
        raw = np.full((5, *width), far, np.float32)
        inputs = {"numeric": tf.constant(numeric(np.arange(5.0)))}
        with tf.GradientTape() as tape:
            variable = tf.constant(raw)
            tape.watch(variable)
            target = decoder.learnt(constant(labels), inputs)
            found = decoder.error(variable, target)
        assert found.shape == (5,)
        assert np.isfinite(found).all() or kind in ("poisson",), far
        assert np.isfinite(tape.gradient(found, variable)).all()
        value = decoder.value(tf.constant(raw), inputs)
        assert value.shape == (5,)
        assert np.isfinite(value).all()
    missing = decoder.learnt(constant([np.nan]), {"numeric": tf.constant(numeric([1]))})
    assert np.isnan(missing).all()


@pytest.mark.parametrize("kind", ALL)
def test_what_is_not_fitted_is_not_served(kind):
    decoder = made(kind, **ALL[kind])
    state = [variable for variable in decoder.variables if np.isnan(variable.numpy()).any()]
    assert state or kind in ("poisson", "tweedie")


@pytest.mark.parametrize("kind", ["ziln", "log1p", "poisson", "tweedie", "wlr", "cread", "quantile"])
def test_negative_labels_are_refused_where_there_are_none(kind):
    with pytest.raises(
        ValueError, match="decoder .* of 'watch': a label is -1, and it takes numbers from 0 up"
    ):
        fitted(kind, [3.0, -1.0])


@pytest.mark.parametrize("kind", ALL)
def test_a_decoder_without_a_label_says_so(kind):
    with pytest.raises(ValueError, match="decoder .* of 'watch': no training row has a label"):
        fitted(kind, [], **ALL[kind])


@pytest.mark.parametrize("kind", ["ziln", "poisson", "tweedie", "wlr"])
def test_labels_that_are_all_zero_have_no_logarithm(kind):
    with pytest.raises(ValueError, match="decoder .* of 'watch': all labels are 0"):
        fitted(kind, [0.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ziln", {"amount_over": "all"}, "amount_over is 'all'. Choices: rows, positives."),
        ("ziln", {"sigma_min": 2, "sigma_max": 1}, "sigma_min 2 is not below sigma_max 1"),
        ("log1p", {"back": "exp"}, "back is 'exp'. Choices: smearing, normal, naive."),
        ("tweedie", {"power": 2.5}, "power is 2.5; it lies above 1 and below 2."),
        ("d2q", {"by": "length"}, "by is 'length', which is no numeric feature.*: price, duration"),
        ("d2q", {"by": "duration", "serve": "rank"}, "serve is 'rank'. Choices: value, quantile."),
        ("d2q", {"by": "duration", "loss": "mae"}, "loss is 'mae'. Did you mean 'mse'[?] Choices: mse, bce."),
        ("cread", {"restore": "left"}, "restore is 'left'. Choices: fitted, right, trapezoid."),
        ("ordinal", {"edges": [1, 1]}, "edges are .*; they ascend, and there is one at least."),
        ("quantile", {"taus": [0.5, 0.1]}, "taus are .*; they ascend between 0 and 1."),
        ("quantile", {"on": "log"}, "on is 'log'. Did you mean 'log1p'[?] Choices: log1p, raw."),
        ("quantile", {"serve": "mode"}, "serve is 'mode'. Choices: median, mean."),
    ],
)
def test_options_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        made(kind, **options)


def test_a_decoder_is_for_values_and_brings_its_own_error():
    with pytest.raises(ValueError, match="is binary and has the decoder 'ziln': a decoder makes a value"):
        Task("buy", ("buy",), decoder="ziln")
    with pytest.raises(ValueError, match="brings its own error: leave out the loss 'mae'"):
        Task("spend", ("spend",), kind="regression", loss="mae", decoder="ziln")
    assert make_decoder(Task("spend", ("spend",), kind="regression"), FEATURES) is None


def test_a_decoder_of_ones_own_says_what_it_must_define():
    decoder = Decoder("watch")
    for call in (lambda: decoder.error(0, 0), lambda: decoder.value(0, {})):
        with pytest.raises(NotImplementedError, match="Decoder must define"):
            call()


@pytest.mark.parametrize("kind", ALL)
def test_what_is_learnt_on_several_devices_is_what_is_learnt_on_one(kind):
    labels, durations = np.arange(1.0, 31.0) ** 1.5, np.arange(1.0, 31.0)
    one, start = fitted(kind, labels, durations, **ALL[kind])
    raw = np.zeros((30, one.outputs) if one.outputs > 1 else 30)
    one.settle(raw, labels)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():  # its variables are no numbers
        other, other_start = fitted(kind, labels, durations, **ALL[kind])
        other.settle(raw, labels)
    assert other_start == start
    for variable, known in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(tf.convert_to_tensor(variable), tf.convert_to_tensor(known))

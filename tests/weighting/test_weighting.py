"""Weightings on plain numbers: no network anywhere."""

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.options import WeightingOptions
from fuxi_mtl.weighting import (
    DynamicAverage,
    Equal,
    GeometricMean,
    GradNorm,
    LossRatio,
    Manual,
    RandomWeights,
    Uncertainty,
    make_weighting,
)

TWO = {"ctr": "binary", "ctcvr": "binary"}
MIXED = {"ctr": "binary", "watch": "regression"}
NAN = float("nan")


def numbers(weighting):
    return [float(weight) for weight in weighting.weights().values()]


def repeat(weighting, steps, losses, norms=None):
    """Many updates with the same numbers, in a graph as in training."""

    @tf.function(autograph=False)
    def update():
        def body(taken):
            weighting.update(losses, norms)
            return [taken + 1]

        tf.while_loop(lambda taken: taken < steps, body, [tf.constant(0)])

    update()
    return numbers(weighting)


# ---- equal and manual ---------------------------------------------------------------------------


def test_equal_weights_are_one_whatever_happens():
    weighting = Equal(TWO)
    weighting.update({"ctr": 0.1, "ctcvr": 9.0})
    assert weighting.weights().keys() == TWO.keys()
    assert numbers(weighting) == [1, 1]


def test_manual_weights_are_as_given_and_not_normalised():
    weighting = Manual(TWO, {"ctcvr": 2, "ctr": 0.5})
    weighting.update({"ctr": 0.1, "ctcvr": 9.0})
    assert list(weighting.weights()) == ["ctr", "ctcvr"]
    assert numbers(weighting) == [0.5, 2]


def test_a_missing_manual_weight_is_named():
    message = "loss_weight has no entry for 'ctcvr'. Given: ctr, cvr. Objectives: ctr, ctcvr."
    with pytest.raises(ValueError, match=message):
        Manual(TWO, {"ctr": 1, "cvr": 1})


def test_a_superfluous_manual_weight_is_named():
    with pytest.raises(
        ValueError, match="loss_weight names 'cvr', which is no objective. Objectives: ctr, ctcvr."
    ):
        Manual(TWO, {"ctr": 1, "cvr": 1, "ctcvr": 1})


@pytest.mark.parametrize("value", [-1, NAN, float("inf")])
def test_a_manual_weight_is_a_number_from_zero_up(value):
    with pytest.raises(ValueError, match="loss_weight of 'ctr' is .*; a weight is a number from 0 up."):
        Manual(TWO, {"ctr": value, "ctcvr": 1})


# ---- uncertainty weighting ----------------------------------------------------------------------


def test_l1_uncertainty_starts_at_one_for_a_class_and_a_half_for_a_number():
    assert numbers(Uncertainty(MIXED)) == [1, 0.5]
    assert numbers(Uncertainty(MIXED, uw_form="revised")) == [0.5, 0.5]


def test_l1_one_step_of_uncertainty_is_the_closed_form():
    weighting = Uncertainty(MIXED, uw_lr=0.1)
    weighting.update({"ctr": 0.7, "watch": 2.0})
    # ds/d = 1/2 - weight L, at s = 0
    expected = [-0.1 * (0.5 - 0.7), -0.1 * (0.5 - 0.5 * 2.0)]
    assert weighting.log_variance.numpy() == pytest.approx(expected)
    assert numbers(weighting) == pytest.approx([np.exp(-expected[0]), 0.5 * np.exp(-expected[1])])


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("loss", [0.02, 0.7, 30.0])
def test_l1_uncertainty_settles_at_one_over_twice_the_loss(kind, loss):
    assert repeat(Uncertainty({"x": kind}, uw_lr=0.1), 400, {"x": loss}) == pytest.approx(
        [1 / (2 * loss)], rel=1e-3
    )


@pytest.mark.parametrize(("loss", "weight"), [(0.7, 0.631), (0.1, 2.0), (0.01, 6.83)])
def test_l1_revised_uncertainty_settles_lower_for_small_losses(loss, weight):
    found = repeat(Uncertainty({"x": "binary"}, uw_form="revised", uw_lr=0.2), 600, {"x": loss})
    assert found == pytest.approx([weight], rel=2e-3)


def test_a_huge_first_loss_does_not_throw_an_uncertainty_away():
    # A regression in raw units: one unbounded step would leave exp(-s) at zero for good.
    weighting = Uncertainty({"watch": "regression"}, uw_lr=0.1)
    first = repeat(weighting, 1, {"watch": 1e6})
    assert first == pytest.approx([0.5 * np.exp(-0.1)])
    assert repeat(weighting, 400, {"watch": 1e6}) == pytest.approx([5e-7], rel=1e-2)


def test_a_loss_of_zero_does_not_grow_its_weight_without_end():
    weighting = Uncertainty({"click": "binary"})
    assert repeat(weighting, 1000, {"click": 0.0}) == pytest.approx([np.exp(10)], rel=1e-5)
    assert weighting.largest == pytest.approx(np.exp(10))
    assert repeat(weighting, 2000, {"click": 0.5}) == pytest.approx([1.0], rel=1e-2)


def test_an_unobserved_objective_keeps_its_uncertainty():
    weighting = Uncertainty(TWO, uw_lr=0.1)
    weighting.update({"ctr": 0.1, "ctcvr": NAN})
    assert weighting.log_variance.numpy() == pytest.approx([-0.1 * 0.4, 0])


def test_an_unknown_form_of_uncertainty_names_the_known_ones():
    with pytest.raises(ValueError, match="uw_form is 'kendal'.* Choices: kendall, revised."):
        Uncertainty(TWO, uw_form="kendal")


# ---- GradNorm -----------------------------------------------------------------------------------


def started(objectives=None, **options):
    """GradNorm after a first batch that moved nothing: L(0) = 1 and equal norms."""
    weighting = GradNorm(objectives or TWO, **options)
    ones = dict.fromkeys(weighting.names, 1.0)
    weighting.update(ones, ones)
    assert numbers(weighting) == [1] * len(weighting.names)
    return weighting


def test_l2_gradnorm_golden_numbers():
    weighting = started(gradnorm_alpha=1.5, gradnorm_lr=0.025)
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 2.0, "ctcvr": 3.0})
    assert numbers(weighting) == pytest.approx([0.938272, 1.061728], abs=1e-6)


def test_gradnorm_weights_always_sum_to_the_number_of_objectives():
    weighting = GradNorm({"a": "binary", "b": "binary", "c": "regression"}, gradnorm_lr=0.3)
    random = np.random.default_rng(0)
    for _ in range(20):
        losses, norms = random.uniform(0.1, 2, 3), random.uniform(0.1, 9, 3)
        weighting.update(dict(zip("abc", losses, strict=True)), dict(zip("abc", norms, strict=True)))
        assert sum(numbers(weighting)) == pytest.approx(3, abs=1e-5)
        assert min(numbers(weighting)) > 0


def test_gradnorm_leaves_identical_objectives_alone():
    same = {"ctr": 0.4, "ctcvr": 0.4}
    assert repeat(started(), 50, same, {"ctr": 3.0, "ctcvr": 3.0}) == [1, 1]


def test_gradnorm_with_alpha_zero_makes_the_norms_equal():
    weighting = GradNorm(TWO, gradnorm_alpha=0.0, gradnorm_lr=1e-3)
    first, second = repeat(weighting, 800, {"ctr": 0.3, "ctcvr": 3.0}, {"ctr": 1.0, "ctcvr": 10.0})
    assert second / first == pytest.approx(0.1, rel=0.1)


def test_gradnorm_gives_more_weight_to_what_trains_slowly():
    # Equal norms, but the first objective has come further; more so for a larger alpha.
    losses, norms = {"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 1.0, "ctcvr": 1.0}
    first, second = repeat(started(gradnorm_alpha=0.5, gradnorm_lr=1e-3), 800, losses, norms)
    # At rest w_k n_k = mean(G) r_k^alpha, so the ratio is (0.9 / 0.5)^alpha.
    assert second / first == pytest.approx(1.8**0.5, rel=0.02)
    first, second = repeat(started(gradnorm_alpha=1.0, gradnorm_lr=1e-3), 800, losses, norms)
    assert second / first == pytest.approx(1.8, rel=0.02)


@pytest.mark.parametrize("missing", ["loss", "norm"])
def test_an_unobserved_objective_is_left_out_of_gradnorms_means(missing):
    weighting = started({"a": "binary", "b": "binary", "c": "binary"}, gradnorm_lr=0.025)
    losses, norms = {"a": 0.5, "b": 0.9, "c": 0.2}, {"a": 2.0, "b": 3.0, "c": 7.0}
    (losses if missing == "loss" else norms)["c"] = NAN
    weighting.update(losses, norms)
    # a and b move as in the golden numbers, c only by the renormalisation.
    moved = np.array([1 - 0.025 * 2, 1 + 0.025 * 3, 1.0])
    assert numbers(weighting) == pytest.approx(moved * 3 / moved.sum(), abs=1e-6)


def test_gradnorm_survives_a_batch_in_which_nothing_is_observed():
    weighting = started()
    weighting.update({"ctr": NAN, "ctcvr": NAN}, {"ctr": 0.0, "ctcvr": 0.0})
    assert numbers(weighting) == [1, 1]


def test_gradnorm_survives_an_overflow_of_a_norm():
    weighting = started()
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": float("inf"), "ctcvr": 3.0})
    assert np.isfinite(numbers(weighting)).all()


def test_the_first_batch_is_each_objectives_first_observed_one():
    weighting = GradNorm(TWO)
    weighting.update({"ctr": 0.7, "ctcvr": NAN}, {"ctr": 1.0, "ctcvr": 0.0})
    weighting.update({"ctr": 0.5, "ctcvr": 0.2}, {"ctr": 1.0, "ctcvr": 1.0})
    assert weighting.initial_loss.numpy() == pytest.approx([0.7, 0.2])


def test_a_mean_of_first_batches_is_waited_for():
    weighting = GradNorm(TWO, gradnorm_init="mean_of_first_n", gradnorm_init_batches=3)
    for loss in (0.6, 0.9):
        weighting.update({"ctr": loss, "ctcvr": 0.3}, {"ctr": 1.0, "ctcvr": 9.0})
        assert numbers(weighting) == [1, 1]
    weighting.update({"ctr": 0.3, "ctcvr": 0.3}, {"ctr": 1.0, "ctcvr": 9.0})
    assert weighting.initial_loss.numpy() == pytest.approx([0.6, 0.3])
    assert numbers(weighting) != [1, 1]
    weighting.update({"ctr": 0.1, "ctcvr": 0.1}, {"ctr": 1.0, "ctcvr": 9.0})
    assert weighting.initial_loss.numpy() == pytest.approx([0.6, 0.3])


def test_log_classes_starts_at_ln_2_and_moves_from_the_first_step():
    weighting = GradNorm(TWO, gradnorm_init="log_classes")
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 2.0, "ctcvr": 3.0})
    assert weighting.initial_loss.numpy() == pytest.approx([np.log(2)] * 2)
    assert numbers(weighting) == pytest.approx([0.938272, 1.061728], abs=1e-6)  # the same rates as golden


def test_a_regression_has_no_classes_to_take_the_logarithm_of():
    with pytest.raises(
        ValueError, match="gradnorm_init log_classes: 'watch' is a regression and has no classes."
    ):
        GradNorm(MIXED, gradnorm_init="log_classes")


def test_an_unknown_start_of_gradnorm_names_the_known_ones():
    with pytest.raises(
        ValueError,
        match="gradnorm_init is 'first'.* Choices: first_batch, mean_of_first_n, log_classes.",
    ):
        GradNorm(TWO, gradnorm_init="first")


def test_gradnorm_says_that_it_needs_norms():
    assert GradNorm.needs_norms
    assert not Uncertainty.needs_norms
    with pytest.raises(ValueError, match="GradNorm needs the gradient norms"):
        GradNorm(TWO).update({"ctr": 0.5, "ctcvr": 0.9})


# ---- dynamic weight average ---------------------------------------------------------------------


def test_l5_dynamic_average_golden_numbers():
    weighting = DynamicAverage(TWO, dwa_temperature=2.0, dwa_period=1)
    for losses in ((1.0, 0.4), (0.9, 0.2), (5.0, 5.0)):  # the ratios .9 and .5; the third period just begins
        weighting.update(dict(zip(TWO, losses, strict=True)))
    assert numbers(weighting) == pytest.approx([1.09967, 0.90033], abs=1e-5)


def test_dynamic_average_takes_means_over_periods_and_waits_for_two_of_them():
    weighting = DynamicAverage(TWO, dwa_temperature=2.0, dwa_period=2)
    for losses in ((1.2, 0.1), (0.8, 0.7), (0.6, 0.3), (1.2, 0.1)):  # means 1, .4 and then .9, .2
        weighting.update(dict(zip(TWO, losses, strict=True)))
        assert numbers(weighting) == [1, 1]
    for _ in range(2):  # the weights of a period hold to its end
        weighting.update({"ctr": 3.0, "ctcvr": 0.1})
        assert numbers(weighting) == pytest.approx([1.09967, 0.90033], abs=1e-5)
    weighting.update({"ctr": 1.0, "ctcvr": 1.0})
    rates = np.exp(np.array([3 / 0.9, 0.1 / 0.2]) / 2)
    assert numbers(weighting) == pytest.approx(2 * rates / rates.sum(), rel=1e-5)


def test_a_high_temperature_makes_dynamic_averages_equal():
    weighting = DynamicAverage(TWO, dwa_temperature=1e4)
    for losses in ((1.0, 0.4), (0.9, 0.2), (5.0, 5.0)):
        weighting.update(dict(zip(TWO, losses, strict=True)))
    assert numbers(weighting) == pytest.approx([1, 1], abs=1e-4)


def test_a_period_without_an_observation_leaves_a_dynamic_average_where_it_was():
    weighting = DynamicAverage(TWO)
    weighting.update({"ctr": 1.0, "ctcvr": 0.4})
    weighting.update({"ctr": 0.9, "ctcvr": NAN})
    weighting.update({"ctr": 0.9, "ctcvr": 0.2})
    assert numbers(weighting) == [1, 1]  # of ctcvr one period is known, and one alone has nothing to share
    weighting.update({"ctr": 0.9, "ctcvr": 0.2})
    rates = np.exp(np.array([0.9 / 0.9, 0.2 / 0.4]) / 2)
    assert numbers(weighting) == pytest.approx(2 * rates / rates.sum(), rel=1e-5)


# ---- random weights -----------------------------------------------------------------------------


def test_random_weights_are_positive_sum_to_t_and_differ_at_every_step():
    weighting = RandomWeights({"a": "binary", "b": "binary", "c": "regression"}, seed=3)
    assert numbers(weighting) == [1, 1, 1]
    seen = []
    for _ in range(80):
        weighting.update({"a": 0.5, "b": NAN, "c": 7.0})
        seen.append(numbers(weighting))
    seen = np.array(seen)
    assert seen.min() > 0
    np.testing.assert_allclose(seen.sum(axis=1), 3, rtol=1e-5)
    assert len({tuple(row) for row in seen}) == 80
    np.testing.assert_allclose(seen.mean(axis=0), 1, atol=0.25)
    # log ratios are differences of two normals: mean 0, variance 2
    ratios = np.log(seen[:, 0] / seen[:, 1])
    assert abs(ratios.mean()) < 0.6
    assert 1 < ratios.var() < 3.5


def test_random_weights_repeat_themselves_by_their_seed():
    one, same, other = (RandomWeights(TWO, seed) for seed in (1, 1, 2))
    for weighting in (one, same, other):
        weighting.update({"ctr": 0.1, "ctcvr": 0.1})
    assert numbers(one) == numbers(same) != numbers(other)


# ---- geometric mean -----------------------------------------------------------------------------


def test_weighted_losses_add_up_to_their_geometric_mean():
    weighting = GeometricMean(TWO)
    weighting.update({"ctr": 0.2, "ctcvr": 0.8})
    assert numbers(weighting) == pytest.approx([0.4 / (2 * 0.2), 0.4 / (2 * 0.8)])
    assert sum(w * loss for w, loss in zip(numbers(weighting), (0.2, 0.8), strict=True)) == pytest.approx(0.4)


def test_the_weights_of_the_geometric_mean_are_its_gradient():
    losses = np.array([0.3, 0.02, 5.0])
    weighting = GeometricMean(dict.fromkeys("abc", "binary"))
    weighting.update(dict(zip("abc", losses, strict=True)))
    for k, weight in enumerate(numbers(weighting)):
        step = np.zeros(3)
        step[k] = 1e-6 * losses[k]
        slope = (np.prod(losses + step) ** (1 / 3) - np.prod(losses - step) ** (1 / 3)) / (2 * step[k])
        assert weight == pytest.approx(slope, rel=1e-4)


def test_the_geometric_mean_is_of_what_was_observed():
    weighting = GeometricMean({"a": "binary", "b": "binary", "c": "binary"})
    weighting.update({"a": 0.2, "b": NAN, "c": 0.8})
    assert numbers(weighting) == pytest.approx([1, 1, 0.25])
    weighting.update({"a": NAN, "b": NAN, "c": NAN})
    assert numbers(weighting) == pytest.approx([1, 1, 0.25])


def test_a_loss_of_zero_leaves_the_geometric_mean_finite():
    weighting = GeometricMean(TWO)
    weighting.update({"ctr": 0.0, "ctcvr": 0.8})
    assert np.isfinite(numbers(weighting)).all()


# ---- the weight of NISE -------------------------------------------------------------------------


def test_nise_brings_a_loss_up_to_that_of_the_reference():
    weighting = LossRatio(TWO, nise_alpha=0.5, nise_beta=9.0)
    weighting.update({"ctr": 0.2, "ctcvr": 0.05})
    assert numbers(weighting) == pytest.approx([1, 0.5 * 4])


@pytest.mark.parametrize("loss", [0.05, 0.0])
def test_nise_bounds_the_ratio(loss):
    weighting = LossRatio(TWO, nise_alpha=0.5, nise_beta=3.0)
    weighting.update({"ctr": 0.2, "ctcvr": loss})
    assert numbers(weighting) == pytest.approx([1, 0.5 * 3])


def test_nise_takes_another_reference():
    weighting = LossRatio(TWO, nise_alpha=1.0, nise_beta=9.0, nise_reference="ctcvr")
    weighting.update({"ctr": 0.2, "ctcvr": 0.05})
    assert numbers(weighting) == pytest.approx([0.25, 1])


@pytest.mark.parametrize("losses", [(NAN, 0.1), (0.1, NAN)])
def test_nise_waits_for_both_losses(losses):
    weighting = LossRatio(TWO)
    weighting.update({"ctr": 0.2, "ctcvr": 0.05})
    weighting.update(dict(zip(TWO, losses, strict=True)))
    assert numbers(weighting) == pytest.approx([1, 4])


def test_nise_needs_a_reference_that_adapts():
    message = "nise_reference names 'risk', which is no objective that adapts. Objectives: ctr, cvr."
    kinds = {"ctr": "binary", "cvr": "binary", "risk": "fixed"}
    with pytest.raises(ValueError, match=message):
        LossRatio(kinds, nise_reference="risk")
    weighting = LossRatio({"risk": "fixed", **kinds})
    weighting.update({"risk": 9.0, "ctr": 0.2, "cvr": 0.1})
    assert numbers(weighting) == pytest.approx([1, 1, 2])


# ---- objectives that do not adapt ---------------------------------------------------------------


@pytest.mark.parametrize("make", [DynamicAverage, RandomWeights, GeometricMean, LossRatio])
def test_a_fixed_objective_has_no_part_in_a_weighting_by_losses(make):
    plain, mixed = make(TWO), make({"ctr": "binary", "risk": "fixed", "ctcvr": "binary"})
    for loss in (0.7, 0.2, 0.1):
        plain.update({"ctr": loss, "ctcvr": 0.1})
        mixed.update({"ctr": loss, "risk": -5.0, "ctcvr": 0.1})
    first, fixed, second = numbers(mixed)
    assert fixed == 1
    if make is RandomWeights:  # draws for three
        assert first + second == pytest.approx(2)
    else:
        assert [first, second] == pytest.approx(numbers(plain))
    alone = make({"risk": "fixed"})
    for _ in range(3):
        alone.update({"risk": -1.0})
    assert numbers(alone) == [1]


# ---- from a stanza ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("EQ", Equal),
        ("UW", Uncertainty),
        ("GN", GradNorm),
        ("DWA", DynamicAverage),
        ("RLW", RandomWeights),
        ("GLS", GeometricMean),
        ("NISE", LossRatio),
        ([1, 2], Manual),
        ({"ctr": 1, "ctcvr": 2}, Manual),
    ],
)
def test_a_stanza_names_its_weighting(choice, kind):
    weighting = make_weighting(WeightingOptions(loss_weight=choice), TWO)
    assert type(weighting) is kind
    assert numbers(weighting) == ([1, 2] if kind is Manual else [1, 1])


def test_a_stanzas_options_reach_the_weighting():
    options = {"uw_form": "revised", "uw_lr": 0.5, "gradnorm_lr": 7.0}  # what is another's is left out
    revised = make_weighting(WeightingOptions(loss_weight="UW"), TWO, own=options)
    revised.update({"ctr": 0.7, "ctcvr": 0.7})
    assert revised.log_variance.numpy() == pytest.approx([-0.5 * (0.5 - 0.5 * 0.7)] * 2)
    options = {"gradnorm_lr": 0.1, "gradnorm_alpha": 0.0, "gradnorm_init": "log_classes"}
    weighting = make_weighting(WeightingOptions(loss_weight="GN"), TWO, own=options)
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 2.0, "ctcvr": 3.0})
    assert numbers(weighting) == pytest.approx(np.array([1.2, 0.7]) * 2 / 1.9)


def test_a_stanzas_options_reach_the_weightings_by_losses():
    options = WeightingOptions(loss_weight="DWA")
    average = make_weighting(options, TWO, epoch_steps=2, own={"dwa_temperature": 1.0})
    for losses in ((1.0, 0.4), (1.0, 0.4), (0.9, 0.2), (0.9, 0.2), (1.0, 1.0)):
        average.update(dict(zip(TWO, losses, strict=True)))
    rates = np.exp([0.9, 0.5])
    assert numbers(average) == pytest.approx(2 * rates / rates.sum(), rel=1e-5)
    average = make_weighting(options, TWO, epoch_steps=2, own={"dwa_period": 1})
    for losses in ((1.0, 0.4), (0.9, 0.2), (1.0, 1.0)):
        average.update(dict(zip(TWO, losses, strict=True)))
    assert numbers(average) == pytest.approx([1.09967, 0.90033], abs=1e-5)
    own = {"nise_alpha": 0.5, "nise_beta": 3.0, "nise_reference": "ctcvr"}
    ratio = make_weighting(WeightingOptions(loss_weight="NISE"), TWO, own=own)
    ratio.update({"ctr": 0.1, "ctcvr": 0.7})
    assert numbers(ratio) == pytest.approx([1.5, 1])
    first, second = (make_weighting(WeightingOptions(loss_weight="RLW"), TWO, seed=seed) for seed in (1, 2))
    for each in (first, second):
        each.update({"ctr": 0.1, "ctcvr": 0.7})
    assert numbers(first) != numbers(second)


def test_a_list_of_the_wrong_length_is_counted():
    with pytest.raises(ValueError, match="loss_weight has 3 entries for 2 objectives: ctr, ctcvr."):
        make_weighting(WeightingOptions(loss_weight=[1, 2, 3]), TWO)


def test_an_unknown_weighting_names_the_known_ones():
    with pytest.raises(ValueError, match="no weighting is called 'GradNorm'. Use EQ, UW, GN, DWA, "):
        make_weighting(WeightingOptions(loss_weight="GradNorm"), TWO)

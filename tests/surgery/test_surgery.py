"""Gradient surgery: coefficients by hand and from the papers, then what a step makes of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESMM, MMoE
from fuxi_mtl.options import SURGERIES, SURGERY_MODES, SurgeryOptions
from fuxi_mtl.surgery import Surgery, SurgeryMethod, make_surgery
from fuxi_mtl.surgery.solvers import (
    conflict_averse_coefficients,
    min_norm_weights,
    pareto_weights,
    projected_coefficients,
)
from fuxi_mtl.training import checkpoint
from fuxi_mtl.weighting import Manual, Uncertainty

KINDS = {"click": "binary", "watch": "regression"}
METHODS = [name for name in SURGERIES if name != "none"]


def gram(*gradients):
    rows = np.array(gradients, float)
    return rows @ rows.T


def random_cases(count=60, seed=0):
    """Gradients of 2 to 4 objectives in 1 to 5 dimensions, of very different lengths; some are zero."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rows = rng.normal(size=(rng.integers(2, 5), rng.integers(1, 6)))
        rows *= rng.lognormal(size=(len(rows), 1))
        if number % 10 == 0:
            rows[0] = 0
        yield rows


# ---- MGDA ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [(((1, 0), (1, 1)), (1, 0)), (((1, 0), (0, 2)), (0.8, 0.2)), (((1, 0), (-1, 0)), (0.5, 0.5))],
)
def test_l4_the_shortest_convex_combination_of_two(gradients, expected):
    np.testing.assert_allclose(min_norm_weights(gram(*gradients)), expected, atol=1e-9)


def test_the_shortest_combination_descends_on_every_objective():
    for rows in random_cases():
        weights = min_norm_weights(rows @ rows.T)
        direction = weights @ rows
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1)
        assert (rows @ direction >= direction @ direction - 1e-6 * np.square(rows).sum()).all()


def test_no_point_of_a_fine_grid_is_shorter():
    steps = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1])
    for rows in random_cases(20, seed=1):
        if len(rows) == 3:
            least = np.linalg.norm(min_norm_weights(rows @ rows.T) @ rows)
            assert least <= np.linalg.norm(grid @ rows, axis=1).min() + 1e-9


# ---- PE-LTR -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradients", "lower", "expected"),
    [
        (((1, 0), (0, 2)), (0, 0), (0.8, 0.2)),
        (((1, 0), (0, 2)), (0.1, 0.5), (0.5, 0.5)),
        (((1, 0), (3, 0)), (0, 0), (1, 0)),
        (((1, 2), (1, 2), (1, 2)), (0.1, 0.2, 0.3), (0.7 / 3, 1 / 3, 1.3 / 3)),
    ],
)
def test_l3_weights_above_bounds(gradients, lower, expected):
    np.testing.assert_allclose(pareto_weights(gram(*gradients), np.array(lower)), expected, atol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
def test_l3_weights_are_feasible_whatever_the_gradients(exact):
    for number, rows in enumerate(random_cases()):
        lower = np.full(len(rows), (0.0, 0.1, 1 / len(rows))[number % 3])
        weights = pareto_weights(rows @ rows.T, lower, exact)
        assert (weights >= lower - 1e-12).all()
        assert weights.sum() == pytest.approx(1)


def test_the_exact_weights_are_never_longer_and_equal_for_two():
    for rows in random_cases(seed=2):
        lower = np.full(len(rows), 0.1)
        projected, exact = (pareto_weights(rows @ rows.T, lower, choice) for choice in (False, True))
        assert np.linalg.norm(exact @ rows) <= np.linalg.norm(projected @ rows) + 1e-9
        if len(rows) == 2:
            assert np.linalg.norm(exact @ rows) == pytest.approx(np.linalg.norm(projected @ rows), abs=1e-6)


# ---- PCGrad and CAGrad --------------------------------------------------------------------------


def test_l5_conflicting_gradients_lose_what_points_against_each_other():
    rows = np.array([(1, 0), (-1, 1)], float)
    coefficients = projected_coefficients(rows @ rows.T, np.random.default_rng(0))
    np.testing.assert_allclose(coefficients @ rows, (0.5, 1.5))


def test_pcgrad_does_to_gradients_what_it_says():
    for number, rows in enumerate(random_cases(30, seed=3)):
        order, expected = np.random.default_rng(number), np.zeros(rows.shape[1])
        for i in range(len(rows)):
            kept = rows[i].copy()
            for j in order.permutation(len(rows)):
                if j != i and kept @ rows[j] < 0:
                    kept -= kept @ rows[j] / (rows[j] @ rows[j]) * rows[j]
            expected += kept
        found = projected_coefficients(rows @ rows.T, np.random.default_rng(number)) @ rows
        np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(rows).max())


def test_gradients_that_agree_are_left_alone():
    agreeing = gram((1, 0), (1, 1), (0, 2))
    np.testing.assert_array_equal(projected_coefficients(agreeing, np.random.default_rng(0)), np.ones(3))
    np.testing.assert_array_equal(conflict_averse_coefficients(agreeing, 0.0), np.ones(3))


def test_cagrad_helps_the_worst_objective_as_much_as_its_reach_allows():
    angle, share = np.meshgrid(np.linspace(0, 2 * np.pi, 2001), np.linspace(0, 1, 51))
    circle = np.stack([share * np.cos(angle), share * np.sin(angle)], axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(4)
    for _ in range(5):
        rows = rng.normal(size=(3, 2))
        mean = rows.mean(axis=0)
        direction = conflict_averse_coefficients(rows @ rows.T, 0.5) @ rows / 3
        reachable = mean + 0.5 * np.linalg.norm(mean) * circle
        assert np.linalg.norm(direction - mean) <= 0.5 * np.linalg.norm(mean) * (1 + 1e-6)
        assert (rows @ direction).min() >= (reachable @ rows.T).min(axis=1).max() - 1e-4


def test_without_any_gradient_nothing_breaks():
    nothing = np.zeros((3, 3))
    assert min_norm_weights(nothing).sum() == pytest.approx(1)
    assert pareto_weights(nothing, np.zeros(3)).sum() == pytest.approx(1)
    np.testing.assert_array_equal(projected_coefficients(nothing, np.random.default_rng(0)), np.ones(3))
    np.testing.assert_array_equal(conflict_averse_coefficients(nothing, 0.5), np.ones(3))


# ---- the step -----------------------------------------------------------------------------------


def mmoe(**compile_options):
    keras.utils.set_random_seed(3)
    options = tiny.options_of(MMoE) | {"embedding_regularizer": 0}
    model = MMoE(tiny.FEATURES, tiny.PLAIN["regression"], **options)
    model.build()
    model.compile(keras.optimizers.SGD(1.0), **{"run_eagerly": True, **compile_options})
    return model


def moved_by_step(model, batch):
    before = [v.numpy() for v in model.trainable_variables]
    logs = model.train_step(batch)
    return [a - v.numpy() for a, v in zip(before, model.trainable_variables, strict=True)], logs


def gradients_by_objective(model, batch):
    """``{objective: dense gradients}``, taken apart from the step; None where there is no path."""
    inputs, labels, weight = batch
    found = {}
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            loss, _ = objective.loss(model(inputs, training=True), labels, weight)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        found[objective.name] = [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]
    return found


def known(*coefficients):
    return lambda gram, names, step: np.array(coefficients)


def test_coefficients_turn_what_is_shared_and_nothing_else():
    batch, weights = tiny.batch(tiny.PLAIN["regression"]), {"click": 2.0, "watch": 0.5}
    surgery = Surgery(("click", "watch"), known(0.25, -3.0))
    model = mmoe(weighting=Manual(KINDS, weights), surgery=surgery)
    single = gradients_by_objective(model, batch)
    moved, logs = moved_by_step(model, batch)
    shared = 0
    for change, click, watch in zip(moved, single["click"], single["watch"], strict=True):
        if click is not None and watch is not None:
            shared += 1
            expected = 0.25 * 2.0 * click - 3.0 * 0.5 * watch
        else:
            expected = 2.0 * click if watch is None else 0.5 * watch
        np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-5)
    assert shared > 2
    assert float(logs["watched_coefficient_click"]) == 0.25
    assert float(logs["weight_click"]) == 2


@pytest.mark.parametrize("mode", SURGERY_MODES)
def test_angles_are_those_of_the_weighted_gradients(mode):
    batch, seen = tiny.batch(tiny.PLAIN["regression"]), []

    def solve(gram, names, step):
        seen.append(gram)
        return np.ones(2)

    surgery = Surgery(("click", "watch"), solve, mode)
    model = mmoe(weighting=Manual(KINDS, {"click": 2.0, "watch": 0.5}), surgery=surgery)
    inputs, labels, weight = batch
    if mode == "representation":
        rows = []
        for objective in model.objectives():
            with tf.GradientTape() as tape:
                x = model.embed(inputs)
                tape.watch(x)
                loss, _ = objective.loss(model.heads(x, training=True), labels, weight)
            rows.append([tape.gradient(loss, x).numpy()])
    else:
        single = gradients_by_objective(model, batch)
        last = {id(v) for v in model.shared_variables()}
        chosen = [
            i
            for i, v in enumerate(model.trainable_variables)
            if (id(v) in last if mode == "last_layer" else all(g[i] is not None for g in single.values()))
        ]
        rows = [[single[name][i] for i in chosen] for name in KINDS]
    flat = [w * np.concatenate([g.ravel() for g in row]) for w, row in zip((2.0, 0.5), rows, strict=True)]
    moved_by_step(model, batch)
    np.testing.assert_allclose(seen[0], gram(*flat), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("normalize", [False, True])
def test_coefficients_may_be_those_of_gradients_of_length_one(normalize):
    surgery = Surgery(("a", "b"), lambda gram, names, step: min_norm_weights(gram), normalize=normalize)
    found = surgery.coefficients(gram((1, 0), (0, 2)), np.array([True, True]), 0, np.ones(2))[0]
    np.testing.assert_allclose(found, (0.5, 0.5) if normalize else (0.8, 0.2), atol=1e-6)


def test_lengths_do_not_count_where_coefficients_are_those_of_gradients_of_length_one():
    surgery = Surgery(tuple("abc"), lambda gram, names, step: min_norm_weights(gram), normalize=True)
    gradients = np.array([(1, 0, 0), (0, 2, 0), (0, 3, 4)])
    found = surgery.coefficients(gradients @ gradients.T, np.array([True] * 3), 0, np.ones(3))[0]
    # The unit vectors e1, e2, .6 e2 + .8 e3: the last two share what e1 leaves, 1 / .8 of its weight each.
    pair = 1 / 1.6
    np.testing.assert_allclose(found, np.array([1, pair, pair]) / (1 + 2 * pair), atol=1e-5)


def test_an_objective_without_rows_or_with_overflow_stands_aside():
    surgery = Surgery(("a", "b", "c"), lambda gram, names, step: np.arange(1.0, 1 + len(names)))
    before = np.array([7.0, 8.0, 9.0], np.float32)

    def found(gram, *given):
        return surgery.coefficients(gram, np.array(given), 0, before)[0]

    np.testing.assert_array_equal(found(np.eye(3), True, False, True), [1, 8, 2])
    np.testing.assert_array_equal(found(np.eye(3), False, False, True), before)
    np.testing.assert_array_equal(found(np.full((3, 3), np.inf), True, False, True), before)


def test_weights_that_are_kept_add_up_to_one_whoever_has_rows():
    options = SurgeryOptions(surgery="pe_ltr")
    surgery = make_surgery(options, dict.fromkeys("abc", "supervised"))
    before = np.array([0.5, 0.3, 0.2], np.float32)
    given = np.array([True, True, False])
    found = surgery.coefficients(np.diag([1.0, 4.0, 1.0]), given, 0, before)[0]
    np.testing.assert_allclose(found, [0.8 * 0.8, 0.2 * 0.8, 0.2], atol=1e-6)


def test_a_gradient_whose_square_is_nothing_in_float32_is_no_division_by_zero():
    gram = np.array([[1.0, -1e-24], [-1e-24, 0.0]])
    found = projected_coefficients(gram, np.random.default_rng(0))
    np.testing.assert_allclose(found, (1, 1), atol=1e-6)


@pytest.mark.parametrize("weights", ["previous", "current"])
def test_pe_ltr_moves_by_the_weights_of_the_batch_before_or_by_its_own(weights, tmp_path):
    batches = [tiny.batch(tiny.PLAIN["regression"], seed=seed) for seed in range(3)]
    options = SurgeryOptions(surgery="pe_ltr", surgery_mode="full")

    def fresh():
        return mmoe(surgery=make_surgery(options, KINDS, own={"pe_ltr_weights": weights}))

    def coefficients(model, batch):
        model.reset_metrics()
        logs = model.train_step(batch)
        return [float(logs[f"watched_coefficient_{name}"]) for name in KINDS]

    model, own = fresh(), []
    for number, batch in enumerate(batches):
        single = gradients_by_objective(model, batch)
        both = [
            i for i, gs in enumerate(zip(*single.values(), strict=True)) if all(g is not None for g in gs)
        ]
        rows = [np.concatenate([single[name][i].ravel() for i in both]) for name in KINDS]
        own.append(pareto_weights(gram(*rows), np.zeros(2)))
        expected = own[-1] if weights == "current" else [np.full(2, 0.5), *own][number]
        np.testing.assert_allclose(coefficients(model, batch), 2 * expected, atol=1e-4)
        if number == 1:
            checkpoint.save(model, tmp_path / "checkpoint")
    assert not np.allclose(own[0], own[1], atol=1e-3)
    resumed = fresh()
    checkpoint.restore(resumed, tmp_path / "checkpoint")
    expected = own[2] if weights == "current" else own[1]
    np.testing.assert_allclose(coefficients(resumed, batches[2]), 2 * expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_three_equal_gradients_become_three_or_one_by_the_scale(method, scale):
    mode = SURGERIES[method].load().modes[0]
    options = SurgeryOptions(surgery=method, surgery_scale=scale, surgery_mode=mode)
    own = {"pe_ltr_weights": "current"} if method == "pe_ltr" else {}
    surgery = make_surgery(options, dict.fromkeys("abc", "binary"), own=own)
    before, step = np.ones(3, np.float32), 0
    reach = 1.4 if method == "cagrad" else 1  # d = g_0 + c |g_0| g_w / |g_w|, c = .4
    found = surgery.coefficients(np.full((3, 3), 4.0), np.array([True] * 3), step, before)[0]
    total = 3 if scale == "sum" else 1
    assert found.sum() == pytest.approx(reach * total, rel=1e-5)
    # Where one of them has no row, the other two count.
    found = surgery.coefficients(np.full((3, 3), 4.0), np.array([True, False, True]), step, before)[0]
    total = 2 if scale == "sum" else 1
    assert found[[0, 2]].sum() == pytest.approx(reach * total, rel=1e-5)


@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_weights_of_the_batch_before_have_the_scale_too_and_are_kept_without_it(scale):
    options = SurgeryOptions(surgery="pe_ltr", surgery_mode="full", surgery_scale=scale)
    surgery = make_surgery(options, KINDS)
    model = mmoe(surgery=surgery)
    for seed in range(2):
        kept = surgery.found.numpy()
        model.reset_metrics()
        logs = model.train_step(tiny.batch(tiny.PLAIN["regression"], seed=seed))
        used = [float(logs[f"watched_coefficient_{name}"]) for name in KINDS]
        np.testing.assert_allclose(used, kept * (2 if scale == "sum" else 1), rtol=1e-6)
        assert surgery.found.numpy().sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("private", ["plain", "scaled"])
def test_private_variables_move_as_without_surgery_or_by_the_coefficient_of_their_objective(private):
    batch = tiny.batch(tiny.PLAIN["regression"])
    options = SurgeryOptions(surgery="mgda", surgery_mode="full", surgery_private=private)
    model = mmoe(surgery=make_surgery(options, KINDS))
    single = gradients_by_objective(model, batch)
    moved, logs = moved_by_step(model, batch)
    coefficients = {name: float(logs[f"watched_coefficient_{name}"]) for name in KINDS}
    assert sum(coefficients.values()) == pytest.approx(2, rel=1e-5)
    assert min(coefficients.values()) < 0.9
    count = 0
    for change, click, watch in zip(moved, single["click"], single["watch"], strict=True):
        if click is None or watch is None:
            count += 1
            name, gradient = ("click", click) if watch is None else ("watch", watch)
            factor = coefficients[name] if private == "scaled" else 1.0
            np.testing.assert_allclose(change, factor * gradient, rtol=1e-3, atol=1e-5)
    assert count > 2


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method):
    tasks = next(iter(tiny.plans(ESMM).values()))
    keras.utils.set_random_seed(1)
    model = ESMM(tiny.FEATURES, tasks, **tiny.options_of(ESMM))
    model.build()
    kinds = {o.name: o.kind for o in model.objectives()}
    mode = SURGERIES[method].load().modes[-1]  # full, but for one
    surgery = make_surgery(SurgeryOptions(surgery=method, surgery_mode=mode), kinds, seed=5)
    model.compile("adam", surgery=surgery, steps_per_execution=2, run_eagerly=method != "pcgrad")
    data = tf.data.Dataset.from_tensors(tiny.batch(tasks)).repeat()
    logs = model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False).history
    assert np.isfinite(logs["loss"]).all()
    assert {f"watched_coefficient_{name}" for name in kinds} < set(logs)


def test_pcgrad_turns_what_uncertainty_has_weighed():
    """Scale and direction combine: with an obtuse angle, each gradient loses its part against the other."""
    batch = tiny.batch(tiny.PLAIN["regression"])
    surgery = make_surgery(SurgeryOptions(surgery="pcgrad", surgery_mode="full"), KINDS)
    model = mmoe(weighting=Uncertainty(KINDS), surgery=surgery)
    model.weighting.log_variance.assign([0.5, -1.0])
    single = gradients_by_objective(model, batch)
    moved, logs = moved_by_step(model, batch)
    weights = {name: float(logs[f"weight_{name}"]) for name in KINDS}
    assert weights["click"] != weights["watch"]
    both = [all(g[i] is not None for g in single.values()) for i in range(len(moved))]
    click, watch = (
        np.concatenate([weights[n] * g.ravel() for g, b in zip(single[n], both, strict=True) if b])
        for n in ("click", "watch")
    )
    against = min(click @ watch, 0.0)
    expected = click - against / (watch @ watch) * watch + watch - against / (click @ click) * click
    found = np.concatenate([change.ravel() for change, b in zip(moved, both, strict=True) if b])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", SURGERY_MODES)
def test_gradients_of_tables_stay_rows(mode, monkeypatch):
    """Whatever is compared where, the optimizer gets the rows of the batch and never a whole table."""
    model = mmoe(surgery=Surgery(("click", "watch"), known(0.5, 0.5), mode))
    seen = {}

    def keep(pairs):
        seen.update({variable.path: gradient for gradient, variable in pairs})

    monkeypatch.setattr(model.optimizer, "apply_gradients", keep)
    model.train_step(tiny.batch(tiny.PLAIN["regression"]))
    tables = [variable.path for variable in model.tables()]
    assert tables
    assert all(isinstance(seen[path], tf.IndexedSlices) for path in tables)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pe_ltr_bounds": {"cvr": 0.1}},
            "names 'cvr', which is no objective. Objectives: click, watch",
        ),
        (
            {"pe_ltr_bounds": {"click": -0.1}},
            "of 'click' is -0.1; a bound is a number from 0 to 1",
        ),
        ({"pe_ltr_bounds": {"click": 0.6, "watch": 0.6}}, "pe_ltr_bounds add up to 1.2; weights add up to 1"),
        ({"cagrad_strength": 1.0}, "cagrad_strength is 1; it lies from 0 to below 1."),
    ],
)
def test_options_that_cannot_be_are_refused(changes, message):
    method = "cagrad" if "cagrad_strength" in changes else "pe_ltr"
    with pytest.raises(ValueError, match=message):
        make_surgery(SurgeryOptions(surgery=method), KINDS, own=changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            SurgeryOptions(surgery="mgda", surgery_mode="half"),
            "surgery_mode is 'half'. Modes: representation, last_layer, full",
        ),
        (
            SurgeryOptions(surgery="pcgrad", surgery_normalize=True),
            "surgery_normalize is for methods of least norm, mgda, pe_ltr, moco; surgery is pcgrad. Leave it",
        ),
        (SurgeryOptions(surgery="mdga"), "no surgery is called 'mdga'. Did you mean 'mgda'"),
    ],
)
def test_keys_of_all_methods_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_surgery(options, KINDS)


def test_a_method_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match=r"SurgeryMethod must define __call__\(gram, names, step"):
        SurgeryMethod(("a", "b"))(np.eye(2), ("a", "b"), 0)


def test_surgery_needs_two_objectives_that_take_part():
    with pytest.raises(ValueError, match="there is only ctr. Use surgery: none"):
        make_surgery(SurgeryOptions(surgery="mgda"), {"ctr": "binary", "risk": "fixed"})


def test_no_surgery_is_none():
    assert make_surgery(SurgeryOptions(), KINDS) is None

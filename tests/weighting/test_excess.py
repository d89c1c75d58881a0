"""ExcessMTL: what there is to gain by accumulated squares, and the weights that follow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESMM, MMoE
from fuxi_mtl.training import checkpoint
from fuxi_mtl.weighting import ExcessRisk

TWO = {"ctr": "binary", "cvr": "binary"}
FIRST, SECOND = [[0.3, -0.4], [0.03, 0.01]], [[0.2, -0.3], [0.03, 0.02]]


def told(weighting, gradients, given=None):
    array = np.array(gradients, np.float32)
    weighting.learn_gradients([tf.constant(array)], tf.constant(given or [True] * len(array)))
    return [float(each) for each in weighting.weights().values()]


def begun(kinds=TWO, width=2, epoch_steps=1, **options):
    weighting = ExcessRisk(kinds, epoch_steps, **options)
    weighting.begin([(width,)])
    return weighting


def test_two_steps_give_the_golden_weights():
    weighting = begun()
    assert told(weighting, FIRST) == pytest.approx([1, 1])
    np.testing.assert_allclose(weighting.initial, [0.6999997, 0.0399933], rtol=1e-5)
    assert told(weighting, SECOND) == pytest.approx([0.9971899, 1.0028101], abs=1e-6)


def test_gradients_that_do_not_change_change_no_weight():
    weighting = begun(excess_step=1.0)
    for _ in range(30):
        found = told(weighting, [[0.3, -0.4], [0.03, 0.01]])
    # 1e-7 inside of the root counts where squares are not much larger.
    assert found == pytest.approx([1, 1], abs=2e-3)


def test_gains_are_compared_with_their_mean_over_a_first_stretch_of_equal_weights():
    rng, weighting = np.random.default_rng(3), begun(width=4, epoch_steps=3, excess_step=0.3)
    squares, gains, expected = np.zeros((2, 4)), [], np.ones(2)
    for step in range(8):
        # The first batch of one has all but no gradient, as where half of the rows are positive.
        gradients = rng.normal(size=(2, 4)) * ([[1e-3], [1.0]] if step == 0 else 1.0)
        squares += gradients**2
        gain = (gradients**2 / np.sqrt(squares + 1e-7)).sum(axis=1)
        gains.append(gain)
        if step >= 3:
            expected = expected * np.exp(0.3 * gain / np.mean(gains[:3], axis=0))
            expected = 2 * expected / expected.sum()
        np.testing.assert_allclose(told(weighting, gradients), expected, rtol=1e-5)
    assert 0.2 < expected[0] < 1.8
    alone = begun(width=4, epoch_steps=3, excess_step=0.3, excess_warmup=1)
    told(alone, np.array([[1e-3] * 4, [1.0] * 4]))
    assert told(alone, np.ones((2, 4)))[1] < 1e-6  # divided by what its rival's first batch was


def test_what_falls_behind_others_in_gain_loses_weight():
    weighting = begun(excess_step=0.5)
    told(weighting, [[1.0, 1.0], [1.0, 1.0]])
    for _ in range(10):
        found = told(weighting, [[0.01, 0.01], [1.0, 1.0]])
    assert found[0] < 0.8 < 1.2 < found[1]
    assert sum(found) == pytest.approx(2)


def test_an_objective_without_rows_keeps_its_weight_its_squares_and_its_start():
    three = {**TWO, "watch": "regression"}
    weighting = begun(three)
    told(weighting, [*FIRST, [0.0, 0.0]], [True, True, False])
    assert float(weighting.initial[2]) == 0
    found = told(weighting, [*SECOND, [0.5, 0.5]], [True, False, True])
    assert found[1] == 1
    assert sum(found) == pytest.approx(3)
    np.testing.assert_allclose(weighting.squares[0][1], np.square(FIRST[1]), rtol=1e-6)
    assert float(weighting.initial[2]) > 0
    before = told(weighting, np.zeros((3, 2)), [False] * 3)
    assert before == found


def test_overflow_and_fixed_objectives_take_no_part():
    weighting = begun({**TWO, "risk": "fixed"})
    told(weighting, [*FIRST, [9.0, 9.0]])
    found = told(weighting, [[np.inf, 1.0], SECOND[1], [9.0, 9.0]])
    assert found == pytest.approx([1, 1, 1])
    assert np.isfinite(weighting.squares[0]).all()


# ---- the step -----------------------------------------------------------------------------------


def model_of(**options):
    keras.utils.set_random_seed(2)
    tasks = tiny.PLAIN["two"]
    model = MMoE(tiny.FEATURES, tasks, **tiny.options_of(MMoE))
    model.build()
    weighting = ExcessRisk({task.name: task.kind for task in tasks}, excess_step=0.5)
    model.compile(keras.optimizers.SGD(0.1), weighting, run_eagerly=True, **options)
    return model


def test_it_is_told_the_unweighted_gradients_on_the_last_shared_layer(tmp_path):
    model, other = model_of(), model_of()
    tasks = tiny.PLAIN["two"]
    kinds = {task.name: task.kind for task in tasks}
    expected = ExcessRisk(kinds, excess_step=0.5)
    expected.begin([tuple(v.shape) for v in model.shared_variables()])
    for seed in range(3):
        inputs, labels, weight = tiny.batch(tasks, seed=seed)
        found = []
        for objective in model.objectives():
            with tf.GradientTape() as tape:
                loss, _ = objective.loss(model(inputs, training=True), labels, weight)
            found.append(tape.gradient(loss, [v.value for v in model.shared_variables()]))
        gradients = [tf.stack([tf.reshape(each[i], [-1]) for each in found]) for i in range(len(found[0]))]
        expected.learn_gradients(gradients, tf.constant([True, True]))
        model.reset_metrics()
        logs = model.train_step((inputs, labels, weight))
        for name, value in expected.weights().items():
            assert float(logs[f"weight_{name}"]) == pytest.approx(float(value), rel=1e-4)
        if seed == 1:
            checkpoint.save(model, tmp_path / "checkpoint")
    checkpoint.restore(other, tmp_path / "checkpoint")
    other.train_step(tiny.batch(tasks, seed=2))
    for one, another in zip(model.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), another.numpy())


def test_a_model_without_a_last_shared_layer_is_refused():
    tasks = next(iter(tiny.plans(ESMM).values()))
    model = ESMM(tiny.FEATURES, tasks, **{**tiny.options_of(ESMM), "bottom": "shared_embedding"})
    model.build()
    weighting = ExcessRisk({o.name: o.kind for o in model.objectives()})
    with pytest.raises(
        ValueError, match="ExcessRisk weighs objectives .* last shared layer, and ESMM has none"
    ):
        model.compile("adam", weighting)

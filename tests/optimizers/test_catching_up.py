"""Rows that catch up end where dense Adam would have moved them, and only rows of the batch are touched."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.optimizers import DenseEquivalentAdam, RowSGD, SplitOptimizer, make_optimizer
from fuxi_mtl.options import OptimizerOptions
from fuxi_mtl.training import checkpoint

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

ROWS, WIDTH, STEPS = 12, 2, 60
TASKS = tiny.PLAIN["regression"]


def table():
    return keras.Variable(np.linspace(-1, 1, ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH))


def batches(scale=1.0, steps=STEPS):
    """Row 0 in every batch, 1 to 4 now and then, 5 only at first and last, 11 never; some rows twice."""
    random = np.random.default_rng(7)
    for step in range(steps):
        ids = [0, *random.choice(np.arange(1, 5), 2), *([5] if step in (0, steps - 1) else [])]
        yield np.array(ids, np.int32), (random.normal(size=(len(ids), WIDTH)) * scale).astype(np.float32)


def dense_adam(steps, rates, epsilon=1e-7, beta_1=0.9, beta_2=0.999):
    """Adam on the whole table in double precision: what is in the table before and after each step."""
    value, m, v, seen = table().numpy().astype(np.float64), 0.0, 0.0, []
    for number, ((ids, values), rate) in enumerate(zip(steps, rates, strict=True), start=1):
        gradient = np.zeros((ROWS, WIDTH))
        np.add.at(gradient, ids, values)
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        seen.append(value)
        value = value - rate * np.sqrt(1 - beta_2**number) / (1 - beta_1**number) * m / (np.sqrt(v) + epsilon)
    return [*seen, value]


def by_rows(optimizer, steps, rates=None):
    """The same by rows: what a lookup finds before each step, and the table after its deferred moves."""
    variable, seen = table(), []
    optimizer.build([variable])

    @tf.function(autograph=False, reduce_retracing=True)
    def step(ids, values):
        optimizer.before_lookup(variable, ids)
        found = tf.gather(variable.value, ids)
        optimizer.apply([tf.IndexedSlices(values, ids, (ROWS, WIDTH))], [variable])
        return found

    for number, (ids, values) in enumerate(steps):
        if rates is not None:
            optimizer.learning_rate = rates[number]
        seen.append(step(tf.constant(ids), tf.constant(values)).numpy())
    optimizer.apply_deferred_updates()
    return seen, variable.numpy()


@pytest.mark.parametrize("steps", [2**14, 9])
def test_each_lookup_and_the_end_are_those_of_dense_adam_under_any_rates(steps):
    rates = 0.1 / (1 + np.arange(STEPS) % 13)  # changes at every step, in both directions
    expected = dense_adam(batches(), rates)
    seen, end = by_rows(DenseEquivalentAdam(steps=steps), batches(), rates)
    # Gradients of size one leave nothing to epsilon (1e-7): only float32's rounding is left.
    for (ids, _), found, whole in zip(batches(), seen, expected[:-1], strict=True):
        np.testing.assert_allclose(found, whole[ids], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(end, expected[-1], rtol=1e-4, atol=1e-5)
    assert np.abs(end[1:5] - table().numpy()[1:5]).min() > 0.01


def test_a_schedule_is_followed_while_a_row_is_away():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    expected = dense_adam(batches(), [0.1 * 0.5 ** (step / 10) for step in range(STEPS)])
    _, end = by_rows(DenseEquivalentAdam(schedule), batches())
    np.testing.assert_allclose(end, expected[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-5, 1e-6, 1e-7])
def test_where_epsilon_outweighs_the_moments_the_difference_is_below_a_percent(scale):
    # sqrt(v) is 0.03 of the gradient after its first step: from above epsilon to far below it.
    # A missed move k is too large by 0.999^(-k/2) at most, and k is 10 in the mean as moves shrink by 0.9.
    expected = dense_adam(batches(scale), [0.1] * STEPS)[-1]
    _, end = by_rows(DenseEquivalentAdam(0.1), batches(scale))
    moved = np.abs(expected - table().numpy()).max()
    np.testing.assert_allclose(end, expected, atol=0.01 * moved)
    assert moved > 1e-3


def test_between_lookups_rows_and_slots_keep_every_bit():
    variable, optimizer = table(), DenseEquivalentAdam(0.1)
    optimizer.build([variable])
    for ids in ([0, 1, 5], [0, 2], [2, 2]):
        gradient = tf.IndexedSlices(tf.ones((len(ids), WIDTH)), tf.constant(ids), (ROWS, WIDTH))
        before = [v.numpy() for v in (variable, *optimizer.row_slots(0))]
        optimizer.before_lookup(variable, tf.constant(ids))
        optimizer.apply([gradient], [variable])
        others = np.setdiff1d(np.arange(ROWS), ids)
        for old, new in zip(before, (variable, *optimizer.row_slots(0)), strict=True):
            np.testing.assert_array_equal(old[others], new.numpy()[others])


def test_settling_twice_is_settling_once():
    variable, optimizer = table(), DenseEquivalentAdam(0.1)
    optimizer.build([variable])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, WIDTH)), tf.constant([3]), (ROWS, WIDTH))], [variable])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, WIDTH)), tf.constant([4]), (ROWS, WIDTH))], [variable])
    optimizer.apply_deferred_updates()
    once = variable.numpy()
    optimizer.apply_deferred_updates()
    np.testing.assert_array_equal(variable.numpy(), once)
    assert (once != table().numpy()).any(axis=1).nonzero()[0].tolist() == [3, 4]


def test_dense_gradients_are_adams_own():
    caught, plain = table(), table()
    optimizers = DenseEquivalentAdam(0.1), keras.optimizers.Adam(0.1)
    for seed in range(3):
        gradient = tf.random.stateless_normal((ROWS, WIDTH), (seed, 1))
        for optimizer, variable in zip(optimizers, (caught, plain), strict=True):
            optimizer.apply([gradient], [variable])
    optimizers[0].apply_deferred_updates()
    np.testing.assert_array_equal(caught.numpy(), plain.numpy())


def test_moments_that_outlive_their_squares_are_an_error():
    with pytest.raises(
        ValueError, match=r"beta_1 is 0.9 and beta_2 0.5: catching up needs beta_1 below sqrt"
    ):
        DenseEquivalentAdam(beta_1=0.9, beta_2=0.5)


def test_without_a_first_moment_nothing_coasts():
    variable, optimizer = table(), DenseEquivalentAdam(0.1, beta_1=0.0)
    optimizer.build([variable])
    for row in (3, 4, 4):
        optimizer.apply(
            [tf.IndexedSlices(tf.ones((1, WIDTH)), tf.constant([row]), (ROWS, WIDTH))], [variable]
        )
    before = variable.numpy()
    optimizer.apply_deferred_updates()
    np.testing.assert_array_equal(variable.numpy(), before)


# ---- in a model ---------------------------------------------------------------------------------


def make(catching_up: bool, scaled: bool = False, seed=3) -> MultiTaskModel:
    keras.utils.set_random_seed(seed)
    options = tiny.options_of(ShareBottom) | {"embedding_regularizer": 0}
    model = ShareBottom(tiny.FEATURES, TASKS, **options)
    model.build()
    if catching_up:
        options = OptimizerOptions(learning_rate=0.02, embedding_optimizer="dense_equivalent_adam")
        optimizer = make_optimizer(options)
    else:
        rows = RowSGD(0.0)  # has nothing to do: no variable is a table
        for table in model.tables():
            table.lookup = None
        optimizer = SplitOptimizer(Densified(0.02), rows, 10.0)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model.compile(optimizer)
    return model


class Densified(keras.optimizers.Adam):
    """Keras's Adam given whole tables, where repeated ids are sums."""

    def apply(self, grads, trainable_variables=None):
        super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)


def data(seeds):
    parts = [tiny.batch(TASKS, rows=3, seed=seed) for seed in seeds]
    whole = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)
    return tf.data.Dataset.from_tensor_slices(whole).batch(3)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_model_trains_and_predicts_as_under_dense_adam(scaled):
    caught, dense = make(True, scaled), make(False)
    histories = [
        model.fit(data(range(12)), verbose=0, shuffle=False).history["loss"] for model in (caught, dense)
    ]
    np.testing.assert_allclose(*histories, rtol=1e-4)
    behind = [v.numpy() for v in caught.trainable_variables]
    inputs = tiny.inputs(20)
    found, expected = (model.predict(inputs, verbose=0) for model in (caught, dense))
    for name in expected:
        # Some gradients are small enough for epsilon.
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4)
    moved = [(v.numpy() != old).any() for v, old in zip(caught.trainable_variables, behind, strict=True)]
    assert moved == ["table" in v.path for v in caught.trainable_variables]


def test_evaluation_and_storing_catch_up_and_training_goes_on_from_a_checkpoint(tmp_path):
    model = make(True)
    model.fit(data(range(6)), verbose=0, shuffle=False)
    rows = model.optimizer.rows
    assert float(rows._now) == 6
    checkpoint.save(model, tmp_path / "checkpoint")
    assert float(rows._now) == 0
    resumed = make(True, seed=9)
    checkpoint.restore(resumed, tmp_path / "checkpoint")
    for each in (model, resumed):
        each.fit(data(range(6, 10)), verbose=0, shuffle=False)
    model.evaluate(data(range(2)), verbose=0)
    assert float(rows._now) == 0
    resumed.apply_deferred_updates()
    for one, other in zip(
        [*model.weights, *model.optimizer.variables],
        [*resumed.weights, *resumed.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_call_that_does_not_train_moves_nothing():
    model = make(True)
    model.fit(data(range(3)), verbose=0, shuffle=False)
    state = [*model.trainable_variables, *model.optimizer.variables]
    before = [v.numpy() for v in state]
    tf.function(model, autograph=False)(tiny.tensors(tiny.inputs(20)))
    for old, variable in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    model.compile("sgd")  # nor does it when another optimizer comes
    model.fit(data(range(3)), verbose=0, shuffle=False)
    assert not hasattr(model.optimizer.rows, "_now")

"""Updates of table rows: only those of the batch move, and a repeated id counts once with its sum."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from tensorflow.python.framework import op_callbacks

from fuxi_mtl import ShareBottom
from fuxi_mtl.layers import Lookup
from fuxi_mtl.optimizers import (
    DenseEquivalentAdam,
    LazyAdam,
    RowAdagrad,
    RowFtrl,
    RowSGD,
    RowWiseAdagrad,
    SplitOptimizer,
    make_optimizer,
    sum_duplicates,
)
from fuxi_mtl.options import OptimizerOptions

ROWS, WIDTH = 6, 2


def table():
    return keras.Variable(np.linspace(-1, 1, ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH))


def slices(indices, seed=0, scale=1.0):
    values = np.random.default_rng(seed).normal(size=(len(indices), WIDTH)).astype(np.float32) * scale
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([ROWS, WIDTH]))


def train(optimizer, variables, steps):
    """Applies each step's gradients in a graph, as training does."""
    if not optimizer.built:  # LossScaleOptimizer would begin anew
        optimizer.build(variables)
    apply = tf.function(
        lambda gradients: optimizer.apply(gradients, variables), autograph=False, reduce_retracing=True
    )
    for gradients in steps:
        apply(gradients)


def dense(gradient):
    return np.array(tf.convert_to_tensor(gradient))


def adam_by_hand(value, gradients, rate=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam with bias correction, in double precision."""
    value, m, v = value.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        value = value - corrected * m / (np.sqrt(v) + epsilon)
    return value


def test_duplicates_are_summed():
    summed = sum_duplicates(
        tf.IndexedSlices(tf.constant([[1.0, 2.0], [10.0, 20.0], [3.0, 4.0]]), tf.constant([4, 1, 4]), (6, 2))
    )
    assert summed.indices.numpy().tolist() == [4, 1]
    assert summed.values.numpy().tolist() == [[4, 6], [10, 20]]


def test_s1_a_repeated_id_counts_as_its_sum():
    one, two = table(), table()
    gradient = slices([3, 1, 3, 3])
    train(LazyAdam(0.1), [one], [[gradient]] * 3)
    train(LazyAdam(0.1), [two], [[sum_duplicates(gradient)]] * 3)
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    by_hand = adam_by_hand(table().numpy()[[1, 3]], [dense(gradient)[[1, 3]]] * 3)
    np.testing.assert_allclose(one.numpy()[[1, 3]], by_hand, rtol=1e-4)  # 1 - 0.999^3 in float32


def test_s1_rows_outside_the_batch_keep_value_and_moments_to_the_last_bit():
    variable, optimizer = table(), LazyAdam(0.1)
    train(optimizer, [variable], [[slices([0, 2])]])
    before = [v.numpy() for v in (variable, *optimizer._momentums, *optimizer._velocities)]
    for seed in range(3):
        optimizer.apply([slices([1, 5], seed)], [variable])
    after = [v.numpy() for v in (variable, *optimizer._momentums, *optimizer._velocities)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[[0, 2, 3, 4]], new[[0, 2, 3, 4]])
        assert (old[[1, 5]] != new[[1, 5]]).all()


def test_s1_a_row_in_every_batch_moves_as_under_adam():
    lazy, plain = table(), table()
    steps = [slices([0, 2], seed) for seed in range(8)]
    train(LazyAdam(0.1), [lazy], [[step] for step in steps])
    train(keras.optimizers.Adam(0.1), [plain], [[tf.constant(dense(step))] for step in steps])
    np.testing.assert_allclose(lazy.numpy(), plain.numpy(), rtol=1e-6, atol=1e-7)


def test_dense_gradients_are_adams_own():
    lazy, plain = table(), table()
    steps = [[tf.constant(dense(slices(range(ROWS), seed)))] for seed in range(3)]
    train(LazyAdam(0.1), [lazy], steps)
    train(keras.optimizers.Adam(0.1), [plain], steps)
    np.testing.assert_array_equal(lazy.numpy(), plain.numpy())


def test_a_variable_without_a_gradient_is_clipped_around_and_kept():
    used, unused = table(), keras.Variable(np.ones((2, 2), np.float32))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        train(split([used], clip=1.0), [used, unused], [[slices([1]), None]])
    assert unused.numpy().tolist() == [[1, 1], [1, 1]]
    assert (used.numpy() != table().numpy()).any(axis=1).tolist() == [False, True, False, False, False, False]


def test_loss_scaling_unscales_slices_and_skips_an_overflow():
    scaled, plain = table(), table()
    optimizer = keras.optimizers.LossScaleOptimizer(LazyAdam(0.1), initial_scale=1024.0)
    train(optimizer, [scaled], [[slices([1, 3], scale=1024.0)]])
    train(LazyAdam(0.1), [plain], [[slices([1, 3])]])
    np.testing.assert_allclose(scaled.numpy(), plain.numpy(), rtol=1e-6)
    before = scaled.numpy()
    train(optimizer, [scaled], [[slices([1, 3], scale=np.inf)]])
    np.testing.assert_array_equal(scaled.numpy(), before)
    assert float(optimizer.dynamic_scale) == 512


# ---- every rule ---------------------------------------------------------------------------------

DENSE = {
    RowAdagrad: keras.optimizers.Adagrad,
    RowSGD: keras.optimizers.SGD,
    RowFtrl: keras.optimizers.Ftrl,
}
RULES = [LazyAdam, RowWiseAdagrad, *DENSE]


@pytest.mark.parametrize("rule", DENSE)
def test_without_decaying_slots_rows_move_as_the_dense_optimizer_moves_them(rule):
    by_rows, plain = table(), table()
    steps = [slices([1, 3, 1], seed) for seed in range(5)]
    train(rule(0.1), [by_rows], [[step] for step in steps])
    train(DENSE[rule](0.1), [plain], [[tf.constant(dense(step))] for step in steps])
    # Dense FTRL also moves rows without a gradient: it makes them anew from their slots.
    np.testing.assert_allclose(by_rows.numpy()[[1, 3]], plain.numpy()[[1, 3]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_rows_outside_the_batch_keep_value_and_slots_to_the_last_bit(rule):
    variable, optimizer = table(), rule(0.1)
    train(optimizer, [variable], [[slices([0, 2])]])
    slots = [v for v in optimizer.variables if len(v.shape) == 2]
    before = [v.numpy() for v in (variable, *slots)]
    train(optimizer, [variable], [[slices([1, 5, 5], seed)] for seed in range(3)])
    for old, new in zip(before, [v.numpy() for v in (variable, *slots)], strict=True):
        np.testing.assert_array_equal(old[[0, 2, 3, 4]], new[[0, 2, 3, 4]])
        assert (old[[1, 5]] != new[[1, 5]]).any(axis=1).all()


@pytest.mark.parametrize("rule", [*RULES, DenseEquivalentAdam])
def test_of_each_slot_there_is_no_second_copy_when_it_is_made(rule):
    variable, optimizer, made = table(), rule(0.1), []

    def count(op_type, inputs, attrs, outputs, op_name=None, graph=None):
        made.extend(op_type for each in outputs if each.dtype == tf.float32 and each.shape[:1] == [ROWS])

    op_callbacks.add_op_callback(count)
    try:
        optimizer.build([variable])
    finally:
        op_callbacks.remove_op_callback(count)
    assert len(made) == sum(v.shape[:1] == [ROWS] for v in optimizer.variables), made


def test_rowwise_adagrad_keeps_one_number_a_row():
    variable, optimizer = table(), RowWiseAdagrad(0.1)
    first, second = slices([4, 2]), slices([4], 1)
    train(optimizer, [variable], [[first], [second]])
    (accumulator,) = optimizer._accumulators
    assert accumulator.shape == (ROWS, 1)
    value, a = table().numpy()[4].astype(np.float64), 0.1
    for gradient in (dense(first)[4], dense(second)[4]):
        a += (gradient**2).mean()
        value -= 0.1 * gradient / np.sqrt(a + 1e-7)
    np.testing.assert_allclose(variable.numpy()[4], value, rtol=1e-6)
    np.testing.assert_allclose(accumulator.numpy()[4], a, rtol=1e-6)


def test_ftrl_makes_rows_with_little_evidence_zero():
    variable = table()
    optimizer = RowFtrl(0.1, l1_regularization_strength=100.0)
    train(optimizer, [variable], [[slices([1])]])
    assert variable.numpy()[1].tolist() == [0, 0]
    assert (variable.numpy()[0] != 0).all()


def test_the_sum_of_squares_is_taken_where_it_is_asked_for():
    gradient = slices([3, 1, 3])
    singles = np.array(gradient.values)
    summed, squares = singles[0] + singles[2], singles[0] ** 2 + singles[2] ** 2
    for second_moment, square in (("squared_sum", summed**2), ("sum_of_squares", squares)):
        variable = table()
        train(RowAdagrad(0.1, second_moment=second_moment), [variable], [[gradient]])
        expected = table().numpy()[3] - 0.1 * summed / np.sqrt(0.1 + square + 1e-7)
        np.testing.assert_allclose(variable.numpy()[3], expected, rtol=1e-5)


def test_an_unknown_second_moment_is_an_error():
    with pytest.raises(ValueError, match="second_moment is 'sum'. It may be one of: squared_sum, sum_of"):
        LazyAdam(0.1, second_moment="sum")


# ---- two in one ---------------------------------------------------------------------------------


def kernel():
    return keras.Variable(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))


def split(tables, dense=None, rows=None, clip=None, penalty=None):
    rows = rows or RowSGD(0.1)
    for each in tables:
        each.lookup = Lookup(penalty)
    return SplitOptimizer(dense or keras.optimizers.SGD(0.1), rows, clip)


@pytest.mark.parametrize("second_moment", ["squared_sum", "sum_of_squares"])
@pytest.mark.parametrize(("clip", "clipped"), [(0.5, True), (1000.0, False), (None, False)])
def test_one_global_norm_counts_tables_by_row_and_kernels_together(clip, clipped, second_moment):
    rows, weights = table(), kernel()
    gradient, other = slices([1, 4, 1]), np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    optimizer = split([rows], rows=RowSGD(0.1, second_moment=second_moment), clip=clip)
    train(optimizer, [weights, rows], [[tf.constant(other), gradient]])
    factor = 0.5 / np.sqrt((dense(gradient) ** 2).sum() + 25) if clipped else 1
    np.testing.assert_allclose(weights.numpy(), kernel().numpy() - 0.1 * factor * other, rtol=1e-6)
    np.testing.assert_allclose(rows.numpy(), table().numpy() - 0.1 * factor * dense(gradient), rtol=1e-5)


@pytest.mark.parametrize("second_moment", ["squared_sum", "sum_of_squares"])
def test_the_penalty_of_a_row_is_added_once_however_often_it_is_looked_up(second_moment):
    rows = table()
    gradient = slices([4, 4, 2])
    optimizer = split([rows], rows=RowSGD(0.1, second_moment=second_moment), penalty=lambda w: 0.5 * w)
    train(optimizer, [rows], [[gradient]])
    expected = table().numpy()
    expected[[2, 4]] -= 0.1 * (dense(gradient) + 0.5 * expected)[[2, 4]]
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-5)


def test_a_new_rate_keeps_the_ratio_of_the_tables_and_steps_are_counted_once():
    rows, weights = table(), kernel()
    optimizer = split([rows], keras.optimizers.SGD(0.1), RowSGD(0.4))
    optimizer.learning_rate = 0.05
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    gradient, other = slices([1]), np.ones((2, 2), np.float32)
    train(optimizer, [weights, rows], [[tf.constant(other), gradient]] * 2)
    np.testing.assert_allclose(weights.numpy(), kernel().numpy() - 2 * 0.05 * other, rtol=1e-6)
    np.testing.assert_allclose(rows.numpy(), table().numpy() - 2 * 0.2 * dense(gradient), rtol=1e-5)
    assert int(optimizer.iterations) == 2


def test_no_slot_of_the_dense_optimizer_belongs_to_a_table():
    rows, weights = table(), kernel()
    optimizer = split([rows], keras.optimizers.Adam(), RowWiseAdagrad())
    optimizer.build([weights, rows])
    assert sorted(tuple(v.shape) for v in optimizer.variables if len(v.shape)) == [(2, 2), (2, 2), (6, 1)]


@pytest.mark.parametrize("rule", RULES)
def test_loss_scaling_around_both_skips_both(rule):
    rows, weights = table(), kernel()
    optimizer = keras.optimizers.LossScaleOptimizer(split([rows], rows=rule(0.1)), initial_scale=4.0)
    bad = [tf.fill((2, 2), np.inf), slices([1])]
    train(optimizer, [weights, rows], [bad])
    np.testing.assert_array_equal(rows.numpy(), table().numpy())
    np.testing.assert_array_equal(weights.numpy(), kernel().numpy())
    alone = table()
    train(optimizer, [weights, rows], [[tf.ones((2, 2)), slices([1, 3], scale=2.0)]])
    train(rule(0.1), [alone], [[slices([1, 3])]])
    np.testing.assert_allclose(rows.numpy(), alone.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("adam", LazyAdam), ("adamw", LazyAdam), ("sgd", RowSGD), ("adagrad", RowAdagrad), ("ftrl", RowFtrl)]
    + [(name, LazyAdam) for name in ("rmsprop", "nadam", "lion")],
)
def test_an_optimizer_of_a_stanza_comes_with_one_for_the_tables(name, rows):
    optimizer = make_optimizer(OptimizerOptions(name, 0.25, max_gradient_norm=3.0))
    assert type(optimizer.dense).__name__.lower() == name
    assert type(optimizer.rows) is rows
    assert float(optimizer.learning_rate) == float(optimizer.rows.learning_rate) == 0.25
    assert optimizer.global_clipnorm == 3
    assert make_optimizer(OptimizerOptions(name, 0.25, max_gradient_norm=0.0)).global_clipnorm is None


def test_the_log_says_where_lazy_adam_stands_in(caplog):
    caplog.set_level("INFO")
    for name in ("adamw", "sgd", "lion"):
        make_optimizer(OptimizerOptions(name))
    make_optimizer(OptimizerOptions("nadam", embedding_optimizer="sgd"))
    assert [record.getMessage() for record in caplog.records] == [
        "optimizer: lion has no rule for rows; lazy Adam moves the tables (embedding_optimizer: adam)."
    ]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("adam", LazyAdam),
        ("adagrad", RowAdagrad),
        ("dense_equivalent_adam", DenseEquivalentAdam),
        ("rowwise_adagrad", RowWiseAdagrad),
        ("sgd", RowSGD),
        ("ftrl", RowFtrl),
    ],
)
def test_the_optimizer_of_the_tables_can_be_set_apart(name, rows):
    options = OptimizerOptions(
        embedding_optimizer=name, embedding_learning_rate=0.5, embedding_second_moment="sum_of_squares"
    )
    optimizer = make_optimizer(options)
    assert isinstance(optimizer.dense, keras.optimizers.Adam)
    assert type(optimizer.rows) is rows
    assert float(optimizer.rows.learning_rate) == 0.5
    assert optimizer.rows.second_moment == "sum_of_squares"


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam"])
def test_moments_of_a_stanza_reach_both_optimizers_unless_the_tables_have_their_own(name):
    both = OptimizerOptions(name, betas=[0.5, 0.75], epsilon=0.125)
    apart = OptimizerOptions(
        name, betas=[0.5, 0.75], epsilon=0.125, embedding_betas=[0.25, 0.9375], embedding_epsilon=0.5
    )
    for options, of_rows in ((both, (0.5, 0.75, 0.125)), (apart, (0.25, 0.9375, 0.5))):
        made = make_optimizer(options)
        for optimizer, expected in ((made.dense, (0.5, 0.75, 0.125)), (made.rows, of_rows)):
            assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == expected


def test_rows_without_moments_leave_those_of_the_rest_alone():
    options = OptimizerOptions("adam", betas=[0.5, 0.75], epsilon=0.125, embedding_optimizer="sgd")
    assert type(make_optimizer(options).rows) is RowSGD
    rows = make_optimizer(OptimizerOptions("adagrad", epsilon=0.125)).rows
    assert rows.epsilon == 0.125


def test_a_table_moves_by_the_moments_of_the_stanza():
    rows = table()
    options = OptimizerOptions(learning_rate=0.1, betas=[0.5, 0.75], epsilon=0.125, max_gradient_norm=0)
    optimizer = make_optimizer(options, [(rows, None)])
    steps = [slices(range(ROWS), seed) for seed in range(3)]
    train(optimizer, [rows], [[step] for step in steps])
    expected = adam_by_hand(table().numpy(), [dense(step) for step in steps], 0.1, 0.5, 0.75, 0.125)
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-5)


def test_tables_follow_the_schedule_of_the_rest():
    model = ShareBottom(tiny.FEATURES, tiny.PLAIN["two"], **tiny.options_of(ShareBottom))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.125])
    model.compile(keras.optimizers.SGD(schedule), run_eagerly=True)
    rates = []
    for _ in range(3):
        rates.append(float(model.optimizer.rows.learning_rate))
        assert float(model.optimizer.learning_rate) == rates[-1]
        model.train_step(tiny.batch(model.tasks))
    assert rates == [0.5, 0.5, 0.125]

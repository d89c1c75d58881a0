"""Updates of table rows: only those of the batch move, and a repeated id counts once with its sum."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.sparse import LazyAdam, sum_duplicates

ROWS, WIDTH = 6, 2
OTHERS = ["AdamW", "SGD", "Adagrad", "RMSprop", "Ftrl", "Nadam", "Lion"]


def table():
    return keras.Variable(np.linspace(-1, 1, ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH))


def slices(indices, seed=0, scale=1.0):
    values = np.random.default_rng(seed).normal(size=(len(indices), WIDTH)).astype(np.float32) * scale
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([ROWS, WIDTH]))


def train(optimizer, variables, steps):
    """Applies each step's gradients in a graph, as training does."""
    optimizer.build(variables)
    apply = tf.function(lambda gradients: optimizer.apply(gradients, variables), reduce_retracing=True)
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


def test_global_norm_counts_tables_and_kernels_together():
    gradients = [slices([1, 4]), tf.constant([[3.0, 0.0], [0.0, 4.0]])]
    norm = np.sqrt((dense(gradients[0]) ** 2).sum() + 25)
    clipped = LazyAdam(global_clipnorm=0.5)._clip_gradients(gradients)
    assert isinstance(clipped[0], tf.IndexedSlices)
    np.testing.assert_allclose(dense(clipped[0]), dense(gradients[0]) * 0.5 / norm, rtol=1e-6)
    np.testing.assert_allclose(clipped[1], gradients[1] * 0.5 / norm, rtol=1e-6)
    unclipped = LazyAdam(global_clipnorm=100.0)._clip_gradients(gradients)
    np.testing.assert_array_equal(dense(unclipped[0]), dense(gradients[0]))
    assert LazyAdam()._clip_gradients(gradients) is gradients


def test_a_variable_without_a_gradient_is_clipped_around_and_kept():
    used, unused = table(), keras.Variable(np.ones((2, 2), np.float32))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        train(LazyAdam(0.1, global_clipnorm=1.0), [used, unused], [[slices([1]), None]])
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


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_move_by_slices_as_by_dense_gradients(name, clip, scaling):
    found = []
    for convert in (lambda gradient: gradient, tf.convert_to_tensor):
        variable = table()
        optimizer = getattr(keras.optimizers, name)(0.1, global_clipnorm=clip)
        if scaling:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0)
        steps = [[convert(slices([1, 3 + seed], seed, 2.0 if scaling else 1.0))] for seed in range(3)]
        train(optimizer, [variable], steps)
        found.append(variable.numpy())
    assert (found[0][1] != table().numpy()[1]).all()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-7)

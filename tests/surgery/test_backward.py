"""Gradients of single losses and of their weighted sum, against the chain rule by hand."""

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.surgery.backward import Backward, aligned

X = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
W = np.array([[0.2, -0.4], [0.1, 0.3], [-0.5, 0.6]], np.float32)
V = np.array([2.0, -1.0], np.float32)
SCALE = 8.0


@pytest.fixture
def variables():
    return tf.Variable(W), tf.Variable(V), tf.Variable(1.5)


def backward_of(variables, persistent=True, penalised=True):
    """Two losses on a shared matrix, the second with a vector of its own; a penalty of the matrix."""
    matrix, vector, _ = variables
    with tf.GradientTape(persistent=persistent) as tape:
        hidden = X @ matrix
        losses = {"a": tf.reduce_sum(hidden**2), "b": tf.reduce_sum(tf.linalg.matvec(hidden, vector))}
        penalties = [0.5 * tf.reduce_sum(matrix**2)] if penalised else []
    return Backward(tape, losses, penalties, tf.constant(SCALE))


GRAD_A = 2 * X.T @ (X @ W)
GRAD_B = X.T @ np.tile(V, (2, 1))
GRAD_B_VECTOR = (X @ W).sum(0)


def test_each_loss_alone_and_its_norm(variables):
    backward = backward_of(variables)
    found = backward.of_each(variables)
    np.testing.assert_allclose(found["a"][0], SCALE * GRAD_A, rtol=1e-5)
    np.testing.assert_allclose(found["b"][1], SCALE * GRAD_B_VECTOR, rtol=1e-5)
    assert found["a"][1:] == [None, None]
    assert found["b"][2] is None
    norms = backward.norms(variables[:1])
    assert float(norms["a"]) == pytest.approx(np.linalg.norm(GRAD_A), rel=1e-5)
    assert float(norms["b"]) == pytest.approx(np.linalg.norm(GRAD_B), rel=1e-5)
    assert float(backward.norms(variables[2:])["a"]) == 0
    assert backward.reach(variables) == [2, 1, 0]


def test_what_was_asked_for_is_not_computed_again(variables):
    backward = backward_of(variables)
    once = backward.of_each_everywhere(variables[:1])
    again = backward.of_each([variables[1], variables[0]])
    assert all(again[name][1] is once[name][0] for name in "ab")
    np.testing.assert_allclose(again["b"][0], SCALE * GRAD_B_VECTOR, rtol=1e-5)


@pytest.mark.parametrize("asked", [[], [0], [0, 1, 2]], ids=["nothing", "the matrix", "everything"])
@pytest.mark.parametrize("penalised", [True, False])
def test_the_weighted_sum_is_the_same_whatever_was_asked_before(variables, asked, penalised):
    backward = backward_of(variables, penalised=penalised)
    backward.of_each([variables[i] for i in asked])
    matrix, vector, unused = backward.weighted({"a": tf.constant(0.3), "b": tf.constant(4.0)}, variables)
    expected = 0.3 * GRAD_A + 4 * GRAD_B + (W if penalised else 0)
    np.testing.assert_allclose(matrix, SCALE * expected, rtol=1e-5)
    np.testing.assert_allclose(vector, SCALE * 4 * GRAD_B_VECTOR, rtol=1e-5)
    assert unused is None


@pytest.mark.parametrize("asked", [[], [0, 1]], ids=["nothing", "both"])
def test_objectives_without_a_weight_do_not_count_and_penalties_do(variables, asked):
    backward = backward_of(variables)
    backward.of_each([variables[i] for i in asked])
    matrix, vector, _ = backward.weighted({"a": tf.constant(2.0)}, variables)
    np.testing.assert_allclose(matrix, SCALE * (2 * GRAD_A + W), rtol=1e-5)
    assert vector is None


@pytest.mark.parametrize("penalised", [True, False])
def test_a_tape_that_is_asked_once_need_not_be_persistent(variables, penalised):
    backward = backward_of(variables, persistent=False, penalised=penalised)
    matrix, *_ = backward.weighted({"a": tf.constant(1.0), "b": tf.constant(1.0)}, variables)
    np.testing.assert_allclose(matrix, SCALE * (GRAD_A + GRAD_B + (W if penalised else 0)), rtol=1e-5)


def test_rows_of_tables_stay_rows():
    table = tf.Variable(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    with tf.GradientTape(persistent=True) as tape:
        rows = tf.gather(table, [1, 3, 1])
        losses = {"a": tf.reduce_sum(rows), "b": tf.reduce_sum(rows**2)}
    backward = Backward(tape, losses, [], tf.constant(1.0))
    backward.of_each([table])
    (gradient,) = backward.weighted({"a": tf.constant(1.0), "b": tf.constant(0.5)}, [table])
    assert isinstance(gradient, tf.IndexedSlices)
    expected = np.zeros((4, 3), np.float32)
    for row in (1, 3, 1):
        expected[row] += 1 + table.numpy()[row]
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=1e-6)


# ---- gradients of one variable beside each other --------------------------------------------------


def rows_of(indices, values):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices), tf.constant([100, 2]))


FIRST = rows_of([7, 3, 7], [[1, 2], [3, 4], [5, 6]])
SECOND = rows_of([9, 7], [[1, 1], [2, 2]])
TABLE = np.zeros((3, 100, 2))
TABLE[0, 7], TABLE[0, 3], TABLE[1, 9], TABLE[1, 7] = (6, 8), (3, 4), (1, 1), (2, 2)


def test_rows_of_tables_are_laid_over_those_that_any_of_them_names():
    found = aligned([FIRST, SECOND, None]).numpy()
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found @ found.T, np.einsum("iab,jab->ij", TABLE, TABLE))


def test_a_table_that_one_loss_reaches_as_a_whole_is_a_matrix():
    whole = np.arange(200, dtype=np.float32).reshape(100, 2)
    found = aligned([FIRST, tf.constant(whole), None]).numpy()
    np.testing.assert_array_equal(found, [TABLE[0].ravel(), whole.ravel(), np.zeros(200)])

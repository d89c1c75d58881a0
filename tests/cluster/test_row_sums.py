import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster.row_sums import row_sums


@pytest.mark.parametrize("width", [1, 16, 40])
def test_rows_of_one_place_are_added_in_their_order_to_the_bit(width):
    """In NumPy one after another; the same as TensorFlow's own, whatever the widths it treats apart."""
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(500, width)).astype(np.float32)
    rows[::7] *= 1e6  # so that another order has another sum
    places = rng.integers(0, 9, 500).astype(np.int32)
    places[places == 4] = 5  # a place without a row
    expected = np.zeros((9, width), np.float32)
    for place, row in zip(places, rows, strict=True):
        expected[place] += row
    found = tf.function(row_sums)(tf.constant(rows), tf.constant(places), tf.constant(9))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, tf.math.unsorted_segment_sum(rows, places, 9))


def test_no_rows_have_no_sums():
    found = row_sums(tf.zeros((0, 3)), tf.zeros((0,), tf.int32), tf.constant(2))
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int32"])
def test_rows_of_other_types_and_ranks_have_the_same_sums(dtype):
    rows = tf.cast([[1, 2], [3, 4], [5, 6]], dtype)
    assert row_sums(rows, tf.constant([1, 0, 1]), 2).numpy().tolist() == [[3, 4], [6, 8]]
    assert row_sums(rows[:, 0], tf.constant([1, 0, 1]), 2).numpy().tolist() == [3, 6]
    assert row_sums(rows[:, :, None], tf.constant([1, 0, 1]), 2).numpy().tolist() == [[[3], [4]], [[6], [8]]]


def test_a_row_of_no_place_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        row_sums(tf.ones((1, 2)), tf.constant([2]), 2)

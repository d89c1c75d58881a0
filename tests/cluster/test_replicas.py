"""On one replica what replicas do together is nothing; tests/model/test_on_two_devices.py has two."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import Objective, ShareBottom
from fuxi_mtl.cluster.replicas import (
    gathered_rows,
    global_gradients,
    global_mean,
    global_sum,
    own_number,
    replicas,
    switch,
)
from fuxi_mtl.layers import over_rows
from fuxi_mtl.layers.penalties import add_penalty, recorded_penalties
from fuxi_mtl.objectives import losses_over_replicas

ROWS = tf.constant([[1.0, 2.0], [3.0, 6.0]])


def test_alone_there_is_nothing_to_add_to_the_graph():
    slices = tf.IndexedSlices(ROWS, tf.constant([1, 1]), (3, 2))
    assert (replicas(), own_number()) == (1, 0)
    assert global_sum(ROWS) is ROWS
    assert gathered_rows(ROWS) is ROWS
    given = [ROWS, None, slices]
    assert all(a is b for a, b in zip(global_gradients(given), given, strict=True))
    graph = tf.function(global_mean).get_concrete_function(ROWS).graph
    assert Counter(op.type for op in graph.get_operations())["Mean"] == 1
    assert not any(op.type.startswith("Collective") for op in graph.get_operations())


def test_a_branch_is_chosen_and_gets_the_arguments():
    seen = tf.Variable(0.0)
    switch(tf.constant(1), [seen.assign, lambda x: seen.assign(2 * x)], tf.constant(4.0))
    assert seen.numpy() == 8


def test_alone_a_penalty_stays_in_its_layer():
    layer = keras.layers.Layer()
    with recorded_penalties() as recorded:
        add_penalty(layer, tf.constant(2.0))
    assert recorded == []
    assert [float(each) for each in layer.losses] == [2.0]


class Several(tf.distribute.OneDeviceStrategy):
    """What says that it has two replicas is enough to be refused."""

    num_replicas_in_sync = 2


def in_a_replica_of_two(function):
    strategy = Several("CPU:0")
    type(strategy.extended)._num_replicas_in_sync = property(lambda _: 2)
    try:
        strategy.run(function)
    finally:
        type(strategy.extended)._num_replicas_in_sync = property(lambda _: 1)


def test_a_loss_of_its_own_needs_sums_on_several_replicas():
    class Median(Objective):
        def loss(self, heads, labels, sample_weight=None):
            return tf.constant(0.0), tf.constant(1.0)

    objective = Median("x", lambda heads, labels: heads["x"], lambda labels: labels["x"] > 0)
    assert losses_over_replicas([objective], {}, {}, None).values["x"].numpy() == 0
    with pytest.raises(ValueError, match="objective 'x': Median.loss is a mean over the rows of one device"):
        in_a_replica_of_two(lambda: losses_over_replicas([objective], {}, {}, None))


def test_a_layer_that_adds_to_the_loss_past_replicas_is_refused_on_several():
    model = ShareBottom(tiny.FEATURES, tiny.PLAIN["two"], **tiny.options_of(ShareBottom))
    model.build()
    model.embedding.add_loss(tf.constant(1.0))
    assert len(model._penalties([])) == 1
    with pytest.raises(ValueError, match="adds to the loss by add_loss, which mixes up the devices"):
        in_a_replica_of_two(lambda: model._penalties([]))


def test_the_quotients_of_an_objective_make_its_loss():
    objective = Objective("x", lambda heads, labels: heads["x"], lambda labels: labels["x"] > 0)
    heads, labels = {"x": tf.constant([1.0, 4.0, 9.0])}, {"x": tf.constant([1.0, 0.0, 1.0])}
    weights = tf.constant([1.0, 1.0, 3.0])
    ((total, rows),) = objective.quotients(heads, labels, weights)
    assert (float(total), float(rows)) == (28.0, 4.0)
    assert float(objective.loss(heads, labels, weights)[0]) == 7.0
    assert float(objective.mean(heads["x"] * 2, heads, labels, weights)) == 14.0
    np.testing.assert_allclose(losses_over_replicas([objective], heads, labels, weights).shares["x"], 7.0)


@pytest.mark.parametrize("statistics", ["global", "local"])
def test_batch_norm_of_no_rows_has_slopes_of_zero(monkeypatch, statistics):
    # A last batch of fewer rows than workers leaves some without any.
    monkeypatch.setattr(over_rows, "replicas", lambda: 2)
    monkeypatch.setattr(over_rows, "global_sum", lambda own: own)
    norm = over_rows.BatchNormalization()
    norm.build((None, 3))
    norm.statistics = statistics
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(norm(tf.zeros((0, 3)), training=True))
    slopes = tape.gradient(total, norm.trainable_variables)
    assert [slope.numpy().tolist() for slope in slopes] == [[0] * 3] * 2

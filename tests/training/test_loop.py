"""Several training steps in one call."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.training.loop import steps_at_once

TASKS = tiny.PLAIN["two"]


def compiled(steps):
    keras.utils.set_random_seed(3)
    model = ShareBottom(tiny.FEATURES, TASKS, **tiny.options_of(ShareBottom))
    model.compile(steps_per_execution=steps, run_eagerly=True)
    return model


@pytest.mark.parametrize("steps", [1, 3])
def test_a_call_takes_its_steps_one_after_the_other_and_gives_their_means(steps):
    batches = [tiny.batch(TASKS, rows=8, seed=seed) for seed in range(3)]
    single, several = compiled(1), compiled(steps)
    for batch in batches[:steps]:
        wanted = single.train_step(batch)
    data = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=tf.nest.map_structure(tf.TensorSpec.from_tensor, batches[0])
    )
    found = steps_at_once(several)(iter(data))
    assert {name: float(mean) for name, mean in found.items()} == {
        name: float(mean) for name, mean in wanted.items()
    }
    assert int(several.step) == steps
    for one, other in zip(single.weights, several.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_mean_leaves_out_losses_without_rows():
    means = compiled(1).means
    zero, one = tf.constant(0.0), tf.constant(1.0)
    for loss, rows in ((4.0, one), (7.0, zero)):
        losses = {"click": tf.constant(loss), "buy": tf.constant(loss)}
        counted = {"click": rows, "buy": one}
        found = means.update(tf.constant(loss), losses, counted, {"click": one, "buy": one}, None, {})
    assert {name: float(found[name]) for name in ("loss", "loss_click", "loss_buy")} == {
        "loss": 5.5,
        "loss_click": 4,
        "loss_buy": 5.5,
    }

"""Updates of dense variables by few operations: Keras's own to the last bit, slots and all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.optimizers import SplitOptimizer, by_few_operations, row_counterpart
from fuxi_mtl.optimizers.dense import UPDATES
from fuxi_mtl.options import OPTIMIZERS

# Of Adam, decays that float32 has: its kernel knows no others.
DECAYS = {"beta_1": float(np.float32(0.9)), "beta_2": float(np.float32(0.999))}
CASES = {name: (OPTIMIZERS[name].load(), {}) for name in OPTIMIZERS}
CASES["adam"] = (keras.optimizers.Adam, DECAYS | {"weight_decay": 0.1})
CASES["adamw"] = (keras.optimizers.AdamW, DECAYS | {"gradient_accumulation_steps": 2, "use_ema": True})
CASES["amsgrad"] = (keras.optimizers.Adam, {"amsgrad": True})
CASES["momentum"] = (keras.optimizers.SGD, {"momentum": 0.9, "weight_decay": 0.1})
CASES["nesterov"] = (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True, "clipnorm": 0.5})
CASES["rmsprop with momentum"] = (keras.optimizers.RMSprop, {"momentum": 0.9})
CASES["ftrl with penalties"] = (
    keras.optimizers.Ftrl,
    {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.1},
)


def variables():
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((5, 3), (3,))]


def after(optimizer, moved, gradients):
    """Everything that a few steps have changed, step after step."""
    optimizer.exclude_from_weight_decay([moved[1]])
    optimizer.build(moved)
    seen = []
    for each in gradients:
        optimizer.apply_gradients(zip(each, moved, strict=True))
        seen += [variable.numpy().copy() for variable in (*moved, *optimizer.variables)]
    return seen


def random_gradients(steps):
    random = np.random.default_rng(1)
    return [
        [tf.constant(0.3 * random.normal(size=v.shape), tf.float32) for v in variables()]
        for _ in range(steps)
    ]


@pytest.mark.parametrize("name", CASES)
def test_an_update_is_that_of_keras_to_the_last_bit(name):
    kind, options = CASES[name]
    plain, brief = (kind(learning_rate=0.05, **options) for _ in range(2))
    by_few_operations(brief)
    by_few_operations(brief)  # of an optimizer that is shared, or compiled again
    wanted, found = (after(each, variables(), random_gradients(4)) for each in (plain, brief))
    # Of FTRL Keras takes the power of 1/2, eagerly, and the kernel the root.
    tolerance = 1e-6 if kind is keras.optimizers.Ftrl else 0
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def test_adam_takes_its_decays_in_float32_throughout():
    optimizer, (kernel, _) = keras.optimizers.Adam(0.05), variables()
    by_few_operations(optimizer)
    gradients = [[gradient] for gradient, _ in random_gradients(4)]
    at, m, v = kernel.numpy().astype(np.float64), 0.0, 0.0
    optimizer.build([kernel])
    for step, (gradient,) in enumerate(gradients, start=1):
        optimizer.apply([gradient])
        first, second = DECAYS.values()
        m = first * m + (1 - first) * gradient.numpy()
        v = second * v + (1 - second) * np.square(gradient.numpy(), dtype=np.float64)
        rate = 0.05 * np.sqrt(1 - second**step) / (1 - first**step)
        at -= rate * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(optimizer._velocities[0].numpy(), v, rtol=1e-6)
    np.testing.assert_allclose(kernel.numpy(), at, atol=1e-6)


def test_what_has_a_rule_of_its_own_keeps_it():
    class Still(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            pass

    optimizer, (kernel, _) = Still(0.05), variables()
    by_few_operations(optimizer)
    before = kernel.numpy()
    optimizer.apply_gradients([(tf.ones_like(kernel), kernel)])
    np.testing.assert_array_equal(kernel.numpy(), before)


@pytest.mark.parametrize("gradient", ["slices", "float64"])
def test_what_the_kernels_do_not_take_moves_as_in_keras(gradient):
    found = []
    for brief in (False, True):
        optimizer = keras.optimizers.AdamW(0.05)
        variable = keras.Variable(np.ones((3, 2)), dtype="float64" if gradient == "float64" else "float32")
        optimizer.build([variable])
        if brief:
            by_few_operations(optimizer)
        slope = tf.fill((3, 2), tf.constant(0.5, variable.dtype))
        if gradient == "slices":
            slope = tf.IndexedSlices(slope[:2], tf.constant([0, 2]), (3, 2))
        for _ in range(2):
            optimizer.apply_gradients([(slope, variable)])
        found.append(variable.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-7)


def test_a_traced_step_has_one_operation_of_adam_for_each_variable():
    moved = variables()
    dense = keras.optimizers.Adam(0.05)
    optimizer = SplitOptimizer(dense, row_counterpart(dense)(0.05))
    optimizer.build(moved)
    graph = tf.function(
        lambda gradients: optimizer.apply(gradients, moved), autograph=False
    ).get_concrete_function(random_gradients(1)[0])
    kinds = [operation.type for operation in graph.graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == len(moved)
    assert kinds.count("Pow") == 2


def test_every_optimizer_of_a_stanza_is_known():
    assert {OPTIMIZERS[name].load() for name in OPTIMIZERS} == set(UPDATES)

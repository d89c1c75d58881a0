"""Bricks of the papers' equations in numpy, and where a loss reaches, for tests of the zoo."""

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.tasks import Task

# Three numbers are the whole input: x is what the equations say it is.
NUMBERS = FeatureMap("numbers", assign_columns([Feature(name, "numeric") for name in "abc"]))
X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
INPUTS = {"ids": tf.zeros((8, 0), tf.int32), "numeric": tf.constant(X)}
TASKS = (Task("click", ("click",)), Task("buy", ("buy",)))
CLICK = np.array([1, 1, 1, 0, 0, 1, 0, 1], np.float32)
BUY = np.array([1, 0, 1, 0, 0, 0, 0, 1], np.float32)
CART = np.array([1, 1, 0, 0, 0, 0, 0, 1], np.float32)


def network(cls, tasks=TASKS, **options):
    keras.utils.set_random_seed(4)
    model = cls(NUMBERS, tasks, hidden_activations="tanh", **options)
    model.build()
    # Biases too. Seeds by position: names count the layers that the process has made before.
    for place, variable in enumerate(model.trainable_variables):
        variable.assign(keras.random.normal(variable.shape, seed=place) + variable)
    return model


def weights(dense):
    return [w.numpy().astype(np.float64) for w in (dense.kernel, dense.bias)]


def stack(mlp, x):
    """tanh(W x + b), layer by layer."""
    for dense in mlp.hidden:
        kernel, bias = weights(dense)
        x = np.tanh(x @ kernel + bias)
    return x


def tower(towers, name, h):
    i = towers.names.index(name)
    kernel, bias = weights(towers.outputs[i])
    return (stack(towers.stacks[i], h) @ kernel + bias)[:, 0]


def softmax(u):
    e = np.exp(u - u.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gate(layer, x):
    kernel, bias = weights(layer.logits)
    return softmax(stack(layer.stack, x) @ kernel + bias)


def experts(layer, x):
    return np.stack([stack(expert, x) for expert in layer.stacks], axis=1)


def blend(shares, outputs):
    return sum(shares[:, e, None] * outputs[:, e] for e in range(outputs.shape[1]))


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def assert_heads(model, expected):
    heads = model(INPUTS)
    assert set(heads) == set(expected)
    for name, logit in expected.items():
        np.testing.assert_allclose(heads[name], logit, rtol=2e-5, atol=2e-5)


def reached(model, name, inputs=INPUTS, labels=None):
    """Ids of the variables that the loss of one objective reaches with something other than zero."""
    (objective,) = (o for o in model.objectives() if o.name == name)
    columns = {"click": CLICK, "buy": BUY, "cart": CART}
    labels = labels or {t.name: tf.constant(t.label(columns)) for t in model.tasks}
    with tf.GradientTape() as tape:
        loss, _ = objective.loss(model(inputs, training=True), labels)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    found = set()
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if gradient is not None and (tf.convert_to_tensor(gradient).numpy() != 0).any():
            found.add(id(variable))
    return found


def ids(*layers):
    return {id(v) for layer in layers for v in layer.trainable_variables}


def own_tower(model, name):
    i = model.towers.names.index(name)
    return ids(model.towers.stacks[i], model.towers.outputs[i])

"""Inner products of the objectives' gradients on each variable, from one batch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_sum, is_own, replicas
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import Objective, without_nan
from fuxi_mtl.surgery.backward import Backward, aligned, are_rows

Batch = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Products:
    """The gradients of one batch, as far as lengths and angles need them.

    Attributes:
        products: ``(variables, objectives, objectives)``: ``<g_a, g_b>`` on each variable, the square of
            the norm on the diagonal; 0 where a gradient does not reach the variable.
        sparse: ``(variables,)``: whether the variable is a table, of which a batch touches some rows.
        counted: ``(objectives,)``: whether the batch has what the objective learns from.
    """

    products: np.ndarray
    sparse: np.ndarray
    counted: np.ndarray


class GradientProducts:
    """Takes the gradient of each objective, unweighted, on every variable.

    The network is evaluated as when it serves: no dropout, no noise, moving averages instead of those of
    the batch, and no regularizer. So no random number is drawn and no state is touched: a training that is
    watched makes the same steps to the last bit as one that is not.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: MultiTaskModel):
        self._model = model
        self._sparse: list[bool] = []
        self._graph = tf.function(self._everywhere, autograph=False)

    def __call__(self, batch: Batch) -> Products:
        """The products on one batch: inputs, labels by task, and weights of the rows."""
        products, counted = self._graph(*batch)
        return Products(products.numpy(), np.array(self._sparse), counted.numpy())

    def _everywhere(self, inputs, labels, sample_weight):
        """Every device computes the same; the first one answers."""
        strategy = tf.distribute.get_strategy()
        found = strategy.run(self._products, args=(inputs, labels, sample_weight))
        return tuple(strategy.experimental_local_results(each)[0] for each in found)

    def _products(self, inputs, labels, sample_weight):
        model = self._model
        variables, objectives = model.trainable_variables, model.objectives()
        scale = model.optimizer.scale_loss(tf.constant(1.0))  # keeps float16 gradients from vanishing
        with tf.GradientTape(persistent=True) as tape:
            heads = model(inputs, training=False)
            learnt = model.labels_learnt(labels, inputs)
            found = [objective.loss(heads, learnt, sample_weight) for objective in objectives]
        losses = {objective.name: loss for objective, (loss, _) in zip(objectives, found, strict=True)}
        gradients = Backward(tape, losses, [], scale).of_each([variable.value for variable in variables])
        by_variable = list(zip(*gradients.values(), strict=True))
        self._sparse = [are_rows(each) for each in by_variable]
        counted = [_learns(o, labels, rows) for o, (_, rows) in zip(objectives, found, strict=True)]
        products = [inner_products(each, scale) for each in by_variable]
        # Of rows that are spread each worker has some, with the same gradient from every worker.
        own = [at for at, variable in enumerate(variables) if is_own(variable)]
        together = global_sum([products[at] / replicas() ** 2 for at in own])
        for at, product in zip(own, together, strict=True):
            products[at] = product
        return tf.stack(products), tf.stack(counted)


def _learns(objective: Objective, labels: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
    """Whether a batch has rows for an objective and, where it predicts an event, the event."""
    task = objective.task
    if task is None or task.kind != "binary":
        return rows > 0
    positives = tf.reduce_sum(tf.where(objective.given(labels), without_nan(labels)[task.name], 0.0))
    return tf.logical_and(rows > 0, positives > 0)


def inner_products(gradients: Sequence[Gradient], scale: tf.Tensor) -> tf.Tensor:
    """``(objectives, objectives)`` inner products of the gradients of one variable."""
    count = len(gradients)
    if all(gradient is None for gradient in gradients):
        return tf.zeros((count, count))
    flat = tf.unstack(aligned(gradients) / scale)
    products = [[tf.zeros(())] * count for _ in gradients]
    for a, b in itertools.combinations_with_replacement(range(count), 2):
        # Not a matrix product: that would be rounded to TensorFloat-32 on some devices.
        products[a][b] = products[b][a] = tf.reduce_sum(flat[a] * flat[b])
    return tf.stack([tf.stack(row) for row in products])

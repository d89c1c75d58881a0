"""Inner products of the objectives' gradients on each variable, from one batch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import Objective, without_nan

Batch = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray], np.ndarray]
Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices | None"


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
        self._graph = tf.function(self._everywhere)

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
            found = [objective.loss(heads, labels, sample_weight) for objective in objectives]
        places = [variable.value for variable in variables]
        gradients = [tape.gradient(loss, places, output_gradients=scale) for loss, _ in found]
        by_variable = list(zip(*gradients, strict=True))
        self._sparse = [_is_sparse(each) for each in by_variable]
        counted = [_learns(o, labels, rows) for o, (_, rows) in zip(objectives, found, strict=True)]
        return tf.stack([inner_products(each, scale) for each in by_variable]), tf.stack(counted)


def _learns(objective: Objective, labels: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
    """Whether a batch has rows for an objective and, where it predicts an event, the event."""
    task = objective.task
    if task is None or task.kind != "binary":
        return rows > 0
    positives = tf.reduce_sum(tf.where(objective.given(labels), without_nan(labels)[task.name], 0.0))
    return tf.logical_and(rows > 0, positives > 0)


def _is_sparse(gradients: Sequence[Gradient]) -> bool:
    """Whether no gradient of a variable is dense and some name rows."""
    present = [gradient for gradient in gradients if gradient is not None]
    return bool(present) and all(isinstance(gradient, tf.IndexedSlices) for gradient in present)


def inner_products(gradients: Sequence[Gradient], scale: tf.Tensor) -> tf.Tensor:
    """``(objectives, objectives)`` inner products of the gradients of one variable."""
    present = {place: each for place, each in enumerate(gradients) if each is not None}
    if _is_sparse(gradients):
        flat = _rows(present)
    else:
        flat = {place: tf.convert_to_tensor(each) for place, each in present.items()}
    flat = {place: tf.cast(gradient, tf.float32) / scale for place, gradient in flat.items()}
    zero = tf.zeros(())
    products = [[zero] * len(gradients) for _ in gradients]
    for a, b in itertools.combinations_with_replacement(flat, 2):
        # Not a matrix product: that would be rounded to TensorFloat-32 on some devices.
        products[a][b] = products[b][a] = tf.reduce_sum(flat[a] * flat[b])
    return tf.stack([tf.stack(row) for row in products])


def _rows(gradients: Mapping[int, tf.IndexedSlices]) -> dict[int, tf.Tensor]:
    """The gradients over the union of the rows that they name: ``(rows in it, width)`` each, no table."""
    sizes = [tf.size(each.indices) for each in gradients.values()]
    rows, position = tf.unique(tf.concat([each.indices for each in gradients.values()], axis=0))
    parts = tf.split(position, tf.stack(sizes), num=len(sizes))
    return {
        place: tf.math.unsorted_segment_sum(each.values, part, tf.size(rows))
        for (place, each), part in zip(gradients.items(), parts, strict=True)
    }

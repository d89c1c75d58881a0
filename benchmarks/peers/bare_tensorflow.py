"""The reference network alone, as plain TensorFlow has it: what no trainer on its operations can go below.

There is no table, no input and no loader: each step has the same rows of numbers in the width of the
embeddings, whose gradient is computed, too. The experts' first layers and the gates are one product each, and
Adam is TensorFlow's one operation a variable. Losses are computed in float32, and so are weights kept.

With ``{"table": True}`` there is one: a batch's distinct rows are read, their gradients added up by a sparse
product, and Adam moves them and their slots, which are all that a step writes. The batches lie in the graph.
"""

import itertools
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.peers.protocol import Clock, Predictor, Request, labels_of, serve
from benchmarks.workload import Columns, Workload

AT_ONCE = 16  # steps in a call of the graph, as ours
BATCHES = 64  # of a table's ids, one after the other
RATE, FIRST, SECOND, EPSILON = 1e-3, 0.9, 0.999, 1e-7


class Network(tf.Module):
    """MMoE behind its embeddings.

    Args:
        request: The sizes of the network.
        workload: The columns and tasks.
    """

    def __init__(self, request: Request, workload: Workload):
        super().__init__()
        self._experts, self._tasks = request.experts, workload.tasks
        self.type = tf.float32 if request.precision == "float32" else tf.bfloat16
        self.width = workload.fields * request.dim + workload.numbers
        first, *rest = request.expert_units
        self._first = self._layer(self.width, request.experts * first)
        self._gates = self._layer(self.width, request.experts * workload.tasks)
        self._rest = [self._stack((first, *rest)) for _ in range(request.experts)]
        tower = (request.expert_units[-1], *request.tower_units, 1)
        self._towers = [self._stack(tower) for _ in range(workload.tasks)]

    def __call__(self, x: tf.Tensor) -> list[tf.Tensor]:
        """The logits ``(rows, 1)`` of the tasks, float32."""
        first = tf.split(tf.nn.relu(self._product(x, self._first)), self._experts, axis=1)
        experts = tf.stack(
            [self._deep(part, layers) for part, layers in zip(first, self._rest, strict=True)], 1
        )
        gates = tf.reshape(self._product(x, self._gates), (-1, self._tasks, self._experts))
        mixed = tf.unstack(tf.matmul(tf.nn.softmax(gates), experts), axis=1)
        return [
            tf.cast(self._product(self._deep(each, tower[:-1]), tower[-1]), tf.float32)
            for each, tower in zip(mixed, self._towers, strict=True)
        ]

    def rows(self, count: int) -> tf.Tensor:
        """Random inputs in the type of the products."""
        return tf.cast(tf.random.normal((count, self.width)), self.type)

    def _layer(self, above: int, below: int) -> tuple[tf.Variable, tf.Variable]:
        scale = (2 / above) ** 0.5
        return tf.Variable(scale * tf.random.normal((above, below))), tf.Variable(tf.zeros(below))

    def _stack(self, widths: tuple[int, ...]) -> list[tuple[tf.Variable, tf.Variable]]:
        return [self._layer(a, b) for a, b in itertools.pairwise(widths)]

    def _product(self, x: tf.Tensor, layer: tuple[tf.Variable, tf.Variable]) -> tf.Tensor:
        kernel, bias = (tf.cast(each, self.type) for each in layer)
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)

    def _deep(self, x: tf.Tensor, layers: list[tuple[tf.Variable, tf.Variable]]) -> tf.Tensor:
        for layer in layers:
            x = tf.nn.relu(self._product(x, layer))
        return x


class Table(tf.Module):
    """The rows of all fields, and batches of ids that look them up.

    Args:
        request: The rows of a batch and their width.
        workload: The columns and tasks.
        columns: Of these the first batches are taken.
        dtype: What the network computes in.
    """

    def __init__(self, request: Request, workload: Workload, columns: Columns, dtype: tf.DType):
        super().__init__()
        self._type, shape = dtype, (BATCHES, request.batch)
        starts = np.concatenate([[0], np.cumsum(workload.sizes)[:-1]]).astype(np.int32)
        count = np.arange(BATCHES * request.batch) % workload.rows
        ids = np.stack([columns[name][count] for name in workload.field_names], axis=1) + starts
        numbers = np.stack([columns[name][count] for name in workload.number_names], axis=1)
        self._ids = tf.constant(ids.reshape(*shape, -1), tf.int32)
        self._numbers = tf.constant(numbers.reshape(*shape, -1), dtype)
        self.rows, self.mean, self.square = (
            tf.Variable(scale * tf.random.normal((sum(workload.sizes), request.dim)))
            for scale in (0.01, 0.0, 0.0)
        )

    def batch(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """A batch's distinct ids, their rows, and what makes the network's inputs of rows."""
        of = number % BATCHES
        ids, places = tf.unique(tf.reshape(self._ids[of], [-1]))
        shape = self._numbers[of].shape[0], -1

        @tf.custom_gradient
        def looked_up(rows: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def back(slope: tf.Tensor) -> tf.Tensor:
                at = tf.stack([tf.cast(places, tf.int64), tf.range(tf.size(places, tf.int64))], axis=1)
                size = tf.stack([tf.size(ids, tf.int64), tf.size(places, tf.int64)])
                ones = tf.ones([tf.size(places)])
                return tf.raw_ops.SparseTensorDenseMatMul(
                    a_indices=at, a_values=ones, a_shape=size, b=tf.cast(slope, tf.float32)
                )

            return tf.gather(tf.cast(rows, self._type), places), back

        def inputs(rows: tf.Tensor) -> tf.Tensor:
            return tf.concat([tf.reshape(looked_up(rows), shape), self._numbers[of]], axis=1)

        return ids, tf.gather(self.rows, ids), inputs

    def move(self, ids: tf.Tensor, rows: tf.Tensor, gradient: tf.Tensor) -> None:
        """Adam's step of the rows that a batch has."""
        mean = FIRST * tf.gather(self.mean, ids) + (1 - FIRST) * gradient
        square = SECOND * tf.gather(self.square, ids) + (1 - SECOND) * gradient**2
        moved = rows - RATE * mean / (tf.sqrt(square) + EPSILON)
        for variable, value in ((self.rows, moved), (self.mean, mean), (self.square, square)):
            variable.scatter_update(tf.IndexedSlices(value, ids))


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """The same batch again and again, or a few of them with a table."""
    network = Network(request, workload)
    weights = network.trainable_variables
    slots = [[tf.Variable(tf.zeros_like(each)) for each in weights] for _ in range(2)]
    table = Table(request, workload, columns, network.type) if request.options.get("table") else None
    x = network.rows(request.batch)
    labels = tf.unstack(tf.constant(labels_of(workload, columns)[: request.batch, :, None]), axis=1)

    def step(number: tf.Tensor) -> tf.Tensor:
        ids, rows, inputs = (None, x, tf.identity) if table is None else table.batch(number)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            losses = [
                tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, logit))
                for label, logit in zip(labels, network(inputs(rows)), strict=True)
            ]
            loss = tf.add_n(losses)
        of_rows, *gradients = tape.gradient(loss, [rows, *weights])
        for variable, mean, square, gradient in zip(weights, *slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=FIRST,
                beta2_power=SECOND,
                lr=RATE,
                beta1=FIRST,
                beta2=SECOND,
                epsilon=EPSILON,
                grad=gradient,
            )
        if table is not None:
            table.move(ids, rows, of_rows)
        return tf.cast(of_rows[0, 0], tf.float32)  # so that this gradient is not left out

    @tf.function(autograph=False)
    def steps(first: tf.Tensor) -> tf.Tensor:
        def one(i: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, seen + step(first + i)

        return tf.while_loop(lambda i, _: i < AT_ONCE, one, [tf.constant(0), tf.constant(0.0)])[1]

    done = 0
    while True:
        steps(tf.constant(done)).numpy()
        done += AT_ONCE
        clock.tick(done)


def predict(request: Request, workload: Workload, columns: Columns) -> Predictor:
    """Probabilities of as many batches as there are."""
    network = Network(request, workload)
    x = network.rows(request.batch)
    batch = tf.function(lambda: [tf.sigmoid(each) for each in network(x)], autograph=False)
    rows = min(request.options.get("rows", workload.rows), workload.rows)

    def run() -> None:
        for _ in range(rows // request.batch):
            batch()

    return run


if __name__ == "__main__":
    serve(("tensorflow", "numpy"), train, predict)

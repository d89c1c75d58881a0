"""The reference network alone, as plain TensorFlow has it: what no trainer on its operations can go below.

There is no table, no input and no loader: each step has the same rows of numbers in the width of the
embeddings, whose gradient is computed, too. The experts' first layers and the gates are one product each, and
Adam is TensorFlow's one operation a variable. Losses are computed in float32, and so are weights kept.
"""

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from benchmarks.peers.protocol import Clock, Predictor, Request, serve
from benchmarks.workload import Columns, Workload

AT_ONCE = 16  # steps in a call of the graph, as ours


class Network(tf.Module):
    """MMoE behind its embeddings.

    Args:
        request: The sizes of the network.
        workload: The columns and tasks.
    """

    def __init__(self, request: Request, workload: Workload):
        super().__init__()
        self._experts, self._tasks = request.experts, workload.tasks
        self._type = tf.float32 if request.precision == "float32" else tf.bfloat16
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
        return tf.cast(tf.random.normal((count, self.width)), self._type)

    def _layer(self, above: int, below: int) -> tuple[tf.Variable, tf.Variable]:
        scale = (2 / above) ** 0.5
        return tf.Variable(scale * tf.random.normal((above, below))), tf.Variable(tf.zeros(below))

    def _stack(self, widths: tuple[int, ...]) -> list[tuple[tf.Variable, tf.Variable]]:
        return [self._layer(a, b) for a, b in itertools.pairwise(widths)]

    def _product(self, x: tf.Tensor, layer: tuple[tf.Variable, tf.Variable]) -> tf.Tensor:
        kernel, bias = (tf.cast(each, self._type) for each in layer)
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)

    def _deep(self, x: tf.Tensor, layers: list[tuple[tf.Variable, tf.Variable]]) -> tf.Tensor:
        for layer in layers:
            x = tf.nn.relu(self._product(x, layer))
        return x


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """The same batch again and again."""
    network = Network(request, workload)
    weights = network.trainable_variables
    slots = [[tf.Variable(tf.zeros_like(each)) for each in weights] for _ in range(2)]
    x = network.rows(request.batch)
    labels = [
        tf.cast(tf.random.uniform((request.batch, 1)) < 0.04, tf.float32) for _ in range(workload.tasks)
    ]

    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            losses = [
                tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, logit))
                for label, logit in zip(labels, network(x), strict=True)
            ]
            loss = tf.add_n(losses)
        of_inputs, *gradients = tape.gradient(loss, [x, *weights])
        for variable, mean, square, gradient in zip(weights, *slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=0.9,
                beta2_power=0.999,
                lr=1e-3,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        return tf.cast(of_inputs[0, 0], tf.float32)  # so that the gradient of the inputs is not left out

    @tf.function(autograph=False)
    def steps() -> tf.Tensor:
        start = [tf.constant(0), tf.constant(0.0)]
        return tf.while_loop(lambda *at: at[0] < AT_ONCE, lambda i, seen: (i + 1, seen + step()), start)[1]

    done = 0
    while True:
        steps().numpy()
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

"""What two replicas make of some trainings, as JSON; a program, as devices come before TensorFlow runs.

Each training has what looks at a whole batch in as many ways as go together. The last of its batches leaves
the second replica without a row.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from benchmarks import replicas as benchmark
from benchmarks.small_trainings import Case
from fuxi_mtl.cluster.replicas import gathered_rows, global_gradients, global_mean, global_sum, own_number
from fuxi_mtl.layers.over_rows import BatchNormalization, Dropout, GaussianNoise
from fuxi_mtl.layers.penalties import add_penalty, recorded_penalties
from fuxi_mtl.layers.stabilizing import gate_penalty
from fuxi_mtl.optimizers import RowSGD, SplitOptimizer
from fuxi_mtl.options.blocks import GateStabilize
from fuxi_mtl.weighting import RandomWeights, SmoothTchebycheff

STEPS = 3
CASES = {
    "norms, surgery, penalties, clipping and deferred moves": Case(
        "",
        classes=True,
        weighting="GN",
        surgery={"surgery": "pcgrad", "surgery_mode": "full"},
        # A move of Adam is g / (|g| + epsilon): a small one magnifies the rounding of a gradient near zero.
        optimizer={
            "embedding_optimizer": "dense_equivalent_adam",
            "embedding_epsilon": 1e-3,
            "max_gradient_norm": 0.05,
        },
        options={"embedding_regularizer": 0.05, "net_regularizer": 0.01},
    ),
    "turns, batch norm and percentiles of propensities": Case(
        "",
        "DRJL",
        options={
            "batch_norm": True,
            "ipw": {"percentile": "winsorise", "upper_percentile": 80, "momentum": 0.5},
        },
    ),
    "statistics of domains": Case("", "STAR"),
    "histories with Dice, squares of gradients and running ones": Case(
        "",
        weighting="EXCESS",
        surgery={"surgery": "moco", "surgery_mode": "last_layer", "moco_gamma": 1.0},
        options={"sequences": {"rows": {"columns": {"history": "item"}, "encoder": "din"}}},
    ),
}


def of_rows(strategy: tf.distribute.Strategy) -> dict[str, list]:
    """Single functions and layers on two replicas with three rows and one: what both have, and gradients."""
    rows = tf.constant(np.random.default_rng(5).normal(size=(4, 3)), tf.float32)
    with strategy.scope():
        norms = [BatchNormalization(momentum=0.5) for _ in range(2)]
        norms[1].statistics = "local"
        for norm in norms:
            norm.build((None, 3))
        drawn = [Dropout(0.5, seed=1), GaussianNoise(1.0, seed=1)]
        kinds = {"a": "binary", "b": "binary"}
        weightings = [RandomWeights(kinds, seed=3), SmoothTchebycheff(kinds, stch_warmup=1)]

    def step() -> dict[str, tf.Tensor]:
        mine = tf.reshape(tf.cond(own_number() > 0, lambda: rows[3:], lambda: rows[:3]), (-1, 3))
        slices = tf.IndexedSlices(mine, tf.range(tf.shape(mine)[0]), (4, 3))
        dense, none, found = global_gradients([tf.reduce_sum(mine), None, slices])
        assert none is None
        with tf.GradientTape() as tape:
            tape.watch(mine)
            mean = global_mean(mine)
            squares = tf.reduce_sum(tf.square(mean)) / 2  # the share of each replica
        gates = [tf.nn.softmax(mine)]
        stabilize = GateStabilize(enabled=True, load_balance_kl_weight=1.0, entropy_reg_weight=0.5)
        with recorded_penalties() as recorded:
            add_penalty(norms[0], gate_penalty(stabilize, gates))
        outputs = [norm(mine, training=True) for norm in norms]
        for weighting in weightings:
            weighting.update({"a": tf.constant(0.5), "b": tf.constant(0.25)})
        return {
            "sum": global_sum({"a": tf.reduce_sum(mine, 0), "b": tf.constant([1, 2])}),
            "rows": gathered_rows(mine),
            "slope": tape.gradient(squares, mine),
            "dense": dense,
            "indices": found.indices,
            "values": found.values,
            "penalty": recorded[0],
            "normed": outputs[0],
            "normed_alone": outputs[1],
            "weights": [list(weighting.weights().values()) for weighting in weightings],
            "drawn": [layer(tf.ones((1, 64)), training=True) for layer in drawn],
        }

    outputs = tf.function(lambda: strategy.run(step), autograph=False)()
    plain = tf.nest.map_structure(
        lambda x: [each.numpy().tolist() for each in strategy.experimental_local_results(x)], outputs
    )
    moving = [
        [c.numpy().tolist() for c in strategy.experimental_local_results(v.value)]
        for norm in norms
        for v in (norm.moving_mean, norm.moving_variance)
    ]
    return {**plain, "given": rows.numpy().tolist(), "moving": moving}


def of_a_plain_optimizer(strategy: tf.distribute.Strategy) -> list[list[float]]:
    """Two variables after a step of a pair of optimizers that no model of ours has told anything."""
    with strategy.scope():
        variables = [keras.Variable([0.0, 0.0]), keras.Variable([0.0])]
        optimizer = SplitOptimizer(keras.optimizers.SGD(1.0), RowSGD(1.0), global_clipnorm=1.0)
        optimizer.build(variables)

    def step() -> None:
        sign = 1.0 - 2.0 * tf.cast(own_number(), tf.float32)  # they cancel in the second element
        optimizer.apply([tf.stack([1.5, 100.0 * sign]), tf.constant([2.0])], variables)

    tf.function(lambda: strategy.run(step), autograph=False)()
    return [variable.numpy().tolist() for variable in variables]


if __name__ == "__main__":
    both = benchmark.two_devices()
    benchmark.SIZES = (32, 32, 1)
    rows = of_rows(both)
    found = {name: benchmark.compared(case, both, STEPS, traced=False) for name, case in CASES.items()}
    plain = of_a_plain_optimizer(both)
    print(json.dumps({"trainings": found, "rows": rows, "plain": plain}))

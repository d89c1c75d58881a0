"""Variables that take turns: one plan of the rate, and a bias correction by each one's own updates."""

import zlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import DRJL, MultiDR
from fuxi_mtl.layers import Lookup, lookup_of
from fuxi_mtl.optimizers import (
    DenseEquivalentAdam,
    LazyAdam,
    RowSGD,
    SplitOptimizer,
    WarmUpThenDecay,
    make_optimizer,
    split_of,
)
from fuxi_mtl.options import LearningRateOptions, OptimizerOptions
from fuxi_mtl.training import checkpoint

PLAN = LearningRateOptions(min_lr_ratio=0.1, warmup_steps=2)
STEPS, RATE = 20, 0.01


def cosine(step, rate=RATE):
    """The plan by hand: two steps of warm-up, then down to a tenth."""
    if step < 2:
        return rate * (step + 1) / 2
    return rate * (0.1 + 0.45 * (1 + np.cos(np.pi * (step - 2) / (STEPS - 2))))


def variables():
    """A kernel, a head, and a table of one row."""
    found = [keras.Variable(np.zeros(shape, np.float32)) for shape in ((2, 2), (2, 2), (1, 2))]
    found[2].lookup = Lookup()
    return found


def gradient_of(variable, value):
    if lookup_of(variable) is None:
        return tf.fill(variable.shape, tf.cast(value, tf.float32))
    return tf.IndexedSlices(tf.fill((1, 2), tf.cast(value, tf.float32)), tf.constant([0]), (1, 2))


def in_turns(optimizer, moved, values):
    """Step t moves those of turn t mod n, in a graph; where each variable stood after each step."""
    everything = list({id(v): v for turn in moved for v in turn}.values())
    optimizer.build(everything)

    def graph(turn):
        return tf.function(
            lambda value: optimizer.apply([gradient_of(v, value) for v in turn], list(turn)), autograph=False
        )

    graphs = [graph(turn) for turn in moved]
    seen = []
    for step, value in enumerate(values):
        graphs[step % len(moved)](tf.constant(value, tf.float32))
        seen.append([float(v.numpy().flat[0]) for v in everything])
    return np.array(seen)


def adam_by_hand(values, rates, mine, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam that counts its own updates only: where it stands after each step."""
    at, m, v, count, seen = 0.0, 0.0, 0.0, 0, []
    for value, rate, moves in zip(values, rates, mine, strict=True):
        if moves:
            count += 1
            m = beta_1 * m + (1 - beta_1) * value
            v = beta_2 * v + (1 - beta_2) * value**2
            at -= rate * np.sqrt(1 - beta_2**count) / (1 - beta_1**count) * m / (np.sqrt(v) + epsilon)
        seen.append(at)
    return np.array(seen)


def test_a_table_without_a_gradient_follows_the_plan_all_the_same():
    kernel, _, table = variables()
    optimizer = SplitOptimizer(
        keras.optimizers.SGD(WarmUpThenDecay(RATE, PLAN, STEPS)), RowSGD(WarmUpThenDecay(RATE, PLAN, STEPS))
    )
    seen = in_turns(optimizer, [(kernel,), (table, kernel)], np.ones(STEPS))
    by_hand = [cosine(step) for step in range(STEPS)]
    np.testing.assert_allclose(seen[:, 0], -np.cumsum(by_hand), rtol=1e-5)
    own = [rate * (step % 2) for step, rate in enumerate(by_hand)]
    np.testing.assert_allclose(seen[:, 1], -np.cumsum(own), rtol=1e-5)
    assert int(optimizer.iterations) == STEPS


@pytest.mark.parametrize("rows", [LazyAdam, DenseEquivalentAdam])
@pytest.mark.parametrize("dense", [keras.optimizers.Adam, keras.optimizers.AdamW])
def test_adam_corrects_by_each_variables_own_updates_at_the_rate_of_the_common_count(dense, rows):
    kernel, head, table = variables()
    plan = WarmUpThenDecay(RATE, PLAN, STEPS)
    decay = {"weight_decay": 0.0} if dense is keras.optimizers.AdamW else {}
    optimizer = SplitOptimizer(dense(plan, **decay), rows(plan))
    turns = [(head,), (kernel, table), (kernel,)]
    optimizer.take_turns(turns)
    values = np.random.default_rng(3).normal(size=STEPS)
    seen = in_turns(optimizer, turns, values)
    optimizer.apply_deferred_updates()
    rates, turn = [cosine(step) for step in range(STEPS)], np.arange(STEPS) % 3
    for column, mine in enumerate((turn == 0, turn != 0, turn == 1)):
        expected = adam_by_hand(values, rates, mine)
        np.testing.assert_allclose(seen[:, column], expected, rtol=2e-4, atol=1e-7)
    assert abs(seen[0, 0]) == pytest.approx(cosine(0), rel=1e-4)  # a first move is the rate


def test_nadam_keeps_its_own_products_for_each_turn():
    kernel, head, _ = variables()
    alone = keras.Variable(np.zeros((2, 2), np.float32))
    optimizer = SplitOptimizer(keras.optimizers.Nadam(0.01), LazyAdam(0.01))
    optimizer.take_turns([(head,), (kernel,)])
    values = np.random.default_rng(3).normal(size=8)
    seen = in_turns(optimizer, [(head,), (kernel,)], values)
    plain = in_turns(keras.optimizers.Nadam(0.01), [(alone,)], values[1::2])
    np.testing.assert_allclose(seen[1::2, 1], plain[:, 0], rtol=1e-6)


def test_a_callback_sets_the_rate_of_every_turn():
    kernel, head, table = variables()
    optimizer = SplitOptimizer(keras.optimizers.SGD(0.1), RowSGD(0.2))
    optimizer.take_turns([(head,), (kernel, table)])
    optimizer.build([head, kernel, table])
    optimizer.learning_rate = 0.01
    seen = in_turns(optimizer, [(head,), (kernel, table)], np.ones(2))
    np.testing.assert_allclose(seen[-1], [-0.01, -0.01, -0.02], rtol=1e-6)


# ---- in models ----------------------------------------------------------------------------------


def trained(cls, steps, seed=1, scaled=False, **options):
    """A model after some steps, and the moves of each step by the identity of the variable."""
    keras.utils.set_random_seed(seed)
    tasks = cls.plan_tasks(tiny.PLAIN["two"], False)
    alternate = {"dr_grad": "alternate"} if cls is MultiDR else {}
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, **alternate))
    model.build()
    plan = LearningRateOptions(total_steps=STEPS)
    made = make_optimizer(OptimizerOptions(learning_rate=RATE, lr_scheduler=plan, **options), STEPS)
    model.compile(keras.optimizers.LossScaleOptimizer(made, 4.0) if scaled else made, run_eagerly=True)
    moves = []
    for step in range(steps):
        before = {id(v): v.numpy() for v in model.trainable_variables}
        model.train_step(tiny.batch(tasks, seed=step))
        moves.append({id(v): v.numpy() - before[id(v)] for v in model.trainable_variables})
    return model, moves


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cls", [DRJL, MultiDR])
def test_first_moves_of_both_players_are_the_rate_and_the_tables_follow_the_plan(cls, scaled):
    model, moves = trained(cls, 4, scaled=scaled)
    rates = [RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS)) for step in range(4)]
    players = [{id(v): v.path for v in variables} for _, variables in model.alternating_steps()]
    for step in range(2):
        for key, path in players[step].items():
            size = np.abs(moves[step][key])
            assert size.max() <= rates[step] * 1.001
            if size.any():
                assert size.max() == pytest.approx(rates[step], rel=2e-3), path
        assert not any(moves[step][key].any() for key in players[1 - step])
    rows = split_of(model.optimizer).rows
    assert float(rows.learning_rate) == pytest.approx(RATE * 0.5 * (1 + np.cos(np.pi * 4 / STEPS)))
    assert int(model.step) == 4


def test_a_checkpoint_holds_the_common_count_and_that_of_each_turn(tmp_path):
    model, _ = trained(DRJL, 5)
    checkpoint.save(model, tmp_path / "checkpoint")
    again, _ = trained(DRJL, 0, seed=2)
    checkpoint.restore(again, tmp_path / "checkpoint")
    assert int(again.step) == 5
    counts = [int(v) for v in again.optimizer.variables if "iteration" in v.path]
    assert sorted(counts) == [2, 2, 3, 3, 5, 5]
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    batch = tiny.batch(model.tasks, seed=9)
    for each in (model, again):
        each.train_step(batch)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("embedding_optimizer", ["adam", "dense_equivalent_adam"])
def test_a_checkpoint_from_when_turns_shared_a_count_is_read(tmp_path, embedding_optimizer):
    model, _ = trained(MultiDR, 5, embedding_optimizer=embedding_optimizer)
    checkpoint.save(model, tmp_path / "checkpoint")
    with h5py.File(tmp_path / "checkpoint" / "state.h5", "r+") as file:
        for group in ("dense", "rows"):
            of_turns = file[f"optimizer/{group}/turns"]
            for name in set(of_turns["1"]) - set(file[f"optimizer/{group}"]):
                file.copy(of_turns["1"][name], file[f"optimizer/{group}"], name)
            del file[f"optimizer/{group}/turns"]
        of_rows = file["optimizer/rows/iterations"]
        of_rows[...] = 2  # of five steps those with a gradient of the tables
        of_rows.attrs["crc32"] = zlib.crc32(np.int64(2).tobytes())
    again, _ = trained(MultiDR, 0, seed=2, embedding_optimizer=embedding_optimizer)
    checkpoint.restore(again, tmp_path / "checkpoint")
    assert (int(again.step), int(split_of(again.optimizer).rows.iterations)) == (5, 5)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    dense, _ = split_of(again.optimizer).pairs["0"]
    assert int(dense.iterations) == 5
    again.train_step(tiny.batch(again.tasks))
    assert int(again.step) == 6

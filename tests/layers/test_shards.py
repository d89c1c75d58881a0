"""Tables that are spread over workers; threads stand for these, and a list for what they exchange."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster import blocks, exchange
from fuxi_mtl.cluster.blocks import PURPOSES, SIZES, BlockExchange, block_size, block_sizes
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.layers import tables
from fuxi_mtl.layers.shards import Shard, shard_of, spreading
from fuxi_mtl.layers.tables import Lookup, Table

ROWS, WIDTH = 160, 2
TABLE = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


@pytest.fixture
def together(monkeypatch):
    """Runs a function on some workers at once; it gets the rank of each."""

    def run(workers: int, function) -> list:
        barrier, given = threading.Barrier(workers, timeout=20), [None] * workers

        def all_to_all(self, x, purpose, number):
            given[self.rank] = (purpose, int(number), x)
            barrier.wait()
            assert len({each[:2] for each in given}) == 1  # a key is of one purpose and one shape
            assert len({tuple(each[2].shape) for each in given}) == 1
            parts = tf.stack([each[2][self.rank] for each in given])
            barrier.wait()
            return parts

        monkeypatch.setattr(BlockExchange, "_all_to_all", all_to_all)
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, range(workers)))

    return run


def evenly(rank: int, workers: int) -> np.ndarray:
    return np.random.default_rng(rank + 1).integers(0, ROWS, 40 if rank != 1 else 0)


def of_few(rank: int, workers: int) -> np.ndarray:
    """Many rows of the next worker and few of others; some twice, and the last worker asks for none."""
    random, most = np.random.default_rng(rank), (rank + 1) % workers
    rows = np.concatenate([random.permutation(np.arange(most, ROWS, workers)), random.integers(0, ROWS, 9)])
    return rows if rank != workers - 1 else rows[:0]


@pytest.mark.parametrize(
    ("workers", "asked_by"), [(1, evenly), (2, evenly), (5, evenly), (3, of_few), (7, of_few)]
)
@pytest.mark.parametrize("distinct", [True, False])
def test_vectors_and_gradients_are_those_of_the_whole_table(together, workers, asked_by, distinct):
    told: dict[int, np.ndarray] = {}
    asked = [asked_by(rank, workers).astype(np.int32) for rank in range(workers)]

    def one(rank):
        shard = Shard(rank, workers, ROWS)
        mine = np.zeros((shard.held, WIDTH), np.float32)
        mine[: len(TABLE[rank::workers])] = TABLE[rank::workers]
        variable, rows = tf.Variable(mine), tf.constant(asked[rank])
        with tf.GradientTape() as tape:
            found = shard.look_up(variable, rows, distinct, lambda local: told.update({rank: local.numpy()}))
            loss = tf.reduce_sum(found**2 * (rank + 1.0))
        return found.numpy(), tape.gradient(loss, variable), shard

    results = together(workers, one)
    expected = np.zeros_like(TABLE)
    for rank, (found, _, _) in enumerate(results):
        np.testing.assert_array_equal(found, TABLE[asked[rank]])
        np.add.at(expected, asked[rank], 2 * TABLE[asked[rank]] * (rank + 1))
    wanted = [np.unique(each) if distinct else each for each in asked]
    for rank, (_, gradient, shard) in enumerate(results):
        assert isinstance(gradient, tf.IndexedSlices)
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient)[: len(TABLE[rank::workers])], expected[rank::workers], 1e-5
        )
        # What fills blocks up is no look-up: a row is named where somebody asks for it, and nowhere else.
        every = np.concatenate([each[each % workers == rank] // workers for each in wanted])
        assert sorted(gradient.indices.numpy()) == sorted(told[rank]) == sorted(every)
        fullest = max(np.bincount(each % workers, minlength=workers).max() for each in wanted)
        look_ups, number, room = shard.exchange.traffic()
        assert (look_ups, number) == (1, len(wanted[rank]))
        assert shard.exchange._exchanges[1].counts.numpy()[0] == (
            asked_by is of_few
        )  # rows are sent on by others
        even = room < 1.1 * workers * fullest
        assert even if asked_by is of_few else room == workers * block_size(fullest)


def test_blocks_are_at_most_a_sixteenth_larger_than_what_they_hold():
    assert block_sizes(40)[-12:] == (25, 26, 27, 28, 29, 30, 31, 32, 34, 36, 38, 40)
    for before, size in itertools.pairwise(SIZES):
        assert size <= max(17 / 16 * before, before + 1)
    assert len(SIZES) < 400  # keys of a table
    assert SIZES[-1] < 2**31


def rooms_of(
    asked: np.ndarray, sent_on: tuple[int, ...] = (5, 2, 1), spare: float | None = None
) -> list[int]:
    """Rows in a worker's block in each exchange; ``asked`` counts what each worker wants of each."""
    workers, most = len(asked), asked.sum(axis=1).max()
    mean = most / workers
    fullest, size = block_size(asked.max()), block_size(int(np.ceil(mean + 0.3 * mean**0.5)))
    spare = 1.25 * mean if spare is None else spare
    if not sent_on or fullest <= spare or size + sent_on[0] >= fullest:
        return [fullest]
    passed = np.zeros_like(asked)
    for rank, counts in enumerate(asked):
        owners = np.repeat(np.arange(workers), np.maximum(counts - size, 0))
        behind = (rank + np.arange(workers)) % workers
        _, free = np.nonzero(counts[behind] < size - np.arange(size)[:, None])
        np.add.at(passed, (behind[free[: len(owners)]], owners), 1)
    return [size, *rooms_of(passed, sent_on[1:], spare - size)]


@pytest.mark.parametrize(
    ("workers", "distinct", "padding"),
    # From 45 rows a block on.
    [
        *((workers, 23_177, 1.25) for workers in (2, 16, 64, 128, 256, 512)),
        *((workers, 45 * workers, 1.25) for workers in (4, 8, 16, 64, 256)),
        (512, 70 * 512, 1.22),
        (16, 500, 1.3),
        (256, 256 * 22, 1.42),
    ],
)
def test_what_is_sent_is_at_most_a_quarter_more_than_what_is_asked_for(workers, distinct, padding):
    random = np.random.default_rng(workers)
    asked = random.multinomial(distinct, np.full(workers, 1 / workers), size=workers)
    assert workers * sum(rooms_of(asked)) <= padding * distinct


@pytest.mark.parametrize(
    ("workers", "distinct", "exchanges"),
    [(4, 1_000, 1), (16, 500, 2), (20, 1_400, 2), (20, 420, 3), (16, 320, 4)],
)
def test_what_is_sent_is_as_much_as_is_counted(together, workers, distinct, exchanges):
    rows = 10 * workers * distinct
    asked = [np.random.default_rng(rank).choice(rows, distinct, replace=False) for rank in range(workers)]

    def one(rank):
        shard = Shard(rank, workers, rows)
        variable = tf.Variable(np.arange(rank, rows, workers, dtype=np.float32)[:, None])
        with tf.GradientTape() as tape:
            found = shard.look_up(variable, tf.constant(asked[rank], tf.int32))
        np.testing.assert_array_equal(found[:, 0], asked[rank])
        return shard, tf.convert_to_tensor(tape.gradient(found, variable)).numpy()[:, 0]

    rooms = rooms_of(np.array([np.bincount(each % workers, minlength=workers) for each in asked]))
    assert len(rooms) == exchanges
    times = np.bincount(np.concatenate(asked), minlength=rows)
    for rank, (shard, gradient) in enumerate(together(workers, one)):
        assert shard.exchange.traffic() == (1, distinct, workers * sum(rooms))
        np.testing.assert_array_equal(gradient, times[rank::workers])


def test_in_a_graph_gradients_of_gradients_may_be_wanted(monkeypatch):
    # TensorFlow wraps branches then, and a gradient in one may read nothing from outside it, nor be made of a
    # collective, which has none.
    def alone(self, x, purpose, number):
        key = PURPOSES.index(purpose) * len(SIZES) + number
        return tf.raw_ops.CollectiveAllToAllV2(
            input=x, group_size=1, group_key=1, instance_key=key, ordering_token=[]
        )

    monkeypatch.setattr(BlockExchange, "_all_to_all", alone)
    variable, shard = tf.Variable(TABLE), Shard(0, 1, ROWS)

    @tf.function
    def gradient(rows):
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_sum(shard.look_up(variable, rows) ** 2)
        return tf.convert_to_tensor(tape.gradient(loss, variable))

    expected = np.zeros_like(TABLE)
    expected[[3, 5]] = 2 * TABLE[[3, 5]] * [[1], [2]]
    np.testing.assert_allclose(gradient(tf.constant([5, 3, 5])), expected, 1e-6)


def test_the_exchanges_of_several_gradients_follow_one_another(monkeypatch):
    # Each key is of one exchange at a time, in the order in which all workers have them.
    at_once, most = 0, 0

    def alone(self, x, purpose, number):
        def passed_on(x: np.ndarray) -> np.ndarray:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.02)
            at_once -= 1
            return x

        return tf.ensure_shape(tf.numpy_function(passed_on, [x], x.dtype), x.shape)

    monkeypatch.setattr(BlockExchange, "_all_to_all", alone)
    monkeypatch.setattr(blocks, "MOST_PADDING", (0, 1))
    monkeypatch.setattr(exchange, "SENT_ON", (-max(SIZES),) * 3)  # rows are sent on though there are none
    variable, shard = tf.Variable(TABLE), Shard(0, 1, ROWS)

    @tf.function
    def gradients(rows):
        with tf.GradientTape(persistent=True) as tape:
            found = shard.look_up(variable, rows)
            losses = [tf.reduce_sum(found**power) for power in (1, 2, 3)]
        return [tf.convert_to_tensor(tape.gradient(loss, variable)) for loss in losses]

    for power, gradient in enumerate(gradients(tf.constant([5, 3])), 1):
        expected = np.zeros_like(TABLE)
        expected[[3, 5]] = power * TABLE[[3, 5]] ** (power - 1)
        np.testing.assert_allclose(gradient, expected, 1e-5)
    assert most == 1
    assert [each.counts.numpy()[0] for each in shard.exchange._exchanges] == [1] * 4


def test_a_worker_knows_its_rows_of_any_range():
    for workers in (1, 2, 3, 7):
        for rank in range(workers):
            shard = Shard(rank, workers, ROWS)
            mine = np.arange(ROWS)[rank::workers]
            for first, last in ((0, ROWS), (5, 6), (6, 20), (20, 20)):
                begin, end = shard.range_of(first, last)
                here = mine[(mine >= first) & (mine < last)]
                assert mine[begin:end].tolist() == here.tolist()
                assert here.size == 0 or here[0] == first + shard.first_of(first)


def test_a_process_alone_has_whole_tables():
    with spreading(lambda rows, width, trainable: True):
        assert shard_of(ROWS, WIDTH, True) is None


def test_rows_begin_as_those_of_a_whole_table_composed_frozen_and_pretrained_ones_included(
    tmp_path, monkeypatch
):
    np.save(tmp_path / "vectors.npy", np.random.default_rng(1).normal(size=(9, WIDTH)))
    features = FeatureMap.of(
        "shop",
        [
            Feature("user", "categorical", vocab_size=12, num_remainder_buckets=3),
            Feature("item", "categorical", vocab_size=9, pretrained="vectors.npy"),
            Feature("tags", "sequence", vocab_size=7, max_len=2),
        ],
    )
    features = replace(features, folder=str(tmp_path))

    def made() -> tf.Tensor:
        keras.utils.set_random_seed(1)
        return Table(features, features.features, WIDTH, Lookup(), trainable=False).rows.value

    whole = made().numpy()
    for workers in (2, 3):
        for rank in range(workers):
            monkeypatch.setattr(
                tables, "shard_of", lambda rows, *_, rank=rank, size=workers: Shard(rank, size, rows)
            )
            mine = whole[rank::workers]
            np.testing.assert_array_equal(made()[: len(mine)], mine)
    assert whole[5:].any(axis=1).sum() > 9  # some rows of each are no zeros

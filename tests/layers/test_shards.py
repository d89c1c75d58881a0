"""Tables that are spread over workers; threads stand for these, and a list for what they exchange."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster.exchange import SIZES, Exchange, block_size, block_sizes
from fuxi_mtl.layers.shards import Shard, shard_of, spreading

ROWS, WIDTH = 53, 2
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

        monkeypatch.setattr(Exchange, "_all_to_all", all_to_all)
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, range(workers)))

    return run


def asked_by(rank: int) -> np.ndarray:
    return np.random.default_rng(rank + 1).integers(0, ROWS, 40 if rank != 1 else 0).astype(np.int32)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("distinct", [True, False])
def test_vectors_and_gradients_are_those_of_the_whole_table(together, workers, distinct):
    told: dict[int, np.ndarray] = {}

    def one(rank):
        shard = Shard(rank, workers, ROWS)
        mine = np.zeros((shard.held, WIDTH), np.float32)
        mine[: len(TABLE[rank::workers])] = TABLE[rank::workers]
        variable, rows = tf.Variable(mine), tf.constant(asked_by(rank))
        with tf.GradientTape() as tape:
            found = shard.look_up(variable, rows, distinct, lambda local: told.update({rank: local.numpy()}))
            loss = tf.reduce_sum(found**2 * (rank + 1.0))
        return found.numpy(), tape.gradient(loss, variable), shard.exchange.traffic()

    results = together(workers, one)
    expected = np.zeros_like(TABLE)
    for rank, (found, _, _) in enumerate(results):
        np.testing.assert_array_equal(found, TABLE[asked_by(rank)])
        np.add.at(expected, asked_by(rank), 2 * TABLE[asked_by(rank)] * (rank + 1))
    wanted = {rank: np.unique(asked_by(rank)) if distinct else asked_by(rank) for rank in range(workers)}
    for rank, (_, gradient, traffic) in enumerate(results):
        assert isinstance(gradient, tf.IndexedSlices)
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient)[: len(TABLE[rank::workers])], expected[rank::workers], 1e-5
        )
        # What fills blocks up is no look-up: a row is named where somebody asks for it, and nowhere else.
        every = np.concatenate([each[each % workers == rank] // workers for each in wanted.values()])
        assert sorted(gradient.indices.numpy()) == sorted(told[rank]) == sorted(every)
        fullest = max(np.bincount(each % workers, minlength=workers).max() for each in wanted.values())
        assert traffic == (1, len(wanted[rank]), workers * block_size(fullest))


def test_blocks_are_at_most_a_quarter_larger_than_what_they_hold():
    assert block_sizes(24) == (1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24)
    for before, size in itertools.pairwise(SIZES):
        assert size < 1.25 * (before + 1)
    assert len(SIZES) < 100  # keys of a table
    assert SIZES[-1] < 2**31


@pytest.mark.parametrize("workers", [2, 16, 128])
def test_what_is_sent_is_a_quarter_more_than_the_fullest_block_at_any_number_of_workers(workers):
    random = np.random.default_rng(workers)
    asked, sent = 0, 0
    for _ in range(4):
        counts = np.bincount(np.unique(random.integers(0, 10**7, 50_000)) % workers, minlength=workers)
        asked, sent = asked + counts.sum(), sent + workers * block_size(counts.max())
        assert workers * block_size(counts.max()) < 1.25 * workers * (counts.max() + 1)
    # Rows are not spread quite evenly; of 50,000 the fullest of 128 blocks has some 15 % more than the mean.
    assert sent < 1.25 * 1.2 * asked


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

"""Tables that are spread over workers; threads stand for these, and a list for what they exchange."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster.exchange import SIZES, Exchange, block_size, block_sizes
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.layers import tables
from fuxi_mtl.layers.shards import Shard, shard_of, spreading
from fuxi_mtl.layers.tables import Lookup, Table

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


def test_blocks_are_at_most_a_sixteenth_larger_than_what_they_hold():
    assert block_sizes(40)[-12:] == (25, 26, 27, 28, 29, 30, 31, 32, 34, 36, 38, 40)
    for before, size in itertools.pairwise(SIZES):
        assert size <= max(17 / 16 * before, before + 1)
    assert len(SIZES) < 400  # keys of a table
    assert SIZES[-1] < 2**31


@pytest.mark.parametrize(
    ("workers", "distinct", "padding"),
    # Where there are few rows to a block, the fullest of all has many more than the mean: that of 128 x 128
    # with 181 each has some 3.8 standard deviations more, and all are as large.
    [(2, 23_177, 1.25), (16, 23_177, 1.25), (128, 100_000, 1.25), (128, 23_177, 1.4)],
)
def test_what_is_sent_is_at_most_a_quarter_more_than_what_is_asked_for(workers, distinct, padding):
    random = np.random.default_rng(workers)
    fullest = max(random.multinomial(distinct, np.full(workers, 1 / workers), size=workers).max(axis=1))
    assert workers * block_size(fullest) <= padding * distinct


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

"""Rows of tables that are spread over workers, in files; shares of one process stand for workers."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster.replicas import own_variables
from fuxi_mtl.layers.shards import Shard
from fuxi_mtl.training.checkpoint import spread
from fuxi_mtl.training.checkpoint.naming import Part
from fuxi_mtl.training.checkpoint.numbers import check_numbers, rows_file

ROWS, FIRST, LAST, WIDTH = 23, 5, 19, 3  # of a table, and of a feature in it
TABLE = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
NAME = "network/embedding/user"


def parts(workers: int, numbers: np.ndarray) -> list[Part]:
    """The feature's rows in each of some workers."""
    found = []
    for rank in range(workers):
        shard = Shard(rank, workers, ROWS)
        held = np.zeros((shard.held, WIDTH), np.float32)
        held[: len(numbers[rank::workers])] = numbers[rank::workers]
        with own_variables():
            variable = tf.Variable(held)
        table = SimpleNamespace(rows=SimpleNamespace(value=variable, lookup=SimpleNamespace(shard=shard)))
        found.append(Part.of_feature(table, "user", (FIRST, LAST)))
    return found


def written(folder, workers: int):
    """A checkpoint of some workers."""
    each = [spread.write_own({NAME: part}, folder) for part in parts(workers, TABLE)]
    assert all(told["finite"] for told in each)
    with h5py.File(folder / "state.h5", "w") as file:
        checksums = [told["checksums"][NAME] for told in each]
        spread.create_virtual(file, NAME, parts(workers, TABLE)[0], checksums)
    return folder / "state.h5"


@pytest.mark.parametrize("writers", [1, 2, 3, 20])
def test_any_number_of_workers_reads_what_any_number_wrote(tmp_path, writers, monkeypatch):
    monkeypatch.setattr(spread, "CHUNK", 4)  # rows that are read at a time
    path = written(tmp_path, writers)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[NAME][...], TABLE[FIRST:LAST])
        np.testing.assert_array_equal(file[NAME][4:9], TABLE[FIRST + 4 : FIRST + 9])
        check_numbers(file[NAME])
        for readers in (1, 2, 3, 5):
            for rank, part in enumerate(parts(readers, 0 * TABLE)):
                spread._read_own({NAME: part}, file)
                expected = np.where((np.arange(ROWS) >= FIRST) & (np.arange(ROWS) < LAST), TABLE.T, 0).T
                mine = expected[rank::readers]
                np.testing.assert_array_equal(part.variable.numpy()[: len(mine)], mine)


def test_rows_that_are_written_one_by_one_reach_their_worker():
    found = parts(3, 0 * TABLE)
    rows = np.array([13, 0, 7, 2])
    for part in found:
        part.write_rows(rows, TABLE[FIRST + rows])
    whole = np.stack([part.variable.numpy() for part in found], axis=1).reshape(-1, WIDTH)[:ROWS]
    expected = 0 * TABLE
    expected[FIRST + rows] = TABLE[FIRST + rows]
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("damage", ["another", "missing"])
def test_rows_of_another_checkpoint_are_noticed(tmp_path, damage):
    path = written(tmp_path, 2)
    if damage == "another":
        spread.write_own({NAME: parts(2, TABLE + 1)[1]}, tmp_path)
    else:
        rows_file(tmp_path, 1, 2).unlink()
    told = "not those that were written" if damage == "another" else "rows_1_of_2.h5"
    with h5py.File(path) as file:
        with pytest.raises((ValueError, OSError), match=told):
            check_numbers(file[NAME])
        with pytest.raises((ValueError, OSError), match=told):
            spread._read_own({NAME: parts(2, TABLE)[1]}, file)


def test_a_folder_that_a_worker_does_not_see_is_named_with_the_cure(tmp_path):
    told = spread._tried(lambda: spread.write_own({NAME: parts(2, TABLE)[1]}, tmp_path / "elsewhere"))
    assert "elsewhere is not there: model_root must lie on a disk that all workers share" in told["error"]


def test_numbers_that_are_not_finite_are_said(tmp_path):
    bad = TABLE.copy()
    bad[FIRST] = np.inf
    assert [spread.write_own({NAME: p}, tmp_path)["finite"] for p in parts(2, bad)] == [True, False]
    assert [spread.all_finite({NAME: p}) for p in parts(2, bad)] == [True, False]

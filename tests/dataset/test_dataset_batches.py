import dataclasses
import subprocess
import sys
import tracemalloc
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cluster import Cluster, part_of
from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.dataset import batches_per_epoch, evaluation_batches, training_batches
from fuxi_mtl.dataset.batches import _Passes
from fuxi_mtl.dataset.splits import Split
from fuxi_mtl.tasks import parse_task

TASKS = [parse_task("ctr", "click"), parse_task("cvr", "buy | click")]


def split_of(rows: int, weighted: bool = False) -> Split:
    """Row i has id i, number i and weight i."""
    ids = np.arange(rows, dtype=np.int32)[:, None]
    click = np.arange(rows) % 2
    events = np.stack([click, click * (np.arange(rows) % 3 == 0)], axis=1).astype(np.float32)
    weight = np.arange(rows, dtype=np.float32) if weighted else None
    return Split("train", ids, ids.astype(np.float32), events, weight, ("click", "buy"), None)


def passes(split: Split, batch_size: int, epochs: int = 1, **given) -> list:
    return list(training_batches(split, TASKS, batch_size, epochs=epochs, **given).as_numpy_iterator())


def rows_in(batches) -> list[int]:
    return np.concatenate([inputs["ids"][:, 0] for inputs, *_ in batches]).tolist()


@pytest.mark.parametrize("window_bytes", [1 << 30, 64 * 16 * 2])
def test_every_row_comes_once_a_pass_with_its_own_labels(window_bytes):
    split = split_of(1000, weighted=True)
    batches = passes(split, 64, epochs=2, seed=1, window_bytes=window_bytes)
    per_epoch = batches_per_epoch(1000, 64)
    assert len(batches) == 2 * per_epoch == 32
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        assert sorted(rows_in(epoch)) == list(range(1000))
        assert [len(weights) for *_, weights in epoch] == [64] * 15 + [40]
    for inputs, labels, weights in batches:
        rows = inputs["ids"][:, 0]
        np.testing.assert_array_equal(inputs["numeric"][:, 0], rows)
        np.testing.assert_array_equal(weights, rows)
        np.testing.assert_array_equal(labels["ctr"], rows % 2)
        np.testing.assert_array_equal(labels["cvr"], np.where(rows % 2 == 1, rows % 3 == 0, np.nan))


@pytest.mark.parametrize("window_bytes", [1 << 30, 64 * 16 * 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pass_ends_before_a_batch_that_it_cannot_fill_where_that_is_asked_for(window_bytes, shuffle):
    split = split_of(1000)
    given = {"seed": 1, "window_bytes": window_bytes, "shuffle": shuffle}
    dropped = passes(split, 64, epochs=2, drop_last=True, **given)
    whole = passes(split, 64, epochs=2, **given)
    assert [len(weights) for *_, weights in dropped] == [64] * 30
    assert rows_in(dropped) == rows_in([*whole[:15], *whole[16:31]])


def test_each_pass_has_an_order_of_its_own_that_the_seed_decides():
    split = split_of(500)
    first = rows_in(passes(split, 50, epochs=2, seed=7))
    assert first == rows_in(passes(split, 50, epochs=2, seed=7))
    assert first[:500] != first[500:]
    assert first != rows_in(passes(split, 50, epochs=2, seed=8))


def test_rows_are_shuffled_and_not_only_batches():
    rows = rows_in(passes(split_of(1000), 100, seed=1))
    assert np.abs(np.diff(rows[:100])).mean() > 100


def test_a_large_table_is_mixed_across_blocks_and_rows():
    """A window holds 64 of 512 blocks of 20 rows: a batch draws from blocks all over the table."""
    split = split_of(10_240)
    row_bytes = 4 + 4 + 8 + 4
    both = np.array(rows_in(passes(split, 256, epochs=2, seed=1, window_bytes=64 * 20 * row_bytes)))
    rows, later = both[:10_240], both[10_240:]
    assert sorted(rows) == sorted(later) == list(range(10_240))
    # Each pass puts other blocks together: an eighth of the rows would be the same by chance.
    assert len(set(rows[:1280]) & set(later[:1280])) < 640
    blocks = rows[:256] // 20
    assert len(np.unique(blocks)) > 40
    assert np.ptp(blocks) > 400


def test_the_first_rows_of_a_split_have_their_labels_and_weights():
    first = split_of(10, weighted=True).head(3)
    assert (first.rows, first.ids[:, 0].tolist(), first.sample_weight.tolist()) == (3, [0, 1, 2], [0, 1, 2])
    assert first.labels(TASKS)["ctr"].tolist() == [0, 1, 0]
    assert split_of(10).head(3).sample_weight is None


def test_without_shuffling_rows_keep_their_order():
    assert rows_in(passes(split_of(100), 30, epochs=2, shuffle=False)) == list(range(100)) * 2


def test_rows_without_weights_weigh_one():
    assert all((weights == 1).all() for *_, weights in passes(split_of(10), 4))


def test_a_batch_larger_than_the_data_is_all_of_it():
    assert rows_in(passes(split_of(5), 100, shuffle=False)) == list(range(5))


def test_batches_have_a_free_first_dimension():
    inputs, labels, weights = training_batches(split_of(10), TASKS, 4, epochs=1).element_spec
    assert inputs["ids"].shape.as_list() == [None, 1]
    assert inputs["ids"].dtype == tf.int32
    assert labels["cvr"].shape.as_list() == weights.shape.as_list() == [None]


def test_evaluation_batches_are_the_inputs_in_order():
    split = split_of(10)
    batches = evaluation_batches(split, 4)
    assert batches.cardinality() == 3
    seen = list(batches.as_numpy_iterator())
    assert [len(inputs["ids"]) for inputs in seen] == [4, 4, 2]
    assert np.concatenate([inputs["numeric"][:, 0] for inputs in seen]).tolist() == list(range(10))


def test_features_of_one_kind_only_give_an_empty_other_array():
    split = dataclasses.replace(split_of(10), numeric=np.zeros((10, 0), np.float32))
    assert [inputs["numeric"].shape for inputs, *_ in passes(split, 5)] == [(5, 0)] * 2


@pytest.mark.parametrize(("rows", "size", "batches"), [(10, 5, 2), (11, 5, 3), (1, 5, 1), (0, 5, 0)])
def test_batches_per_epoch_counts_the_last_one(rows, size, batches):
    assert batches_per_epoch(rows, size) == batches


@pytest.mark.parametrize(("batch_size", "block"), [(96, 7), (256, 3), (1000, 2)])
def test_windows_that_cut_blocks_lose_no_row(batch_size, block):
    """700 blocks, the last one short, and windows that end inside a block."""
    split = split_of(700 * block - 1)
    rows = rows_in(passes(split, batch_size, seed=3, window_bytes=64 * block * (4 + 4 + 8)))
    assert sorted(rows) == list(range(split.rows))
    assert rows != rows_in(passes(split, batch_size, seed=4, window_bytes=64 * block * (4 + 4 + 8)))


def test_a_window_takes_its_bytes_and_eight_a_row_whatever_the_rows():
    window, batch, row_bytes = 1 << 20, 256, 4 + 4 + 8
    split = split_of(1 << 18)  # four times the window
    tracemalloc.start()
    feed = _Passes(split, batch, True, 1, window, None, False, None)
    for number in range(batches_per_epoch(split.rows, batch)):
        feed.batch(number)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    small = 10 * batch * row_bytes + 100_000
    assert window < most < window + 8 * window / row_bytes + small


@pytest.mark.parametrize("window_bytes", [1 << 30, 64 * 16 * 2])
def test_two_readers_of_one_feed_do_not_disturb_each_other(window_bytes):
    feed = training_batches(split_of(500), TASKS, 64, epochs=2, seed=1, window_bytes=window_bytes)
    alone = [weights_and_ids[0]["ids"].tolist() for weights_and_ids in feed.as_numpy_iterator()]
    early, late = iter(feed), iter(feed)
    first = [next(early)[0]["ids"].numpy().tolist() for _ in range(9)]
    assert [inputs["ids"].numpy().tolist() for inputs, *_ in late] == alone
    assert first + [inputs["ids"].numpy().tolist() for inputs, *_ in early] == alone


def test_labels_belong_to_their_tasks_whatever_the_order_of_their_names():
    split = split_of(6)
    tasks = [parse_task("z", "click"), parse_task("a", "buy")]
    ((_, labels, _),) = training_batches(split, tasks, 6, epochs=1, shuffle=False).as_numpy_iterator()
    np.testing.assert_array_equal(labels["z"], split.events[:, 0])
    np.testing.assert_array_equal(labels["a"], split.events[:, 1])


def test_the_number_of_batches_is_known():
    assert training_batches(split_of(10), TASKS, 4, epochs=3).cardinality() == 9


@pytest.mark.parametrize("options", [{"shuffle": False}, {"seed": 3}, {"seed": 3, "window_bytes": 4000}])
def test_the_parts_of_a_batch_are_the_batch_and_may_be_empty(options):
    """Seven rows in batches of three: the last batch has one, which the last of two takes."""
    whole = passes(split_of(7), 3, epochs=2, **options)
    parts = [
        passes(split_of(7), 3, epochs=2, **options, part=partial(part_of, rank=rank, size=2))
        for rank in range(2)
    ]
    assert [len(weights) for _, _, weights in parts[0]] == [1, 1, 0] * 2
    for batch, *split in zip(whole, *parts, strict=True):
        together = tf.nest.map_structure(lambda *each: np.concatenate(each), *split)
        tf.nest.map_structure(np.testing.assert_array_equal, together, batch)


def test_only_some_batches_of_an_evaluation_are_read():
    found = list(evaluation_batches(split_of(10), 4, range(1, 3)).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([each["ids"] for each in found]), split_of(10).ids[4:])


def at_64_bytes(array: np.ndarray) -> np.ndarray:
    """The same numbers at a place where TensorFlow takes them as they are; one in four of NumPy's is."""
    room = np.zeros(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    place = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    place[...] = array
    return place


@pytest.mark.parametrize("weighted", [True, False])
def test_what_a_step_makes_of_rows_of_a_batch_stays_in_that_batch(weighted, monkeypatch):
    """TensorFlow takes a slice of NumPy's memory for its own, and writes a result over it."""
    ones = np.ones
    monkeypatch.setattr(np, "ones", lambda *shape: at_64_bytes(ones(*shape)))
    arrays = {name: at_64_bytes(getattr(split_of(96, True), name)) for name in ("ids", "numeric", "events")}
    weight = at_64_bytes(np.arange(96, dtype=np.float32)) if weighted else None
    split = dataclasses.replace(split_of(96), **arrays, sample_weight=weight)
    workers = Workers(Cluster(("a:1", "b:1"), 0), None)
    evaluated = workers.own_rows(evaluation_batches(split, 32))
    trained = workers.own_rows(training_batches(split, TASKS, 32, epochs=2, shuffle=False))

    @tf.function
    def changed(iterator):
        return tf.nest.map_structure(lambda x: -x - 1, next(iterator))

    for batches in (trained, evaluated):
        iterator = iter(batches)
        for _ in range(3):
            changed(iterator)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, getattr(split_of(96, True), name))
    expected = np.arange(16) if weighted else np.ones(16)
    np.testing.assert_array_equal(next(trained.as_numpy_iterator())[2], expected)


LEFT = """
import numpy as np
from fuxi_mtl.dataset import Split, training_batches
from fuxi_mtl.tasks import parse_task

rows = np.zeros((100_000, 1), np.float32)
split = Split("train", np.zeros((100_000, 50), np.int32), rows, rows, None, ("click",))
tasks = [parse_task("ctr", "click")]
iterators = [iter(training_batches(split, tasks, 50_000, epochs=9)) for _ in range(4)]
for each in iterators:
    next(each)
raise ValueError("in a step")
"""


def test_a_program_ends_that_leaves_batches_in_the_middle():
    """A thread that had a batch to make waited for the interpreter, and the interpreter for the thread."""
    program = [sys.executable, "-c", LEFT]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ValueError: in a step" in done.stderr

"""Whole batches cut from memory-mapped arrays; never one row at a time.

A batch is a function of its number alone: TensorFlow counts, and asks for the next one on a thread of its
own.
"""

import atexit
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
import tensorflow as tf

from fuxi_mtl.dataset.sampling import NegativeSample
from fuxi_mtl.dataset.splits import Split, labels_of
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.tasks import Task

# A split up to this size is shuffled as one; a larger one in windows of this size, made of random blocks.
WINDOW_BYTES = TrainingOptions().shuffle_window_bytes
BLOCKS_IN_WINDOW = 64
_LEAST_PAUSE, _MOST_PAUSE = 0.02, 1.0  # seconds in which a thread that waits for the interpreter gets it

Parts = tuple[np.ndarray, ...]
Part = Callable[[int], slice]  # of the rows of a batch of so many


def batches_per_epoch(rows: int, batch_size: int, drop_last: bool = False) -> int:
    """Batches in one pass, the last one perhaps smaller, or left out where it would be."""
    return rows // batch_size if drop_last else -(-rows // batch_size)


def training_batches(
    split: Split,
    tasks: Sequence[Task],
    batch_size: int,
    *,
    epochs: int,
    shuffle: bool = True,
    seed: int = 0,
    window_bytes: int = WINDOW_BYTES,
    sample: NegativeSample | None = None,
    drop_last: bool = False,
    first: int = 0,
    part: Part | None = None,
) -> tf.data.Dataset:
    """Passes over a split back to back, each in an order of its own that ``(seed, epoch)`` decides.

    Args:
        split: The rows.
        tasks: Whose labels to give.
        batch_size: Rows in a batch; the last one of a pass may be smaller.
        epochs: Number of passes.
        shuffle: False keeps the order of the rows.
        seed: Seed of the orders.
        window_bytes: Memory for the rows among which one batch is drawn.
        sample: Leaves negative rows out; all rows unless given.
        drop_last: Whether a pass ends before a batch that it cannot fill.
        first: Number of the batch to begin with; those before it are not read.
        part: Which rows of each batch to give; all of them unless said.

    Returns:
        Batches ``({"ids", "numeric"}, {task: (batch,)}, weights (batch,))``.
    """
    passes = _Passes(split, batch_size, shuffle, seed, window_bytes, sample, drop_last, part)

    def batch(number: int) -> tuple:
        ids, numeric, events, *given = passes.batch(number)
        weights = given[0] if given else np.ones(len(ids), np.float32)
        labels = labels_of(events, split.event_names, tasks)
        if sample is not None:
            weights = weights * sample.weights(labels)
        return {"ids": ids, "numeric": numeric}, labels, weights

    count = batches_per_epoch(passes.rows, batch_size, drop_last) * epochs
    vector = tf.TensorSpec((None,), tf.float32)
    signature = (_inputs(split), {task.name: vector for task in tasks}, vector)
    return _dataset(batch, range(first, count), signature)


def random_batch(
    split: Split, tasks: Sequence[Task], size: int, key: Sequence[int], sample: NegativeSample | None = None
) -> tuple:
    """One batch as :func:`training_batches` gives it, of rows that `key` chooses, outside of any pass.

    Args:
        split: The rows.
        tasks: Whose labels to give.
        size: Rows, each at most once; all of them if there are fewer.
        key: Seed of the choice, and nothing else's.
        sample: Leaves negative rows out; all rows unless given.
    """
    rng = np.random.default_rng(list(key))
    if sample is None:
        rows = np.sort(rng.choice(split.rows, min(size, split.rows), replace=False, shuffle=False))
    else:
        rows = sample.draw(rng, size)
    weights = np.ones(len(rows), np.float32) if split.sample_weight is None else split.sample_weight[rows]
    labels = labels_of(split.events[rows], split.event_names, tasks)
    if sample is not None:
        weights = weights * sample.weights(labels)
    return {"ids": split.ids[rows], "numeric": split.numeric[rows]}, labels, weights


def evaluation_batches(split: Split, batch_size: int, numbers: range | None = None) -> tf.data.Dataset:
    """The inputs of a split in their order, as batches ``{"ids", "numeric"}``.

    Args:
        split: The rows.
        batch_size: Rows in a batch; the last one may be smaller.
        numbers: Which batches; all of them unless said.
    """

    def batch(number: int) -> dict[str, np.ndarray]:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return {"ids": split.ids[rows], "numeric": split.numeric[rows]}

    every = range(batches_per_epoch(split.rows, batch_size))
    return _dataset(batch, every if numbers is None else numbers, _inputs(split))


def _inputs(split: Split) -> dict[str, tf.TensorSpec]:
    return {
        "ids": tf.TensorSpec((None, split.ids.shape[1]), tf.int32),
        "numeric": tf.TensorSpec((None, split.numeric.shape[1]), tf.float32),
    }


def _dataset(batch: Callable[[int], Any], numbers: range, signature: Any) -> tf.data.Dataset:
    """The batches with these numbers; they look as ``signature`` says."""
    specs = tf.nest.flatten(signature)
    dtypes = [spec.dtype for spec in specs]

    arrays = _Arrays(batch)

    @tf.autograph.experimental.do_not_convert
    def tensors(number: tf.Tensor) -> Any:
        # Half the price of from_generator, which checks every array in Python.
        flat = tf.numpy_function(arrays, [number], dtypes, stateful=False)
        shaped = [tf.ensure_shape(tensor, spec.shape) for tensor, spec in zip(flat, specs, strict=True)]
        return tf.nest.pack_sequence_as(signature, shaped)

    options = tf.data.Options()
    # Each element is a whole global batch: there are no files to share among workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Three stages have nothing to tune or to rearrange; looking for it takes as long as a small split.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.Dataset.range(numbers.start, numbers.stop).map(tensors).prefetch(4).with_options(options)


class _Arrays:
    """The arrays of a batch, which a thread of TensorFlow asks for."""

    def __init__(self, batch: Callable[[int], Any]):
        self._batch = batch
        self.begun = self.ended = 0
        self.longest = 0.0  # seconds of a batch
        _ALIVE.add(self)

    def __call__(self, number: np.int64) -> list[np.ndarray]:
        self.begun, start = self.begun + 1, time.perf_counter()
        try:
            return [_own(array) for array in tf.nest.flatten(self._batch(int(number)))]
        finally:
            self.longest = max(self.longest, time.perf_counter() - start)
            self.ended += 1


_ALIVE: "WeakSet[_Arrays]" = WeakSet()


@atexit.register
def _wait_for_batches() -> None:
    """Until all threads have made as many batches ahead as they may.

    One that is at work when the interpreter ends would wait for it without end, and the interpreter for the
    thread, where somebody has the iterator still: a script that has left a loop, the traceback of an error.
    """
    every: list[_Arrays] = list(_ALIVE)
    before: list[tuple[int, int]] = []
    while (now := [(each.begun, each.ended) for each in every]) != before or any(b != e for b, e in now):
        before = now
        # TensorFlow copies a batch before it asks for the next one.
        time.sleep(min(max([_LEAST_PAUSE, *(5 * each.longest for each in every)]), _MOST_PAUSE))


def _own(array: np.ndarray) -> np.ndarray:
    """An array that nothing else looks at.

    TensorFlow takes an array that lies at a multiple of 64 bytes as it is, and leaves it alone. But a slice
    of such a tensor, as a worker or a device gets its rows, counts as its own memory: an operation may write
    its result there, and so into the memory map of a split, or into rows of batches to come.
    """
    return array if array.flags.owndata else array.copy()


class _Passes:
    """The batches of endless passes over a split, by their number.

    Args:
        split: The rows.
        batch_size: Rows in a batch, fewer in the last one of a pass.
        shuffle: False keeps the order of the rows.
        seed: Seed of the orders.
        window_bytes: Memory for the rows among which one batch is drawn.
        sample: Which rows a pass has; None for all.
        drop_last: Whether a pass ends before a batch that it cannot fill.
        part: Which rows of each batch to give; None for all.

    Attributes:
        rows: Rows of a pass.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        shuffle: bool,
        seed: int,
        window_bytes: int,
        sample: NegativeSample | None,
        drop_last: bool,
        part: Part | None,
    ):
        arrays = (split.ids, split.numeric, split.events, split.sample_weight)
        self._arrays: Parts = tuple(array for array in arrays if array is not None)
        self._sample, self._batch_size, self._part = sample, batch_size, part
        self.rows = split.rows if sample is None else sample.rows
        self._shuffle, self._seed = shuffle, seed
        self._per_pass = batches_per_epoch(self.rows, batch_size, drop_last)
        row_bytes = sum(array.itemsize * int(np.prod(array.shape[1:])) for array in self._arrays)
        window_rows = max(window_bytes // row_bytes, BLOCKS_IN_WINDOW)
        self._whole = split.rows <= window_rows
        self._block = max(window_rows // BLOCKS_IN_WINDOW, 1)
        # Whole batches, so that no row has to wait for the next window.
        self._window_batches = self._per_pass if self._whole else max(window_rows // batch_size, 1)
        self._lock = Lock()
        self._at: tuple[int, int] | None = None
        self._pool: Parts = ()
        self._order = np.zeros(0, np.int64)

    def batch(self, number: int) -> Parts:
        """Ids, numbers, events and, if rows have weights, weights of one batch."""
        epoch, place = divmod(number, self._per_pass)
        if not self._shuffle:
            start = place * self._batch_size
            rows_here = range(start, min(start + self._batch_size, self.rows))
            mine = rows_here if self._part is None else rows_here[self._part(len(rows_here))]
            return self._cut(epoch, slice(mine.start, mine.stop))
        window, place = divmod(place, self._window_batches)
        pool, order = self._window(epoch, window)
        rows = order[place * self._batch_size : (place + 1) * self._batch_size]
        if self._part is not None:
            rows = rows[self._part(len(rows))]
        return tuple(np.take(array, rows, axis=0) for array in pool)

    def _window(self, epoch: int, window: int) -> tuple[Parts, np.ndarray]:
        """The rows of a window and the order in which its batches take them."""
        with self._lock:  # two iterators may be at different places
            if self._at != (epoch, window):
                # Frees the last window before the next one is read.
                self._at, self._pool, self._order = None, (), np.zeros(0, np.int64)
                self._pool = self._arrays if self._whole else self._mixed_blocks(epoch, window)
                key = [self._seed, epoch] if self._whole else [self._seed, epoch, 1 + window]
                rng = np.random.default_rng(key)
                if self._whole and self._sample is not None:
                    self._order = rng.permutation(self._sample.of_pass(epoch))
                else:
                    self._order = rng.permutation(len(self._pool[0]))
                self._at = (epoch, window)
            return self._pool, self._order

    def _mixed_blocks(self, epoch: int, window: int) -> Parts:
        """One window of the rows, whose blocks come in the random order of this pass."""
        rng = np.random.default_rng([self._seed, epoch])
        starts = rng.permutation(np.arange(0, self.rows, self._block))
        sizes = np.minimum(self._block, self.rows - starts)
        ends = np.cumsum(sizes)  # where each block ends in the order of this pass
        low = window * self._window_batches * self._batch_size
        high = min(low + self._window_batches * self._batch_size, self.rows)
        inside = np.flatnonzero((ends > low) & (ends - sizes < high))
        first = starts[inside] + np.maximum(low - (ends - sizes)[inside], 0)
        last = starts[inside] + sizes[inside] - np.maximum(ends[inside] - high, 0)
        spans = [slice(*span) for span in zip(first.tolist(), last.tolist(), strict=True)]
        parts = zip(*(self._cut(epoch, span) for span in spans), strict=True)
        return tuple(np.concatenate(part) for part in parts)

    def _cut(self, epoch: int, span: slice) -> Parts:
        """A span of the rows of a pass."""
        rows = span if self._sample is None else self._sample.of_pass(epoch)[span]
        return tuple(array[rows] for array in self._arrays)

"""Whole batches cut from memory-mapped arrays; never one row at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from fuxi_mtl.dataset.splits import Split, labels_of
from fuxi_mtl.tasks import Task

# A split up to this size is shuffled as one; a larger one in windows of this size, made of random blocks.
WINDOW_BYTES = 2 << 30
BLOCKS_IN_WINDOW = 64

Parts = tuple[np.ndarray, ...]


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Batches in one pass, the last one perhaps smaller."""
    return -(-rows // batch_size)


def training_batches(
    split: Split,
    tasks: Sequence[Task],
    batch_size: int,
    *,
    epochs: int,
    shuffle: bool = True,
    seed: int = 0,
    window_bytes: int = WINDOW_BYTES,
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

    Returns:
        Batches ``({"ids", "numeric"}, {task: (batch,)}, weights (batch,))``.
    """
    names = [task.name for task in tasks]

    def batches() -> Iterator[tuple]:
        for epoch in range(epochs):
            for ids, numeric, events, weights in _one_pass(
                split, batch_size, shuffle, (seed, epoch), window_bytes
            ):
                yield {"ids": ids, "numeric": numeric}, labels_of(events, split.event_names, tasks), weights

    number = tf.TensorSpec((None,), tf.float32)
    return _dataset(batches, (_inputs(split), dict.fromkeys(names, number), number))


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """The inputs of a split in their order, as batches ``{"ids", "numeric"}``."""

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, split.rows, batch_size):
            rows = slice(start, start + batch_size)
            yield {"ids": split.ids[rows], "numeric": split.numeric[rows]}

    return _dataset(batches, _inputs(split)).apply(
        tf.data.experimental.assert_cardinality(batches_per_epoch(split.rows, batch_size))
    )


def _inputs(split: Split) -> dict[str, tf.TensorSpec]:
    return {
        "ids": tf.TensorSpec((None, split.ids.shape[1]), tf.int32),
        "numeric": tf.TensorSpec((None, split.numeric.shape[1]), tf.float32),
    }


def _dataset(batches: Callable[[], Iterator], signature: object) -> tf.data.Dataset:
    options = tf.data.Options()
    # The generator gives whole global batches: there are no files to share among workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4).with_options(options)
    )


def _one_pass(
    split: Split, batch_size: int, shuffle: bool, seed: tuple[int, int], window_bytes: int
) -> Iterator[Parts]:
    """The batches of one pass."""
    weights = split.sample_weight
    arrays = (
        split.ids,
        split.numeric,
        split.events,
        np.ones(split.rows, np.float32) if weights is None else weights,
    )
    if not shuffle:
        for start in range(0, split.rows, batch_size):
            yield tuple(array[start : start + batch_size] for array in arrays)
        return
    rng = np.random.default_rng(seed)
    rest: Parts = tuple(array[:0] for array in arrays)
    for window in _windows(arrays, rng, window_bytes):
        pool = (
            tuple(np.concatenate(parts) for parts in zip(rest, window, strict=True))
            if len(rest[0])
            else window
        )
        order = rng.permutation(len(pool[0]))
        whole = len(order) // batch_size * batch_size
        for start in range(0, whole, batch_size):
            yield tuple(np.take(array, order[start : start + batch_size], axis=0) for array in pool)
        # Too few for a batch: they are shuffled again with the next window.
        rest = tuple(np.take(array, order[whole:], axis=0) for array in pool)
    if len(rest[0]):
        yield rest


def _windows(arrays: Parts, rng: np.random.Generator, window_bytes: int) -> Iterator[Parts]:
    """Everything at once if it fits, else random blocks of rows, many to a window."""
    rows = len(arrays[0])
    row_bytes = sum(array.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
    window_rows = max(window_bytes // row_bytes, BLOCKS_IN_WINDOW)
    if rows <= window_rows:
        yield arrays
        return
    block = window_rows // BLOCKS_IN_WINDOW
    starts = rng.permutation(np.arange(0, rows, block))
    for first in range(0, len(starts), BLOCKS_IN_WINDOW):
        chosen = starts[first : first + BLOCKS_IN_WINDOW]
        yield tuple(np.concatenate([array[start : start + block] for start in chosen]) for array in arrays)

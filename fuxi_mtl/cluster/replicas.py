"""Sums, means and rows over all replicas of a step, on several devices and in several processes.

One step of a model runs on each replica of a `tf.distribute.Strategy`, on its rows of the global batch. What
is a number of the batch is put together here, and only here: it is then the same on every replica, and the
same as on one. On one replica each function gives what it is given and adds nothing to the graph.

Tensors of one type travel side by side in one call, however many they are; rows of tables travel as rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import default_variable_creator_v2

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices | None"
_ONLY_PATHS: ContextVar[bool] = ContextVar("only_paths", default=False)
_OWN = "_lies_on_one_replica"  # an attribute of variables of which no other replica has a copy


def replicas() -> int:
    """On how many replicas what runs here runs at once: one outside of a replica's step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def own_number() -> tf.Tensor | int:
    """The number of this replica, from 0."""
    return 0 if replicas() == 1 else tf.distribute.get_replica_context().replica_id_in_sync_group


def global_sum(tensors: Any) -> Any:
    """The sums over all replicas of tensors in any nest, in one call for each type of number.

    Gradients flow: what a sum does to any replica's loss comes back to each of its parts.

    >>> global_sum((1.0, 2.0))  # of one replica
    (1.0, 2.0)
    """
    if replicas() == 1:
        return tensors
    flat = [tf.convert_to_tensor(each) for each in tf.nest.flatten(tensors)]
    sums: dict[int, tf.Tensor] = {}
    for dtype in dict.fromkeys(each.dtype for each in flat):
        places = [place for place, each in enumerate(flat) if each.dtype == dtype]
        vectors = [tf.reshape(flat[place], [-1]) for place in places]
        total = _summed(vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=0))
        parts = tf.split(total, [_size(flat[place]) for place in places])
        sums |= {p: tf.reshape(part, tf.shape(flat[p])) for p, part in zip(places, parts, strict=True)}
    shaped = [tf.ensure_shape(sums[place], each.shape) for place, each in enumerate(flat)]
    return tf.nest.pack_sequence_as(tensors, shaped)


def global_mean(x: tf.Tensor, axis: int | tuple[int, ...] | None = 0) -> tf.Tensor:
    """The mean over the rows of all replicas, a replica without rows included.

    Args:
        x: ``(rows, ...)``.
        axis: What is averaged over, rows among it: 0 is rows, None everything.
    """
    if replicas() == 1:
        return tf.reduce_mean(x, axis=axis)
    total = tf.reduce_sum(x, axis=axis)
    each = tf.size(x) // tf.size(total)
    total, count = global_sum((total, tf.cast(each, x.dtype)))
    return total / count


def gathered_rows(tensors: Any) -> Any:
    """The rows of all replicas, replica by replica, of tensors in any nest; no gradient flows.

    Args:
        tensors: ``(rows, ...)``, all of the same rows; those of one type travel side by side. Replicas may
            have different numbers of rows, or none.
    """
    if replicas() == 1:
        return tensors
    flat = [tf.stop_gradient(each) for each in tf.nest.flatten(tensors)]
    widths = [each.shape[1:].num_elements() for each in flat]
    found: dict[int, tf.Tensor] = {}
    for dtype in dict.fromkeys(each.dtype for each in flat):
        places = [place for place, each in enumerate(flat) if each.dtype == dtype]
        columns = [tf.reshape(flat[place], (tf.shape(flat[place])[0], widths[place])) for place in places]
        joined = tf.distribute.get_replica_context().all_gather(tf.concat(columns, axis=1), axis=0)
        parts = tf.split(joined, [widths[place] for place in places], axis=1)
        found |= {p: tf.reshape(x, (-1, *flat[p].shape[1:])) for p, x in zip(places, parts, strict=True)}
    return tf.nest.pack_sequence_as(tensors, [found[place] for place in range(len(flat))])


@contextmanager
def own_variables() -> Iterator[None]:
    """Variables that are made inside belong to this replica: no other one has a copy of them."""

    def create(next_creator: Any, **options: Any) -> tf.Variable:  # noqa: ARG001 - the strategy's is left out
        variable = default_variable_creator_v2(None, **options)
        setattr(variable, _OWN, True)
        return variable

    with tf.variable_creator_scope(create):
        yield


def is_own(variable: Any) -> bool:
    """Whether this replica alone has a variable (of Keras or TensorFlow), and its gradient from all."""
    return hasattr(getattr(variable, "_value", variable), _OWN)


def global_gradients(gradients: Sequence[Gradient], variables: Sequence[Any] = ()) -> list[Gradient]:
    """The sums over all replicas of gradients: dense ones in one call, rows of tables as the rows of all.

    Args:
        gradients: Of this replica. All replicas have the same ones, None included.
        variables: Whose they are; those that this replica alone has keep the gradient that they have.
    """
    if replicas() == 1:
        return list(gradients)
    own = {at: gradients[at] for at, variable in enumerate(variables) if is_own(variable)}
    gradients = [None if at in own else each for at, each in enumerate(gradients)]
    rows = {at: each for at, each in enumerate(gradients) if isinstance(each, tf.IndexedSlices)}
    dense = {at: each for at, each in enumerate(gradients) if each is not None and at not in rows}
    found: dict[int, Gradient] = global_sum(dense)
    found |= dict(zip(rows, _gathered_slices(list(rows.values())), strict=True)) | own
    return [found.get(at) for at in range(len(gradients))]


def switch(index: tf.Tensor, branches: Sequence[Callable[..., None]], *arguments: Any) -> None:
    """Runs one of some functions of a step, which may call what replicas do together.

    `tf.switch_case` alone would trace a branch for each replica, in which replicas cannot meet: here they
    meet first, choose, and part again inside the branch.

    Args:
        index: Which one, the same on all replicas.
        branches: What to run; each gets the arguments.
        arguments: Those of this replica.
    """
    if replicas() == 1:
        tf.switch_case(index, [lambda branch=branch: branch(*arguments) for branch in branches])
        return

    def together(strategy: tf.distribute.Strategy, index: Any, *arguments: Any) -> None:
        def part(branch: Callable[..., None]) -> Callable[[], None]:
            return lambda: strategy.run(branch, args=arguments)

        first = strategy.experimental_local_results(index)[0]
        tf.switch_case(first, [part(branch) for branch in branches])

    tf.distribute.get_replica_context().merge_call(together, args=(index, *arguments))


@contextmanager
def only_paths() -> Iterator[None]:
    """Inside, gradients say whether there is a path and nothing else: replicas need not meet for that."""
    token = _ONLY_PATHS.set(True)
    try:
        yield
    finally:
        _ONLY_PATHS.reset(token)


def only_paths_wanted() -> bool:
    """Whether gradients are asked for inside of :func:`only_paths`."""
    return _ONLY_PATHS.get()


@tf.custom_gradient
def _summed(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """One all-reduce. TensorFlow's own gradient would be bound to the context of the forward pass."""
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(x))
    return total, lambda slope: slope if only_paths_wanted() else _summed(slope)


def _size(x: tf.Tensor) -> int | tf.Tensor:
    size = x.shape.num_elements()
    return tf.size(x) if size is None else size


def _gathered_slices(slices: Sequence[tf.IndexedSlices]) -> list[tf.IndexedSlices]:
    """The slices of all replicas: how many each has, all indices, all values."""
    if not slices:
        return []
    number = tf.int32 if all(each.indices.dtype == tf.int32 for each in slices) else tf.int64
    indices = [tf.cast(each.indices, number) for each in slices]
    vectors = [tf.reshape(tf.cast(each.values, tf.float32), [-1]) for each in slices]
    lengths = tf.stack([tf.size(each) for each in indices])
    widths = [each.values.shape[1:].num_elements() for each in slices]
    lengths, joined, numbers = map(gathered_rows, (lengths, tf.concat(indices, 0), tf.concat(vectors, 0)))
    count = len(slices)
    parts = replicas() * count
    found = tf.split(joined, lengths, num=parts)
    values = tf.split(numbers, lengths * tf.tile(tf.constant(widths), [replicas()]), num=parts)
    return [
        tf.IndexedSlices(
            tf.cast(
                tf.reshape(tf.concat(values[at::count], 0), (-1, *each.values.shape[1:])), each.values.dtype
            ),
            tf.cast(tf.concat(found[at::count], 0), each.indices.dtype),
            each.dense_shape,
        )
        for at, each in enumerate(slices)
    ]

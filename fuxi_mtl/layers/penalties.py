"""Penalties that layers add to the loss of a batch, each to that of its own replica."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import replicas

_RECORD: ContextVar[list[tf.Tensor] | None] = ContextVar("penalties", default=None)


def add_penalty(layer: keras.layers.Layer, value: tf.Tensor) -> None:
    """Adds a scalar to the loss, as ``layer.add_loss`` does.

    Keras keeps it in the layer, which all replicas of a process share: each would find the tensors of the
    one that came last.

    Args:
        layer: Where it comes from.
        value: Over the rows of all replicas.
    """
    record = _RECORD.get()
    if record is None:
        layer.add_loss(value)
    else:
        record.append(value)


@contextmanager
def recorded_penalties() -> Iterator[list[tf.Tensor]]:
    """On several replicas, the penalties that are added inside the block; elsewhere layers keep them."""
    record: list[tf.Tensor] = []
    token = _RECORD.set(record if replicas() > 1 else None)
    try:
        yield record
    finally:
        _RECORD.reset(token)

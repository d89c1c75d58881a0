"""Tables in a shorter type than they were trained in, for inference."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from fuxi_mtl.options.exported import STORED

if TYPE_CHECKING:
    from fuxi_mtl.layers.tables import Table


@contextmanager
def stored_in(model: keras.Layer, dtype: str) -> Iterator[list[tf.Variable]]:
    """Inside, tables are copies in another type, whose rows become float32 when they are looked up.

    What is traced inside reads the copies and nothing of the tables. A graph holds its variables weakly: who
    keeps it keeps the copies, which come as a list.

    Args:
        model: A built model.
        dtype: One of :data:`fuxi_mtl.options.exported.STORED`; the first changes nothing.

    Raises:
        OverflowError: A number of a table is too large for the type.
    """
    tables = [] if dtype == STORED[0] else tables_of(model)
    copies = [_copy(table, dtype) for table in tables]
    for table, copy in zip(tables, copies, strict=True):
        table.read_rows = _reader(copy)
    try:
        yield copies
    finally:
        for table in tables:
            table.read_rows = None


def tables_of(model: keras.Layer) -> "list[Table]":
    """The tables of a model."""
    return [layer for layer in model._flatten_layers() if hasattr(layer, "read_rows")]


def _copy(table: "Table", dtype: str) -> tf.Variable:
    rows = tf.cast(table.rows.value, dtype)
    largest = float(tf.reduce_max(tf.abs(table.rows.value)))
    if largest > float(tf.as_dtype(dtype).max):
        raise OverflowError(
            f"export_dtype: {dtype} holds numbers up to {float(tf.as_dtype(dtype).max):g}, and a table has "
            f"{largest:g}. export_dtype: bfloat16 holds those of float32."
        )
    return tf.Variable(rows, trainable=False, name=f"rows_{dtype}")


def _reader(copy: tf.Variable) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda places: tf.cast(tf.gather(copy, places), tf.float32)

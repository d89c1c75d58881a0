"""Tables whose rows are not in this process: graphs are made of them, and nothing is computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import UninitializedVariable

_ABSENT: ContextVar[bool] = ContextVar("absent_rows", default=False)
_MARK = "_has_no_rows"  # an attribute of variables


@contextmanager
def rows_elsewhere() -> Iterator[None]:
    """Inside, tables are made without their rows: they know their shape and take no memory."""
    token = _ABSENT.set(True)
    try:
        yield
    finally:
        _ABSENT.reset(token)


def are_elsewhere() -> bool:
    """Whether tables are made without their rows here."""
    return _ABSENT.get()


@contextmanager
def absent(rows: int, width: int) -> Iterator[None]:
    """The variable that is made inside has this shape, and one row of zeros until its file is filled."""

    def create(next_creator: Any, **options: Any) -> tf.Variable:  # noqa: ARG001 - it would make the rows
        kept = {key: options[key] for key in ("trainable", "name", "dtype") if key in options}
        variable = UninitializedVariable(shape=(rows, width), **kept)
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.zeros((1, width)))
        setattr(variable, _MARK, True)
        return variable

    with tf.variable_creator_scope(create):
        yield


def has_rows(variable: tf.Variable) -> bool:
    """Whether the rows of a table are here, as those of any other variable are."""
    return not hasattr(variable, _MARK)

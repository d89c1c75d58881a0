"""Errors of too little memory, with the key that decides how much is needed."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


class TrainingError(RuntimeError):
    """Training cannot go on."""


@contextmanager
def enough_memory(key: str, rows: int) -> Iterator[None]:
    """Names the key that decides how much memory a step needs."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        reason = error.message.strip().partition("\n")[0]
        raise TrainingError(
            f"the memory is not enough for {key} {rows}: try a smaller one ({reason})."
        ) from error

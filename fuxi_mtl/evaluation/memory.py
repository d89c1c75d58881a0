"""Errors of too little memory, with the key that decides how much is needed."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

CURE = (  # of numbers that are not finite
    "Try a smaller learning_rate, a smaller max_gradient_norm or precision: float32, or look for extreme "
    "values in the numeric features and labels."
)


class TrainingError(RuntimeError):
    """Training cannot go on.

    Attributes:
        diverges: Whether that is because numbers are not finite any more.
    """

    def __init__(self, message: str, diverges: bool = False):
        super().__init__(message)
        self.diverges = diverges


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

"""Sessions that leave no trace in the program around them."""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import wraps
from typing import Any, TypeVar

import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, Keras has a session of its own; afterwards everything global is as it was.

    That is Keras's session with its dtype policy, the random generators of Python, numpy, TensorFlow and
    Keras, and the root logger. TensorFlow's notes on its own tracing and saving are held back meanwhile.
    """
    libraries = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [library.level for library in libraries]
    root = logging.getLogger()
    level, handlers, raises = root.level, list(root.handlers), logging.raiseExceptions
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's
    # The first import of TensorFlow is part of what must not be seen.
    from keras.src.backend.common import global_state
    from tensorflow.python.eager import context

    of_tensorflow = context.context()
    seed, generator = of_tensorflow._seed, copy(getattr(of_tensorflow, "_rng", None))
    session = global_state.GLOBAL_STATE_TRACKER, global_state.GLOBAL_SETTINGS_TRACKER
    # A fresh session has Keras's own policy; clear_session would do the same and forget the caller's.
    global_state.GLOBAL_STATE_TRACKER = type(session[0])()
    global_state.GLOBAL_SETTINGS_TRACKER = type(session[1])()
    for library in libraries:
        library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for library, before in zip(libraries, levels, strict=True):
            library.setLevel(before)
        global_state.GLOBAL_STATE_TRACKER, global_state.GLOBAL_SETTINGS_TRACKER = session
        of_tensorflow._seed, of_tensorflow._rng = seed, generator
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        root.setLevel(level)
        root.handlers[:] = handlers
        logging.raiseExceptions = raises


def leaves_no_trace(function: _Function) -> _Function:
    """The function inside of :func:`undisturbed`."""

    @wraps(function)
    def undisturbing(*args: Any, **kwargs: Any) -> Any:
        with undisturbed():
            return function(*args, **kwargs)

    return undisturbing  # type: ignore[return-value]

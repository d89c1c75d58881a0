"""A quick and quiet start, without what the command line does not need.

Only the command line uses this. A program that imports the library keeps its own pandas and its own log.
"""

import atexit
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Keras imports these when it finds them, to take their tables, wrap their estimators and draw pictures. That
# is a third to a half of its start, and no command hands Keras anything of theirs.
OPTIONAL = ("sklearn", "pandas", "matplotlib", "scipy")


@contextmanager
def without_collections() -> Iterator[None]:
    """Leaves garbage alone: a start makes modules and tables, which stay, and a search of them takes long.

    A process that has no TensorFlow afterwards has answered, and ends without a search, too.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        if "tensorflow" not in sys.modules:
            atexit.register(gc.freeze)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Holds back what TensorFlow's C++ prints while it starts, unless it fails to start.

    Its notes on oneDNN and on absent GPUs come before any of its own log settings apply.
    """
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            with absent(*OPTIONAL):
                import keras  # noqa: F401  (later imports find it ready)
            yield
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Imports of these packages fail inside, as if they were not installed, unless they are loaded already.

    ``None`` in ``sys.modules`` is Python's own way to say that an import fails. Behind the context they can
    be imported as ever.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

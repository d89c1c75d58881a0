"""The log of a run, in a file beside it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG_FORMAT = "%(asctime)s P%(process)d %(levelname)s %(message)s"


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Also writes the log to a file; it stays when the run fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"model_root: cannot write {path} ({error.strerror}).") from error
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger().addHandler(handler)
    try:
        yield
    except Exception as error:
        logging.getLogger(__name__).critical("%s: %s", type(error).__name__, error)
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()

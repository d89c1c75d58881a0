"""The log: on the terminal, and of each run in a file beside it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from fuxi_mtl.hints import printable


class PlainFormatter(logging.Formatter):
    """Lines of the log without control characters, whatever a name or an entry holds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and what follows of a message of several."""
        return printable(super().format(record))


LOG_FORMAT = "%(asctime)s P%(process)d %(levelname)s %(message)s"

# What a record says with ``extra=DETAIL`` would scroll all else away: it is for the file of a run.
DETAIL: Final = {"detail": True}


class TerminalHandler(logging.StreamHandler):
    """The log on standard output, without details unless they are asked for.

    It writes to what ``sys.stdout`` is at that moment: a progress bar takes that over while it is shown, and
    puts lines above itself.

    Args:
        verbose: Whether details are shown.
    """

    def __init__(self, verbose: bool = False):
        logging.Handler.__init__(self)
        self.setFormatter(PlainFormatter(LOG_FORMAT))
        if not verbose:
            self.addFilter(lambda record: not hasattr(record, "detail"))

    @property
    def stream(self) -> IO[str]:
        """Where it writes."""
        return sys.stdout

    def setStream(self, stream: Any) -> None:  # noqa: N802 (logging's name)
        """Has no effect: the stream is standard output."""


@contextmanager
def log_file(path: Path, keeps: bool = False, appends: bool = False) -> Iterator[None]:
    """Also writes the log to a file; it stays when the run fails.

    Args:
        path: The file.
        keeps: Whether the log of an earlier run lies there, which is to stay unless this one ends well: until
            then this log is ``*.new.log``, and ``*.failed.log`` if the run fails.
        appends: Whether it goes on with a log that is there.
    """
    written = path.with_suffix(".new.log") if keeps and path.exists() else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(written, mode="a" if appends else "w", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"model_root: cannot write {written} ({error.strerror}).") from error
    handler.setFormatter(PlainFormatter(LOG_FORMAT))
    logging.getLogger().addHandler(handler)
    ended = path.with_suffix(".failed.log") if written != path else path
    try:
        yield
        ended = path
    except Exception as error:
        logging.getLogger(__name__).critical("%s: %s", type(error).__name__, error)
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        if written != ended:
            written.replace(ended)

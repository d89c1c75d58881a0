"""SIGINT and SIGTERM while a training can still save where it is."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

GRACE = 30.0  # seconds between SIGTERM and SIGKILL, in SLURM and Kubernetes


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C raises a :class:`KeyboardInterrupt`."""


class Left(BaseException):
    """A training is left at a place where it can be saved. No error: nobody but its trainer catches it."""


def terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as `signal` calls it
    """Raises what a signal stands for: a handler of SIGTERM."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[Callable[[], None]]:
    """A context in which a signal raises at once, as elsewhere, and is not lost where Python swallows that.

    What a handler raises in a finaliser or a weak reference's callback, of which TensorFlow's tracing
    has many, is printed and ignored.

    Yields:
        Raises what a signal stands for if one came inside and the block is still going on.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        terminate(number, frame)

    def check() -> None:
        if came:
            terminate(came[0], None)

    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(each) is not signal.SIG_IGN:
                before[each] = signal.signal(each, remember)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption:
    """A context in which the first signal asks to stop, and the second raises at once.

    Outside of the main thread, where Python hands out no signals, it does nothing.

    Attributes:
        number: The signal that came; None as long as none did.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._came = 0.0
        self._leaves_at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @property
    def seconds_left(self) -> float:
        """Until the process may be killed."""
        return GRACE - (time.monotonic() - self._came)

    @property
    def error(self) -> KeyboardInterrupt:
        """What is raised when all is said and done."""
        return Terminated() if self.number == signal.SIGTERM else KeyboardInterrupt()

    def pass_on(self) -> None:
        """Counts a signal to another process of the training as one to this one."""
        if self.number is None:
            self.number, self._came = signal.SIGTERM, time.monotonic()

    def check(self) -> None:
        """Leaves the training if it is to stop; it must be at a place where it can be saved."""
        if self.number is not None:
            raise Left

    @contextmanager
    def leaving_at_once(self) -> Iterator[None]:
        """Inside, the training can be left at any moment: what is computed can be computed again."""
        self.check()
        self._leaves_at_once = True
        try:
            yield
        finally:
            self._leaves_at_once = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            terminate(number, frame)
        self.number, self._came = number, time.monotonic()
        logger.info(
            "%s: saving where the training is, behind the running step. A second signal ends it at once.",
            signal.Signals(number).name,
        )
        if self._leaves_at_once:
            raise Left

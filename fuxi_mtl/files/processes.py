"""Processes, told apart by more than their number, which a system gives again and again, and how they end."""

import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        host: Name of the machine, for people.
        machine: Hash of that name, of the machine's last start and of the container, where they are known.
        pid: Its number.
        start: When it started, in ticks of its machine's clock; 0 where the system does not say.
    """

    host: str = field(compare=False)
    machine: str
    pid: int
    start: int

    @property
    def mark(self) -> str:
        """The process as a part of a name: machine, number and start."""
        return f"{self.machine}-{self.pid:x}-{self.start:x}"

    @classmethod
    def from_mark(cls, mark: str) -> "Process":
        """The process of a mark."""
        machine, pid, start = mark.split("-")
        return cls("", machine, int(pid, 16), int(start, 16))

    @property
    def gone(self) -> bool | None:
        """Whether it has ended; None where this machine cannot say."""
        if self.machine != this_process().machine or not self.start:
            return None
        try:
            start = _start_of(self.pid)
        except PermissionError:  # somebody else's, which some systems hide
            return None
        return start != self.start


def ending_of(status: int) -> str:
    """How a process ended, by the status that :mod:`subprocess` gives, in words."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hint = "; the system does that when the memory is not enough" if -status == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def end_with_parent() -> None:
    """Has this process end at once when the one that holds the other end of its standard input is gone.

    A thread waits for that. Linux sends a signal, too, which ends it even while TensorFlow keeps the
    interpreter and no thread runs.
    """
    threading.Thread(target=_end_behind_input, daemon=True).start()
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _end_behind_input() -> None:
    while os.read(0, 1):  # sys.stdin has a lock, which Python wants when it ends
        pass
    os._exit(1)


def this_process() -> Process:
    """The process that runs this."""
    return _described(os.getpid())  # by its number, for a forked one is another


@cache
def _described(pid: int) -> Process:
    import hashlib  # here, because commands that lock nothing are quick
    import socket

    known = [socket.gethostname()]
    for read in (
        lambda: (_PROC / "sys/kernel/random/boot_id").read_text().strip(),
        lambda: str((_PROC / "self/ns/pid").readlink()),
    ):
        try:
            known.append(read())
        except OSError:  # no Linux
            known.append("")
    machine = hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]
    return Process(known[0], machine, pid, (_start_of(pid) or 0) if _PROC.is_dir() else 0)


def _start_of(pid: int) -> int | None:
    """The start of a process of this machine; None if there is none of that number.

    Raises:
        PermissionError: There is one, of which the system says no more.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        raise PermissionError(pid) from None
    # Behind the name, which may hold anything: state, then numbers, of which the 19th is the start.
    state, *numbers = text.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(numbers[18])

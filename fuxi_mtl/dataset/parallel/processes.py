"""Processes that work on files: started when there is work, fed one file each, ended together.

They are no children of ``multiprocessing``: that runs a program's main module again in each, which a script
or a notebook without a guard does not survive. What is kept in them, tasks and results go through a pipe.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.files import ending_of

KEEP = "keep"  # is sent before what is to be kept, and before arguments their function
_AHEAD = 2  # results that may wait for those before them, by process
_PATIENCE = 5.0  # seconds for a process to end when there is nothing more to do
_GONE = (EOFError, ConnectionError)


class LostProcessError(RuntimeError):
    """A process that worked on a file is gone."""


@dataclass(frozen=True)
class Failed:
    """An error in a process, in place of a result.

    Attributes:
        system: Whether it is one of the system; else it is of the data.
        arguments: Of the error.
    """

    system: bool
    arguments: tuple

    @classmethod
    def of(cls, error: DataError | OSError) -> "Failed":
        """That of an error, which itself need not be one that can be sent."""
        if isinstance(error, OSError):
            return cls(True, (error.errno, error.strerror, error.filename))
        return cls(False, (str(error),))

    def error(self) -> DataError | OSError:
        """The error again."""
        return OSError(*self.arguments) if self.system else DataError(*self.arguments)


class _FileProcess:
    """One process and what it is doing."""

    def __init__(self, number: int, threads: int):
        self.connection, other = Pipe()
        self.number, self.task, self.about = number, -1, ""
        self.kept = 0  # the version of what it keeps
        command = [
            sys.executable,
            "-m",
            "fuxi_mtl.dataset.parallel.worker",
            str(other.fileno()),
            str(threads),
        ]
        with other:
            self.process = subprocess.Popen(
                command,
                env=_environment(threads),
                stdin=subprocess.PIPE,  # closed when this process is gone, however that ends
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C is for this process, which ends them
            )

    def send(self, *messages: Any) -> None:
        try:
            for message in messages:
                self.connection.send(message)
        except _GONE:
            raise self.lost() from None

    def receive(self) -> Any:
        try:
            found = self.connection.recv()
        except _GONE:
            raise self.lost() from None
        self.task = -1
        return found

    def lost(self) -> LostProcessError:
        self.process.wait()
        return LostProcessError(
            f"process {self.number + 1} that encodes files (pid {self.process.pid}) "
            f"{ending_of(self.process.returncode)}, at {self.about}. With a smaller encode_workers or "
            "data_block_size it takes less memory."
        )

    def end(self, patience: float) -> None:
        """Ends it, whatever it does, and waits for that."""
        self.connection.close()
        with suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class FileProcesses:
    """Some processes in a block, at the end of which none is left.

    Args:
        processes: How many there are at most; they start when there is work for them.
        threads: Threads of all of them together.
    """

    def __init__(self, processes: int, threads: int):
        self._most, self._threads = processes, max(threads // processes, 1)
        self._processes: list[_FileProcess] = []
        self._kept: Any = None
        self._version = 0

    def __enter__(self) -> "FileProcesses":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._processes:
            each.end(_PATIENCE if kind is None else 0)
        self._processes = []

    def keep(self, what: Any) -> None:
        """Gives all of them something that tasks need, in the place of what was given before."""
        self._kept, self._version = what, self._version + 1

    def map(self, function: Callable, tasks: Iterable[tuple[str, tuple]]) -> Iterator[Any]:
        """What a function makes of each task, in their order.

        Args:
            function: Of a module; takes what is kept, ``each`` (the ``map`` of threads) and the arguments.
            tasks: Of each what errors call it, and the arguments. Few are taken before they are needed.

        Raises:
            LostProcessError: A process is gone.
            DataError: Of the first task that has one; so with other errors.
        """
        numbered, given = zip(count(), tasks, strict=False), 0
        done: dict[int, Any] = {}
        try:
            for wanted in count():
                while wanted not in done:
                    more = given - wanted < _AHEAD * self._most and self._idle()
                    if more and (task := next(numbered, None)) is not None:
                        self._give(more, task, function)
                        given = task[0] + 1
                    elif given == wanted:
                        return
                    else:
                        done |= self._received()
                found = done.pop(wanted)
                if isinstance(found, Failed):
                    raise found.error()
                yield found
        finally:
            if sys.exc_info()[0] in (None, GeneratorExit):
                while any(each.task >= 0 for each in self._processes):
                    self._received()

    def _idle(self) -> "_FileProcess | None":
        """A process without a task, a new one if there may be one."""
        for each in self._processes:
            if each.task < 0:
                return each
        if len(self._processes) == self._most:
            return None
        self._processes.append(_FileProcess(len(self._processes), self._threads))
        return self._processes[-1]

    def _give(self, process: _FileProcess, task: tuple[int, tuple[str, tuple]], function: Callable) -> None:
        number, (about, arguments) = task
        process.task, process.about = number, about
        if process.kept != self._version:
            process.send(KEEP, self._kept)
            process.kept = self._version
        process.send(function, arguments)

    def _received(self) -> dict[int, Any]:
        """The results that have come, by number of the task; waits for one."""
        busy = {each.connection: each for each in self._processes if each.task >= 0}
        ready = [busy[each] for each in wait(list(busy)) if isinstance(each, Connection)]
        return {each.task: each.receive() for each in ready}


def _environment(threads: int) -> dict[str, str]:
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109 - a text
        "CUDA_VISIBLE_DEVICES": "-1",  # texts are hashed by TensorFlow, which else takes a GPU
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }

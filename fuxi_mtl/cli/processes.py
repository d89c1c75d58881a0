"""Workers on this machine: processes that are started, watched and ended together."""

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from fuxi_mtl.cluster import LOST, Cluster
from fuxi_mtl.files import ending_of, removed

TAIL = 30  # lines that are shown of a worker that failed
_LOOK = 0.1  # seconds between two looks at the processes
_PATIENCE = 5.0  # seconds for the others to end by themselves when one has failed
_LAST = 60.0  # seconds for the others to end when the chief has, or one was interrupted or lost another
_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class ProcessError(RuntimeError):
    """One of the processes has failed.

    Args:
        told: What happened.
        status: The exit status of the command: :data:`~fuxi_mtl.cluster.LOST` where the same one with
            ``--resume`` may go on.
    """

    def __init__(self, told: str, status: int = 1):
        super().__init__(told)
        self.exit_status = status


@dataclass
class Worker:
    """A process and what it prints.

    Attributes:
        name: As messages call it.
        process: The process.
        output: The file of what it prints; None of the chief, which prints on the terminal.
    """

    name: str
    process: subprocess.Popen
    output: Path | None

    @property
    def status(self) -> int | None:
        """How it ended; None if it has not."""
        return self.process.poll()

    @property
    def was_interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM has ended it, which it may have handled."""
        return self.exit_status in _INTERRUPTED

    @property
    def was_killed(self) -> bool:
        """Whether another signal has ended it."""
        return (self.status or 0) < 0 and not self.was_interrupted

    @property
    def has_failed(self) -> bool:
        """Whether it ended for a reason of its own, and not because another one did."""
        return self.was_killed or self.exit_status not in (0, LOST, *_INTERRUPTED)

    @property
    def exit_status(self) -> int:
        """That of a command that ends as this process did."""
        status = self.status or 0
        if -status in (signal.SIGINT, signal.SIGTERM):
            return 128 - status
        return LOST if status < 0 else status

    def tail(self) -> str:
        """The last lines that it printed."""
        if self.output is None:
            return ""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:])

    def told(self) -> str:
        """How it ended, in words."""
        return ending_of(self.status or 0)


def launch(arguments: Sequence[str], count: int, gpus: Sequence[int]) -> int:
    """Runs one command in several processes that train as one.

    Args:
        arguments: The command, as this process was called.
        count: How many processes.
        gpus: A GPU for each, or -1 for the CPU.

    Returns:
        The exit status, which is the chief's where it has told it itself.

    Raises:
        ValueError: There are not as many GPUs as processes.
        ProcessError: Another process than the chief has failed, or the chief was killed.
    """
    if list(gpus) != [-1] and len(gpus) != count:
        shown = " ".join(map(str, gpus))
        raise ValueError(
            f"--gpu {shown}: each of {count} processes has one GPU of its own. Name {count}, or none."
        )
    folder = Path(tempfile.mkdtemp(prefix="fuxi_mtl-workers-"))
    with _started(arguments, count, gpus, folder) as workers, _passing_on(workers) as passed:
        chief = workers[0]
        cause = _cause(_ended(workers, passed), chief)
        _end(workers)
    own = cause in (None, chief) or passed or (cause.was_interrupted and chief.was_interrupted)
    if own and not chief.was_killed:
        removed(folder)
        return chief.exit_status
    failed = cause or chief
    told = (
        f"{failed.name} {failed.told()}, and all others were ended. The same command with --resume goes on "
        "from the last state of the training."
    )
    if failed.output is None:
        removed(folder)
    else:
        told += f" All that it printed is in {failed.output}; the last lines:\n{failed.tail()}"
    raise ProcessError(told, failed.exit_status if failed.exit_status in (LOST, *_INTERRUPTED) else 1)


@contextmanager
def _started(
    arguments: Sequence[str], count: int, gpus: Sequence[int], folder: Path
) -> Iterator[list[Worker]]:
    """The processes, none of which outlives the block."""
    addresses = _free_addresses(count)
    workers: list[Worker] = []
    try:
        with ExitStack() as files:
            for rank in range(count):
                cluster = Cluster(addresses, rank)
                gpu = gpus[rank % len(gpus)]
                output = folder / f"worker_{rank}.log" if rank else None
                stream = files.enter_context(output.open("w")) if output else None
                process = _process(arguments, cluster, gpu, stream)
                workers.append(Worker(f"Worker {rank} of {count} (process {process.pid})", process, output))
        yield workers
    finally:
        for worker in workers:
            if worker.status is None:
                worker.process.kill()
            worker.process.wait()
            if worker.process.stdin is not None:
                worker.process.stdin.close()


def _process(
    arguments: Sequence[str], cluster: Cluster, gpu: int, stream: IO[str] | None
) -> subprocess.Popen:
    return subprocess.Popen(
        # What is said last counts.
        [
            sys.executable,
            *("-m", "fuxi_mtl", *arguments),
            *("--processes", "1", "--gpu", str(gpu), "--ends_with_parent"),
        ],
        env={
            **_threads(os.environ, cluster.size),
            "TF_CONFIG": cluster.tf_config(),
            "PYTHONPATH": python_path(),
        },
        stdin=subprocess.PIPE,  # closed when this process is gone, however that ends
        stdout=stream,
        stderr=None if stream is None else subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches them once, through this process
    )


def python_path() -> str:
    """Where other processes look for modules, so that they find this package wherever it lies."""
    package = str(Path(__file__).parent.parent.parent)
    return os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])


def _threads(environment: Mapping[str, str], count: int) -> dict[str, str]:
    """An environment in which each of some processes takes its share of the cores, unless it says more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**dict.fromkeys(_THREADS, str(max(cores // count, 1))), **environment}


def _free_addresses(count: int) -> tuple[str, ...]:
    """Addresses by which processes of this machine find each other, on ports that nobody has.

    TensorFlow listens there on all interfaces, whatever an address says.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)


@contextmanager
def _passing_on(workers: Sequence[Worker]) -> Iterator[list[int]]:
    """Inside, each signal goes to all processes, and this one waits for them; those that came are listed."""
    passed: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as `signal` calls it
        passed.append(number)
        for worker in workers:
            if worker.status is None:
                worker.process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield passed
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(workers: Sequence[Worker], passed: Sequence[int]) -> list[Worker]:
    """Waits until all have ended, or one has and others had their time: those that have, in order."""
    ended: list[Worker] = []
    until = math.inf
    while len(ended) < len(workers) and time.monotonic() < until:
        now = [each for each in workers if each not in ended and each.status is not None]
        # Of two at once, one that was killed is the cause, and the chief before others.
        ended += sorted(now, key=lambda each: (each.status != -signal.SIGKILL, each is not workers[0]))
        if any(each.has_failed for each in now) and not passed:
            until = min(until, time.monotonic() + _PATIENCE)
        elif any(each.status or each is workers[0] for each in now):  # others may save, or say the cause
            until = min(until, time.monotonic() + _LAST)
        time.sleep(_LOOK)
    return ended


def _cause(ended: Sequence[Worker], chief: Worker) -> Worker | None:
    """Whose end is that of all; None if all is well."""
    failed = [each for each in ended if each.status]
    if chief in ended and not chief.status:  # the run is whole, whoever was interrupted or lost it then
        failed = [each for each in failed if each.has_failed]
    return min(failed, key=lambda each: (not each.has_failed, not each.was_interrupted), default=None)


def _end(workers: Sequence[Worker]) -> None:
    """Ends those that have not ended."""
    for worker in workers:
        if worker.status is None:
            worker.process.terminate()
    until = time.monotonic() + _PATIENCE
    while any(worker.status is None for worker in workers) and time.monotonic() < until:
        time.sleep(_LOOK)

"""Workers on this machine: processes that are started, watched and ended together."""

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
_LAST = 60.0  # seconds for the others to end when the chief has
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
        The exit status, which is the chief's.

    Raises:
        ValueError: There are not as many GPUs as processes.
        ProcessError: Another process than the chief has failed.
    """
    if list(gpus) != [-1] and len(gpus) != count:
        shown = " ".join(map(str, gpus))
        raise ValueError(
            f"--gpu {shown}: each of {count} processes has one GPU of its own. Name {count}, or none."
        )
    folder = Path(tempfile.mkdtemp(prefix="fuxi_mtl-workers-"))
    with _started(arguments, count, gpus, folder) as workers, _passing_on(workers) as passed:
        failed = _first_failed(workers)
        _end(workers, _PATIENCE if failed and not passed else _LAST)
    chief = workers[0].status or 0
    if failed is None or failed is workers[0] or passed:
        removed(folder)
        return 128 - chief if chief < 0 else chief
    raise ProcessError(
        f"{failed.name} {failed.told()}, and all others were ended. The same command with --resume goes on "
        f"from the last state of the training. All that it printed is in {failed.output}; the last lines:\n"
        + failed.tail(),
        LOST if (failed.status or 0) < 0 or failed.status == LOST else 1,
    )


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
    """Addresses of this machine alone, on ports that nobody has."""
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


def _first_failed(workers: Sequence[Worker]) -> Worker | None:
    """Waits until the chief has ended, or another one has failed: which that is."""
    while True:
        failed = [worker for worker in workers if worker.status]
        if failed:  # who says that another one is gone is not the cause
            return min(failed, key=lambda each: (each.status == LOST, each is workers[0]))
        if workers[0].status is not None:
            return None
        time.sleep(_LOOK)


def _end(workers: Sequence[Worker], patience: float) -> None:
    """Waits for all to end, and ends those that do not."""
    until = time.monotonic() + patience
    while any(worker.status is None for worker in workers) and time.monotonic() < until:
        time.sleep(_LOOK)
    for worker in workers:
        if worker.status is None:
            worker.process.terminate()
    until = time.monotonic() + _PATIENCE
    while any(worker.status is None for worker in workers) and time.monotonic() < until:
        time.sleep(_LOOK)

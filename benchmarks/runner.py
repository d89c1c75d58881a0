"""Runs contestants one after the other in processes of their own, in turns, and watches their memory."""

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import Request

ROOT = Path(__file__).parent.parent
SAMPLE_SECONDS = 0.25
TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Job:
    """One contestant at one size.

    Attributes:
        python: Interpreter of its environment.
        module: Its module in `benchmarks.peers`.
        request: What it is asked.
        root: The checkout whose modules it takes.
    """

    python: Path
    module: str
    request: Request
    root: Path = ROOT


@dataclass(frozen=True)
class Summary:
    """What several rounds gave.

    Attributes:
        median: Their median.
        low: The least.
        high: The greatest.
        rounds: All of them.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """The summary of at least one value."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def quotient(above: Summary, below: Summary) -> Summary:
    """``above / below`` round by round: what slows a whole round down cancels."""
    return Summary.of([a / b for a, b in zip(above.rounds, below.rounds, strict=False)])


def in_turns(
    jobs: Mapping[str, Job],
    rounds: int,
    each: Callable[[dict[str, list[dict[str, Any]]]], None] = lambda _: None,
    start: Callable[[Job], dict[str, Any]] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The results of all jobs, A B C A B C.

    Args:
        jobs: The jobs by name.
        rounds: How often each runs.
        each: Is shown all results after each job.
        start: Runs a job; :func:`run` unless said.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for turn in range(rounds):
        for name, job in jobs.items():
            if any("error" in result for result in results[name]):
                continue  # it would fail again
            result = (start or run)(job)
            results[name].append(result)
            speed = result.get("rows_per_second")
            shown = f"{speed:,.0f} rows/s" if speed else result.get("error", result.get("seconds"))
            print(f"round {turn + 1}: {name}: {shown}, {result['peak_mb']:,.0f} MB", flush=True)
            each(results)
    return results


def run(job: Job) -> dict[str, Any]:
    """One result; a contestant that fails gives ``error``. ``peak_mb`` is the memory of all its processes."""
    environment = {**os.environ, "PYTHONPATH": str(job.root), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [str(job.python), "-m", f"benchmarks.peers.{job.module}", job.request.dumps()]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=folder, env=environment, start_new_session=True
            )
            try:
                peak = _watch(process, job.request.seconds + TIMEOUT_SECONDS)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        lines = out.read_text(errors="replace").strip().splitlines()
        if process.returncode == 0 and lines:
            return {**json.loads(lines[-1]), "peak_mb": peak}
        reason = err.read_text(errors="replace").strip().splitlines()
        last = reason[-1] if reason else f"exit status {process.returncode}"
        return {"error": last[:300], "log": "\n".join(reason[-25:]), "peak_mb": peak}


def _watch(process: subprocess.Popen, timeout: float) -> float:
    """Waits for the end and returns the peak in MB."""
    end, peak = time.monotonic() + timeout, 0.0
    while time.monotonic() < end:
        peak = max(peak, memory_mb(process.pid))
        try:
            process.wait(SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        break
    return peak


def memory_mb(root: int) -> float:
    """Memory of a process and all below it.

    One process: the kernel's own high-water mark. Several: what is resident, pages that they share
    counted once (PSS).
    """
    tree = _tree(root)
    try:
        if len(tree) == 1:
            return _field(Path(f"/proc/{root}/status"), "VmHWM:") / 1024
        return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in tree) / 1024
    except (OSError, StopIteration):
        return 0.0  # one of them has just ended


def _tree(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        found.append(pid := waiting.pop())
        try:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        except OSError:
            continue
    return found


def _field(path: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name))

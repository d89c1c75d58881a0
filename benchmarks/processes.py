"""Training in two processes beside the same training in one: equality, and what a step sends.

Both processes are started once and train every case one behind the other, while this one trains each alone.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.replicas import NOTICED
from benchmarks.small_trainings import LEAST, SIZES, Case, Training, apart, chosen, logs_apart

ROOT = Path(__file__).parent.parent
COUNT = 2  # processes
LIMIT = 1800  # seconds to wait for a training of the others
NUMBERS = ("weights", "reversed", "logs", "copies")


class CaseError(RuntimeError):
    """Processes have failed in a training, and go on with the next one."""


def measure_processes(only: Sequence[str], steps: int, stops: bool, results: Path) -> dict[str, Any]:
    """Trains each case in one process and in two; writes ``processes.json`` after each.

    Args:
        only: Parts of the names of cases; none takes all. What was measured of the others stays.
        steps: Of each training.
        stops: Whether the processes are stopped (SIGSTOP) and go on at random moments.
        results: Folder of the results.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    stored = results / "processes.json"
    content = json.loads(stored.read_text()) if stored.exists() else {"tables": {}}
    content |= {"name": "processes", "machine": machine(), "steps": steps}
    with tempfile.TemporaryDirectory() as name, _workers(Path(name), steps, only) as workers:
        for number, (title, case) in enumerate(chosen(only)):
            started = time.perf_counter()
            try:
                found = _compared(case, steps, Path(name), number, workers, stops)
            except CaseError as error:
                found = {"failed": str(error)}
            print(f"{title}: {case.name}: {found} {time.perf_counter() - started:.0f} s", flush=True)
            content["tables"].setdefault(title, {})[case.name] = found
            write(stored, content)
            tf.keras.backend.clear_session()
    return content


def addresses() -> list[dict[str, str]]:
    """What the environment of each process has, so that they find each other."""
    from fuxi_mtl.cli.processes import _free_addresses
    from fuxi_mtl.cluster import Cluster

    found = _free_addresses(COUNT)
    return [{"TF_CONFIG": Cluster(found, rank).tf_config()} for rank in range(COUNT)]


@contextmanager
def _workers(folder: Path, steps: int, only: Sequence[str]) -> Iterator[list[subprocess.Popen]]:
    """The processes that train together, which end with the block."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.process_worker", str(folder), str(steps), *only],
            env={"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", **os.environ, **environment},
            cwd=ROOT,
        )
        for environment in addresses()
    ]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def _compared(
    case: Case, steps: int, folder: Path, number: int, workers: Sequence[subprocess.Popen], stops: bool
) -> dict[str, Any]:
    """How far two processes are from one after some steps, and from each other; and what a step sends.

    Returns:
        ``weights``, ``logs``, ``copies`` and ``reversed`` as in ``replicas``; ``sums`` and ``gathers``: the
        collectives of a step; ``bytes``: what a process gives to them in a step, on average.
    """
    one = Training(case)
    logs, weights = one.run(steps), one.weights()
    of_each = [_awaited(folder / f"{number}_{rank}", workers, stops) for rank in range(COUNT)]
    first, *others = [[each[f"weight {at}"] for at in range(len(weights))] for each in of_each]
    copies = [
        np.abs(np.float64(a) - np.float64(b)).max()
        for other in others
        for a, b in zip(first, other, strict=True)
        if a.size
    ]
    known, sent = (json.loads(str(of_each[0][name])) for name in ("log", "sent"))
    found = {"weights": apart(weights, first), "logs": logs_apart(logs, known), "copies": max(copies)}
    if found["weights"] > NOTICED:
        other = Training(case, backwards=True)
        other.run(steps)
        found["reversed"] = apart(weights, other.weights())
    return {name: float(f"{value:.2g}") for name, value in found.items()} | sent


def _awaited(file: Path, workers: Sequence[subprocess.Popen], stops: bool) -> Mapping[str, np.ndarray]:
    """What a process has found of a case.

    Raises:
        CaseError: The training has failed in a process.
        RuntimeError: A process has ended, or does not answer.
    """
    drawn = random.Random(file.name)  # noqa: S311 - moments, no secrets
    until = time.monotonic() + LIMIT
    while not file.with_suffix(".npz").exists():
        if file.with_suffix(".txt").exists():
            raise CaseError(file.with_suffix(".txt").read_text().strip().splitlines()[-1])
        ended = [rank for rank, each in enumerate(workers) if each.poll()]
        if ended or time.monotonic() > until:
            raise RuntimeError(f"process {ended[0]} has ended." if ended else f"nothing in {LIMIT} s.")
        if stops:
            stopped = drawn.choice(workers)
            stopped.send_signal(signal.SIGSTOP)
            time.sleep(drawn.uniform(0.05, 0.5))
            stopped.send_signal(signal.SIGCONT)
        time.sleep(drawn.uniform(0.05, 0.5))
    with np.load(file.with_suffix(".npz")) as content:
        return dict(content)


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    steps, sizes = content["steps"], ", ".join(map(str, SIZES))
    text = (
        f"The same {steps} steps of the same small trainings as on two replicas (batches of {sizes} rows, "
        "again and again; the last leaves process 0 without a row), in two processes by the steps of any "
        "run, beside one process. Largest difference of a weight, over the largest of its variable or "
        f"{LEAST:g}; the same between two trainings of one process, one of which has the rows of each batch "
        f"in reverse (where the former is above {NOTICED:g}); of a number in the log; of a weight between "
        "the two processes; collectives of a step (of turns, those of all), one of them for the log and for "
        "what a worker wants; and bytes that a process gives to them in a step, on average. A case without a "
        "row was not trained yet."
    )
    parts = ["", "## Two processes beside one", text]
    for title, found in content["tables"].items():
        rows = [
            (
                name,
                *(f"{each[key]:.1e}" if key in each else "" for key in NUMBERS),
                *(str(each.get(key, each.get("failed", ""))) for key in ("sums", "gathers", "bytes")),
            )
            for name, each in found.items()
        ]
        parts += table(
            (title, "weights", "rows reversed", "log", "between processes", "sums", "gathers", "bytes"), rows
        )
    return parts

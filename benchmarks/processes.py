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
BOUND = 1e-5  # of all numbers but "reversed"
# M3oE's fusion scalars learn from validation batches: two orders of rows in one process are as far apart. In
# half precision a sum over processes is rounded between its parts, to 1e-3.
BOUNDS = {"M3oE": 1e-4, "float16, scaled losses": 1e-3}


class CaseError(RuntimeError):
    """Processes have failed in a training, and go on with the next one."""


def measure_processes(
    only: Sequence[str], steps: int, turns: int, missing: bool, stops: bool, results: Path
) -> dict[str, Any]:
    """Trains each case in one process and in two; writes ``processes.json`` after each.

    Args:
        only: Parts of the names of cases; none takes all. What was measured of the others stays.
        steps: Of each training.
        turns: How often two processes train each, from the same beginning; the worst of them is told.
        missing: Whether cases that have a result already are left out.
        stops: Whether the processes are stopped (SIGSTOP) and go on at random moments.
        results: Folder of the results.

    Raises:
        RuntimeError: Some cases are beyond :data:`BOUND` or have failed.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    stored = results / "processes.json"
    content = json.loads(stored.read_text()) if stored.exists() else {"tables": {}}
    content |= {"name": "processes", "machine": machine(), "steps": steps}
    every, chosen_ones = chosen(()), set(_names(chosen(only)))
    done = {
        (title, name)
        for title, found in content["tables"].items()
        for name, each in found.items()
        if missing and "failed" not in each
    }
    numbers = [at for at, name in enumerate(_names(every)) if name in chosen_ones - done]
    measured: dict[str, Mapping[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, _workers(Path(folder), steps, turns, numbers) as workers:
        for at in numbers:
            title, case = every[at]
            started = time.perf_counter()
            files = [[Path(folder, f"{at}_{turn}_{rank}") for rank in range(COUNT)] for turn in range(turns)]
            try:
                found = _compared(case, steps, files, workers, stops)
            except CaseError as error:
                found = {"failed": str(error)}
            print(f"{title}: {case.name}: {found} {time.perf_counter() - started:.0f} s", flush=True)
            content["tables"].setdefault(title, {})[case.name] = found
            measured[case.name] = found
            write(stored, content)
            tf.keras.backend.clear_session()
    told = outside(measured)
    if told:
        raise RuntimeError(f"of {len(numbers)} cases these are not as in one process: {'; '.join(told)}")
    return content


def _names(several: Sequence[tuple[str, Case]]) -> list[tuple[str, str]]:
    return [(title, case.name) for title, case in several]


def outside(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was found of cases beyond their bound, in words; of all that is right nothing.

    >>> outside({"PLE": {"weights": 2e-7}, "MMoE": {"weights": 0.02}, "STAR": {"failed": "why"}})
    ['MMoE: weights 0.02 apart, at most 1e-05', 'STAR: why']
    """
    told = []
    for name, each in found.items():
        told += [f"{name}: {each['failed']}"] if "failed" in each else []
        bound = BOUNDS.get(name, BOUND)
        told += [
            f"{name}: {what} {each[what]:g} apart, at most {bound:g}"
            for what in ("weights", "logs", "copies")
            if what in each and not each[what] <= bound
        ]
    return told


def addresses() -> list[dict[str, str]]:
    """What the environment of each process has, so that they find each other."""
    from fuxi_mtl.cli.processes import _free_addresses
    from fuxi_mtl.cluster import Cluster

    found = _free_addresses(COUNT)
    return [{"TF_CONFIG": Cluster(found, rank).tf_config()} for rank in range(COUNT)]


@contextmanager
def _workers(
    folder: Path, steps: int, turns: int, numbers: Sequence[int]
) -> Iterator[list[subprocess.Popen]]:
    """The processes that train together, which end with the block."""
    asked = [str(each) for each in (folder, steps, turns, *numbers)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.process_worker", *asked],
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
    case: Case,
    steps: int,
    files: Sequence[Sequence[Path]],
    workers: Sequence[subprocess.Popen],
    stops: bool,
) -> dict[str, Any]:
    """How far two processes are from one after some steps, and from each other; and what a step sends.

    Args:
        case: The training.
        steps: How many.
        files: What each process leaves, by turn.
        workers: The processes.
        stops: Whether they are stopped meanwhile.

    Returns:
        ``weights``, ``logs`` and ``copies``, the worst of all turns, and ``reversed`` as in ``replicas``;
        ``sums`` and ``gathers``: the collectives of a step; ``bytes``: what a process gives to them in a
        step, on average; ``turns``, if they are several.
    """
    one = Training(case)
    logs, weights = one.run(steps), one.weights()
    told = []
    sent: dict[str, int] = {}
    for turn in files:
        first, *others = [_awaited(file, workers, stops) for file in turn]
        several = [[each[f"weight {at}"] for at in range(len(weights))] for each in (first, *others)]
        known, sent = (json.loads(str(first[name])) for name in ("log", "sent"))
        copies = [_copies_apart(several[0], other) for other in several[1:]]
        told.append((apart(weights, several[0]), logs_apart(logs, known), max(copies)))
    found = dict(zip(("weights", "logs", "copies"), map(float, np.max(told, axis=0)), strict=True))
    if not found["weights"] <= NOTICED:
        one.restart(backwards=True)
        one.run(steps)
        found["reversed"] = apart(weights, one.weights())
    rounded = {name: float(f"{value:.2g}") for name, value in found.items()}
    return rounded | sent | ({"turns": len(files)} if len(files) > 1 else {})


def _copies_apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    pairs = [(np.float64(a), np.float64(b)) for a, b in zip(one, other, strict=True) if a.size]
    return float(np.max([np.abs(a - b).max() for a, b in pairs]))


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


def verdict(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """What is right, and whether it is so.

    Args:
        cells: What was found of each case, with its name.
    """
    more = ", ".join(f"{name} ({bound:g})" for name, bound in BOUNDS.items())
    told = [line for name, each in cells for line in outside({name: each})]
    return f"At most {BOUND:g} is right, and more where rounding alone is more: {more}. " + (
        f"Not so: {'; '.join(told)}." if told else f"So are all {len(cells)} cases."
    )


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    steps, sizes = content["steps"], ", ".join(map(str, SIZES))
    cells = [cell for found in content["tables"].values() for cell in found.items()]
    text = (
        f"The same {steps} steps of the same small trainings as on two replicas (batches of {sizes} rows, "
        "again and again; the last leaves process 0 without a row), in two processes by the steps of any "
        "run, beside one process. Largest difference of a weight, over the largest of its variable or "
        f"{LEAST:g}; the same between two trainings of one process, one of which has the rows of each batch "
        f"in reverse (where the former is above {NOTICED:g}); of a number in the log; of a weight between "
        "the two processes; collectives of a step (of turns, those of all), one of them for the log and for "
        "what a worker wants; bytes that a process gives to them in a step, on average; and how often two "
        f"processes trained it from the same beginning, of which the worst is told. {verdict(cells)} A case "
        "without a row was not trained yet."
    )
    parts = ["", "## Two processes beside one", text]
    for title, found in content["tables"].items():
        rows = [
            (
                name,
                *(f"{each[key]:.1e}" if key in each else "" for key in NUMBERS),
                *(str(each.get(key, each.get("failed", ""))) for key in ("sums", "gathers", "bytes")),
                str(each.get("turns", 1)),
            )
            for name, each in found.items()
        ]
        heading = (title, "weights", "rows reversed", "log", "between processes")
        parts += table((*heading, "sums", "gathers", "bytes", "turns"), rows)
    return parts

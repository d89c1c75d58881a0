"""Training on two replicas beside the same training on one: equality, and what they say to each other.

Two CPU devices of one process stand for two GPUs: a batch is cut in two, as it is there, and the last batch
of each pass has one row, which leaves the second replica without any.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.small_trainings import LEAST, RATE, SIZES, Case, Training, apart, chosen, logs_apart

NOTICED = 1e-6  # a difference above it is held against one of another order of rows
NUMBERS = ("weights", "reversed", "logs", "copies")


def measure_replicas(only: Sequence[str], steps: int, results: Path) -> dict[str, Any]:
    """Trains each case on one and on two replicas; writes ``replicas.json`` after each.

    Args:
        only: Parts of the names of cases; none takes all. What was measured of the others stays.
        steps: Of each training.
        results: Folder of the results.
    """
    two = two_devices()
    content = _before(results)
    content |= {"name": "replicas", "machine": machine(), "steps": steps}
    for title, case in chosen(only):
        started = time.perf_counter()
        found = compared(case, two, steps)
        print(f"{title}: {case.name}: {found} {time.perf_counter() - started:.0f} s", flush=True)
        content["tables"].setdefault(title, {})[case.name] = found
        write(results / "replicas.json", content)
    return content


def _before(results: Path) -> dict[str, Any]:
    import json

    stored = results / "replicas.json"
    return json.loads(stored.read_text()) if stored.exists() else {"tables": {}}


def two_devices() -> Any:
    """A strategy over two CPU devices; before TensorFlow computes anything."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # To rewrite a graph first takes as long as to trace it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def compared(case: Case, strategy: Any, steps: int, traced: bool = True) -> dict[str, Any]:
    """How far two replicas are from one after some steps, and from each other; and how often they meet.

    Args:
        case: Which training.
        strategy: Of the replicas.
        steps: Of each training.
        traced: Whether the steps of one replica are a graph, as those of several always are.

    Returns:
        ``weights``: the largest difference of a weight, over the largest one of its variable. ``logs``:
        that of a number in the log, over itself. ``copies``: the largest difference of a weight between the
        replicas. ``sums`` and ``gathers``: collective operations in the graph of a step. ``reversed``, of
        what is noticed: the difference of weights where one replica has the rows of each batch in another
        order, which is rounding alone.
    """
    import tensorflow as tf

    one, two = Training(case, traced=traced), Training(case, strategy)
    logs, other_logs = one.run(steps), two.run(steps)
    copies = max((_spread(strategy, v) for v in two.model.variables), default=0.0)
    found = {
        "weights": apart(one.weights(), two.weights()),
        "logs": logs_apart(logs, other_logs),
        "copies": copies,
    }
    if found["weights"] > NOTICED:
        other = Training(case, backwards=True, traced=traced)
        other.run(steps)
        found["reversed"] = apart(one.weights(), other.weights())
    tf.keras.backend.clear_session()
    return {name: float(f"{value:.2g}") for name, value in found.items()} | two.collectives()


def _spread(strategy: Any, variable: Any) -> float:
    first, *others = (np.float64(v.numpy()) for v in strategy.experimental_local_results(variable.value))
    return max((float(np.abs(each - first).max()) for each in others if first.size), default=0.0)


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    steps, sizes = content["steps"], ", ".join(map(str, SIZES))
    text = (
        f"{steps} steps of SGD at {RATE:g} (unless a row says otherwise) on batches of {sizes} rows, again "
        "and again: the last leaves the second replica without a row. Small networks in float32, weights of "
        "rows from .5 to 2, ShareBottom unless a row names a model. Largest difference of a weight, over the "
        f"largest of its variable or {LEAST:g}; the same between two trainings on one replica, one of which "
        f"has the rows of each batch in reverse (where the former is above {NOTICED:g}): what rounding alone "
        f"does; of a number in the log, over itself or {LEAST:g}; of a weight between the two replicas; and "
        "collective operations in the graph of a step (of turns, those of all)."
    )
    parts = ["", "## Two replicas beside one", text]
    for title, found in content["tables"].items():
        rows = [
            (
                name,
                *(f"{each[key]:.1e}" if key in each else "" for key in NUMBERS),
                str(each["sums"]),
                str(each["gathers"]),
            )
            for name, each in found.items()
        ]
        parts += table(
            (title, "weights", "rows reversed", "log", "between replicas", "sums", "gathers"), rows
        )
    return parts

"""Training with tables that are spread over processes, beside the same training in one: equality, traffic.

The cases are those of `replicas`, on real processes of this machine; the last batch of each pass leaves all
workers but one without rows.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.processes import outside, verdict
from benchmarks.small_trainings import LEAST, Case, Training, cases, small

ROOT = Path(__file__).parent.parent
COMPOSED = "composed, frozen and pretrained"  # user is composed of two rows; item's are given, and stay
SENT_ON = "rows sent on by others"  # as where blocks are many and have few rows
LIMIT = 1800  # seconds to wait for a training of the others
NUMBERS = ("weights", "copies")
_SEVERAL = {"surgery": "pcgrad", "surgery_mode": "full"}  # gradients of rows, one behind the other


def measure_shards(
    only: Sequence[str], steps: int, processes: int, missing: bool, results: Path
) -> dict[str, Any]:
    """Trains each case in one process and in several, with spread tables; writes ``shards.json`` after each.

    Args:
        only: Parts of the names of cases; none takes all. What was measured of the others stays.
        steps: Of each training.
        processes: How many share the tables.
        missing: Whether cases that have a result already are left out.
        results: Folder of the results.

    Raises:
        RuntimeError: Some cases are beyond their bound or have failed.
    """
    stored = results / "shards.json"
    content = json.loads(stored.read_text()) if stored.exists() else {"tables": {}}
    content |= {"name": "shards", "machine": machine(), "steps": steps}
    measured: dict[str, Any] = {}
    every = _every()
    numbers = [
        at
        for at, (title, case) in enumerate(every)
        if (not only or any(part in case.name for part in only))
        and not (missing and _known(content, title, case.name, processes))
    ]
    with tempfile.TemporaryDirectory() as name, _workers(Path(name), steps, processes, numbers) as workers:
        for at in numbers:
            title, case = every[at]
            started = time.perf_counter()
            found = _compared([Path(name, f"{at}_{rank}.npz") for rank in range(processes)], workers)
            print(f"{title}: {case.name}: {found} {time.perf_counter() - started:.0f} s", flush=True)
            content["tables"].setdefault(title, {}).setdefault(case.name, {})[str(processes)] = found
            measured[case.name] = found
            write(stored, content)
    told = outside(measured)
    if told:
        raise RuntimeError(f"of {len(numbers)} cases these are not as in one process: {'; '.join(told)}")
    return content


def _known(content: Mapping[str, Any], title: str, name: str, processes: int) -> bool:
    found = content["tables"].get(title, {}).get(name, {}).get(str(processes))
    return found is not None and "failed" not in found


@contextlib.contextmanager
def _workers(
    folder: Path, steps: int, processes: int, numbers: Sequence[int]
) -> Iterator[list[subprocess.Popen]]:
    """The processes that train together, which end with the block."""
    from fuxi_mtl.cli.processes import _free_addresses
    from fuxi_mtl.cluster import Cluster

    addresses = _free_addresses(processes)
    workers: list[subprocess.Popen] = []
    with contextlib.ExitStack() as stack:
        try:
            for rank in range(processes):
                environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
                environment |= {"TF_CONFIG": Cluster(addresses, rank).tf_config(), "PYTHONPATH": str(ROOT)}
                asked = [str(each) for each in (folder, steps, *numbers)]
                log = stack.enter_context((folder / f"{rank}.log").open("w"))
                command = [sys.executable, "-m", "benchmarks.shards", *asked]
                workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT))
            yield workers
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def _every() -> list[tuple[str, Case]]:
    everything = cases() | {"tables": [Case(COMPOSED), Case(SENT_ON, surgery=_SEVERAL)]}
    return [(title, case) for title, several in everything.items() for case in several]


def _compared(files: Sequence[Path], workers: Sequence[subprocess.Popen]) -> dict[str, Any]:
    """How far the weights of all workers are from those of one process, once all have left theirs."""
    until = time.monotonic() + LIMIT
    while not all(file.exists() for file in files):
        ended = [rank for rank, worker in enumerate(workers) if worker.poll() is not None]
        if ended or time.monotonic() > until:
            logs = [files[0].parent / f"{rank}.log" for rank in ended or range(len(workers))]
            told = "\n".join(log.read_text()[-3000:] for log in logs)
            raise RuntimeError(f"a worker has ended, or says nothing for {LIMIT} s:\n{told}")
        time.sleep(0.1)
    shares = [np.load(file) for file in files]
    if "failed" in shares[0].files:
        return {"failed": str(shares[0]["failed"])}
    weights, copies = [0.0], [0.0]
    for key in [key for key in shares[0].files if key.startswith("one/")]:
        one, name = np.float64(shares[0][key]), key.removeprefix("one/")
        several = [np.float64(share[name]) for share in shares]
        if bool(shares[0][f"spread/{name}"]):
            whole = np.stack(several, axis=1).reshape(-1, *one.shape[1:])[: len(one)]
        else:
            whole = several[0]
            copies += [float(np.abs(each - whole).max(initial=0)) for each in several[1:]]
        largest = np.maximum(np.abs(one).max(initial=0), LEAST)
        weights.append(float(np.abs(whole - one).max(initial=0) / largest))
    traffic = np.sum([share["traffic"] for share in shares], axis=0)
    steps = traffic[0] / len(shares)
    return {
        "weights": float(f"{np.max(weights):.2g}"),
        "copies": float(np.max(copies)),
        "rows asked": round(float(traffic[1] / steps), 1) if steps else 0,
        "rows sent": round(float(traffic[2] / steps), 1) if steps else 0,
    }


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    steps = content["steps"]
    cells = [
        (name, each)
        for several in content["tables"].values()
        for name, by_processes in several.items()
        for each in by_processes.values()
    ]
    text = (
        f"The same {steps} steps of the same small trainings with all tables spread over processes of this "
        "machine, beside one process that has them whole: largest difference of a weight, over the largest "
        f"of its variable or {LEAST:g}; of a weight between the processes; and of all processes the rows "
        "that a look-up asked for, and the room of the blocks that were sent for it. "
        f"{verdict(cells)} A case without a row was not trained yet."
    )
    rows = [
        (
            title,
            name,
            processes,
            *(f"{each[key]:.1e}" if key in each else "" for key in NUMBERS),
            *(str(each.get(key, each.get("failed", ""))) for key in ("rows asked", "rows sent")),
        )
        for title, several in content["tables"].items()
        for name, by_processes in several.items()
        for processes, each in by_processes.items()
    ]
    heading = ("", "training", "processes", "weights", "between processes", "rows asked", "rows sent")
    return ["", "## Tables that are spread over processes", text, *table(heading, rows)]


def _composed(features: Any, folder: Path) -> Any:
    """The small features, of which two have rows of other kinds."""
    [item] = [each for each in features.features if each.name == "item"]
    vectors = np.random.default_rng(5).normal(size=(item.vocab_size, item.embedding_dim)) / 10
    np.save(folder / f"vectors_{os.getpid()}.npy", vectors)
    changes = {
        "user": {"num_remainder_buckets": 3},
        "item": {"trainable": False, "pretrained": f"vectors_{os.getpid()}.npy"},
    }
    changed = tuple(replace(each, **changes.get(each.name, {})) for each in features.features)
    return replace(features, features=changed, folder=str(folder))


@contextlib.contextmanager
def _sent_on(always: bool) -> Iterator[None]:
    """Blocks are as small as they may be wherever rows are asked for and sent on, if `always`."""
    from fuxi_mtl.cluster import blocks, exchange

    before = blocks.MOST_PADDING, exchange.SENT_ON
    if always:
        blocks.MOST_PADDING, exchange.SENT_ON = (0, 1), (-max(blocks.SIZES),) * len(blocks.SENT_ON)
    try:
        yield
    finally:
        blocks.MOST_PADDING, exchange.SENT_ON = before


class _Spread(Training):
    """A training of this process and the others, each on its rows of a batch."""

    def _taken(self, batch: Any) -> Any:
        return self._strategy.run(self.model.train_step, args=(batch,))

    def _batches(self, steps: int) -> Any:
        import tensorflow as tf

        from fuxi_mtl.cluster.workers import connected

        workers: Any = connected()
        return iter(workers.own_rows(self.whole_batches(steps)).with_options(tf.data.Options()))


def work(folder: Path, steps: int, numbers: Sequence[int]) -> None:
    """What each worker does: all trainings, one behind the other."""
    from fuxi_mtl.cluster import cluster_of
    from fuxi_mtl.cluster.workers import connect

    cluster: Any = cluster_of(os.environ)
    workers = connect(cluster)
    plain, every = small().FEATURES, _every()
    for at in numbers:
        case = every[at][1]
        small().FEATURES = _composed(plain, folder) if case.name == COMPOSED else plain
        try:
            with _sent_on(case.name == SENT_ON):
                found = _trained(case, steps, workers)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this case
            found = {"failed": f"{type(error).__name__}: {error}"}
        np.savez(folder / f"{at}_{cluster.rank}.tmp.npz", **found)
        (folder / f"{at}_{cluster.rank}.tmp.npz").rename(folder / f"{at}_{cluster.rank}.npz")
    time.sleep(LIMIT)  # the others still look at what this one has left


def _trained(case: Case, steps: int, workers: Any) -> dict[str, Any]:
    """The weights of this worker, and in the chief those of one process, too."""
    from fuxi_mtl.cluster.replicas import is_own
    from fuxi_mtl.layers import lookup_of
    from fuxi_mtl.layers.shards import spreading

    with spreading(lambda *_: True):
        several = _Spread(case, workers.strategy)
    several.run(steps)
    found: dict[str, Any] = {f"{at}": each for at, each in enumerate(several.weights())}
    variables = [v for v in several.model.variables if "seed" not in v.path]
    found |= {f"spread/{at}": is_own(each) for at, each in enumerate(variables)}
    shards = [lookup.shard for v in variables if (lookup := lookup_of(v)) is not None and lookup.shard]
    found["traffic"] = np.sum([shard.exchange.traffic() for shard in shards], axis=0)
    if workers.is_chief:
        one = Training(case)
        one.run(steps)
        found |= {f"one/{at}": each for at, each in enumerate(one.weights())}
    return found


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), list(map(int, sys.argv[3:])))

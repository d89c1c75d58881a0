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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.measure import write
from benchmarks.small_trainings import LEAST, Case, Training, cases, small

ROOT = Path(__file__).parent.parent
COMPOSED = "composed, and frozen"  # user is composed of two rows, and the rows of item are not trained


def measure_shards(only: Sequence[str], steps: int, processes: int, results: Path) -> dict[str, Any]:
    """Trains each case in one process and in several, with spread tables; writes ``shards.json`` after each.

    Args:
        only: Parts of the names of cases; none takes all. What was measured of the others stays.
        steps: Of each training.
        processes: How many share the tables.
        results: Folder of the results.
    """
    from fuxi_mtl.cli.processes import _free_addresses
    from fuxi_mtl.cluster import Cluster

    stored = results / "shards.json"
    content = json.loads(stored.read_text()) if stored.exists() else {"tables": {}}
    content |= {"name": "shards", "machine": machine(), "steps": steps}
    addresses = _free_addresses(processes)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        workers = []
        for rank in range(processes):
            environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            environment |= {"TF_CONFIG": Cluster(addresses, rank).tf_config(), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "benchmarks.shards", folder, str(steps), *only]
            log = stack.enter_context((Path(folder) / f"{rank}.log").open("w"))
            workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT))
        for title, case in _wanted(only):
            started = time.perf_counter()
            found = _compared(Path(folder), case, workers)
            print(f"{title}: {case.name}: {found} {time.perf_counter() - started:.0f} s", flush=True)
            content["tables"].setdefault(title, {}).setdefault(case.name, {})[str(processes)] = found
            write(stored, content)
        for worker in workers:
            worker.wait()
    return content


def _wanted(only: Sequence[str]) -> list[tuple[str, Case]]:
    everything = cases() | {"tables": [Case(COMPOSED)]}
    pairs = [(title, case) for title, several in everything.items() for case in several]
    return [(title, case) for title, case in pairs if not only or any(part in case.name for part in only)]


def _compared(folder: Path, case: Case, workers: Sequence[subprocess.Popen]) -> dict[str, Any]:
    """How far the weights of all workers are from those of one process, once all have left theirs."""
    name = case.name.replace("/", " ").replace(" ", "_")
    files = [folder / f"{name}.{rank}.npz" for rank in range(len(workers))]
    while not all(file.exists() for file in files):
        failed = [rank for rank, worker in enumerate(workers) if worker.poll()]
        if failed:
            told = (folder / f"{failed[0]}.log").read_text()[-3000:]
            raise RuntimeError(f"{case.name}: worker {failed[0]} has failed:\n{told}")
        time.sleep(0.1)
    shares = [np.load(file) for file in files]
    if "refused" in shares[0].files:
        return {"refused": str(shares[0]["refused"])}
    apart = copies = 0.0
    for key in [key for key in shares[0].files if key.startswith("one/")]:
        one, name = np.float64(shares[0][key]), key.removeprefix("one/")
        several = [np.float64(share[name]) for share in shares]
        if bool(shares[0][f"spread/{name}"]):
            whole = np.stack(several, axis=1).reshape(-1, *one.shape[1:])[: len(one)]
        else:
            whole = several[0]
            copies = max([copies, *(float(np.abs(each - whole).max(initial=0)) for each in several[1:])])
        apart = max(apart, float(np.abs(whole - one).max(initial=0) / max(np.abs(one).max(initial=0), LEAST)))
    traffic = np.sum([share["traffic"] for share in shares], axis=0)
    steps = traffic[0] / len(shares)
    return {
        "weights": float(f"{apart:.2g}"),
        "copies": copies,
        "rows asked": round(float(traffic[1] / steps), 1) if steps else 0,
        "rows sent": round(float(traffic[2] / steps), 1) if steps else 0,
    }


def _composed(features: Any) -> Any:
    changes = {"user": {"num_remainder_buckets": 3}, "item": {"trainable": False}}
    return replace(features, features=tuple(replace(f, **changes.get(f.name, {})) for f in features))


class _Spread(Training):
    """A training of this process and the others, each on its rows of a batch."""

    def _taken(self, batch: Any) -> Any:
        return self._strategy.run(self.model.train_step, args=(batch,))

    def _batches(self, steps: int) -> Any:
        import tensorflow as tf

        from fuxi_mtl.cluster.workers import connected

        workers: Any = connected()
        return iter(workers.own_rows(self.whole_batches(steps)).with_options(tf.data.Options()))


def work(folder: Path, steps: int, only: Sequence[str]) -> None:
    """What each worker does: all trainings, one behind the other."""
    from fuxi_mtl.cluster import cluster_of
    from fuxi_mtl.cluster.replicas import is_own
    from fuxi_mtl.cluster.workers import connect
    from fuxi_mtl.layers.shards import Shard, spreading

    cluster: Any = cluster_of(os.environ)
    workers = connect(cluster)
    plain = small().FEATURES
    for _, case in _wanted(only):
        small().FEATURES = _composed(plain) if case.name == COMPOSED else plain
        name = case.name.replace("/", " ").replace(" ", "_")
        shards: list[Shard] = []
        init = Shard.__init__

        def kept(self, *args, init=init, shards=shards):
            init(self, *args)
            shards.append(self)

        Shard.__init__ = kept  # type: ignore[method-assign]
        found: dict[str, Any] = {}
        try:
            with spreading(lambda *_: True):
                several = _Spread(case, workers.strategy)
                several.run(steps)
            found = {f"{at}": each for at, each in enumerate(several.weights())}
            spread = [is_own(v) for v in several.model.variables if "seed" not in v.path]
            found |= {f"spread/{at}": each for at, each in enumerate(spread)}
            found["traffic"] = np.sum([shard.exchange.traffic() for shard in shards], axis=0)
            if workers.is_chief:
                one = Training(case)
                one.run(steps)
                found |= {f"one/{at}": each for at, each in enumerate(one.weights())}
        except ValueError as error:
            found = {"refused": str(error)}
        finally:
            Shard.__init__ = init  # type: ignore[method-assign]
        np.savez(folder / f"{name}.{cluster.rank}.tmp.npz", **found)
        (folder / f"{name}.{cluster.rank}.tmp.npz").rename(folder / f"{name}.{cluster.rank}.npz")


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

"""Training steps of the reference work in several processes, taken when they are asked for.

A :class:`Team` starts the processes and asks; ``python -m benchmarks.cluster_steps REQUEST`` is one of them.
The steps are those that a command takes (`SharedSteps`, or `OwnSteps` of a process alone): only evaluation,
states and the log are left out.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

ROOT = Path(__file__).parent.parent
SECONDS = 900  # that a process may take to answer


@dataclass(frozen=True)
class Work:
    """What each process trains.

    Attributes:
        folder: A prepared and encoded workload.
        batch: Rows of a global batch.
        stanza: What differs from the benchmarks' stanza.
    """

    folder: str
    batch: int = 4096
    stanza: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        command: What its command begins with (``ip netns exec NAME``).
        addresses: Of all workers as it reaches them; its own is the port it listens at.
    """

    command: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Team:
    """Processes that train together, or beside each other.

    Args:
        work: What each trains.
        places: Where, in the order of their ranks; without addresses each trains alone.
        logs: Folder for what they print.
        threads: Threads of each; its share of the cores unless said.
    """

    def __init__(self, work: Work, places: Sequence[Place], logs: Path, threads: int | None = None):
        from fuxi_mtl.cluster import Cluster

        threads = threads or max((os.cpu_count() or 1) // len(places), 1)
        self.processes: list[subprocess.Popen] = []
        self._files: list[IO[str]] = []
        for rank, place in enumerate(places):
            environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
            environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
            environment.pop("TF_CONFIG", None)
            if len(place.addresses) > 1:
                environment["TF_CONFIG"] = Cluster(place.addresses, rank).tf_config()
            self._files.append((logs / f"worker_{rank}.log").open("w"))
            self.processes.append(
                subprocess.Popen(
                    [*place.command, sys.executable, "-m", __name__, json.dumps(asdict(work))],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._files[-1],
                    text=True,
                    cwd=ROOT,
                )
            )

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for file in self._files:
            file.close()

    def take(self, steps: int, keep: Path | None = None, alone: bool = False) -> list[dict[str, Any]]:
        """Has all take steps at once; what each tells of them: seconds, of the processor, too, and memory.

        Args:
            steps: How many.
            keep: Folder for the weights that each has behind them, in ``RANK.npz``.
            alone: Whether each takes them with a network of its own, on its share of a batch, without the
                others.

        Raises:
            RuntimeError: One has failed.
        """
        for rank, process in enumerate(self.processes):
            files = {"keep": "" if keep is None else str(keep / f"{rank}.npz"), "alone": alone}
            with contextlib.suppress(BrokenPipeError):  # its log says why
                cast("IO[str]", process.stdin).write(json.dumps({"steps": steps, **files}) + "\n")
                cast("IO[str]", process.stdin).flush()
        return [self._answer(rank) for rank in range(len(self.processes))]

    def _answer(self, rank: int) -> dict[str, Any]:
        for line in cast("IO[str]", self.processes[rank].stdout):
            if line.startswith("{"):
                return json.loads(line)
        self.processes[rank].wait()
        told = Path(self._files[rank].name).read_text(errors="replace").strip().splitlines()[-12:]
        raise RuntimeError(f"worker {rank} has ended:\n" + "\n".join(told))

    def sent(self) -> list[int] | None:
        """Bytes that have left each process's network by any device, counted by the kernel.

        None if all of them share the network of this process, where others send, too.
        """
        here = Path("/proc/self/ns/net").readlink()
        folders = [Path(f"/proc/{process.pid}") for process in self.processes]
        if any((folder / "ns" / "net").readlink() == here for folder in folders):
            return None
        return [sent_by((folder / "net" / "dev").read_text()) for folder in folders]


def sent_by(text: str) -> int:
    """The bytes that a table of the kernel's (``/proc/net/dev``) says were sent.

    >>> sent_by("  lo:  7 0 0 0 0 0 0 0  7 0 0 0 0 0 0 0")
    7
    """
    return sum(int(line.partition(":")[2].split()[8]) for line in text.splitlines() if ":" in line)


# ---- one of the processes ------------------------------------------------------------------------


def serve(work: Work) -> None:
    """Trains as it is asked to, line by line."""
    from fuxi_mtl.cluster import cluster_of
    from fuxi_mtl.training.devices import join_workers, use_devices

    cluster = cluster_of(os.environ)
    workers = None if cluster is None else join_workers(cluster, [-1])
    with use_devices([-1]).scope():
        model, together = _trained(work, workers)
    tables = {id(variable) for variable in model.tables()}
    dense = sum(math.prod(v.shape) for v in model.trainable_variables if id(v) not in tables)
    alone: Callable[[], object] | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["alone"] and alone is None:
            size = 1 if workers is None else workers.size
            _, alone = _trained(replace(work, batch=work.batch // size), None)
        take = alone if asked["alone"] and alone else together
        processor, start = time.process_time(), time.perf_counter()
        for _ in range(asked["steps"]):
            take()
        found: dict[str, Any] = {
            "seconds": time.perf_counter() - start,
            "processor": time.process_time() - processor,
            "peak_mb": _peak_mb(),
            "dense": dense,
        }
        if asked["keep"]:
            _keep(model, Path(asked["keep"]))
        print(json.dumps(found), flush=True)


def _trained(work: Work, workers: Any) -> tuple[Any, Callable[[], object]]:
    """A model in whose strategy's scope this is called, and what takes a step of it."""
    import keras

    from benchmarks.peers.ours import DATASET, experiment_of
    from benchmarks.peers.protocol import ENDLESS, Request
    from benchmarks.workload import load
    from fuxi_mtl.dataset import load_dataset
    from fuxi_mtl.layers.shards import spreading
    from fuxi_mtl.objectives.imbalance import Imbalance
    from fuxi_mtl.training.feed import Feed
    from fuxi_mtl.training.loop import OwnSteps
    from fuxi_mtl.training.shared import SharedSteps
    from fuxi_mtl.training.train import compile_model
    from fuxi_mtl.workflow.experiment import make_model

    stanza = dict(work.stanza)
    spread = stanza.pop("embedding_sharding", None) == "row" and workers is not None
    request = Request(folder=work.folder, batch=work.batch, options={"stanza": stanza})
    experiment = experiment_of(request, load(Path(work.folder)))
    dataset = load_dataset(experiment.dataset, experiment.tasks, DATASET, progress=False)
    keras.utils.set_random_seed(experiment.training.seed)
    with spreading(lambda *table: spread and bool(table)):
        model = make_model(experiment, dataset.feature_map)
    feed = Feed.of(model, dataset, experiment)
    model.imbalance = Imbalance(experiment.imbalance)
    compile_model(model, experiment, feed.plan, feed.labels)
    model.steps_per_execution = 1
    if workers is None:
        return model, OwnSteps(model, feed.batches(ENDLESS)).take
    steps = SharedSteps(model, feed, workers, 0)
    return model, lambda: steps.take(stops=False, saves=False)


def _keep(model: Any, file: Path) -> None:
    """Writes the trainable variables: of a table that is spread, the rows that this process has."""
    from fuxi_mtl.cluster.workers import connected
    from fuxi_mtl.training.shared import here

    workers = connected()
    tables = {id(variable) for variable in model.tables()}
    arrays = {}
    for place, variable in enumerate(model.trainable_variables):
        several = workers is not None and id(variable) not in tables
        kind = "table" if id(variable) in tables else "dense"
        arrays[f"{kind}_{place}"] = (here(variable) if several else variable.value).numpy()
    np.savez(file, **arrays)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    serve(Work(**json.loads(sys.argv[1])))

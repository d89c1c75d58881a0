"""One of the processes that train together for ``processes``, one small training behind the other.

``python -m benchmarks.process_worker FOLDER STEPS TURNS NUMBER...`` with a ``TF_CONFIG``, of the numbers of
some cases. It leaves of each turn of each case ``FOLDER/NUMBER_TURN_RANK.npz``: weights, log, and what a step
sends; or ``FOLDER/NUMBER_TURN_RANK.txt``, the error that all processes have met.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.cross_device_utils import CollectiveReplicaLauncher

from benchmarks.small_trainings import Case, Training, chosen
from fuxi_mtl.cluster import cluster_of
from fuxi_mtl.cluster.workers import Workers, connect
from fuxi_mtl.training.shared import SharedSteps

CALLS = {"all_reduce": "sums", "_all_gather": "gathers"}


class Traffic:
    """What this process gives to the collectives of a training: how many in a step, and bytes."""

    def __init__(self) -> None:
        self.calls = dict.fromkeys(CALLS.values(), 0)
        self.bytes = tf.Variable(0, dtype=tf.int64)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Inside, graphs that are traced count."""
        before = {name: getattr(CollectiveReplicaLauncher, name) for name in CALLS}
        for name, method in before.items():
            setattr(CollectiveReplicaLauncher, name, self._counting(method, CALLS[name]))
        try:
            yield
        finally:
            for name, method in before.items():
                setattr(CollectiveReplicaLauncher, name, method)

    def _counting(self, method: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(launcher: Any, tensor: tf.Tensor, *rest: Any, **keywords: Any) -> tf.Tensor:
            self.calls[kind] += 1
            size = tf.size(tensor, out_type=tf.int64) * tensor.dtype.size
            tf.raw_ops.AssignAddVariableOp(resource=self.bytes.handle, value=size)
            return method(launcher, tensor, *rest, **keywords)

        return call


class SharedTraining(Training):
    """A training that all workers take part in, by the steps that they take in any run."""

    def __init__(self, workers: Workers, case: Case, traffic: Traffic):
        self._workers, self._traffic = workers, traffic
        self._taken_steps: SharedSteps | None = None
        super().__init__(case, workers.strategy)

    def _begin(self) -> None:
        """The graph comes with the first step."""

    def run(self, steps: int) -> dict[str, float]:
        """See the base class."""
        batches = self._workers.own_rows(self.whole_batches(steps))
        feed: Any = SimpleNamespace(steps=lambda *_: batches)
        taken = self._taken_steps
        if taken is None:
            taken = self._taken_steps = SharedSteps(self.model, feed, self._workers, 0)
        else:  # to trace the step again would take longer than all steps
            taken._iterator = iter(batches)
        logs: Any = {}
        with self._traffic.counted():
            for _ in range(steps):
                logs, _, _ = taken.take(False, False)
        return {name: float(value) for name, value in logs.items()}


def main(folder: Path, steps: int, turns: int, numbers: Sequence[int]) -> None:
    """Trains some cases, each so many times from the same beginning."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cluster = cluster_of(os.environ)
    if cluster is None:
        raise ValueError("TF_CONFIG names no other process.")
    workers = connect(cluster)
    every = chosen(())
    for number in numbers:
        case = every[number][1]
        tf.keras.backend.clear_session()
        traffic, turn = Traffic(), 0  # a variable of this process alone
        with workers.strategy.scope():
            try:
                training = SharedTraining(workers, case, traffic)
                for turn in range(turns):
                    if turn:
                        training.restart()
                        traffic.bytes.assign(0)
                    _leave(folder / f"{number}_{turn}_{workers.rank}", training, traffic, steps)
            except Exception:  # noqa: BLE001 - whatever it is, it belongs to this case
                target = folder / f"{number}_{turn}_{workers.rank}.txt"
                _put(target, traceback.format_exc().encode())


def _leave(target: Path, training: SharedTraining, traffic: Traffic, steps: int) -> None:
    """Trains, and writes what there is to tell."""
    logs = training.run(steps)
    found = {f"weight {at}": each for at, each in enumerate(training.weights())}
    sent = {"bytes": int(traffic.bytes.numpy()) // steps, **traffic.calls}
    with target.with_suffix(".part").open("wb") as stream:
        np.savez(stream, log=json.dumps(logs), sent=json.dumps(sent), **found)
    target.with_suffix(".part").rename(target.with_suffix(".npz"))


def _put(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.rename(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), list(map(int, sys.argv[4:])))

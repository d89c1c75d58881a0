"""What every contestant keeps: one request as JSON in, one result as JSON out, the same clock for all.

A contestant trains with its library's own trainer until :class:`Clock` has seen enough, or gives a function
that predicts all rows. It runs as ``python -m benchmarks.peers.NAME REQUEST`` in its own environment, where
only numpy is sure to be there.
"""

import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workload import Columns, Workload, load

ENDLESS = 100_000  # epochs: the clock ends the training


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        measure: ``train``, ``predict``, or another that the contestant knows.
        folder: A prepared workload.
        batch: Rows in a step.
        seconds: How long to measure.
        warmup_seconds: How long to run before.
        warmup_steps: How many steps to run before, at least.
        precision: Keras dtype policy, for the contestants that have one.
        loss_weight: A weighting by name, likewise.
        experts: Number of experts.
        expert_units: Widths of each expert.
        tower_units: Widths of each tower.
        dim: Width of the embeddings.
        options: Further options of the contestant.
    """

    measure: str = "train"
    folder: str = ""
    batch: int = 4096
    seconds: float = 15.0
    warmup_seconds: float = 3.0
    warmup_steps: int = 4
    precision: str = "float32"
    loss_weight: str = "EQ"
    experts: int = 4
    expert_units: tuple[int, ...] = (256, 128)
    tower_units: tuple[int, ...] = (64,)
    dim: int = 16
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Request":
        """The request of a command line."""
        content = json.loads(text)
        for name in ("expert_units", "tower_units"):
            content[name] = tuple(content.get(name, getattr(cls, name)))
        return cls(**content)

    def dumps(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


class Finished(Exception):  # noqa: N818 - not an error
    """The clock has seen enough; it leaves the trainer through whatever loops there are."""


class Clock:
    """Counts steps from the end of the warm-up to the first step after the time is up.

    Args:
        request: Says how long both take.
        now: The time in seconds.
    """

    def __init__(self, request: Request, now: Callable[[], float] = time.perf_counter):
        self._request, self._now = request, now
        self._begun: float | None = None
        self._start: tuple[float, int] | None = None
        self.steps, self.seconds = 0, 0.0
        self._ticks = 0

    def step(self) -> None:
        """One more step is done."""
        self._ticks += 1
        self.tick(self._ticks)

    def tick(self, steps: int) -> None:
        """So many steps are done since the start.

        Raises:
            Finished: Enough is seen.
        """
        now = self._now()
        if self._begun is None:
            self._begun = now  # the first step compiles and allocates
        if self._start is None:
            warm = now - self._begun >= self._request.warmup_seconds and steps >= self._request.warmup_steps
            if warm:
                gc.collect()
                self._start = (self._now(), steps)
            return
        self.seconds, self.steps = now - self._start[0], steps - self._start[1]
        if self.seconds >= self._request.seconds:
            raise Finished


Arrays = dict[str, np.ndarray]
Trainer = Callable[[Request, Workload, Columns, Clock], None]
Predictor = Callable[[Request, Workload, Columns], Callable[[], Any]]


def serve(
    packages: tuple[str, ...],
    train: Trainer | None = None,
    predict: Predictor | None = None,
    others: Mapping[str, Callable[[Request], dict]] | None = None,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Answers the request of the command line with one line of JSON.

    Args:
        packages: Whose versions to report.
        train: Trains until the clock raises :class:`Finished`.
        predict: Prepares, and returns what predicts all rows once.
        others: Further measures by name.
        finish: Ends what the library has started beside this process.
    """
    request = Request.parse(sys.argv[1])
    try:
        result = answer(request, train, predict, others or {})
    finally:
        finish()
    result["versions"] = {"python": platform.python_version(), **versions(packages)}
    sys.stdout.flush()
    print(json.dumps(result), flush=True)
    os._exit(0)  # threads of loaders and of TensorFlow need not be awaited


def answer(
    request: Request,
    train: Trainer | None,
    predict: Predictor | None,
    others: Mapping[str, Callable[[Request], dict]],
) -> dict[str, Any]:
    """The result of one request; see :func:`serve`.

    Raises:
        ValueError: The contestant does not know the measure.
    """
    if request.measure == "train" and train:
        return measure_training(train, request)
    if request.measure == "predict" and predict:
        return measure_predictions(predict, request)
    if request.measure in others:
        return others[request.measure](request)
    raise ValueError(f"{sys.argv[0]} does not know the measure {request.measure!r}.")


def measure_training(train: Trainer, request: Request) -> dict[str, Any]:
    """Steps and seconds of a trainer's own loop."""
    folder, clock = Path(request.folder), Clock(request)
    try:
        train(request, load(folder), Columns(folder), clock)
    except Finished:
        rows = clock.steps * request.batch
        return {
            "rows_per_second": rows / clock.seconds,
            "step_ms": 1000 * clock.seconds / clock.steps,
            "steps": clock.steps,
            "seconds": clock.seconds,
        }
    raise RuntimeError("the training ended before the clock.")


def measure_predictions(predict: Predictor, request: Request) -> dict[str, Any]:
    """Passes over all rows until the time is up, after one to warm up."""
    folder = Path(request.folder)
    workload = load(folder)
    count = min(request.options.get("rows", workload.rows), workload.rows)
    run = predict(request, workload, Columns(folder, count))
    run()
    passes, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < request.seconds or not passes:
        run()
        passes += 1
    return {"rows_per_second": passes * count / seconds, "passes": passes, "seconds": seconds}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, those that are there."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def inputs_of(workload: Workload, columns: Columns) -> Arrays:
    """The columns that are inputs."""
    return {name: columns[name] for name in (*workload.field_names, *workload.number_names)}


def labels_of(workload: Workload, columns: Columns) -> np.ndarray:
    """``(rows, labels)`` float32."""
    return np.stack([columns[name] for name in workload.labels], axis=1)


def scored_rows(rows: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Made-up labels, scores that know a little of them, and groups, all in random order."""
    random = np.random.default_rng(1)
    labels = (random.random(rows, dtype=np.float32) < 0.04).astype(np.float32)
    scores = 1 / (1 + np.exp(-random.standard_normal(rows, dtype=np.float32) - labels))
    return labels, scores, random.integers(0, groups, rows)

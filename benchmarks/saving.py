"""What it costs a training to save its state: how long it stands still, and what writing takes beside it."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import Summary

SIZES = (1_500_000, 10_000_000)  # ids
WIDTH, BATCH = 16, 4096
EVERY = 600.0  # seconds between saves, by default


def measure_saving(rounds: int, results: Path) -> dict[str, Any]:
    """Saves the states of two trainings in turns with steps; writes ``saving.json``."""
    content: dict[str, Any] = {"name": "saving", "machine": machine(), "rounds": rounds, "cells": []}
    for ids in SIZES:
        load = os.getloadavg()[0]  # of others: before anything of ours runs
        content["cells"].append({"ids": ids, "load": round(load, 1), **_measured(ids, rounds)})
    write(results / "saving.json", content)
    return content


def _measured(ids: int, rounds: int) -> dict[str, Any]:
    from fuxi_mtl.interruption import Interruption
    from fuxi_mtl.options import TrainingOptions
    from fuxi_mtl.training.loop import Position
    from fuxi_mtl.training.state import Saving, StateFolder, TrainingState

    model, batches = _training(ids)
    folder = Path(tempfile.mkdtemp())
    state = TrainingState(model, Position(), {})
    states = StateFolder(folder / "states", {})
    saving = Saving(state, states, TrainingOptions(), folder / "none", 10**6, Interruption())
    size = sum(part.bytes for part in state.parts().values())
    alone, beside, writes = [], [], []
    try:
        _steps(model, batches, state, 3.0)  # traces
        for _ in range(rounds):
            alone.append(_steps(model, batches, state, 6.0))
            started = time.perf_counter()
            saving.save()
            steps, seconds = 0, 0.0
            while saving.is_writing:
                before = time.perf_counter()
                _step(model, batches, state)
                steps, seconds = steps + 1, seconds + time.perf_counter() - before
            writes.append(time.perf_counter() - started - saving.pauses[-1])
            beside.append(steps / seconds if steps else np.nan)
    finally:
        shutil.rmtree(folder)
    lost = [
        pause + seconds * max(0.0, 1 - slow / fast)
        for pause, seconds, slow, fast in zip(saving.pauses, writes, beside, alone, strict=True)
    ]
    return {
        "gigabytes": size / 1e9,
        "pause": Summary.of(saving.pauses).plain(),
        "largest_pause": max(saving.pauses),
        "write": Summary.of(writes).plain(),
        "steps_a_second": Summary.of(alone).plain(),
        "while_writing": Summary.of(beside).plain(),
        "lost": Summary.of(lost).plain(),
    }


def _training(ids: int) -> tuple[Any, Any]:
    """A model with one large table, compiled, and its batches."""
    import keras
    import tensorflow as tf

    from fuxi_mtl import ShareBottom
    from fuxi_mtl.features import Feature, FeatureMap, assign_columns
    from fuxi_mtl.tasks import parse_task

    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    features = FeatureMap(
        "saving", assign_columns([Feature("user", "categorical", vocab_size=ids)]), ("click",)
    )
    tasks = (parse_task("ctr", "click"),)
    model = ShareBottom(features, tasks, embedding_dim=WIDTH, bottom_hidden_units=(64, 32))
    model.build()
    model.compile("adam")
    rng = np.random.default_rng(1)
    inputs = {
        "ids": rng.integers(1, ids - 1, (64 * BATCH, 1)).astype(np.int32),
        "numeric": np.zeros((64 * BATCH, 0), np.float32),
    }
    labels = {"ctr": rng.integers(0, 2, 64 * BATCH).astype(np.float32)}
    rows = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(BATCH, drop_remainder=True)
    model.make_train_function()
    return model, iter(rows.cache().repeat().prefetch(4))


def _step(model: Any, batches: Any, state: Any) -> None:
    model.train_function(batches)
    state.position.step += 1


def _steps(model: Any, batches: Any, state: Any, seconds: float) -> float:
    """Steps a second."""
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        _step(model, batches, state)
        steps += 1
    return steps / (time.perf_counter() - started)


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        pause, gigabytes = cell["pause"]["median"], cell["gigabytes"]
        share = cell["lost"]["median"] / EVERY
        rows.append(
            (
                f"{cell['ids']:,}",
                number(gigabytes),
                number(pause),
                number(cell["largest_pause"]),
                number(pause / gigabytes),
                number(cell["write"]["median"]),
                f"{cell['while_writing']['median'] / cell['steps_a_second']['median']:.0%}",
                f"{share:.3%}",
            )
        )
    heading = (
        *("ids", "GB", "training stands still, seconds", "at most", "seconds a GB"),
        *("written in, seconds", "speed of steps meanwhile", "of training time at a save in ten minutes"),
    )
    loads = [f"{cell['load']:g}" for cell in content["cells"]]
    text = (
        f"State of a training with one table of {WIDTH} columns and the slots of Adam, batch {BATCH}, "
        f"{content['rounds']} saves each; the first takes its memory from the system, which is the longest "
        f"pause. Processes of others on the machine at the start: {' and '.join(loads)} on average."
    )
    return ["", "## What saving a training's state costs", text, *table(heading, rows)]

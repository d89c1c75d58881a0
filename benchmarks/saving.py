"""What it costs a training to save its state: how long it stands still, and what writing takes beside it."""

import gc
import os
import resource
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
    size = sum(part.bytes for part in state.parts().values())
    asked = TrainingOptions(save_every_minutes=1e-9)  # due whenever it may pause
    alone, beside, takes, writes, pauses, work, lost, memory = [], [], [], [], [], [], [], []
    try:
        _steps(model, batches, state, 3.0)  # traces
        gc.collect()  # what came before is no cost of saving
        for _ in range(rounds):
            saving = Saving(state, states, asked, folder / "none", 10**6, Interruption())
            before = _resident()
            alone.append(_steps(model, batches, state, 6.0))
            steps, begun = 0, time.perf_counter()
            while not saving.pauses:
                cpu, ended = _cpu(), time.perf_counter()
                saving.pause()
                if not saving.pauses:
                    _step(model, batches, state)
                    steps += 1
            pauses.append(saving.pauses[-1])
            work.append(_cpu() - cpu)
            takes.append(ended - begun)
            memory.append(_resident() - before)
            begun_to_write = time.perf_counter()
            while saving.is_writing:
                _step(model, batches, state)
                steps += 1
            writes.append(time.perf_counter() - begun_to_write)
            seconds = time.perf_counter() - begun
            lost.append(max(seconds - steps / alone[-1], 0.0))
            beside.append(steps / (seconds - pauses[-1]))
    finally:
        shutil.rmtree(folder)
    return {
        "gigabytes": size / 1e9,
        "pause": Summary.of(pauses).plain(),
        "pause_cpu": Summary.of(work).plain(),
        "take": Summary.of(takes).plain(),
        "write": Summary.of(writes).plain(),
        "copy_gigabytes": Summary.of(memory).plain(),
        "steps_a_second": Summary.of(alone).plain(),
        "meanwhile": Summary.of(beside).plain(),
        "lost": Summary.of(lost).plain(),
    }


def _cpu() -> float:
    """Seconds of all cores that this thread and the system for it have worked."""
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime


def _resident() -> float:
    """Gigabytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9


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
        pause, gigabytes = cell["pause"], cell["gigabytes"]
        rows.append(
            (
                f"{cell['ids']:,}",
                number(gigabytes),
                f"{number(pause['median'])} ({number(pause['high'])})",
                f"{number(pause['median'] / gigabytes)} ({number(pause['high'] / gigabytes)})",
                f"{number(cell['pause_cpu']['median'])} ({number(cell['pause_cpu']['high'])})",
                number(cell["copy_gigabytes"]["median"]),
                f"{number(cell['take']['median'])} and {number(cell['write']['median'])}",
                f"{cell['meanwhile']['median'] / cell['steps_a_second']['median']:.0%}",
                f"{cell['lost']['median'] / EVERY:.3%}",
            )
        )
    heading = (
        *("ids", "GB", "training stands still, seconds", "seconds a GB", "CPU seconds of that"),
        *("GB for the copy", "taken and written in, seconds", "speed of steps meanwhile"),
        "of training time at a save in ten minutes",
    )
    loads = [f"{cell['load']:g}" for cell in content["cells"]]
    text = (
        f"State of a training with one table of {WIDTH} columns and the slots of Adam, batch {BATCH}, "
        f"{content['rounds']} saves each: median (most). Another thread takes the memory for the copy before "
        "and writes it afterwards. What training loses is the time of all three over that of as many steps "
        f"without. Processes of others on the machine at the start: {' and '.join(loads)} on average."
    )
    return ["", "## What saving a training's state costs", text, *table(heading, rows)]

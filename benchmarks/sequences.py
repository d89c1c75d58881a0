"""What a training step costs with a history under each encoder, beside the same history as a bag of ids."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import rounded, write
from benchmarks.runner import Summary, quotient

LENGTHS = (20, 50, 200)
IDS, WIDTH, FIELDS, BATCH = 100_000, 16, 10, 1024
STEPS = 2  # of each network in a turn
WARM = 1  # turns before the clock is read
BAG = "bag"
_ITEMS = {"columns": {"history": "item"}}
ENCODERS: dict[str, dict[str, Any] | None] = {
    BAG: None,
    "mean": {**_ITEMS, "encoder": "mean"},
    "din": {**_ITEMS, "encoder": "din"},
    "target_attention": {**_ITEMS, "encoder": "target_attention"},
    "target_attention, newest 20 of the category": {
        "columns": {"history": "item", "cates": "cate"},
        "filter": {"column": "cates", "keep": 20},
        "encoder": "target_attention",
    },
    "transformer": {**_ITEMS, "encoder": "transformer"},
}


def measure_sequences(turns: int, results: Path) -> dict[str, Any]:
    """Times steps of all encoders in turns, at each length; writes ``sequences.json``."""
    load = os.getloadavg()[0]  # of others: before anything of ours runs
    content: dict[str, Any] = {"name": "sequences", "machine": machine(), "load": round(load, 1)}
    content |= {"turns": turns, "cells": [_measured(length, turns) for length in LENGTHS]}
    write(results / "sequences.json", content)
    return content


def _measured(length: int, turns: int) -> dict[str, Any]:
    import keras

    keras.utils.clear_session()
    steps = {name: _stepper(length, group) for name, group in ENCODERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM + turns):
        for name, take in steps.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                take()
            if turn >= WARM:
                seconds[name].append((time.perf_counter() - started) / STEPS)
    bag = Summary.of(seconds[BAG])
    ratios = {name: quotient(Summary.of(each), bag) for name, each in seconds.items()}
    return {
        "length": length,
        "milliseconds": {name: rounded(1000 * Summary.of(each).median) for name, each in seconds.items()},
        "ratios": {
            name: Summary.of([rounded(ratio) for ratio in each.rounds]).plain()
            for name, each in ratios.items()
        },
    }


def _stepper(length: int, group: Mapping[str, Any] | None) -> Callable[[], object]:
    """A function that takes one training step of a network with a history."""
    import keras
    import tensorflow as tf

    from fuxi_mtl import MMoE
    from fuxi_mtl.features import Feature, FeatureMap
    from fuxi_mtl.tasks import parse_task
    from fuxi_mtl.training.loop import steps_at_once

    keras.utils.set_random_seed(1)
    tasks = (parse_task("click", "click"), parse_task("like", "like"))
    shared = {"type": "sequence", "max_len": length}
    features = [
        *(Feature(f"field_{i}", "categorical", vocab_size=IDS) for i in range(FIELDS)),
        Feature("item", "categorical", vocab_size=IDS),
        Feature("cate", "categorical", vocab_size=100),
        Feature("history", vocab_size=IDS, share_embedding="item", **shared),
    ]
    if group is not None and "cates" in group["columns"]:
        features.append(Feature("cates", vocab_size=100, share_embedding="cate", **shared))
    known = FeatureMap.of("sequences", features, ("click", "like"))
    sequences = None if group is None else {"clicks": dict(group)}
    model = MMoE(known, tasks, embedding_dim=WIDTH, num_experts=4, sequences=sequences)
    model.compile("adam")
    rng = np.random.default_rng(1)
    rows = 4 * BATCH
    there = np.arange(length) < rng.integers(0, length + 1, (rows, 1))
    columns = [
        (rng.integers(1, each.vocab_size - 1, (rows, each.max_len)) * (there if each.max_len > 1 else 1))
        for each in known.features
    ]
    inputs = {
        "ids": np.concatenate(columns, axis=1).astype(np.int32),
        "numeric": np.zeros((rows, 0), np.float32),
    }
    labels = {name: rng.integers(0, 2, rows).astype(np.float32) for name in ("click", "like")}
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(BATCH, drop_remainder=True)
    take, batches = steps_at_once(model), iter(data.cache().repeat().prefetch(2))
    return lambda: {name: float(value) for name, value in take(batches).items()}


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cells = content["cells"]
    rows = [
        (name if name != BAG else "a bag, pooled", *(_cell(cell, name) for cell in cells))
        for name in cells[0]["milliseconds"]
    ]
    heading = ("history of items under", *(f"{cell['length']} places" for cell in cells))
    text = (
        f"A training step of MMoE (4 experts [256, 128], {FIELDS + 2} fields of {WIDTH} columns, {IDS:,} "
        f"ids, Adam, batch {BATCH}) on made-up rows whose histories are half full on average; all encoders "
        f"at their defaults, in one process, {STEPS} steps each in {content['turns']} turns. Ratios are "
        f"medians of the turns' own, with the least and the greatest. Processes of others on the machine at "
        f"the start: {content['load']:g} on average."
    )
    return ["", "## What a history costs under each encoder", text, *table(heading, rows)]


def _cell(cell: Mapping[str, Any], name: str) -> str:
    ratio = cell["ratios"][name]
    shown = f"{number(cell['milliseconds'][name])} ms"
    if name == BAG:
        return shown
    return f"{shown}, x {number(ratio['median'])} ({number(ratio['low'])} to {number(ratio['high'])})"

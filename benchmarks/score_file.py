"""Predictions for a file, beside the network alone on the same rows when they are encoded already.

The run is MMoE on census-income, an epoch; its test rows are repeated. What a file takes more is reading it,
finding the ids, and writing the predictions. All of it happens in one process, in turns.
"""

import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import ROOT, Summary, quotient

FORMATS = ("parquet", "csv")
NETWORK = "the network alone, rows encoded"


def measure_score_file(rows: int, rounds: int, cache: Path, results: Path) -> dict[str, Any]:
    """Trains the run if it is not there, and predicts in turns; writes ``score_file.json``.

    Args:
        rows: Rows of the files.
        rounds: How often each file, and the network alone.
        cache: Where the run is kept.
        results: Folder of the results.
    """
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.registry import import_zoo
    from fuxi_mtl.serving.predict import predict_file
    from fuxi_mtl.training.devices import use_devices
    from fuxi_mtl.workflow.experiment import load_run
    from fuxi_mtl.workflow.resume import run_or_resume

    import_zoo()
    use_devices([-1])
    folder = cache / "score_file"
    changes = ["epochs=1", f"model_root={folder / 'runs'}", f"data_root={folder / 'data'}"]
    os.chdir(ROOT)  # the stanza names its files from there
    experiment = load_experiment(ROOT / "config", "MMoE_default", changes)
    model, encoder = load_run(run_or_resume(experiment, resume=True).folder)
    stored = pl.read_parquet(ROOT / "data/census_income/test.parquet")
    frame = pl.concat([stored] * (rows // stored.height + 1)).head(rows)
    ids, numeric = encoder.encode(frame)
    encoded = {"ids": ids, "numeric": numeric}

    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as files:
        contestants: dict[str, Callable[[], object]] = {
            NETWORK: lambda: model.predict(encoded, batch_size=8192, verbose=0)
        }
        for suffix in FORMATS:
            file = Path(files, f"rows.{suffix}")
            getattr(frame, f"write_{suffix}")(file)
            contestants[suffix] = lambda file=file: predict_file(
                model, encoder, file, file.with_name("scores.parquet")
            )
        del frame
        for taken in range(rounds + 1):
            for name, predict in contestants.items():
                gc.collect()
                clock, processor = time.perf_counter(), time.process_time()
                predict()
                times = time.perf_counter() - clock, time.process_time() - processor
                if taken:  # the first traces
                    found.setdefault(name, []).append(times)
    cells = [
        {
            "contestant": name,
            "seconds": Summary.of([round(clock, 3) for clock, _ in times]).plain(),
            "processor": Summary.of([round(processor, 3) for _, processor in times]).plain(),
        }
        for name, times in found.items()
    ]
    content = {"name": "score_file", "machine": machine(), "rows": rows, "cells": cells}
    write(results / "score_file.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    of = {cell["contestant"]: Summary(**cell["processor"]) for cell in content["cells"]}
    rows = []
    for cell in content["cells"]:
        name = cell["contestant"]
        seconds = Summary(**cell["seconds"])
        shares = quotient(of[name], of[NETWORK])
        rows.append(
            (
                name,
                f"{number(seconds.median)} ({number(seconds.low)} to {number(seconds.high)})",
                f"{number(of[name].median)} ({number(of[name].low)} to {number(of[name].high)})",
                f"{content['rows'] / of[name].median:,.0f}",
                "–" if name == NETWORK else f"{shares.median:.2f} ({shares.low:.2f} to {shares.high:.2f})",
            )
        )
    heading = ("rows from", "seconds", "seconds of the processor", "rows a second of a processor")
    heading += (f"processor, / {NETWORK}",)
    return [
        "",
        f"## Predicting {content['rows']:,} rows of a file",
        "",
        "MMoE on census-income, 39 features; in turns in one process, median (least to most).",
        *table(heading, rows),
    ]

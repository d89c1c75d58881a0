"""Csv and parquet files to encoded arrays, by this checkout, by an earlier one, and by polars alone.

polars alone reads all columns, numbers texts by its own categories and writes both kinds of columns as arrays
of 32 bits. It has no vocabulary that anybody could use later, divides and shuffles no rows, checks nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import runner
from benchmarks.checkouts import BEFORE, NOW, checkouts
from benchmarks.csv_rows import csv_of
from benchmarks.machine import commit_of, machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import Summary, quotient
from benchmarks.workload import Workload, load, prepare

FORMATS = ("csv", "parquet")
ALONE = "polars alone"
# Runs in the checkout that PYTHONPATH names; says seconds of the clock and of the processor.
_ENCODE = """
import hashlib, json, resource, sys, tempfile, time
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
from fuxi_mtl.tasks import parse_task
asked = json.loads(sys.argv[1])
workers = {"encode_workers": asked["workers"]} if asked["workers"] > 1 else {}  # earlier checkouts have none
with tempfile.TemporaryDirectory() as folder:
    options = DatasetOptions(
        data_root=folder, data_format=asked["format"], train_data=asked["file"], valid_size=0.1,
        feature_cols=[FeatureOptions(name=name) for name in asked["fields"]]
        + [FeatureOptions(name=name, type="numeric", dtype="float") for name in asked["numbers"]],
        label_col=[LabelOptions(name=name) for name in asked["labels"]],
    )
    tasks = [parse_task(f"task_{name}", name) for name in asked["labels"]]
    clock, processor = time.perf_counter(), time.process_time()
    made = load_dataset(options, tasks, "rows", progress=False, **workers)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    others, content = resource.getrusage(resource.RUSAGE_CHILDREN), hashlib.sha256()
    for file in sorted(made.folder.iterdir()):
        content.update(file.read_bytes())
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([
        clock, processor + others.ru_utime + others.ru_stime,
        own / 1024, others.ru_maxrss / 1024, content.hexdigest(),
    ]))
"""


_ALONE = """
import json, sys, tempfile, time
import numpy as np, polars as pl
asked = json.loads(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    clock, processor = time.perf_counter(), time.process_time()
    file = asked["file"]
    frame = pl.read_csv(file, infer_schema=False) if asked["format"] == "csv" else pl.read_parquet(file)
    numbers = asked["numbers"] + asked["labels"]
    texts = frame.select(pl.col(asked["fields"]).cast(pl.Categorical).to_physical().cast(pl.Int32))
    np.save(folder + "/ids", texts.to_numpy(order="c"))
    np.save(folder + "/numbers", frame.select(pl.col(numbers).cast(pl.Float32)).to_numpy(order="c"))
    print(json.dumps([time.perf_counter() - clock, time.process_time() - processor]))
"""


def measure_encoding(
    before: Path | None, rows: int, rounds: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Encodes the workload by both checkouts and by polars alone, in turns; writes ``encode.json``.

    Args:
        before: Root of the earlier checkout, or None.
        rows: Rows of the files.
        rounds: How often each encodes each file.
        cache: Where the files are kept.
        results: Folder of the results.

    Raises:
        ValueError: There is no checkout in that folder.
        RuntimeError: One did not encode.
    """
    roots = checkouts(before)
    folder = prepare(Workload(rows=rows), cache)
    files = {"csv": csv_of(folder), "parquet": _parquet_of(folder)}
    found: dict[tuple[str, str], list[list[Any]]] = {}
    for _ in range(rounds):
        for format_name, file in files.items():
            for name, checkout in roots.items():
                found.setdefault((format_name, name), []).append(
                    _encoded(checkout, format_name, file, load(folder))
                )
            alone = _answer(_ALONE, runner.ROOT, _asked(format_name, file, load(folder)))
            found.setdefault((format_name, ALONE), []).append(alone)
    cells = [
        {
            "contestant": name,
            "format": format_name,
            "seconds": Summary.of([round(clock, 2) for clock, *_ in times]).plain(),
            "processor": Summary.of([round(processor, 2) for _, processor, *_ in times]).plain(),
        }
        for (format_name, name), times in found.items()
    ]
    size = {name: round(file.stat().st_size / 1e6) for name, file in files.items()}
    content = {"name": "encode", "machine": machine(), "rows": rows, "megabytes": size, "cells": cells}
    content["commits"] = {name: commit_of(checkout) for name, checkout in roots.items()}
    write(results / "encode.json", content)
    return content


def _parquet_of(folder: Path) -> Path:
    """The same rows with numbers as numbers."""
    file, workload = folder / "rows.parquet", load(folder)
    if not file.exists():
        numbers = dict.fromkeys(workload.number_names, pl.Float64) | dict.fromkeys(workload.labels, pl.Int8)
        partial = folder / "rows.partial.parquet"
        pl.read_csv(csv_of(folder), infer_schema=False).cast(numbers).write_parquet(partial)
        partial.replace(file)
    return file


def _encoded(checkout: Path, format_name: str, file: Path, workload: Workload, workers: int = 1) -> list[Any]:
    """Seconds of the clock and of the processor, MiB of the process and of others, hash of the result."""
    return _answer(_ENCODE, checkout, _asked(format_name, file, workload) | {"workers": workers})


def _asked(format_name: str, file: Path, workload: Workload) -> dict[str, Any]:
    return {
        "format": format_name,
        "file": str(file),
        "fields": workload.field_names,
        "numbers": workload.number_names,
        "labels": workload.labels,
    }


def _answer(program: str, checkout: Path, asked: Mapping[str, Any]) -> list[Any]:
    """What a program prints in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryDirectory() as empty:  # what lies in the working folder is imported first
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(asked)],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"encoding {asked['file']} by {checkout} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cells = {(cell["format"], cell["contestant"]): cell for cell in content["cells"]}
    rows = []
    for (format_name, name), cell in cells.items():
        shown = [_range(cell[what]) for what in ("seconds", "processor")]
        shares = []
        for other, of_now in ((BEFORE, True), (ALONE, False)):
            compared = (name == NOW or not of_now) and name != other and (format_name, other) in cells
            if compared:
                above, below = (Summary(**each["processor"]) for each in (cell, cells[format_name, other]))
            shares.append(number(quotient(above, below).median) if compared else "–")
        rows.append((f"{format_name}, {content['megabytes'][format_name]} MB", name, *shown, *shares))
    heading = ("file", "checkout", "seconds", "seconds of the processor")
    heading += ("processor, now / before", f"processor / {ALONE}")
    title = f"## Encoding {content['rows']:,} rows of 30 columns, before and now"
    commits = ", ".join(f"{name} is commit {commit}" for name, commit in content["commits"].items())
    return [
        "",
        title,
        "",
        f"In turns, median (least to most); {commits}. {ALONE.capitalize()}: see `encode.py`.",
        *table(heading, rows),
    ]


def _range(summary: Mapping[str, Any]) -> str:
    return f"{number(summary['median'])} ({number(summary['low'])} to {number(summary['high'])})"

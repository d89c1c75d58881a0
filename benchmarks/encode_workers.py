"""Several files to encoded arrays, by one process and by more: the same bytes, in which time and memory."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import encode
from benchmarks.csv_rows import csv_of
from benchmarks.machine import commit_of, machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import ROOT, Summary, quotient
from benchmarks.workload import Workload, load, prepare


def measure_workers(
    workers: Sequence[int], files: int, rows: int, rounds: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Encodes the workload in turns by each number of processes; writes ``encode_workers.json``.

    Args:
        workers: Numbers of processes, the first of which others are compared with.
        files: Files over which the rows are spread.
        rows: Rows of all of them.
        rounds: How often each encodes each format.
        cache: Where the files are kept.
        results: Folder of the results.

    Raises:
        RuntimeError: They did not write the same, or one did not encode.
    """
    folder = prepare(Workload(rows=rows), cache)
    patterns = {name: _spread(folder, name, files) for name in encode.FORMATS}
    found: dict[tuple[str, int], list[list[Any]]] = {}
    load_before = os.getloadavg()[0]
    for _ in range(rounds):
        for name, pattern in patterns.items():
            for count in workers:
                times = encode._encoded(ROOT, name, pattern, load(folder), count)
                found.setdefault((name, count), []).append(times)
    for name in patterns:
        if len({each[-1] for (of, _), times in found.items() if of == name for each in times}) > 1:
            raise RuntimeError(f"{name}: the encoded files of {workers} processes differ.")
    cells = [
        {
            "format": name,
            "workers": count,
            "seconds": Summary.of([round(each[0], 2) for each in times]).plain(),
            "processor": Summary.of([round(each[1], 2) for each in times]).plain(),
            "mib": Summary.of([round(each[2]) for each in times]).plain(),
            "mib_of_a_worker": Summary.of([round(each[3]) for each in times]).plain(),
        }
        for (name, count), times in found.items()
    ]
    content = {"name": "encode_workers", "machine": machine(), "rows": rows, "files": files, "cells": cells}
    content |= {"commit": commit_of(ROOT), "load_before": round(load_before, 1)}
    write(results / "encode_workers.json", content)
    return content


def _spread(folder: Path, name: str, files: int) -> Path:
    """The rows of a prepared workload in several files of a format: a pattern of them."""
    place = folder / f"{name}-{files}"
    if not place.is_dir():
        whole = encode._parquet_of(folder) if name == "parquet" else csv_of(folder)
        frame = pl.read_parquet(whole) if name == "parquet" else pl.read_csv(whole, infer_schema=False)
        partial = folder / f"{name}-{files}.partial"
        partial.mkdir(exist_ok=True)
        for i, part in enumerate(frame.iter_slices(-(-frame.height // files))):
            file = partial / f"part_{i}.{name}"
            part.write_parquet(file) if name == "parquet" else part.write_csv(file)
        partial.rename(place)
    return place / f"part_*.{name}"


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cells = {(cell["format"], cell["workers"]): cell for cell in content["cells"]}
    first = content["cells"][0]["workers"]
    rows = []
    for (name, count), cell in cells.items():
        seconds, before = (Summary(**each["seconds"]) for each in (cell, cells[name, first]))
        share = "–" if count == first else number(quotient(seconds, before).median)
        shown = [encode._range(cell[what]) for what in ("seconds", "processor")]
        memory = [number(cell[what]["median"]) for what in ("mib", "mib_of_a_worker")]
        rows.append((name, str(count), *shown, share, *memory))
    against = f"time / that of {first}"
    heading = ("files", "processes", "seconds", "of the processor", against, "MiB", "of a worker")
    title = f"## Encoding {content['rows']:,} rows of 30 columns in {content['files']} files, side by side"
    said = (
        f"In turns, median (least to most), commit {content['commit']}, with a load of "
        f"{content['load_before']} before it began. The encoded files are equal to the byte."
    )
    return ["", title, "", said, *table(heading, rows)]

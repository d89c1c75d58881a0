"""Seconds until a command answers, and until a run on the data in `data/` takes its first step."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import ROOT, Summary

QUICK = {
    "run_expid.py --help": ["run_expid.py", "--help"],
    "list": ["-m", "fuxi_mtl", "list"],
    "a mistake in the configuration": ["run_expid.py", "--expid", "MMoE_tset"],
}
RUN = [
    "run_expid.py",
    "--expid",
    "MMoE_test",
    "--verbose",
    "--set",
    "max_train_steps=1",
    "epochs=1",
    "export=false",
]
# What the log says when each part of the way to the first step is behind it.
PARTS = {
    "TensorFlow, Keras and the configuration": r"Params: \{",
    "the data and the network": r"\*{12} Epoch=1 start",
    "tracing and the first step": r"Train loss:",
}
FIRST_STEP = "first training step"


def measure_start(rounds: int, results: Path) -> dict[str, Any]:
    """Starts every command `rounds` times, in turns; writes ``start.json``. The data are encoded before."""
    found: dict[str, list[float]] = {name: [] for name in (*QUICK, *PARTS, FIRST_STEP)}
    content: dict[str, Any] = {"name": "start", "machine": machine(), "cells": []}
    with tempfile.TemporaryDirectory() as folder:
        run = [*RUN, f"model_root={folder}"]
        _moments(run)  # encodes the data, and fills the caches of the disk
        for _ in range(rounds):
            for name, command in QUICK.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=False)
                found[name].append(time.perf_counter() - start)
            before = 0.0
            for name, moment in zip(PARTS, _moments(run), strict=True):
                found[name].append(moment - before)
                before = moment
            found[FIRST_STEP].append(before)
    content["cells"] = [
        {"contestant": name, "seconds": Summary.of([round(s, 3) for s in seconds]).plain()}
        for name, seconds in found.items()
    ]
    write(results / "start.json", content)
    return content


def _moments(command: Sequence[str]) -> list[float]:
    """Seconds from the start of a run to the line of its log that ends each part."""
    moments: list[float] = []
    expected = list(PARTS.values())
    start = time.perf_counter()
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-u", *command], **given) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if len(moments) < len(expected) and re.search(expected[len(moments)], line):
                moments.append(time.perf_counter() - start)
    if process.returncode or len(moments) < len(expected):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(lines[-5:])}")
    return moments


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        seconds = cell["seconds"]
        shown = (seconds["median"], seconds["low"], seconds["high"])
        rows.append((cell["contestant"], *(number(value) for value in shown)))
    heading = ("until", "seconds", "least", "most")
    return ["", "## From the command to its answer, and to the first training step", *table(heading, rows)]

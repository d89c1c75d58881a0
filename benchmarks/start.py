"""Seconds until a command answers, and until a run on the data in `data/` takes its first step."""

import functools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.checkouts import BEFORE, NOW, checkouts
from benchmarks.machine import commit_of, machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import Summary, quotient

QUICK = {
    "run_expid.py --help": ["run_expid.py", "--help"],
    "list": ["-m", "fuxi_mtl", "list"],
    "a mistake in the configuration": ["run_expid.py", "--expid", "MMoE_tset"],
}
RUN = [
    "run_expid.py",
    "--expid",
    "MMoE_test",
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
_ORDER = (*QUICK, *PARTS, FIRST_STEP)


def measure_start(before: Path | None, rounds: int, results: Path) -> dict[str, Any]:
    """Starts every command `rounds` times, in turns; writes ``start.json``. The data are encoded before.

    Args:
        before: Root of an earlier checkout, which takes turns, or None.
        rounds: How often.
        results: Folder of the results.

    Raises:
        ValueError: There is no checkout in that folder.
        RuntimeError: A run did not come to its first step.
    """
    roots = checkouts(before)
    found: dict[tuple[str, str], list[float]] = {}
    content: dict[str, Any] = {"name": "start", "machine": machine(), "cells": []}
    content["commits"] = {name: commit_of(root) for name, root in roots.items()}
    with tempfile.TemporaryDirectory() as folder:
        run = [*RUN, f"model_root={folder}"]
        for root in roots.values():
            _moments(run, root)  # encodes the data, and fills the caches of the disk
        for _ in range(rounds):
            for checkout, root in roots.items():
                for name, seconds in _seconds(run, root).items():
                    found.setdefault((name, checkout), []).append(seconds)
    content["cells"] = [
        {
            "contestant": name,
            "checkout": checkout,
            "seconds": Summary.of([round(s, 3) for s in seconds]).plain(),
        }
        for (name, checkout), seconds in sorted(found.items(), key=lambda each: _ORDER.index(each[0][0]))
    ]
    write(results / "start.json", content)
    return content


def _seconds(run: Sequence[str], root: Path) -> dict[str, float]:
    """What each command and each part of the run takes once."""
    found = {}
    for name, command in QUICK.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=root, capture_output=True, check=False)
        found[name] = time.perf_counter() - start
    before = 0.0
    for name, moment in zip(PARTS, _moments(run, root), strict=True):
        found[name], before = moment - before, moment
    return {**found, FIRST_STEP: before}


@functools.cache
def _speaking(root: Path) -> list[str]:
    """What has a checkout put its parameters on the terminal, where older ones did unasked."""
    command = [sys.executable, *QUICK["run_expid.py --help"]]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return ["--verbose"] if "--verbose" in told else []


def _moments(command: Sequence[str], root: Path) -> list[float]:
    """Seconds from the start of a run to the line of its log that ends each part."""
    moments: list[float] = []
    expected = list(PARTS.values())
    words = [*command, *_speaking(root)]
    start = time.perf_counter()
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": root}
    with subprocess.Popen([sys.executable, "-u", *words], **given) as process:
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
    cells = {(cell["contestant"], cell["checkout"]): Summary(**cell["seconds"]) for cell in content["cells"]}
    rows = []
    for (name, checkout), seconds in cells.items():
        share = ""
        if checkout == NOW and (name, BEFORE) in cells:
            share = number(quotient(seconds, cells[name, BEFORE]).median)
        shown = (seconds.median, seconds.low, seconds.high)
        rows.append((name, checkout, *(number(value) for value in shown), share))
    heading = ("until", "checkout", "seconds", "least", "most", "of before")
    commits = ", ".join(f"{name} {commit}" for name, commit in content["commits"].items())
    title = "## From the command to its answer, and to the first training step"
    return ["", title, "", f"Commits: {commits}. {content['machine']['cpu']}.", *table(heading, rows)]

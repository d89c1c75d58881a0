"""Measures a table and keeps it as JSON; the file is written anew after every measurement."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.machine import machine
from benchmarks.runner import Summary
from benchmarks.tables import Settings, Table

# What a contestant may report and a table keeps, each summarised over the rounds.
MEASURES = ("rows_per_second", "step_ms", "seconds", "peak_mb", "gauc_seconds", "auc_seconds")


def measure(table: Table, settings: Settings, cache: Path, results: Path) -> dict[str, Any]:
    """Runs all cells in turns and returns what was written to ``results``."""
    print(table.question, flush=True)
    described = machine()
    jobs = {cell.name: cell.job(cache) for cell in table.cells}
    content: dict[str, Any] = {}

    def keep(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        cells = [
            {"contestant": cell.contestant, "at": dict(cell.at), **summarised(found[cell.name])}
            for cell in table.cells
        ]
        content.update(
            name=table.name,
            question=table.question,
            settings=asdict(settings),
            machine=described,
            cells=cells,
        )
        write(results / f"{table.name}.json", content)

    runner.in_turns(jobs, settings.rounds, keep)
    return content


def summarised(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One cell: its measures over the rounds, the versions, and the error that ended it."""
    cell: dict[str, Any] = {}
    whole = [each for each in rounds if "error" not in each]
    for name in MEASURES:
        values = [each[name] for each in whole if each.get(name)]
        if values:
            cell[name] = Summary.of([rounded(value) for value in values]).plain()
    for each in rounds:
        cell |= {key: each[key] for key in ("versions", "error", "log", "notes") if key in each}
    return cell


def rounded(value: float) -> float:
    """Five digits: more would be noise."""
    return float(f"{value:.5g}")


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Writes a file that is whole or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(file)

"""Steps of few and of many rows in both precisions: an earlier checkout and this one, in turns.

Beside them the network alone in plain TensorFlow, without a table, a loader and inputs: what lies above it is
all that a trainer on TensorFlow's operations could save. And the same with a table, as one writes it by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.checkouts import BEFORE, NOW, checkouts
from benchmarks.contestants import BARE, BARE_TABLE, OURS, Cell, precision_of
from benchmarks.machine import commit_of, machine
from benchmarks.markdown import number, table
from benchmarks.measure import summarised, write
from benchmarks.runner import Summary, quotient
from benchmarks.workload import Workload


def measure_steps(
    before: Path | None, batches: Sequence[int], rounds: int, seconds: float, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains the reference network by both checkouts and alone, in turns; writes ``steps.json``.

    Args:
        before: Root of the earlier checkout, or None.
        batches: Rows of a step.
        rounds: How often each trains.
        seconds: Measured time of each.
        cache: Environments and rows.
        results: Folder of the results.

    Raises:
        ValueError: There is no checkout in that folder.
    """
    roots = checkouts(before)
    content: dict[str, Any] = {"name": "steps", "machine": machine()}
    content["commits"] = {name: commit_of(root) for name, root in roots.items()}
    jobs = {
        (who, batch, name): replace(
            Cell(who, {}, Workload(), {"batch": batch, "seconds": seconds}).job(cache), root=root
        )
        for who in (*OURS, *BARE, *BARE_TABLE)
        for batch in batches
        for name, root in roots.items()
        if who in OURS or name == NOW
    }

    def keep(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        content["cells"] = [
            {"contestant": who, "batch": batch, "checkout": name, **summarised(found[str(key)])}
            for key in jobs
            for who, batch, name in [key]
        ]
        write(results / "steps.json", content)

    runner.in_turns({str(key): job for key, job in jobs.items()}, rounds, keep)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cells = {(c["contestant"], c["batch"], c["checkout"]): c for c in content["cells"] if "step_ms" in c}
    bare = {(precision_of(who), batch): cell for (who, batch, _), cell in cells.items() if who in BARE}
    rows = []
    for (who, batch, name), cell in cells.items():
        ms, over = Summary(**cell["step_ms"]), ["", ""]
        others = [cells.get((who, batch, BEFORE)) if name == NOW else None]
        others.append(bare.get((precision_of(who), batch)) if who in OURS else None)
        for i, other in enumerate(others):
            if other is not None:
                ratio = quotient(ms, Summary(**other["step_ms"]))
                over[i] = f"{number(ratio.median)} ({number(ratio.low)} to {number(ratio.high)})"
        shown = f"{number(ms.median)} ({number(ms.low)} to {number(ms.high)})"
        checkout = name if who in OURS else ""
        rows.append((who, f"{batch:,}", checkout, shown, number(cell["rows_per_second"]["median"]), *over))
    commits = ", ".join(f"{name} {commit}" for name, commit in content["commits"].items())
    note = (
        "The reference network, in turns. Bare TensorFlow is the network alone, without table, loader and "
        "inputs; with its table it reads, adds up and moves rows, and does nothing else of what a training "
        f"does. Commits: {commits}. {content['machine']['cpu']}."
    )
    return [
        "",
        "## Steps by their rows, before and now",
        "",
        note,
        *table(("contestant", "batch", "checkout", "ms a step", "rows/s", "of before", "of bare"), rows),
    ]

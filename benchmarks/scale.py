"""What training in several processes of one machine costs: equality, memory, bytes, time beyond own rows.

The global batch is the same whatever the number of processes. What a step costs beyond the work on its own
rows is told by as many processes that train at the same time each its share of a batch for itself.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cluster_model import Step
from benchmarks.cluster_steps import Place, Team, Work
from benchmarks.environments import python_of
from benchmarks.hosts import Hosts
from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import rounded, write
from benchmarks.peers.protocol import Request
from benchmarks.runner import Job, Summary, run
from benchmarks.workload import Columns, Workload, load, prepare

BATCH = 4096
ROWS = 1 << 17
EQUAL_STEPS = 10
STEPS = 5  # in a turn
PAPER_WORKERS, PAPER_IDS, PAPER_GIGABITS = (2, 16, 128), (1e9, 10e9), (10, 100)
PORT = 20_000
WHOLE, SPREAD = "whole tables", "rows spread"
# Under Adam rounding would be magnified where a gradient cancels; it has a slot more.
_STANZA = {"optimizer": "adagrad", "learning_rate": 0.05}
STANZAS: Mapping[str, Mapping[str, Any]] = {
    WHOLE: _STANZA,
    SPREAD: {**_STANZA, "embedding_sharding": "row"},  # of a process that is alone nothing is spread
}


def measure_scale(
    ids: int, processes: Sequence[int], tables: Sequence[str], turns: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains the reference work in so many processes; writes ``scale.json`` after each.

    Args:
        ids: Ids over all fields.
        processes: How many, one after the other.
        tables: Of :data:`WHOLE` and :data:`SPREAD`.
        turns: How often each takes its steps.
        cache: Where rows lie.
        results: Where the table goes; what was measured of other ids, numbers and tables stays.
    """
    folder = prepared(Workload(vocabulary=ids, rows=ROWS), cache)
    content = stored(results / "scale.json", "scale")
    with tempfile.TemporaryDirectory() as kept:
        for count in processes:
            for which in tables if count > 1 else (WHOLE,):
                weights = Path(kept) / str(count)
                found = _measured(folder, count, which, turns, weights)
                one = Path(kept) / "1" / "0.npz"
                if count > 1 and one.exists():
                    found["apart"] = apart(one, [weights / f"{rank}.npz" for rank in range(count)], which)
                cell = {"ids": ids, "processes": count, "tables": which, "machine": machine(), **found}
                same = ("ids", "processes", "tables")
                others = [c for c in content["cells"] if any(c[key] != cell[key] for key in same)]
                content["cells"] = sorted([*others, cell], key=lambda c: [c[key] for key in same])
                write(results / "scale.json", content)
                print({key: value for key, value in cell.items() if key != "machine"}, flush=True)
    return content


def stored(file: Path, name: str) -> dict[str, Any]:
    """What a study has measured until now."""
    content = json.loads(file.read_text()) if file.exists() else {"cells": []}
    return content | {"name": name, "machine": machine()}


def prepared(workload: Workload, cache: Path) -> Path:
    """The folder of a workload whose rows are encoded, so that processes only read them.

    Raises:
        RuntimeError: Encoding failed.
    """
    folder = prepare(workload, cache)
    done = run(Job(python_of(None, cache), "ours", Request("encode", str(folder), batch=BATCH)))
    if "error" in done:
        raise RuntimeError(done["error"])
    return folder


@contextmanager
def one_host() -> Iterator[tuple[str, ...]]:
    """What the commands of processes begin with so that nobody else uses their loopback device."""
    if os.geteuid() != 0:
        yield ()
        return
    with Hosts(1) as hosts:
        yield hosts.command(0)


def _measured(folder: Path, count: int, which: str, turns: int, kept: Path) -> dict[str, Any]:
    kept.mkdir(exist_ok=True)
    small = load(folder).vocabulary == Workload().vocabulary  # larger tables would be much to write
    with one_host() as command:
        addresses = tuple(f"127.0.0.1:{PORT + rank}" for rank in range(count))
        places = [Place(command, addresses)] * count
        with Team(Work(str(folder), BATCH, STANZAS[which]), places, kept) as team:
            told = team.take(EQUAL_STEPS, keep=kept if small else None)
            peak = Summary.of([rounded(each["peak_mb"]) for each in told]).plain()
            found: dict[str, Any] = {"peak_mb": peak, "dense": told[0]["dense"]}
            found["distinct"] = distinct_rows(folder, BATCH // count)
            if count > 1 and small:
                team.take(1, alone=True)
            found |= _turns(team, count, turns, count > 1 and small)
    return found


def distinct_rows(folder: Path, rows: int) -> int:
    """How many rows of tables so many rows of a workload look up, each counted once.

    Args:
        folder: A prepared workload, whose rows are in random order.
        rows: How many.
    """
    columns = Columns(folder, rows)
    return sum(len(np.unique(columns[name])) for name in load(folder).field_names)


def _turns(team: Team, count: int, turns: int, alone: bool) -> dict[str, Any]:
    """Steps together and steps alone in turns: milliseconds by the clock and of all processors; bytes."""
    rounds: dict[str, list[float]] = {}
    sent = 0
    for _ in range(turns):
        for kind in ("", "alone_") if alone else ("",):
            before = team.sent()
            told = team.take(STEPS, alone=bool(kind))
            after = team.sent()
            if not kind and before is not None and after is not None:
                sent += after[0] - before[0]  # all share one loopback device
            clock = max(each["seconds"] for each in told)
            processors = sum(each["processor"] for each in told)
            for name, seconds in (("step_ms", clock), ("processor_ms", processors)):
                rounds.setdefault(kind + name, []).append(rounded(1000 * seconds / STEPS))
    found: dict[str, Any] = {name: Summary.of(each).plain() for name, each in rounds.items()}
    counted = count > 1 and sent
    return found | ({"bytes": round(sent / (turns * STEPS * count))} if counted else {})


def apart(one: Path, several: Sequence[Path], which: str) -> float:
    """How far weights are from those of one process, over the largest of their variable.

    Args:
        one: The weights of one process.
        several: Those of each of several.
        which: How their tables lie.
    """
    furthest = 0.0
    single, parts = np.load(one), [np.load(file) for file in several]
    for name in single.files:
        expected = single[name]
        if which == SPREAD and name.startswith("table"):
            # Row g is row g div n of process g mod n.
            found = np.stack([part[name] for part in parts], axis=1).reshape(-1, expected.shape[1])
            found = found[: len(expected)]
        else:
            found = parts[-1][name]
        furthest = max(furthest, float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12)))
    return furthest


def share(cell: Mapping[str, Any]) -> float:
    """The part of a step that is not work on a process's own rows, by the clock: the median of the turns."""
    pairs = zip(cell["alone_step_ms"]["rounds"], cell["step_ms"]["rounds"], strict=True)
    return statistics.median(1 - alone / together for alone, together in pairs)


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        compared = "alone_step_ms" in cell
        rows.append(
            (
                f"{cell['ids']:,}",
                str(cell["processes"]),
                cell["tables"] if cell["processes"] > 1 else "",
                f"{cell['apart']:.1g}" if "apart" in cell else "",
                number(cell["peak_mb"]["high"]),
                f"{cell['bytes'] / 1e6:.2f}" if "bytes" in cell else "",
                spread(cell["processor_ms"]),
                spread(cell["alone_processor_ms"]) if compared else "",
                spread(cell["step_ms"]),
                spread(cell["alone_step_ms"]) if compared else "",
                f"{share(cell):.0%}" if compared else "",
                f"{cell['machine']['load_before']:g}",
            )
        )
    heading = ("ids", "processes", "tables", "apart from one", "peak MB of the largest")
    heading += ("MB a process sends a step", "ms of processors a step, all", "each alone on its share")
    heading += ("ms a step by the clock", "each alone", "beyond own rows", "load before")
    text = (
        f"The reference work, global batch {BATCH}, under Adagrad, in several processes that share the "
        f"machine's {content['machine']['cores']} cores. Weights after {EQUAL_STEPS} steps are compared with "
        "those of one process, relative to the largest of each variable. Bytes are those of the kernel's "
        f"counter. {STEPS} steps a turn, together and alone in turns, median (least to most)."
    )
    return ["", "## Several processes on one machine", text, *table(heading, rows), *_on_paper(content)]


def _on_paper(content: Mapping[str, Any]) -> list[str]:
    """What clusters would cost that are not here, and how far the same formula is from what was counted."""
    one = [c for c in content["cells"] if c["processes"] == 1 and c["ids"] == Workload().vocabulary]
    if not one:
        return []
    checks = []
    for cell in content["cells"]:
        if "bytes" in cell:
            count, which = cell["processes"], cell["tables"]
            expected = Step(cell["dense"], cell["distinct"]).sent(count, which == SPREAD)
            counted = f"{cell['bytes'] / 1e6:.2f}"
            checks.append((f"{cell['ids']:,}", str(count), which, f"{expected / 1e6:.2f}", counted))
    step = Step(one[0]["dense"], one[0]["distinct"], seconds=one[0]["processor_ms"]["median"] / 1000)
    rows = []
    for workers in PAPER_WORKERS:
        for spreads in (False, True):
            own = [f"{step.memory(ids, workers, spreads) / 1e9:,.0f}" for ids in PAPER_IDS]
            times = [1000 * step.exchange(workers, spreads, each) for each in PAPER_GIGABITS]
            shares = [f"{ms:.1f} ({ms / (ms + 1000 * step.seconds):.0%})" for ms in times]
            sent = f"{step.sent(workers, spreads) / 1e6:.1f}"
            rows.append((str(workers), SPREAD if spreads else WHOLE, sent, *shares, *own))
    heading = ["workers", "tables", "MB sent a step"]
    heading += [f"ms of exchange at {each:g} Gbit/s (share)" for each in PAPER_GIGABITS]
    heading += [f"GB of a worker, {ids / 1e9:g} billion ids" for ids in PAPER_IDS]
    text = (
        f"Every worker has {BATCH} rows of a batch, {step.distinct:,} distinct rows of tables in them, width "
        f"{step.width}, {step.dense:,} dense weights; Adam's {step.slots} slots; its own rows take "
        f"{1000 * step.seconds:.0f} ms, as one core here. Formulas and what they assume: "
        "`benchmarks/cluster_model.py`."
    )
    compared = ("ids", "processes", "tables", "MB a process sends a step, by the formula", "counted")
    lines = ["", "### On paper", text, *table(heading, rows)]
    return [*lines, "The formula beside the kernel's counter:", *table(compared, checks)]


def spread(summary: Mapping[str, float]) -> str:
    """A median with the least and the most."""
    low, high = number(summary["low"]), number(summary["high"])
    return f"{number(summary['median'])} ({low} to {high})"

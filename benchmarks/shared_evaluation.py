"""Memory of processes that measure a large split in common, beside one that does so alone."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.processes import COUNT, ROOT, addresses

LOOK = 0.01  # seconds between two looks at the memory
MIB = 1 << 20


def measure_shared_evaluation(rows: int, results: Path) -> dict[str, Any]:
    """Measures a split in one process and in two; writes ``shared_evaluation.json``.

    Args:
        rows: Of the split.
        results: Folder of the results.

    Raises:
        RuntimeError: A process has failed.
    """
    content: dict[str, Any] = {"name": "shared_evaluation", "machine": machine(), "rows": rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_split(folder, rows)
        alone = _looked_at(folder, rows, {"alone": {}})
        together = _looked_at(
            folder, rows, dict(zip(("chief", *["worker"] * (COUNT - 1)), addresses(), strict=True))
        )
        content["memory"] = alone | together
        files = [(folder / f"{name}.json").read_text() for name in ("alone", "chief")]
        content["metrics"], content["same"] = files[0], files[0] == files[1]
    write(results / "shared_evaluation.json", content)
    return content


def _write_split(folder: Path, rows: int) -> None:
    """An encoded split: two ids, two labels, and the users for gAUC."""
    from benchmarks.evaluation_worker import VOCABULARY

    rng = np.random.default_rng(1)
    ids = rng.integers(1, VOCABULARY, (rows, 2), dtype=np.int32)
    np.save(folder / "valid.ids.npy", ids)
    np.save(folder / "valid.numeric.npy", np.zeros((rows, 0), np.float32))
    np.save(folder / "valid.events.npy", (rng.random((rows, 2)) < 0.3).astype(np.float32))
    pl.DataFrame({"user": ids[:, 0]}).write_parquet(folder / "valid.meta.parquet")


def _looked_at(folder: Path, rows: int, environments: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Anonymous memory of processes, MiB: before the split is measured, and the most while it is."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.evaluation_worker", str(folder), name],
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **environment},
            cwd=ROOT,
        )
        for name, environment in environments.items()
    }
    seen: dict[str, list[float]] = {name: [] for name in started}
    begun = dict.fromkeys(started, 0.0)
    try:
        while any(process.poll() is None for process in started.values()):
            for name, process in started.items():
                with suppress(OSError):
                    if (folder / name).read_text() == str(rows):
                        seen[name].append(_anonymous(process.pid))
                        begun[name] = begun[name] or seen[name][0]
            if any(process.poll() for process in started.values()):
                raise RuntimeError(f"one of {', '.join(started)} has failed.")
            time.sleep(LOOK)
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    return {name: {"before": round(begun[name]), "most": round(max(seen[name]))} for name in started}


def _anonymous(process: int) -> float:
    """Memory of a process that no file stands behind, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    same = "the same to the bit" if content["same"] else "not the same"
    text = (
        f"AUC, gAUC and logloss of two tasks on {content['rows']:,} rows: anonymous memory of a process "
        f"alone, and of two that predict in common, of which the chief measures. The metrics are {same}."
    )
    rows = [
        (name, *(f"{each[key]:,}" for key in ("before", "most")), f"{each['most'] - each['before']:,}")
        for name, each in content["memory"].items()
    ]
    return [
        "",
        "## Memory of a shared evaluation",
        text,
        *table(("process", "MiB before", "most MiB", "MiB for it"), rows),
    ]

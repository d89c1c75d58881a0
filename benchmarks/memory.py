"""Memory by the number of rows: encoding, training an epoch and predicting, each a process of its own.

Anonymous memory is told apart from mapped pages, which the system may take back. Under a limit the process
and its mapped pages are in a memory group of the kernel (version 1 or 2), which kills what needs more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.compared_runs import write_yaml
from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import ROOT
from benchmarks.workload import Workload

LOOK = 0.02  # seconds between two looks at the memory
BATCH, WIDTH, NUMBERS, GROUP_ROWS = 4096, 16, 5, 500_000
SLOTS = 2  # Adam's, beside the rows of the tables
HELD = 100_000
STAGES = ("encode", "train", "predict")
GROUPS = Path("/sys/fs/cgroup")
_ENCODE = """
import sys
from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.registry import import_zoo
import_zoo()
experiment = load_experiment(sys.argv[1], "MMoE")
load_dataset(experiment.dataset, experiment.tasks, "rows", progress=False)
"""


@dataclass(frozen=True)
class Shape:
    """What is made and trained.

    Attributes:
        rows: Training rows.
        columns: Inputs, five of them numbers.
        ids: Ids over all fields.
        window: Of shuffled rows, in GiB.
    """

    rows: int
    columns: int
    ids: int
    window: float

    @property
    def tables(self) -> int:
        """Bytes of the tables and of what the optimizer keeps for them."""
        return self.ids * WIDTH * 4 * (1 + SLOTS)


def measure_memory(
    rows: Sequence[int],
    columns: int,
    ids: int,
    window: float,
    beside: float | None,
    cache: Path,
    results: Path,
) -> dict[str, Any]:
    """Encodes, trains and predicts so many rows, one after the other; writes ``memory.json`` after each.

    Args:
        rows: Numbers of training rows.
        columns: Inputs.
        ids: Ids over all fields.
        window: Of shuffled rows, in GiB.
        beside: Limit of the memory beside the tables, in GiB; None for none.
        cache: Where the rows lie meanwhile.
        results: Where the table goes; what was measured of other shapes stays.

    Raises:
        RuntimeError: A stage failed, or there is no memory group for a limit.
    """
    file = results / "memory.json"
    content = json.loads(file.read_text()) if file.exists() else {"cells": []}
    content |= {"name": "memory", "machine": machine()}
    for count in rows:
        shape = Shape(count, columns, ids, window)
        cell = {**vars(shape), "tables_mb": round(shape.tables / 2**20), "beside": beside}
        cell |= {"machine": machine(), "stages": _stages(shape, beside, cache)}
        same = ("rows", "columns", "ids", "window", "beside")
        others = [each for each in content["cells"] if any(each[key] != cell[key] for key in same)]
        content["cells"] = sorted([*others, cell], key=lambda each: [each[key] or 0 for key in same])
        write(file, content)
    return content


def _stages(shape: Shape, beside: float | None, cache: Path) -> dict[str, Any]:
    cache.mkdir(parents=True, exist_ok=True)
    limit = None if beside is None else shape.tables + int(beside * 2**30)
    found = {}
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        rows = made_rows(folder, shape)
        config = _config(folder, rows, shape)
        run = ["--config", str(config), "--expid", "MMoE"]
        commands = {
            "encode": ["-c", _ENCODE, str(config)],
            "train": ["-m", "fuxi_mtl", "run", *run],
            "predict": ["-m", "fuxi_mtl", "predict", *run, "--input", str(rows)],
        }
        commands["predict"] += ["--output", str(folder / "scores.parquet")]
        for stage in STAGES:
            found[stage] = watched(commands[stage], folder, limit)
            print(f"{shape.rows:,} rows: {stage} {found[stage]}", flush=True)
    return found


def made_rows(folder: Path, shape: Shape) -> Path:
    """Writes the rows, part by part."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(2026)
    sizes = Workload(vocabulary=shape.ids, fields=shape.columns - NUMBERS).sizes
    file, writer = folder / "rows.parquet", None
    for start in range(0, shape.rows, GROUP_ROWS):
        count = min(GROUP_ROWS, shape.rows - start)
        # Few ids have most rows, as in Zipf's law.
        made = {f"C{i}": (size ** rng.random(count)).astype(np.int32) for i, size in enumerate(sizes)}
        made |= {f"N{i}": rng.standard_normal(count, np.float32) for i in range(NUMBERS)}
        made["click"] = (rng.random(count) < 0.04).astype(np.int8)
        made["buy"] = made["click"] * (rng.random(count) < 0.1).astype(np.int8)
        frame = pl.DataFrame(made).to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(file, frame.schema)
        writer.write_table(frame)
    if writer is not None:
        writer.close()
    return file


def _config(folder: Path, rows: Path, shape: Shape) -> Path:
    config = folder / "config"
    config.mkdir()
    fields = [f"C{i}" for i in range(shape.columns - NUMBERS)]
    features: list[dict[str, Any]] = [{"name": fields, "dtype": "int"}]
    features.append({"name": [f"N{i}" for i in range(NUMBERS)], "type": "numeric", "dtype": "float"})
    dataset = {
        "data_root": str(folder),
        "data_format": "parquet",
        "train_data": str(rows),
        "valid_size": min(HELD, shape.rows // 10),
        "feature_cols": features,
        "label_col": [{"name": "click", "dtype": "int"}, {"name": "buy", "dtype": "int"}],
    }
    model = {
        "model": "MMoE",
        "dataset_id": "rows",
        "model_root": str(folder / "runs"),
        "tasks": {"ctr": "click", "cvr": "buy | click"},
        "embedding_dim": WIDTH,
        "num_experts": 2,
        "expert_hidden_units": [64],
        "tower_hidden_units": [32],
        "batch_size": BATCH,
        "epochs": 1,
        "shuffle_window_gb": shape.window,
        "export": False,
        "save_predictions": False,
    }
    write_yaml(config / "dataset_config.yaml", {"rows": dataset})
    write_yaml(config / "model_config.yaml", {"MMoE": model})
    return config


def watched(command: Sequence[str], folder: Path, limit: int | None) -> dict[str, Any]:
    """Runs a command of this Python, and tells its most memory in MiB and its seconds.

    Args:
        command: Its arguments.
        folder: Where it works.
        limit: Most bytes that it may have, mapped pages included; None for no limit.

    Raises:
        RuntimeError: It failed.
    """
    most = {"anonymous_mb": 0, "mapped_mb": 0}
    with _group(limit) as group, tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
            preexec_fn=None if group is None else lambda: _join(group),  # noqa: PLW1509 - no thread is there
        )
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            for key, mebibytes in zip(most, memory_of(process.pid), strict=True):
                most[key] = max(most[key], round(mebibytes))
            time.sleep(LOOK)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            end = said.read().decode(errors="replace")[-1500:]
            raise RuntimeError(f"{' '.join(command[:3])} ended with {process.returncode}:\n{end}")
        all_of_group = None if group is None else _most_of(group)
    processor = used.ru_utime + used.ru_stime
    found = {**most, "seconds": round(seconds, 1), "processor": round(processor, 1)}
    return found | ({} if all_of_group is None else {"limit_mb": round((limit or 0) / 2**20), **all_of_group})


def memory_of(process: int) -> tuple[float, float]:
    """Anonymous memory of a process, and pages of files that it has mapped, in MiB."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    sizes = dict(line.split(":", 1) for line in lines)
    return tuple(int(sizes.get(key, "0").split()[0]) / 1024 for key in ("RssAnon", "RssFile"))  # type: ignore[return-value]


@contextmanager
def _group(limit: int | None) -> Iterator[Path | None]:
    """A memory group of the kernel with a limit, which is gone behind the block."""
    if limit is None:
        yield None
        return
    first = GROUPS / "memory" / "memory.limit_in_bytes"
    parent = first.parent if first.exists() else GROUPS
    group = parent / f"fuxi_mtl_{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first.exists() else "memory.max")).write_text(str(limit))
    except OSError as error:
        raise RuntimeError(
            f"no memory group under {parent} ({error.strerror}): a limit needs root."
        ) from error
    try:
        yield group
    finally:
        group.rmdir()


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _most_of(group: Path) -> dict[str, int]:
    """The most memory that a group had, and how often it came to its limit, when pages were taken back."""
    peak = next(
        group / name for name in ("memory.max_usage_in_bytes", "memory.peak") if (group / name).exists()
    )
    found = {"group_mb": round(int(peak.read_text()) / 2**20)}
    count = group / "memory.failcnt"
    return found | ({"at_limit": int(count.read_text())} if count.exists() else {})


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        limit = "none" if cell["beside"] is None else f"{cell['beside']:g} GB beside {cell['tables_mb']} MB"
        shape = (f"{cell['rows']:,}", str(cell["columns"]), f"{cell['ids']:,}", f"{cell['window']:g}", limit)
        for stage, found in cell["stages"].items():
            speed = number(cell["rows"] / found["processor"])
            shown = (f"{found['anonymous_mb']:,}", f"{found['mapped_mb']:,}", number(found["seconds"]))
            group = f"{found['group_mb']:,}" if "group_mb" in found else "–"
            load = f"{cell['machine']['load_before']:g}"
            rows.append((*shape, stage, *shown, speed, group, load))
    heading = ("rows", "columns", "ids", "window, GiB", "limit", "stage", "anonymous MiB", "mapped MiB")
    heading += ("seconds", "rows a second of the processors", "MiB of the group", "load before")
    text = (
        "Rows of parquet are encoded, trained on for an epoch (MMoE of two small experts, batch 4096, Adam) "
        "and predicted, each by a process of its own. The most anonymous memory at any moment, and the most "
        "pages of files; limits are memory groups of the kernel, in which the tables and Adam's slots have "
        "their place, and so much beside them."
    )
    return ["", "## Memory by the number of rows", "", text, *table(heading, rows)]

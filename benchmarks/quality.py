"""Is it as good while it is fast? AUC over seeds, beside plain Keras on the same encoded rows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.environments import python_of
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.peers.protocol import Request
from benchmarks.workload import Workload, prepare

CLICKS = Workload(vocabulary=100_000, rows=400_000, held=100_000, conversion_rate=0.2, seed=7)
# Name, variant, precision, and what differs in the stanza.
VARIANTS = (
    ("plain Keras", "plain", "float32", {}),
    ("plain Keras, dense Adam", "plain_dense", "float32", {}),
    ("fuxi_mtl", "ours", "float32", {}),
    ("fuxi_mtl sum_of_squares", "ours", "float32", {"embedding_second_moment": "sum_of_squares"}),
    ("fuxi_mtl dense equivalent", "ours", "float32", {"embedding_optimizer": "dense_equivalent_adam"}),
    ("fuxi_mtl bfloat16", "ours", "mixed_bfloat16", {}),
)
EPOCHS = {"census": 2, "clicks": 1}


def measure_quality(seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Trains every variant with every seed on both data sets, and writes ``quality.json``."""
    jobs = {}
    for data, epochs in EPOCHS.items():
        folder = prepare(CLICKS, cache) if data == "clicks" else cache / "census"
        for name, variant, precision, stanza in VARIANTS:
            options = {"data": data, "variant": variant, "seeds": list(seeds), "epochs": epochs}
            options["stanza"] = stanza
            request = Request("quality", str(folder), batch=1024, options=options, precision=precision)
            jobs[data, name] = runner.Job(python_of(None, cache), "quality_runs", request)
    content: dict[str, Any] = {"name": "quality", "machine": machine(), "seeds": list(seeds), "cells": []}
    for (data, name), job in jobs.items():
        result = runner.run(job)
        content["cells"].append({"data": data, "contestant": name, **result})
        print(f"{data}: {name}: {result.get('auc', result.get('error'))}", flush=True)
        write(results / "quality.json", content)
    return content


def differences(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each variant beside plain Keras, by data and task: means, spread over seeds, and the difference.

    The difference is within seed noise if it is no larger than twice its standard error,
    ``sqrt((s_a^2 + s_b^2) / seeds)``.
    """
    cells = {(cell["data"], cell["contestant"]): cell["auc"] for cell in content["cells"] if "auc" in cell}
    rows = []
    for (data, name), scores in cells.items():
        for task, values in scores.items():
            plain = cells[data, VARIANTS[0][0]][task]
            difference = statistics.mean(values) - statistics.mean(plain)
            error = math.sqrt((_variance(values) + _variance(plain)) / len(values))
            rows.append(
                {
                    "data": data,
                    "contestant": name,
                    "task": task,
                    "mean": statistics.mean(values),
                    "deviation": math.sqrt(_variance(values)),
                    "difference": difference,
                    "error": error,
                    "within": abs(difference) <= 2 * error,
                }
            )
    return rows


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = [
        (
            row["data"],
            row["task"],
            row["contestant"],
            f"{row['mean']:.4f} ± {row['deviation']:.4f}",
            f"{row['difference']:+.4f} ± {row['error']:.4f}",
            "yes" if row["within"] else "better" if row["difference"] > 0 else "no",
        )
        for row in differences(content)
    ]
    heading = ("data", "task", "variant", "AUC ± sd", "to plain Keras ± se", "within seed noise")
    return ["", f"## Quality: test AUC over seeds {content['seeds']}", *table(heading, rows)]


def _variance(values: Sequence[float]) -> float:
    return statistics.variance(values) if len(values) > 1 else 0.0

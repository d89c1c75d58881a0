"""What `compare` of many runs takes, by this checkout and by an earlier one beside it.

The runs are written by hand: the labels of census-income's test rows, scores drawn around them, the values of
AUC and logloss that these scores have, and a history, so that no network is trained.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.checkouts import BEFORE, NOW, checkouts
from benchmarks.machine import commit_of, machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import ROOT, Summary, quotient
from fuxi_mtl.config import Experiment, load_experiment
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.runs import Run, StoredScores, run_folder

FORMATS = ("csv", "html")
SEEDS = 5
EVALUATIONS = 12
_MODELS = {"SingleTask": "SingleTask_default", "MMoE": "MMoE_default"}


def written_runs(root: Path, runs: int) -> int:
    """Writes finished runs of census-income, five seeds an experiment; says how many test rows they have.

    Args:
        root: The ``model_root``, empty.
        runs: How many.
    """
    import_zoo()
    stored = pl.read_parquet(ROOT / "data/census_income/test.parquet")
    experiments = {name: load_experiment(ROOT / "config", expid) for name, expid in _MODELS.items()}
    tasks = [task.name for task in experiments["MMoE"].tasks]
    labels = {task: stored[task].to_numpy().astype(np.float32) for task in tasks}
    rng = np.random.default_rng(2026)
    for i in range(runs):
        model = "MMoE" if i >= SEEDS else "SingleTask"
        expid, seed = f"{model}_{i // SEEDS:03d}", 1 + i % SEEDS
        folder = run_folder(str(root), "census_income", expid, seed)
        folder.mkdir(parents=True)
        _write_run(Run(folder), experiments[model], expid, seed, labels, rng)
    return len(stored)


def _write_run(
    run: Run,
    experiment: Experiment,
    expid: str,
    seed: int,
    labels: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    predictions = {task: _scores(label, 3 + rng.random(), rng) for task, label in labels.items()}
    values: dict[str, float] = {}
    for name in ("AUC", "logloss"):
        of_tasks = {task: METRICS[name].function(labels[task], predictions[task]) for task in labels}
        values |= {f"{task}_{name}": value for task, value in of_tasks.items()}
        values[name] = float(np.mean(list(of_tasks.values())))
    run.write_scores("test", StoredScores.of(predictions, labels, {}))
    evaluations = [_evaluation(i, values, rng) for i in range(EVALUATIONS)]
    run.write_json(run.history, {"evaluations": evaluations})
    run.write_config(experiment.resolved())
    run.write_json(run.environment, {"git_commit": "0" * 40})
    content = {
        "expid": expid,
        "dataset_id": "census_income",
        "model": experiment.options.model,
        "seed": seed,
        "tasks": {task.name: task.expression for task in experiment.tasks},
        "valid": values,
        "test": values,
        "undefined": {"valid": {}, "test": {}},
        "num_parameters": 100_000 + 1000 * len(expid),
        "train_seconds": 30 + rng.random(),
        "rows_per_second": 80_000 + 1000 * rng.random(),
        "best_step": 100 * EVALUATIONS,
        "data_key": "0" * 32,
    }
    run.write_json(run.metrics, content)


def _scores(labels: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities that are the better the larger the skill."""
    logits = skill * (labels - 0.5) + rng.normal(size=len(labels)) - 0.8
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def _evaluation(i: int, values: Mapping[str, float], rng: np.random.Generator) -> dict[str, Any]:
    tasks = [key.removesuffix("_AUC") for key in values if key.endswith("_AUC")]
    away = 0.1 * np.exp(-i) + 0.002 * rng.random()
    return {
        "step": 100 * (i + 1),
        "epoch": i + 1,
        "loss": 1 + away,
        "losses": dict.fromkeys(tasks, 0.4 + away),
        "weights": dict.fromkeys(tasks, 1.0),
        "gradient_norms": None,
        "learning_rate": 1e-3,
        "metrics": {key: v + (away if key.endswith("logloss") else -away) for key, v in values.items()},
        "undefined": {},
    }


def measure_comparing(before: Path | None, runs: int, rounds: int, results: Path) -> dict[str, Any]:
    """Compares the runs by both checkouts, in turns; writes ``comparing.json``.

    Args:
        before: Root of the earlier checkout, or None.
        runs: How many runs.
        rounds: How often each writes each format.
        results: Folder of the results.

    Raises:
        ValueError: There is no checkout in that folder.
        RuntimeError: One did not compare.
    """
    roots = checkouts(before)
    content: dict[str, Any] = {"name": "comparing", "machine": machine(), "runs": runs}
    found: dict[tuple[str, str], list[tuple[float, float, float, str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        content["rows"] = written_runs(Path(folder), runs)
        for _ in range(rounds):
            for style in FORMATS:
                for name, checkout in roots.items():
                    found.setdefault((style, name), []).append(_compared(checkout, Path(folder), style))
                    print(style, name, found[style, name][-1], flush=True)
    content["cells"] = [
        {
            "contestant": name,
            "format": style,
            "seconds": Summary.of([round(seconds, 2) for seconds, *_ in times]).plain(),
            "processor": Summary.of([round(processor, 2) for _, processor, *_ in times]).plain(),
            "peak_mb": Summary.of([round(peak) for _, _, peak, _ in times]).plain(),
            "equal": len({made for each in roots for *_, made in found[style, each]}) == 1,
        }
        for (style, name), times in found.items()
    ]
    content["commits"] = {name: commit_of(checkout) for name, checkout in roots.items()}
    write(results / "comparing.json", content)
    return content


def _compared(checkout: Path, root: Path, style: str) -> tuple[float, float, float, str]:
    """Seconds of the clock and of the processors, peak MiB, and the hash of what was written."""
    with tempfile.TemporaryDirectory() as empty:  # what lies in the working folder is imported first
        made = Path(empty) / "made"
        command = [sys.executable, "-m", "fuxi_mtl", "compare", "--model_root", str(root)]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--format", style, "--output", str(made)],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"comparing by {checkout} ended with {process.returncode}.")
        written = hashlib.sha256(made.read_bytes()).hexdigest()
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, written


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cells = {(cell["format"], cell["contestant"]): cell for cell in content["cells"]}
    rows = []
    for (style, name), cell in cells.items():
        shown = [_range(cell[what]) for what in ("seconds", "processor")]
        share = "–"
        if name == NOW and (style, BEFORE) in cells:
            above, below = (Summary(**each["processor"]) for each in (cell, cells[style, BEFORE]))
            share = number(quotient(above, below).median)
        rows.append((style, name, *shown, share, number(cell["peak_mb"]["high"])))
    heading = ("format", "checkout", "seconds", "seconds of the processors", "processors, now / before", "MB")
    equal = all(cell["equal"] for cell in content["cells"])
    text = (
        f"{content['runs']} runs of two tasks, five seeds an experiment, {content['rows']:,} test rows, AUC "
        f"and logloss, {EVALUATIONS} evaluations a run: labels of census-income, scores drawn around them. "
        f"In turns, median (least to most); load before: {content['machine']['load_before']:g}; "
        f"{', '.join(f'{name} is commit {commit}' for name, commit in content['commits'].items())}. What "
        f"was written is {'the same to the last byte' if equal else 'not the same'}."
    )
    return ["", "## Comparing many runs", "", text, *table(heading, rows)]


def _range(summary: Mapping[str, Any]) -> str:
    return f"{number(summary['median'])} ({number(summary['low'])} to {number(summary['high'])})"

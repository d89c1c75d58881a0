"""Tables of exported models: what half the bytes cost in AUC, and what loading 10 million ids takes."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.public_data import located
from benchmarks.runner import ROOT
from benchmarks.serving import rows_of, served_model
from benchmarks.workload import Workload

TYPES = ("float32", "float16", "bfloat16")
IDS = 10_000_000
BATCH = 8192
# In a process of its own: seconds until it has loaded and answered, and the memory that it took.
LOADS = """
import json, sys, time
import numpy as np
import tensorflow as tf

def memory(word):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(word)) / 2**20

before = memory("VmRSS")
start = time.perf_counter(), time.process_time()
served = tf.saved_model.load(sys.argv[1])
loaded = time.perf_counter() - start[0], time.process_time() - start[1]
rows = dict(np.load(sys.argv[2], allow_pickle=True))
request = {name: tf.constant(x.tolist() if x.dtype == object else x) for name, x in rows.items()}
served.signatures["serving_default"](**request)
answered = time.perf_counter() - start[0]
peak, after = memory("VmHWM"), memory("VmRSS")
print(json.dumps({
    "seconds": loaded[0], "cpu": loaded[1], "answer": answered,
    "before": before, "peak": peak, "after": after,
}))
"""


def measure_tables(
    expids: Sequence[str],
    seeds: Sequence[int],
    ids: int,
    cache: Path,
    results: Path,
    folders: Sequence[Path] = (),
) -> dict[str, Any]:
    """Trains what is not trained yet, exports it, and loads a large model; writes ``served_tables.json``.

    What is there already and not asked for stays.

    Args:
        expids: Shipped experiments.
        seeds: Of each.
        ids: Ids of the model that is loaded; 0 for none.
        cache: Where runs and encoded data lie.
        results: Where the result goes.
        folders: Finished runs that are measured, too, with their data where they were.
    """
    file = results / "served_tables.json"
    content: dict[str, Any] = {
        "auc": [],
        "loads": [],
        **(json.loads(file.read_text()) if file.is_file() else {}),
    }
    content["name"] = "served_tables"
    if ids or "machine" not in content:  # that of what takes time
        content["machine"] = machine()
    if ids:
        content["loads"] = _loads(ids)
        write(file, content)

    def keep(expid: str, seed: int, types: dict[str, Any]) -> None:
        others = [each for each in content["auc"] if (each["expid"], each["seed"]) != (expid, seed)]
        content["auc"] = [*others, {"expid": expid, "seed": seed, "types": types}]
        write(file, content)

    for expid in expids:
        for seed in seeds:
            keep(expid, seed, _trained(expid, seed, cache))
    for folder in folders:
        said = json.loads((folder / "metrics.json").read_text())
        keep(f"{said['expid']} on {said['dataset_id']}", said["seed"], _of_folder(folder, said["expid"]))
    return content


def _trained(expid: str, seed: int, cache: Path) -> dict[str, Any]:
    """What :func:`_of_run` says of a run that is trained unless it is there."""
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.registry import import_zoo
    from fuxi_mtl.workflow.resume import run_or_resume

    import_zoo()
    place = cache / "served_tables"
    plain = load_experiment(ROOT / "config", expid)
    sources = {key: getattr(plain.dataset, key) for key in ("train_data", "valid_data", "test_data")}
    changes = {key: located(str(path)) for key, path in sources.items() if path}
    changes |= {"model_root": str(place / "runs"), "data_root": str(place / "data"), "export": False}
    experiment = load_experiment(ROOT / "config", expid, changes=changes).with_seed(seed)
    return _of_run(run_or_resume(experiment, resume=True).folder, experiment)


def _of_folder(folder: Path, expid: str) -> dict[str, Any]:
    from fuxi_mtl.config import load_resolved
    from fuxi_mtl.registry import import_zoo

    import_zoo()
    return _of_run(folder, load_resolved(folder / "config.yaml", expid))


def _of_run(run: Path, experiment: Any) -> dict[str, Any]:
    """By type: bytes of the model, the test AUC of each task, and the largest difference of a probability."""
    from fuxi_mtl.metrics import auc
    from fuxi_mtl.workflow.experiment import export_run, load_data

    split = load_data(experiment).test
    labels = split.labels(experiment.tasks)
    found: dict[str, Any] = {}
    exact: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in TYPES:
            served = Path(folder) / dtype
            export_run(run, served, signature="from_ids", export_dtype=dtype)
            scores = _scores(served, split)
            exact = exact or scores
            found[dtype] = {
                "bytes": sum(file.stat().st_size for file in (served / "variables").iterdir()),
                "auc": {
                    task: _auc(auc, labels[task], x) for task, x in scores.items() if _is_binary(labels[task])
                },
                "difference": max(float(np.abs(scores[task] - x).max()) for task, x in exact.items()),
            }
    return found


def _scores(served: Path, split: Any) -> dict[str, np.ndarray]:
    """Of the test rows, by task, as the exported model gives them."""
    import tensorflow as tf

    ask = tf.saved_model.load(str(served)).signatures["from_ids"]
    parts = [
        ask(
            ids=tf.constant(split.ids[start : start + BATCH]),
            numeric=tf.constant(split.numeric[start : start + BATCH]),
        )
        for start in range(0, split.rows, BATCH)
    ]
    names = [name.removesuffix("_pred") for name in parts[0] if name.endswith("_pred")]
    return {name: np.concatenate([part[f"{name}_pred"].numpy() for part in parts]) for name in names}


def _is_binary(labels: np.ndarray) -> bool:
    return set(np.unique(labels[~np.isnan(labels)])) == {0.0, 1.0}


def _auc(auc: Any, labels: np.ndarray, scores: np.ndarray) -> float:
    known = ~np.isnan(labels)
    return float(auc(labels[known], scores[known]))


def _loads(ids: int) -> list[dict[str, Any]]:
    """What a SavedModel of so many ids takes on disk, to load, and in memory, by the type of its tables."""
    from fuxi_mtl.serving.formats import exporter

    workload = replace(Workload(), vocabulary=ids)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        np.savez(rows, **rows_of(workload, 100))
        model, encoder = served_model(workload)
        for dtype in TYPES[:2]:
            begun = time.perf_counter()
            exporter("savedmodel", export_dtype=dtype)(model, encoder, Path(folder) / dtype)
            found.append({"ids": ids, "dtype": dtype, "export": time.perf_counter() - begun})
            found[-1]["load"] = round(os.getloadavg()[0], 1)
        del model, encoder  # others need the memory
        gc.collect()
        for each in found:
            served = Path(folder) / each["dtype"]
            sizes = {part: _bytes(served / part) for part in ("assets", "variables")}
            each["bytes"] = {**sizes, "graph": (served / "saved_model.pb").stat().st_size}
            command = [sys.executable, "-c", LOADS, str(served), str(rows)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            each.update(json.loads(done.stdout.splitlines()[-1]))
    return found


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    lines = ["", "## Tables of exported models in half the bytes"]
    for each in content["auc"]:
        first = each["types"][TYPES[0]]["auc"]
        rows = [
            (
                dtype,
                number(found["bytes"] / 1e6),
                f"{found['difference']:.1e}",
                *(f"{found['auc'][task]:.6f} ({found['auc'][task] - first[task]:+.1e})" for task in first),
            )
            for dtype, found in each["types"].items()
        ]
        heading = ("tables", "variables, MB", "largest difference", *(f"{task}, AUC" for task in first))
        lines += ["", f"{each['expid']}, seed {each['seed']}, test rows:", *table(heading, rows)]
    rows = [
        (
            f"{each['ids']:,}",
            each["dtype"],
            *(number(each["bytes"][part] / 1e6) for part in ("assets", "variables", "graph")),
            *(number(each[key]) for key in ("seconds", "cpu", "answer", "before", "peak", "after")),
        )
        for each in content["loads"]
    ]
    heading = (
        *(
            "ids",
            "tables",
            "vocabularies, MB",
            "variables, MB",
            "graph, MB",
            "loaded after, s",
            "processor, s",
        ),
        *("answered after, s", "GB before", "GB at most", "GB after"),
    )
    load = ", ".join(f"{each['load']}" for each in content["loads"])
    note = f"In a process with TensorFlow alone; large vocabularies are files. Load of others: {load}."
    return [*lines, "", note, *table(heading, rows)] if rows else lines

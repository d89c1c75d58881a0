"""Does debiasing help? Conversion models on simulated clicks whose truth is known, at three strengths.

Every run goes the way of ``run_expid.py``. Two rows are of nobody's model: the true probabilities
themselves, and inverse propensities by the true propensity.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from fuxi_mtl.config import load_experiment
from fuxi_mtl.metrics import auc
from fuxi_mtl.simulation import dataset_stanza, make_settings, simulate

STRENGTHS = (0.0, 1.0, 2.0)
# Small enough for 165 runs, and clicks (40,000) and conversions (8,000) enough to learn from.
WORLD = {"rows": 400_000, "users": 2_000, "items": 500, "conversion_rate": 0.2, "seed": 7}
METRICS = ("cvr_bias", "cvr_bias_clicked", "cvr_bias_unclicked", "cvr_truth_MSE", "cvr_truth_AUC", "cvr_AUC")
_NETWORK = {"tower_hidden_units": [64, 32], "bottom": "shared_embedding"}
_CHAIN = {"ctr": "click", "cvr": "conversion | click", "ctcvr": "click & conversion"}
_OPEN = {"ipw": {"eps_clip": 0.01}}  # the papers' 0.1 is the mean click rate here: nearly no correction
MODELS: dict[str, dict[str, Any]] = {
    "NaiveCVR": {"model": "NaiveCVR"},
    "MTL_IMP": {"model": "MTL_IMP"},
    "ESMM": {"model": "ESMM"},
    "ESM2": {"model": "ESM2", "tasks": {**_CHAIN, "ctavr": "click & cart"}},
    "MultiIPW": {"model": "MultiIPW", **_OPEN},
    "MultiIPW, clipped at 0.1": {"model": "MultiIPW"},
    "MultiDR": {"model": "MultiDR", **_OPEN},
    "MultiDR, label": {"model": "MultiDR", "imputation": "label", **_OPEN},
    "ESCM2_IPS": {"model": "ESCM2_IPS", **_OPEN},
    "ESCM2_DR": {"model": "ESCM2_DR", **_OPEN},
    "true propensity": {"model": "TruePropensity", "ipw": {"eps_clip": 1e-6}},
}
TRUTH = "true probabilities"
TOLD = {"name": "truth_propensity", "type": "numeric", "dtype": "float"}  # an input of that one row only


def measure_selection(seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Trains every model with every seed at every strength; ``selection.json`` is written after every run.

    Runs that are there already and would be the same are kept, so a study that was stopped goes on.
    """
    from benchmarks import oracle  # noqa: F401  (importing it registers its model)
    from fuxi_mtl.workflow.resume import run_or_resume  # here: the report needs no TensorFlow

    folders = {strength: _prepare(cache, strength) for strength in STRENGTHS}
    found: dict[tuple[float, str], list[dict[str, float]]] = {
        (strength, name): [] for strength in STRENGTHS for name in (TRUTH, *MODELS)
    }
    content: dict[str, Any] = {"name": "selection", "machine": machine(), "world": WORLD, "cells": []}
    for strength, folder in folders.items():
        found[strength, TRUTH].append(_of_the_truth(folder / "data" / "test.parquet"))
    for seed in seeds:
        for (strength, name), scores in found.items():
            if name == TRUTH:
                continue
            experiment = load_experiment(folders[strength] / "config", name).with_seed(seed)
            run = run_or_resume(experiment, resume=True)
            values = run.read_json(run.metrics)["test"]
            scores.append({metric: values[metric] for metric in METRICS})
            print(f"selection {strength:g}, {name}, seed {seed}: {scores[-1]}", flush=True)
            content["cells"] = _cells(found)
            write(results / "selection.json", content)
    return content


def _prepare(cache: Path, strength: float) -> Path:
    """Simulates the rows, once, and writes the stanzas of all models."""
    folder = cache / f"selection-{strength:g}"
    data, config = folder / "data", folder / "config"
    settings = make_settings("funnel", given={**WORLD, "selection": strength})
    if not (data / "test.parquet").exists():
        simulate(settings, data)
    stanza = dataset_stanza(settings, data, "simulated")["simulated"]
    columns = [_without(column, TOLD["name"]) for column in stanza["feature_cols"]]
    told = {**stanza, "feature_cols": [*columns, TOLD]}
    config.mkdir(parents=True, exist_ok=True)
    stanzas = {"dataset": {"simulated": stanza, "told": told}, "model": _stanzas(folder)}
    for name, content in stanzas.items():
        (config / f"{name}_config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def _without(column: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**column, "name": [each for each in _names(column) if each != name]}


def _names(column: Mapping[str, Any]) -> list[str]:
    return [column["name"]] if isinstance(column["name"], str) else column["name"]


def _stanzas(folder: Path) -> dict[str, Any]:
    common = {
        "model_root": str(folder / "runs"),
        "dataset_id": "simulated",
        "tasks": _CHAIN,
        "metrics": ["AUC", "logloss"],
        "monitor": "cvr_AUC",
        "optimizer": "adam",
        "learning_rate": 2e-3,
        "embedding_dim": 8,
        "embedding_regularizer": 1e-5,
        "batch_size": 1024,
        "epochs": 10,
        "export": False,
        "verbose": 0,
        **_NETWORK,
    }
    stanzas = {name: {**common, **changes} for name, changes in MODELS.items()}
    stanzas["true propensity"]["dataset_id"] = "told"
    return stanzas


def _of_the_truth(file: Path) -> dict[str, float]:
    """What the true probabilities would score: the least that noise leaves."""
    rows = pl.read_parquet(file)
    truth, clicked = rows["truth_cvr"].to_numpy(), rows["click"].to_numpy() == 1
    scores = dict.fromkeys(METRICS, 0.0)
    scores["cvr_truth_AUC"] = auc(rows["outcome_cvr"].to_numpy(), truth)
    scores["cvr_AUC"] = auc(rows["conversion"].to_numpy()[clicked], truth[clicked])
    return scores


def _cells(found: Mapping[tuple[float, str], Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    cells = []
    for (strength, name), scores in found.items():
        cell: dict[str, Any] = {"contestant": name, "at": {"selection": strength}, "seeds": len(scores)}
        for metric in METRICS if scores else ():
            values = [score[metric] for score in scores]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cell[metric] = {"mean": statistics.fmean(values), "sd": spread, "values": values}
        cells.append(cell)
    return cells


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        shown = [_shown(cell.get(metric)) for metric in METRICS]
        rows.append((f"{cell['at']['selection']:g}", cell["contestant"], str(cell["seeds"]), *shown))
    title = "## Conversion models on all exposures, against the truth: mean and spread over seeds"
    return ["", title, *table(("selection", "model", "seeds", *METRICS), rows)]


def _shown(found: Mapping[str, Any] | None) -> str:
    return f"{found['mean']:.4f} ± {found['sd']:.4f}" if found else ""

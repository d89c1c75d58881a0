"""When do tasks get in each other's way? Two regressions of known relatedness, and four ways to share.

The MMoE paper's synthetic study (Ma et al., KDD 2018, section 3): the labels' weight vectors have a given
cosine, every network has as many parameters as MMoE, and the loss on test rows is drawn over the cosine.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compared_runs import write_yaml
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.zoo import sized

COSINES = (0.0, 0.5, 0.9, 1.0)
WORLD = {"rows": 60_000, "dimensions": 100, "seed": 7}
REFERENCE = "MMoE"
# As in the paper: 8 experts of 16 units. PLE has as many: four shared, two of each task.
MODELS: dict[str, dict[str, Any]] = {
    REFERENCE: {"model": "MMoE", "num_experts": 8, "expert_hidden_units": [16]},
    "ShareBottom": {"model": "ShareBottom", "bottom_hidden_units": [113]},
    "MoE": {"model": "MoE", "num_experts": 8, "expert_hidden_units": [16]},
    "PLE": {
        "model": "PLE",
        "num_layers": 1,
        "num_shared_experts": 4,
        "num_specific_experts": 2,
        "expert_hidden_units": [16],
    },
}
_RECIPE = {
    "dataset_id": "regressions",
    "metrics": ["RMSE"],
    "monitor": "RMSE",
    "optimizer": "adam",
    "learning_rate": 5e-3,
    "embedding_dim": 4,  # there is nothing to embed
    "tower_hidden_units": [8],
    "batch_size": 512,
    "epochs": 20,
    "early_stop_patience": 20,
    "export": False,
    "verbose": 0,
}


def measure_correlation(seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Trains every model at every cosine with every seed; finished runs stay.

    Args:
        seeds: Seeds of the networks; the rows are the same.
        cache: Where rows and runs lie.
        results: Where ``correlation.json`` goes.
    """
    from fuxi_mtl.registry import import_zoo

    import_zoo()
    from fuxi_mtl.comparison import read_run
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.workflow.resume import run_or_resume

    configs, dense = {}, {}
    for cosine in COSINES:
        configs[cosine], dense = _prepare(cache / "correlation" / f"{cosine:g}", cosine, dense)
    found: dict[tuple[float, str], list[float]] = {(c, name): [] for c in COSINES for name in MODELS}
    content: dict[str, Any] = {"name": "correlation", "machine": machine(), "world": WORLD, "cells": []}
    for seed in seeds:
        for (cosine, name), losses in found.items():
            experiment = load_experiment(configs[cosine], name).with_seed(seed)
            run = read_run(run_or_resume(experiment, resume=True).folder)
            losses.append(statistics.fmean(run.metrics["test"][f"y{task}_RMSE"] ** 2 for task in (1, 2)))
            print(f"correlation {cosine:g}, {name}, seed {seed}: {losses[-1]:.4f}", flush=True)
            content["cells"] = _cells(found, dense)
            write(results / "correlation.json", content)
    return content


def _prepare(
    folder: Path, cosine: float, known: Mapping[str, Any]
) -> tuple[Path, dict[str, tuple[dict[str, Any], int]]]:
    """Simulates the rows, once, and writes the stanzas; the sizes are the same at every cosine."""
    from fuxi_mtl.simulation import dataset_stanza, make_settings, simulate

    data, config = folder / "data", folder / "config"
    settings = make_settings("regression", given={**WORLD, "task_correlation": cosine})
    if not (data / "test.parquet").exists():
        simulate(settings, data)
    config.mkdir(parents=True, exist_ok=True)
    write_yaml(config / "dataset_config.yaml", dataset_stanza(settings, data, "regressions"))
    common = {**_RECIPE, "model_root": str(folder / "runs")}
    sizes = dict(known)
    for name, options in MODELS.items():
        if name not in sizes:
            budget = sizes[REFERENCE][1] if sizes else None
            sizes[name] = sized({**common, **options}, options, budget, config)
    stanzas = {name: {**common, **options, **sizes[name][0]} for name, options in MODELS.items()}
    write_yaml(config / "model_config.yaml", stanzas)
    return config, sizes


def _cells(
    found: Mapping[tuple[float, str], Sequence[float]], sizes: Mapping[str, tuple[dict[str, Any], int]]
) -> list[dict[str, Any]]:
    cells = []
    for (cosine, name), losses in found.items():
        if losses:
            spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
            loss = {"mean": statistics.fmean(losses), "sd": spread, "values": list(losses)}
            at = {"cosine": cosine}
            cells.append({"contestant": name, "at": at, "dense": sizes[name][1], "mse": loss})
    return cells


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    cosines = sorted({cell["at"]["cosine"] for cell in content["cells"]})
    by_model: dict[str, list[str]] = {}
    for cell in content["cells"]:
        first = [cell["contestant"], f"{cell['dense']:,}", str(len(cell["mse"]["values"]))]
        shown = by_model.setdefault(cell["contestant"], first)
        spread = f" ± {cell['mse']['sd']:.4f}" if len(cell["mse"]["values"]) > 1 else ""
        shown.append(f"{cell['mse']['mean']:.4f}{spread}")
    heading = ("", "parameters", "seeds", *(f"cosine {cosine:g}" for cosine in cosines))
    title = "## Two regressions of known relatedness: squared error on test rows, mean of both"
    return ["", title, *table(heading, by_model.values())]

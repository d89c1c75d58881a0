"""Do interactions of features help? KuaiRand's chain, each under MMoE and under single-task networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import compared_runs, step_cost, zoo_rows
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.public_data import datasets, impressions_of, used
from fuxi_mtl.config import Experiment
from fuxi_mtl.options import INTERACTIONS

DATASET = "kuairand_crossings"
NONE = "none"
MODELS: dict[str, dict[str, Any]] = {
    "MMoE": {"model": "MMoE", "num_experts": 4, "expert_hidden_units": [128, 64]},
    "SingleTask": {"model": "SingleTask", "tower_hidden_units": [128, 64]},
}
COLUMNS = ("ctr_AUC", "cvr_AUC", "ctcvr_AUC", "AUC", "gAUC")


def measure_crossings(
    models: Sequence[str], seeds: Sequence[int], turns: int, every: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains each interaction under models, seed by seed, then times steps; writes ``crossings.json``.

    Args:
        models: Models; all, if none.
        seeds: Seeds.
        turns: How often each network takes the steps that are timed; 0 keeps the costs of before.
        every: One in how many training impressions is used.
        cache: Where rows and runs lie.
        results: Where the table goes; it is written after every seed of a model.

    Raises:
        ValueError: An unknown model.
    """
    for model in models:
        if model not in MODELS:
            raise ValueError(f"there is no model {model!r} in this study. There are: {', '.join(MODELS)}.")
    folder = cache / DATASET
    chosen = experiments(_impressions(folder, every), folder)
    content: dict[str, Any] = {}
    for model in models or MODELS:
        of_model = {name: each for name, each in chosen.items() if name.startswith(f"{model}_")}
        compared_runs.train("crossings", of_model, seeds, lambda: store(folder, every, results))
        if turns:
            found = step_cost.cost(of_model, f"{model}_{NONE}", turns)
            write(folder / "cost.json", step_cost.read_costs(folder / "cost.json") | found)
        content = store(folder, every, results)
    return content


def experiments(file: Path, folder: Path) -> dict[str, Experiment]:
    """Every model with every interaction at its defaults, and without.

    Args:
        file: Impressions.
        folder: Where configuration, encoded data and runs go.
    """
    stanza = zoo_rows.dataset_stanza("kuairand_pure_chain", folder)
    stanza |= {"train_data": str(file), "data_root": f"{folder / 'data'}/"}
    common = zoo_rows.recipe("kuairand_pure_chain") | {
        "dataset_id": DATASET,
        "model_root": str(folder / "runs"),
    }
    stanzas = {
        f"{model}_{kind}": {**common, **own, **({} if kind == NONE else {"interaction": kind})}
        for model, own in MODELS.items()
        for kind in (NONE, *INTERACTIONS)
    }
    return compared_runs.experiments(folder / "config", {DATASET: stanza}, stanzas)


def _impressions(folder: Path, every: int) -> Path:
    source, file = datasets() / "kuairand_pure_late", folder / f"one_in_{every}.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        impressions_of(source, every).write_parquet(file)
    return file


def store(folder: Path, every: int, results: Path) -> dict[str, Any]:
    """Compares the finished runs with those without an interaction and writes ``crossings.json``."""
    tables = {}
    for model in MODELS:
        order = [f"{model}_{kind}" for kind in (NONE, *INTERACTIONS)]
        if (folder / "runs" / DATASET / order[0]).is_dir():
            tables[model] = compared_runs.compared(folder / "runs", order, order[0])
    described = machine()
    described["load_before"] = None  # of one moment of many
    content = {
        "name": "crossings",
        "machine": described,
        "every": every,
        "cost": step_cost.read_costs(folder / "cost.json"),
        "tables": tables,
        "cells": [],
    }
    write(results / "crossings.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    lines = []
    for compared in content["tables"].values():
        for row in compared["rows"]:
            cost = content["cost"].get(row["expid"])
            lines.append(
                (
                    row["expid"].replace("_", " with ", 1),
                    str(len(row["seeds"])),
                    *(compared_runs.mean(row, column) for column in COLUMNS),
                    *(compared_runs.difference(row, column) for column in ("AUC", "gAUC")),
                    "" if cost is None else f"{cost['median']:.2f}",
                )
            )
    named = [column.replace("_", " ") for column in COLUMNS]
    named = [f"mean {name}" if name in ("AUC", "gAUC") else name for name in named]
    heading = ["", "seeds", *named, "AUC against none", "gAUC against none", "a step, × none"]
    text = (
        f"Each interaction at its defaults, {used(content)}, the recipe of the other tables on these data. "
        "Differences are of means over tasks, paired, with 95 % intervals over the users of test rows; "
        f"commit {content['machine']['commit']}."
    )
    return ["", "## Interactions of features on KuaiRand", text, *table(heading, lines)]

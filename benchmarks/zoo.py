"""Does sharing help, and balancing? Every model at one size, and MMoE under every weighting and surgery.

Every cell is an ordinary run (``run_expid.py --resume``): what is finished is not trained again, so the
command may be stopped and started, and a new row costs its own cells only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import zoo_rows
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.zoo_rows import DATA, REFERENCE, SINGLE, Row
from fuxi_mtl.config import Experiment, load_experiment

CLOSE, FAR = 0.01, 0.05  # of the budget: narrow layers come in whole units
MOST_TRIALS = 12


def measure_zoo(
    data: Sequence[str], rows: Sequence[str], seeds: Sequence[int], cache: Path, results: Path
) -> None:
    """Trains what is not trained yet, seed by seed; ``zoo_{data}.json`` is written after every seed.

    Args:
        data: Data sets; all that are there, if none.
        rows: Names of rows; all, if none.
        seeds: Seeds.
        cache: Where runs and encoded data lie.
        results: Where the tables go.

    Raises:
        ValueError: An unknown data set or row.
    """
    from fuxi_mtl.workflow.resume import run_or_resume

    chosen = experiments(data, rows, cache)
    for seed in seeds:
        for name, of_data in chosen.items():
            for row, experiment in of_data.items():
                print(f"zoo: {name}, {row}, seed {seed}", flush=True)
                run_or_resume(experiment.with_seed(seed), resume=True)
            store(name, cache, results)


def experiments(data: Sequence[str], rows: Sequence[str], cache: Path) -> dict[str, dict[str, Experiment]]:
    """The experiments of the tables by data set and row, all of a data set of one size.

    Raises:
        ValueError: An unknown data set or row.
    """
    from fuxi_mtl.registry import import_zoo

    import_zoo()

    chosen = {name: _chosen(name, rows) for name in _known(data, DATA, "data set") or _present()}
    found = {}
    for name, of_data in chosen.items():
        folder = _config(name, of_data, cache)
        found[name] = {row: load_experiment(folder, row) for row in of_data}
    return found


def store(data: str, cache: Path, results: Path) -> dict[str, Any]:
    """Compares all finished runs on a data set and writes ``zoo_{data}.json``.

    Raises:
        ValueError: There is none.
    """
    from fuxi_mtl.comparison import compare, stored_runs
    from fuxi_mtl.report import render

    order = list(zoo_rows.rows_of(data))
    runs = stored_runs(cache / "zoo" / "runs" / data)
    runs = sorted((run for run in runs if run.expid in order), key=lambda run: order.index(run.expid))
    compared = json.loads(render(compare(runs, SINGLE), "json"))[0]
    described = machine()
    described["load_before"] = None  # of one moment of many
    sizes = json.loads((cache / "zoo" / f"sizes_{data}.json").read_text())
    dense = {name: size["dense"] for name, size in sizes.items()}
    cost = read_cost(cache, data)
    content = {
        "name": "zoo",
        "machine": described,
        "dense": dense,
        "cost": cost,
        "table": compared,
        "cells": [],
    }
    write(results / f"zoo_{data}.json", content)
    return content


def cost_file(cache: Path, data: str) -> Path:
    """Where the costs of a data set's rows lie: ``benchmarks.zoo_cost`` writes it."""
    return cache / "zoo" / f"cost_{data}.json"


def read_cost(cache: Path, data: str) -> dict[str, Any]:
    """By row, what a step costs beside the reference's; empty if it was not measured."""
    file = cost_file(cache, data)
    return json.loads(file.read_text()) if file.exists() else {}


def _known(names: Sequence[str], known: Mapping[str, Any], what: str) -> list[str]:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}. There are: {', '.join(known)}.")
    return list(names)


def _chosen(data: str, names: Sequence[str]) -> dict[str, Row]:
    """The rows on a data set, in their order; of the names given, those that fit it."""
    everywhere = {name: row for each in DATA for name, row in zoo_rows.rows_of(each).items()}
    _known(names, everywhere, "row")
    return {name: row for name, row in zoo_rows.rows_of(data).items() if not names or name in names}


def _present() -> list[str]:
    """The data sets whose rows are on this machine."""
    there = {name: Path(zoo_rows.dataset_stanza(name, Path())["train_data"]).exists() for name in DATA}
    for name in (name for name, found in there.items() if not found):
        print(f"zoo: {name} is left out, its rows are not here", flush=True)
    return [name for name, found in there.items() if found]


# ---- one size for all ----------------------------------------------------------------------------


def _config(data: str, rows: Mapping[str, Row], cache: Path) -> Path:
    """A folder with the stanzas of all rows of a data set, sized."""
    folder = cache / "zoo" / f"config_{data}"
    folder.mkdir(parents=True, exist_ok=True)
    stanza = zoo_rows.dataset_stanza(data, cache)
    write_yaml(folder / "dataset_config.yaml", {data: stanza})
    common = zoo_rows.recipe(data) | {"model_root": str(cache / "zoo" / "runs" / data)}
    file = cache / "zoo" / f"sizes_{data}.json"
    sizes = json.loads(file.read_text()) if file.exists() else {}
    stanzas = {}
    for name, row in {REFERENCE: zoo_rows.MODELS[REFERENCE], **rows}.items():
        plain = zoo_rows.stanza_of(row, common)
        if sizes.get(name, {}).get("of") != plain:
            budget = None if row.model == REFERENCE else sizes[REFERENCE]["dense"]
            own = {key: plain[key] for key in row.options if key in plain}
            options, dense = sized(plain, own, budget, folder)
            sizes[name] = {"of": plain, "options": options, "dense": dense}
            write(file, sizes)
        stanzas[name] = {**plain, **sizes[name]["options"]}
    write_yaml(folder / "model_config.yaml", stanzas)
    return folder


def sized(
    stanza: Mapping[str, Any], options: Mapping[str, Any], budget: int | None, folder: Path
) -> tuple[dict[str, Any], int]:
    """The hidden units with which a network has `budget` parameters beside its tables, and how many it has.

    Args:
        stanza: The whole stanza.
        options: Those of the row; its ``*_hidden_units`` keep their proportions.
        budget: Parameters to reach; None leaves the units as they are.
        folder: Config folder with the dataset; a stanza is tried in it.

    Raises:
        ValueError: No width comes close.
    """
    scale, tried = 1.0, []
    for _ in range(MOST_TRIALS):
        units = widened(options, scale)
        dense = dense_parameters({**stanza, **units}, folder)
        if budget is None:
            return units, dense
        tried.append((abs(dense / budget - 1), dense, units))
        if tried[-1][0] < CLOSE or tried[-1] in tried[:-1]:
            break
        # Between linear and quadratic in the width: this step converges for both.
        scale *= (budget / dense) ** (2 / 3)
    away, dense, units = min(tried, key=lambda trial: trial[0])
    if away > FAR:
        raise ValueError(f"{stanza['model']} has {dense:,} parameters; no width comes close to {budget:,}.")
    return units, dense


def widened(options: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The options with widths times `scale`: lists ``*_hidden_units``, those inside a block, too."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if key.endswith("_hidden_units"):
            found[key] = [max(round(scale * width), 1) for width in value]
        else:
            found[key] = widened(value, scale) if isinstance(value, Mapping) else value
    return found


def dense_parameters(stanza: Mapping[str, Any], folder: Path) -> int:
    """Trainable numbers of a stanza's network outside its embedding tables."""
    from fuxi_mtl.dataset import dummy_features
    from fuxi_mtl.workflow.experiment import make_model

    write_yaml(folder / "model_config.yaml", {"sized": dict(stanza)})
    experiment = load_experiment(folder, "sized")
    model = make_model(experiment, dummy_features(experiment.dataset, experiment.options.dataset_id))
    tables = {id(variable) for variable in model.tables()}
    return sum(int(v.value.shape.num_elements()) for v in model.trainable_variables if id(v) not in tables)


def write_yaml(file: Path, content: Mapping[str, Any]) -> None:
    """Writes stanzas; what two of them share is written twice."""
    file.write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False), encoding="utf-8")


# ---- the report ----------------------------------------------------------------------------------


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    compared = content["table"]
    tasks = [column.removesuffix("_AUC") for column in compared["columns"] if column.endswith("_AUC")]
    tasks = [task for task in tasks if not task.endswith("truth")]
    heading = ["", "seeds", *(f"{task} AUC" for task in tasks), f"mean AUC against {SINGLE}", "Δm"]
    heading += ["dense parameters", f"a step, × {REFERENCE}'s"]
    rows = [_shown(row, tasks, content) for row in compared["rows"]]
    title = f"## Every model at one size, and {REFERENCE} under every weighting and surgery"
    return [
        "",
        f"{title}: {compared['dataset_id']}, {compared['split']}",
        *table(heading, rows),
    ]


def _shown(row: Mapping[str, Any], tasks: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    shown = [row["expid"], str(len(row["seeds"]))]
    for task in tasks:
        cell = row["metrics"].get(f"{task}_AUC") or {}
        spread = "" if cell.get("sd") is None else f" ± {cell['sd']:.4f}"
        shown.append("" if cell.get("mean") is None else f"{cell['mean']:.4f}{spread}")
    found = row["differences"].get("AUC") or {}
    difference = "" if found.get("value") is None else f"{found['value']:+.4f}"
    if found.get("low") is not None:
        star = " *" if found["low"] > 0 or found["high"] < 0 else ""
        difference += f" [{found['low']:+.4f}, {found['high']:+.4f}]{star}"
    delta = row["transfer"]["delta_m"]
    shown += [difference, "" if delta is None else f"{delta:+.2%}"]
    cost = content["cost"].get(row["expid"])
    return [*shown, f"{content['dense'][row['expid']]:,}", "" if cost is None else f"{cost['median']:.2f}"]

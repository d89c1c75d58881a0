"""Does sharing help, and balancing? Every model at one size, and MMoE under every weighting and surgery.

Rows that were measured by an earlier commit, and are not measured now or not with as many seeds, stay in the
tables with that commit.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import step_cost, zoo_rows
from benchmarks.compared_runs import compared, difference, mean, train, write_yaml
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.zoo_rows import DATA, REFERENCE, SINGLE, Row
from fuxi_mtl.config import Experiment, load_experiment
from fuxi_mtl.features import FeatureMap

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
    for name, of_data in experiments(data, rows, cache).items():
        train(f"zoo, {name}", of_data, seeds, partial(store, name, cache, results))


def experiments(data: Sequence[str], rows: Sequence[str], cache: Path) -> dict[str, dict[str, Experiment]]:
    """The experiments of the tables by data set and row, all of a data set of one size.

    Raises:
        ValueError: An unknown data set or row.
    """
    chosen = {name: _chosen(name, rows) for name in _known(data, DATA, "data set") or _present()}
    return {name: experiments_of(name, of_data, cache) for name, of_data in chosen.items()}


def experiments_of(data: str, rows: Mapping[str, Row], cache: Path) -> dict[str, Experiment]:
    """The experiments of rows on one data set, of the reference's size.

    Args:
        data: The data set.
        rows: Rows by name.
        cache: Where runs and encoded data lie.
    """
    from fuxi_mtl.registry import import_zoo

    import_zoo()
    folder = _config(data, rows, cache)
    return {row: load_experiment(folder, row) for row in rows}


def store(data: str, cache: Path, results: Path) -> dict[str, Any]:
    """Compares all finished runs on a data set and writes ``zoo_{data}.json``.

    Raises:
        ValueError: There is none.
    """
    order = list(zoo_rows.rows_of(data))
    table_of_now = compared(cache / "zoo" / "runs" / data, order, SINGLE)
    described = machine()
    described["load_before"] = None  # of one moment of many
    sizes = json.loads((cache / "zoo" / f"sizes_{data}.json").read_text())
    file = results / f"zoo_{data}.json"
    earlier = json.loads(file.read_text()) if file.exists() else {"table": {"rows": []}}
    rows = {row["expid"]: {**row, "commit": described["commit"]} for row in table_of_now["rows"]}
    dense = {name: sizes[name]["dense"] for name in rows}
    for row in earlier["table"]["rows"]:
        name = row["expid"]
        # One that was measured with more seeds stays until there are as many.
        if name in order and (name not in rows or len(rows[name]["seeds"]) < len(row["seeds"])):
            rows[name] = {"commit": earlier["machine"]["commit"], **row}
            dense[name] = earlier["dense"][name]
    table_of_now["rows"] = sorted(rows.values(), key=lambda row: order.index(row["expid"]))
    content = {
        "name": "zoo",
        "machine": described,
        "dense": earlier.get("dense", {}) | dense,
        "cost": earlier.get("cost", {}) | step_cost.read_costs(cost_file(cache, data)),
        "table": table_of_now,
        "cells": [],
    }
    write(file, content)
    return content


def cost_file(cache: Path, data: str) -> Path:
    """Where the costs of a data set's rows lie: ``benchmarks.zoo_cost`` writes it."""
    return cache / "zoo" / f"cost_{data}.json"


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
    folder = cache / "zoo" / data / "config"
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
            budget = None if row.of_reference else sizes[REFERENCE]["dense"]
            own = {key: plain[key] for key in row.options if key in plain}
            features = _real_features(data, folder) if row.by_domain else None
            options, dense = sized(plain, own, budget, folder, features)
            sizes[name] = {"of": plain, "options": options, "dense": dense}
            write(file, sizes)
        stanzas[name] = {**plain, **sizes[name]["options"]}
    write_yaml(folder / "model_config.yaml", stanzas)
    return folder


def sized(
    stanza: Mapping[str, Any],
    options: Mapping[str, Any],
    budget: int | None,
    folder: Path,
    features: FeatureMap | None = None,
) -> tuple[dict[str, Any], int]:
    """The hidden units with which a network has `budget` parameters beside its tables, and how many it has.

    Args:
        stanza: The whole stanza.
        options: Those of the row; its ``*_hidden_units`` keep their proportions.
        budget: Parameters to reach; None leaves the units as they are.
        folder: Config folder with the dataset; a stanza is tried in it.
        features: The inputs of the data, for a network whose size depends on the number of ids; unless said,
            such as they are before data are read.

    Raises:
        ValueError: No width comes close.
    """
    scale, tried = 1.0, []
    for _ in range(MOST_TRIALS):
        units = widened(options, scale)
        dense = dense_parameters({**stanza, **units}, folder, features)
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
    """The options with widths times `scale`: ``*_hidden_units``, those inside a block, too."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if key.endswith("_hidden_units"):
            widths = [max(round(scale * width), 1) for width in np.atleast_1d(value).tolist()]
            found[key] = widths if isinstance(value, Sequence) else widths[0]
        else:
            found[key] = widened(value, scale) if isinstance(value, Mapping) else value
    return found


def dense_parameters(stanza: Mapping[str, Any], folder: Path, features: FeatureMap | None = None) -> int:
    """Trainable numbers of a stanza's network outside its embedding tables; see :func:`sized`."""
    from fuxi_mtl.dataset import dummy_features
    from fuxi_mtl.workflow.experiment import make_model

    write_yaml(folder / "model_config.yaml", {"sized": dict(stanza)})
    experiment = load_experiment(folder, "sized")
    features = features or dummy_features(experiment.dataset, experiment.options.dataset_id)
    model = make_model(experiment, features)
    tables = {id(variable) for variable in model.tables()}
    return sum(int(v.value.shape.num_elements()) for v in model.trainable_variables if id(v) not in tables)


def _real_features(data: str, folder: Path) -> FeatureMap:
    """The inputs with as many ids as the training rows have: a domain has numbers of its own."""
    from fuxi_mtl.dataset import load_dataset

    write_yaml(folder / "model_config.yaml", {"sized": {"model": "SingleTask", **zoo_rows.recipe(data)}})
    experiment = load_experiment(folder, "sized")
    return load_dataset(experiment.dataset, experiment.tasks, data, progress=False).feature_map


# ---- the report ----------------------------------------------------------------------------------


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    compared = content["table"]
    tasks = [column.removesuffix("_AUC") for column in compared["columns"] if column.endswith("_AUC")]
    tasks = [task for task in tasks if not task.endswith("truth")]
    heading = ["", "seeds", *(f"{task} AUC" for task in tasks), f"mean AUC against {SINGLE}", "Δm"]
    heading += ["dense parameters", f"a step, × {REFERENCE}'s", "commit"]
    rows = [_shown(row, tasks, content) for row in compared["rows"]]
    title = f"## Every model at one size, and {REFERENCE} under every weighting and surgery"
    return [
        "",
        f"{title}: {compared['dataset_id']}, {compared['split']}",
        *table(heading, rows),
    ]


def _shown(row: Mapping[str, Any], tasks: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    shown = [row["expid"], str(len(row["seeds"])), *(mean(row, f"{task}_AUC") for task in tasks)]
    delta = row["transfer"]["delta_m"]
    shown += [difference(row, "AUC"), "" if delta is None else f"{delta:+.2%}"]
    cost = content["cost"].get(row["expid"])
    shown += [f"{content['dense'][row['expid']]:,}", "" if cost is None else f"{cost['median']:.2f}"]
    return [*shown, row.get("commit") or content["machine"]["commit"] or ""]

"""Day after day: an update of yesterday's model against training from nothing, on all days or on a window.

Each day's rows are measured before anything is trained on them; then each way takes them in:

    update    trains on from yesterday's run, one pass over the day, its vocabularies growing
    all       trains anew, one pass over all days so far
    window    trains anew, one pass over the last days

Groceries of Complete Journey by week, and simulated logs whose tastes turn while new items arrive. New items
are those of which no earlier row has one.
"""

import datetime
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.compared_runs import write_yaml
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write

WAYS = ("update", "all", "window")
FIRST = datetime.date(2026, 1, 1)  # what the first part is called; a week is a day here
_REPOSITORY = Path(__file__).parent.parent
_RECIPE = {
    "model": "MMoE",
    "metrics": ["AUC", "logloss"],
    "monitor": "AUC",
    "embedding_dim": 8,
    "num_experts": 2,
    "expert_hidden_units": [32],
    "tower_hidden_units": [16],
    "learning_rate": 2e-3,
    "batch_size": 512,
    "epochs": 1,
    "final_weights": "last",
    "save_predictions": False,
    "export": False,
    "verbose": 0,
}


@dataclass(frozen=True)
class World:
    """Rows in parts that follow each other in time.

    Attributes:
        title: What a reader should know of them.
        item: The column whose new values are told apart.
        task: The task that is told, and its label.
        first: Parts before the first day that is measured.
        days: Days that are measured.
        window: Parts that the window holds.
        stanza: The dataset, without its files.
    """

    title: str
    item: str
    task: tuple[str, str]
    first: int
    days: int
    window: int
    stanza: Mapping[str, Any]


def _columns(*names: str, **options: Any) -> dict[str, Any]:
    return {"name": list(names), **options}


WORLDS = {
    "complete_journey": World(
        "Complete Journey, weeks 48 to 53 after 39 others: was something of the product's type bought?",
        "product_id",
        ("type", "label_type_bought"),
        first=39,
        days=6,
        window=8,
        stanza={
            "feature_cols": [
                _columns("household_id", "product_id", "store_id", "manufacturer_id"),
                _columns("product_type", "product_category", "department", "brand"),
                _columns("display_location", "mailer_location", "hour_of_day", "day_of_week"),
                _columns(
                    *("hh_type_weeks", "weeks_since_type", "hh_product_weeks"),
                    *("prod_pop_prev8w", "hh_baskets_prev8w"),
                    type="numeric",
                    normalizer="StandardScaler",
                ),
            ],
            "label_col": [{"name": "label_type_bought"}, {"name": "label_product_bought"}],
        },
    ),
    "drift": World(
        "Simulated logs: tastes turn by 3 radians, half of the items arrive one by one",
        "item_id",
        ("click", "click"),
        first=6,
        days=6,
        window=3,
        stanza={
            "feature_cols": [
                _columns("user_id", "item_id", "category", "hour", "position"),
                {"name": "tags", "type": "sequence", "max_len": 9},
                _columns("log_price", *(f"user_trait_{k}" for k in range(1, 5)), type="numeric"),
            ],
            "label_col": [{"name": "click"}, {"name": "conversion"}],
        },
    ),
}
_DRIFT = {"rows": 240_000, "users": 2_000, "items": 1_000, "drift": 3.0, "arrivals": 0.5, "seed": 7}


def measure_days(seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Goes through the days of each world with every seed.

    Args:
        seeds: Seeds of the networks; the rows are the same.
        cache: Where rows and runs lie.
        results: Where ``days.json`` goes.
    """
    from fuxi_mtl.registry import import_zoo

    import_zoo()
    content: dict[str, Any] = {"name": "days", "machine": machine(), "cells": []}
    for name, world in WORLDS.items():
        folder = cache / "days" / name
        new = _prepare(folder, name, world)
        for seed in seeds:
            for cell in _one_seed(folder, name, world, seed, new):
                content["cells"].append(cell)
                write(results / "days.json", content)
                print(f"{name}, seed {seed}, {cell['way']}, day {cell['day']}: {cell['auc']:.4f}", flush=True)
    return content


def _date(part: int) -> str:
    return (FIRST + datetime.timedelta(part)).isoformat()


def _prepare(folder: Path, name: str, world: World) -> dict[int, set]:
    """Writes the parts and the stanzas; gives the items of each day that no earlier row has."""
    rows = _rows(name)
    new, known = {}, set()
    for part in range(world.first + world.days):
        frame = rows.filter(pl.col("part") == part).drop("part")
        items = set(frame[world.item].to_list())
        new[part] = items - known
        known |= items
        place = folder / "rows" / f"dt={_date(part)}"
        place.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(place / "rows.parquet")
    files = f"{folder}/rows/dt={{%s..%s}}/*.parquet"
    dataset = {**world.stanza, "data_root": str(folder / "encoded"), "data_format": "parquet"}
    dataset |= {"train_data": files % (FIRST, "last_day"), "last_day": _date(world.first - 1)}
    dataset["min_categr_count"] = 2
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    write_yaml(config / "dataset_config.yaml", {name: dataset})
    common = {**_RECIPE, "dataset_id": name, "tasks": {world.task[0]: world.task[1], "buy": _second(world)}}
    write_yaml(config / "model_config.yaml", {"Days": {**common, "model_root": str(folder / "runs")}})
    return new


def _second(world: World) -> str:
    return str(world.stanza["label_col"][1]["name"])


def _rows(name: str) -> pl.DataFrame:
    """All rows of a world with the number of their part."""
    if name == "complete_journey":
        files = [_REPOSITORY / "data" / name / f"{split}.parquet" for split in ("train", "valid", "test")]
        rows = pl.concat([pl.read_parquet(file) for file in files])
        return rows.with_columns(part=pl.col("week").cast(pl.Int32) - 9)
    from fuxi_mtl.simulation import make_settings
    from fuxi_mtl.simulation.funnel import Funnel

    rows = pl.concat(Funnel.of(make_settings("funnel", given=_DRIFT)).frames())
    world = WORLDS[name]
    return rows.with_columns(part=(pl.col("time") * (world.first + world.days)).floor().cast(pl.Int32))


def _one_seed(folder: Path, name: str, world: World, seed: int, new: Mapping[int, set]):
    """The cells of one seed: a day after the other, each way."""
    import fuxi_mtl as fm

    def trained(way: str, day: int, first: int):
        rows = f"{folder}/rows/dt={{{_date(first)}..last_day}}/*.parquet"
        given = {"train_data": rows, "last_day": _date(day - 1), "seed": seed}
        started = time.perf_counter()
        run = fm.experiment("Days", config=folder / "config", **given).fit(
            folder=folder / "runs" / f"{way}-{seed}-{_date(day)}"
        )
        return run, time.perf_counter() - started

    runs, seconds = {}, dict.fromkeys(WAYS, 0.0)
    runs["update"], _ = trained("update", world.first, 0)
    for day in range(world.first, world.first + world.days):
        runs["all"], seconds["all"] = trained("all", day, 0)
        runs["window"], seconds["window"] = trained("window", day, day - world.window)
        frame = pl.read_parquet(folder / "rows" / f"dt={_date(day)}" / "rows.parquet")
        is_new = frame[world.item].is_in(list(new[day])).to_numpy()
        for way in WAYS:
            predicted = runs[way].predict(frame)[world.task[0]].to_numpy().astype(np.float64)
            label = frame[world.task[1]].to_numpy()
            parts = {"": ~np.zeros_like(is_new), "_new": is_new, "_old": ~is_new}
            numbers: dict[str, float | None] = {}
            for end, kept in parts.items():
                numbers |= _measured(label[kept], predicted[kept], end)
            cell = {"world": name, "seed": seed, "way": way, "day": day - world.first + 1, "rows": len(label)}
            trained_for = json.loads((runs[way].folder / "metrics.json").read_text())["train_seconds"]
            took = {"seconds": seconds[way], "train_seconds": trained_for}
            yield {**cell, "new_rows": int(is_new.sum()), **took, **numbers}
        started = time.perf_counter()
        runs["update"] = fm.update(
            runs["update"],
            f"{folder}/rows/dt={_date(day)}/*.parquet",
            day=_date(day),
            new_rows="oov",
            folder=folder / "runs" / f"update-{seed}-{_date(day + 1)}",
        )
        seconds["update"] = time.perf_counter() - started


def _measured(label: np.ndarray, predicted: np.ndarray, end: str) -> dict[str, float | None]:
    from sklearn.metrics import log_loss, roc_auc_score

    if not 0 < label.sum() < len(label):
        return {f"auc{end}": None, f"logloss{end}": None}
    auc = float(roc_auc_score(label, predicted))
    return {f"auc{end}": auc, f"logloss{end}": float(log_loss(label, predicted))}


def summed(cells: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """The mean over days of a number, one for each seed; days without it are left out."""
    by_seed: dict[int, list[float]] = {}
    for cell in cells:
        if cell[key] is not None:
            by_seed.setdefault(cell["seed"], []).append(cell[key])
    return [statistics.fmean(values) for values in by_seed.values()]


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    told = (
        "Every number is of a day's rows before anything was trained on them, averaged over the days from "
        "the second on, ± one standard deviation over seeds; on the first day `update` is what `all` is. "
        "Seconds are those of taking in one day: of the steps of training alone, and of all there is, "
        "reading, encoding, building and measuring included (two encodings and two models in an update), on "
        "a machine that did other things besides."
    )
    lines = ["", "## Day after day: an update against training anew", "", told]
    for name in dict.fromkeys(cell["world"] for cell in content["cells"]):
        cells = [cell for cell in content["cells"] if cell["world"] == name]
        lines += ["", f"### {WORLDS[name].title}"]
        rows = []
        for way in WAYS:
            own = [cell for cell in cells if cell["way"] == way]
            later = [cell for cell in own if cell["day"] > 1]
            keys = ("auc", "auc_old", "auc_new", "logloss", "logloss_old", "logloss_new")
            took = [
                f"{statistics.fmean(c[kind] for c in later):.1f}" for kind in ("train_seconds", "seconds")
            ]
            rows.append([way, *(_spread(summed(later, key)) for key in keys), *took])
        heading = (
            "",
            "AUC",
            "old items",
            "new items",
            "logloss",
            "old items",
            "new items",
            "steps, s",
            "all, s",
        )
        lines += table(heading, rows)
        days = sorted({cell["day"] for cell in cells})
        by_day = [
            [way, *(_spread([c["auc"] for c in cells if (c["way"], c["day"]) == (way, day)]) for day in days)]
            for way in WAYS
        ]
        shares = [f"{c['new_rows']:,} of {c['rows']:,}" for c in cells if c["way"] == WAYS[0]][: len(days)]
        lines += table(("AUC", *(f"day {day}" for day in days)), [*by_day, ["rows with new items", *shares]])
    return lines


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"

"""What defaults suit small data? Batches, dropout and regularizers, searched on some sets, judged on others.

The network is one of the library's own with its defaults, so what differs between rows is what a stanza that
says nothing gets. A search over :data:`POINTS` looks at the data sets of :data:`SEARCHED`; its best point is
then held against the defaults of before, and against a logistic regression, on those of :data:`HELD_OUT`,
which nothing was chosen by. The criterion is the mean AUC over tasks on test rows.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.compared_runs import experiments, train
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.public_data import located

CONFIG = Path(__file__).parent.parent / "config" / "dataset_config"
FILE = "small_data.json"
MOST_TEST, LEAST_VALID = 30_000, 4_000
BEFORE = {"batch_size": 1024}  # the default until this study
TODAY: dict[str, float] = {}  # batch_size: auto, which is 64 for so few rows
POINTS: tuple[Mapping[str, float], ...] = (
    BEFORE,
    {**BEFORE, "embedding_regularizer": 1e-2},
    {**BEFORE, "embedding_regularizer": 1e-2, "net_dropout": 0.2},
    {**BEFORE, "learning_rate": 5e-3},
    {"batch_size": 256},
    {"batch_size": 128},
    {"batch_size": 128, "net_dropout": 0.3},
    TODAY,
    {"embedding_regularizer": 1e-3},
    {"embedding_regularizer": 1e-2},
    {"batch_size": 32},
)
SEARCH_MODEL = "ShareBottom"
INVERSE_PENALTIES = (0.003, 0.03, 0.3)  # of the logistic regression, chosen on validation rows


@dataclass(frozen=True)
class Set:
    """A data set of the study.

    Attributes:
        tasks: What is predicted.
        shipped: Stanza of :data:`CONFIG` by file and name; none for a simulated world.
        every: One in how many training rows is used.
        world: Settings of the simulated funnel.
    """

    tasks: Mapping[str, str]
    shipped: tuple[str, str] | None = None
    every: int = 1
    world: Mapping[str, float] = field(default_factory=dict)


_CENSUS = {"income": "income_50k", "single": "never_married"}
_JOURNEY = {"type": "label_type_bought", "product": "label_product_bought"}
_KUAIRAND = {"click": "is_click", "view": "long_view", "like": "is_like"}
_FUNNEL = {"ctr": "click", "ctcvr": "click & conversion"}
_OFTEN = {"click_rate": 0.3, "conversion_rate": 0.3}


def _census(every: int) -> Set:
    return Set(_CENSUS, ("census_income", "census_income"), every)


def _journey(every: int) -> Set:
    return Set(_JOURNEY, ("complete_journey", "complete_journey"), every)


def _kuairand(every: int) -> Set:
    return Set(_KUAIRAND, ("kuairand_pure", "kuairand_pure"), every)


def _world(rows: int, users: int, items: int, **more: float) -> Set:
    return Set(_FUNNEL, world={**_OFTEN, "rows": rows, "users": users, "items": items, **more})


SEARCHED = {
    "world A": _world(14_000, 500, 200),
    "journey, one row in 10": _journey(10),
    "census, one row in 20": _census(20),
    "world B": _world(20_000, 5_000, 1_000, selection=1.0, seed=1),
    "world C": _world(20_000, 10_000, 5_000, task_correlation=0.5, click_signal=1.5, seed=2),
}
HELD_OUT = {
    "KuaiRand, one row in 10": _kuairand(10),
    "world D": _world(20_000, 1_000, 500, confounding=0.5, seed=3),
    "world E": _world(20_000, 10_000, 2_000, drift=0.5, noise=0.1, seed=4),
}


def measure_small_data(stage: str, seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Trains what a stage needs and is not trained yet, and writes ``small_data.json``.

    Args:
        stage: ``search``, or ``held_out`` behind it.
        seeds: Seeds; the search takes the first alone.
        cache: Where rows and runs lie.
        results: Where the table goes.

    Raises:
        ValueError: The search is not finished.
    """
    if stage == "search":
        cells = _cells(SEARCHED, {SEARCH_MODEL: POINTS}, cache)
        keep = partial(_store, "searched", SEARCHED, cells, cache, results)
        train("small_data", _experiments(SEARCHED, cells, cache), seeds[:1], keep)
        return keep()
    found = chosen(_read(results).get("searched", []))
    cells = _cells(HELD_OUT, {SEARCH_MODEL: (BEFORE, TODAY, found)}, cache)
    keep = partial(_store, "held_out", HELD_OUT, cells, cache, results)
    train("small_data", _experiments(HELD_OUT, cells, cache), seeds, keep)
    return keep()


def chosen(searched: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The point whose gain over the defaults of before is largest in the mean over the searched data sets.

    Raises:
        ValueError: A cell is missing.
    """
    gains = {point_name(point): gains_of(searched, point) for point in POINTS}
    if any(len(each) < len(SEARCHED) for each in gains.values()):
        raise ValueError("the search is not finished: python -m benchmarks small_data --stage search")
    return max(POINTS, key=lambda point: statistics.fmean(gains[point_name(point)].values()))


def gains_of(
    cells: Sequence[Mapping[str, Any]], point: Mapping[str, float], model: str = SEARCH_MODEL
) -> dict[str, float]:
    """By how much a point is better than the defaults of before, by data set; means over seeds."""
    means = {
        (cell["data"], cell["point"]): statistics.fmean(cell["auc"].values())
        for cell in cells
        if cell["model"] == model
    }
    names = dict.fromkeys(data for data, _ in means)
    return {
        data: means[data, point_name(point)] - means[data, point_name(BEFORE)]
        for data in names
        if (data, point_name(point)) in means and (data, point_name(BEFORE)) in means
    }


def point_name(point: Mapping[str, float]) -> str:
    """``batch_size 64, net_dropout 0.2``; ``defaults`` where nothing differs from them."""
    return ", ".join(f"{key} {value:g}" for key, value in point.items()) or "defaults"


# ---- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    data: str
    model: str
    point: Mapping[str, float]

    @property
    def expid(self) -> str:
        """Name of its runs."""
        words = f"{self.model} {self.data} {point_name(self.point)}"
        return "_".join(words.replace(",", "").replace("-", "").split())


def _cells(
    sets: Mapping[str, Set], points: Mapping[str, Sequence[Mapping[str, float]]], cache: Path
) -> list[_Cell]:
    return [
        _Cell(data, model, point)
        for data in sets
        for model, of_model in points.items()
        for point in {point_name(each): each for each in of_model}.values()
    ]


def _experiments(sets: Mapping[str, Set], cells: Sequence[_Cell], cache: Path) -> dict[str, Any]:
    datasets = {_id(name): _dataset(name, each, cache / "small_data") for name, each in sets.items()}
    stanzas = {
        cell.expid: {
            "model": cell.model,
            "dataset_id": _id(cell.data),
            "tasks": dict(sets[cell.data].tasks),
            "metrics": ["AUC", "logloss"],
            "model_root": str(cache / "small_data" / "runs"),
            "export": False,
            "verbose": 0,
            **cell.point,
        }
        for cell in cells
    }
    return experiments(cache / "small_data" / "config", datasets, stanzas)


def _id(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


def _dataset(name: str, of: Set, folder: Path) -> dict[str, Any]:
    """The stanza of a data set whose rows are written once."""
    rows = folder / "rows" / _id(name)
    if of.shipped is None:
        from fuxi_mtl.simulation import dataset_stanza, make_settings, simulate

        settings = make_settings("funnel", given=dict(of.world))
        if not (rows / "test.parquet").exists():
            simulate(settings, rows)
        stanza = dataset_stanza(settings, rows, _id(name))[_id(name)]
        return {**stanza, "data_root": str(folder / "encoded")}
    file, stanza_name = of.shipped
    stanza = yaml.safe_load((CONFIG / f"{file}.yaml").read_text())[stanza_name]
    if not (rows / "test.parquet").exists():
        rows.mkdir(parents=True, exist_ok=True)
        for split, frame in _thinned(stanza, of.every).items():
            frame.write_parquet(rows / f"{split}.parquet")
    labels = [each for each in stanza["label_col"] if each["name"] in of.tasks.values()]
    files = {f"{split}_data": str(rows / f"{split}.parquet") for split in ("train", "valid", "test")}
    own = {key: value for key, value in stanza.items() if key not in ("split_type", "split_col", "group_id")}
    return {**own, **files, "label_col": labels, "data_root": str(folder / "encoded")}


def _thinned(stanza: Mapping[str, Any], every: int) -> dict[str, pl.DataFrame]:
    """The splits: one in so many training rows, a quarter as many to choose by, and enough to report on."""
    if "split_col" in stanza:
        rows = pl.read_parquet(located(stanza["train_data"]))
        whole = {
            name: rows.filter(pl.col("split") == split)
            for name, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        }
    else:
        whole = {
            name: pl.read_parquet(located(stanza[f"{name}_data"])) for name in ("train", "valid", "test")
        }
    training = whole["train"].gather_every(every)
    most = {"valid": max(len(training) // 4, LEAST_VALID), "test": MOST_TEST}
    others = {name: whole[name].gather_every(-(-len(whole[name]) // n)) for name, n in most.items()}
    return {"train": training, **others}


# ---- what is kept --------------------------------------------------------------------------------


def _read(results: Path) -> dict[str, Any]:
    file = results / FILE
    return json.loads(file.read_text()) if file.exists() else {"name": "small_data", "cells": []}


def _store(
    part: str, sets: Mapping[str, Set], cells: Sequence[_Cell], cache: Path, results: Path
) -> dict[str, Any]:
    from fuxi_mtl.comparison import read_run

    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        folder = cache / "small_data" / "runs" / _id(cell.data) / cell.expid
        runs = [read_run(each.parent) for each in sorted(folder.glob("seed_*/metrics.json"))]
        if runs:
            found[cell.expid] = {
                "data": cell.data,
                "model": cell.model,
                "point": point_name(cell.point),
                "auc": {str(run.seed): run.metrics["test"]["AUC"] for run in runs},
                "logloss": {str(run.seed): run.metrics["test"]["logloss"] for run in runs},
            }
    content = _read(results)
    known = content.get("baselines", {})
    baselines = {name: known.get(name) or logistic_regression(name, cells, cache) for name in sets}
    content |= {
        "machine": {**machine(), "load_before": None},
        part: list(found.values()),
        "baselines": known | baselines,
    }
    write(results / FILE, content)
    return content


def logistic_regression(name: str, cells: Sequence[_Cell], cache: Path) -> dict[str, Any]:
    """Mean AUC over tasks of scikit-learn's, on an indicator for each id; its penalty by validation rows."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.dataset import load_dataset

    expid = next(cell.expid for cell in cells if cell.data == name)
    experiment = load_experiment(cache / "small_data" / "config", expid)
    data = load_dataset(experiment.dataset, experiment.tasks, _id(name), progress=False)

    def indicators(split: Any) -> Any:
        ids, numeric = np.asarray(split.ids), np.asarray(split.numeric)
        sizes = [int(data_ids.max()) + 1 for data_ids in np.asarray(data.train.ids).T]
        rows, columns = ids.shape
        known = np.minimum(ids, np.array(sizes) - 1)  # what training rows do not have is their last id
        places = known + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        ones = np.ones(rows * columns, np.float32)
        shape = (rows, sum(sizes))
        found = csr_matrix((ones, (np.repeat(np.arange(rows), columns), places.ravel())), shape)
        return hstack([found, csr_matrix(numeric)]).tocsr() if numeric.size else found

    inputs = {split.name: indicators(split) for split in (data.train, data.valid, data.test)}
    labels = {split.name: split.labels(experiment.tasks) for split in (data.train, data.valid, data.test)}

    def auc(model: Any, split: str, task: str) -> float:
        return float(roc_auc_score(labels[split][task], model.predict_proba(inputs[split])[:, 1]))

    best = {}
    for task in (each.name for each in experiment.tasks):
        tried = [
            LogisticRegression(C=penalty, max_iter=300).fit(inputs["train"], labels["train"][task])
            for penalty in INVERSE_PENALTIES
        ]
        best[task] = auc(max(tried, key=lambda model: auc(model, "valid", task)), "test", task)
    return {"rows": data.train.rows, "auc": statistics.fmean(best.values()), "by_task": best}


# ---- the report ----------------------------------------------------------------------------------


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report: the search, then what was held out."""
    lines = [
        "",
        "## What defaults suit small data?",
        f"Mean AUC over tasks on test rows. Commit {content['machine']['commit']}.",
    ]
    baselines, searched = content["baselines"], content.get("searched", [])
    sets = list(dict.fromkeys(cell["data"] for cell in searched))
    rows = [
        [
            point_name(point),
            *(f"{gains_of(searched, point).get(name, float('nan')):+.4f}" for name in sets),
            f"{statistics.fmean(gains_of(searched, point).values()):+.4f}",
        ]
        for point in POINTS
        if gains_of(searched, point)
    ]
    before = {cell["data"]: cell for cell in searched if cell["point"] == point_name(BEFORE)}
    rows.insert(
        0, ["AUC of before", *(f"{statistics.fmean(before[name]['auc'].values()):.4f}" for name in sets), ""]
    )
    rows.append(["logistic regression", *(f"{baselines[name]['auc']:.4f}" for name in sets), ""])
    rows.append(["training rows", *(f"{baselines[name]['rows']:,}" for name in sets), ""])
    lines += table([f"{SEARCH_MODEL}, searched", *sets, "mean"], rows)
    held = content.get("held_out", [])
    if held:
        shown = {point_name(point): point for point in (BEFORE, TODAY, chosen(searched))}
        heading = ("held out", "training rows", *shown, "logistic regression")
        lines += table(heading, _held_rows(held, baselines, list(shown)))
    return lines


def _held_rows(
    cells: Sequence[Mapping[str, Any]], baselines: Mapping[str, Any], points: Sequence[str]
) -> list[list[str]]:
    by_cell = {(cell["data"], cell["point"]): list(cell["auc"].values()) for cell in cells}
    rows = []
    for data in dict.fromkeys(cell["data"] for cell in cells):
        shown = [_with_spread(by_cell[data, point]) if (data, point) in by_cell else "" for point in points]
        rows.append([data, f"{baselines[data]['rows']:,}", *shown, f"{baselines[data]['auc']:.4f}"])
    return rows


def _with_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"

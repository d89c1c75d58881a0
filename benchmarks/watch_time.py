"""How is a watch time learnt best beside clicks? KuaiRand, every decoder of ``play_time_ms`` under MMoE.

Six binary tasks and the watch time share the experts; equal weights. ``without`` has the same network with a
watch time of weight 0, so that it says what the six tasks are worth alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import compared_runs, step_cost, zoo_rows
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.public_data import datasets, impressions_of, used
from fuxi_mtl.config import Experiment
from fuxi_mtl.metrics import METRICS

DATASET = "kuairand_watch_time"
TASK, DURATION = "play_time_ms", "duration"
WITHOUT, SQUARED = "without", "squared"
SECOND = 1000.0  # of the label's unit
GROUPS = 30  # of durations, in d2q and in the median that asks no network
_VALUE = {"kind": "regression", "normalizer": "StandardScaler"}
ROWS: dict[str, dict[str, Any]] = {
    WITHOUT: _VALUE,
    SQUARED: _VALUE,
    "log1p": {"decoder": "log1p"},
    "d2q": {"decoder": {"type": "d2q", "by": DURATION, "groups": GROUPS}},
    "wlr": {"decoder": {"type": "wlr", "unit": 10 * SECOND}},
    "cread": {"decoder": "cread"},
    "tpm": {"decoder": "tpm"},
    "quantile": {"decoder": "quantile"},
    "ziln": {"decoder": "ziln"},
}
MODEL = {"model": "MMoE", "num_experts": 4, "expert_hidden_units": [128, 64]}
BATCH = 512
EPOCHS = 2  # the better one is kept; the six tasks alone are at their best after two
MEDIAN = "median by duration"


def measure_watch_time(
    seeds: Sequence[int], turns: int, every: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains every row with every seed, then times steps; writes ``watch_time.json``.

    Args:
        seeds: Seeds.
        turns: How often each network takes the steps that are timed; 0 keeps the costs of before.
        every: One in how many training impressions is used.
        cache: Where rows and runs lie.
        results: Where the table goes.
    """
    folder = cache / DATASET
    file = timed(folder, every)
    chosen = experiments(file, folder)
    compared_runs.train("watch_time", chosen, seeds, lambda: None)
    if turns:
        write(folder / "cost.json", step_cost.cost(chosen, WITHOUT, turns))
    return store(file, every, results)


def experiments(file: Path, folder: Path) -> dict[str, Experiment]:
    """All rows on the same impressions.

    Args:
        file: Impressions with the duration as a number, too.
        folder: Where configuration, encoded data and runs go.
    """
    data = zoo_rows.dataset_stanza("kuairand_pure_chain", folder)
    binary = [each["name"] for each in data["label_col"]]
    columns = [*data["feature_cols"], {"name": DURATION, "type": "numeric", "normalizer": "StandardScaler"}]
    data |= {"train_data": str(file), "data_root": f"{folder / 'data'}/", "feature_cols": columns}
    data.pop("inconsistent", None)  # there is no chain
    stanza = zoo_rows.shipped_recipe("kuairand_pure", "ShareBottom_kuairand", ["bottom_hidden_units"])
    stanza |= MODEL | {
        "dataset_id": DATASET,
        "model_root": str(folder / "runs"),
        "batch_size": BATCH,
        "epochs": EPOCHS,
    }
    stanza["metrics"] = [*stanza["metrics"], "XAUC", "XGAUC", "MAE", "value_PCOC"]
    found = {}
    for name, value in ROWS.items():
        label = {"name": TASK, "dtype": "int", **value}
        labelled = {**data, "label_col": [*data["label_col"], label]}
        weights = {**dict.fromkeys(binary, 1), TASK: 0} if name == WITHOUT else "EQ"
        # A configuration each, of one data set, so that all runs compare.
        config = folder / name / "config"
        found |= compared_runs.experiments(
            config, {DATASET: labelled}, {name: stanza | {"loss_weight": weights}}
        )
    return found


def timed(folder: Path, every: int = 1) -> Path:
    """The file of impressions whose duration stands in a column of its own, written unless it is there.

    Args:
        folder: Where it goes.
        every: One in how many training impressions is used.
    """
    file = folder / f"one_in_{every}.parquet"
    if not file.exists():
        impressions = impressions_of(datasets() / "kuairand_pure_late", every)
        folder.mkdir(parents=True, exist_ok=True)
        impressions.with_columns((pl.col("duration_ms") / SECOND).alias(DURATION)).write_parquet(file)
    return file


def median_by_duration(impressions: pl.DataFrame) -> dict[str, float]:
    """What the training median of videos of like length scores on test rows: the least to beat."""
    train, test = (impressions.filter(pl.col("split") == split) for split in ("train", "test"))
    edges = np.unique(np.quantile(train[DURATION].to_numpy(), np.arange(1, GROUPS) / GROUPS))
    grouped, asked = (np.searchsorted(edges, part[DURATION].to_numpy(), "right") for part in (train, test))
    times = train[TASK].to_numpy()
    medians = np.array(
        [
            np.median(times[grouped == group] if (grouped == group).any() else times)
            for group in range(len(edges) + 1)
        ]
    )
    labels, found = test[TASK].to_numpy().astype(float), medians[asked]
    return {name: float(METRICS[name].function(labels, found)) for name in ("XAUC", "MAE", "value_PCOC")}


def store(file: Path, every: int, results: Path) -> dict[str, Any]:
    """Compares the finished runs and writes ``watch_time.json``.

    Values are held against those under a squared error, the binary tasks against themselves without a value.
    """
    folder, order = file.parent, list(ROWS)
    described = machine()
    described["load_before"] = None  # of one moment of many
    content = {
        "name": "watch_time",
        "machine": described,
        "every": every,
        "cost": step_cost.read_costs(folder / "cost.json"),
        "values": compared_runs.compared(folder / "runs", order[1:], SQUARED),
        "binary": compared_runs.compared(folder / "runs", order, WITHOUT),
        "median": median_by_duration(pl.read_parquet(file)),
        "cells": [],
    }
    write(results / "watch_time.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    values = [_value(row, content) for row in content["values"]["rows"]]
    asked = content["median"]
    nobody = ["", f"{asked['XAUC']:.4f}", "", "", f"{asked['MAE'] / SECOND:.2f}", ""]
    values.append([MEDIAN, *nobody, f"{asked['value_PCOC']:.2f}", ""])
    binary = [
        [row["expid"], *(compared_runs.difference(row, column) for column in _binary(content))]
        for row in content["binary"]["rows"]
        if row["expid"] != WITHOUT
    ]
    binary.insert(
        0,
        [
            WITHOUT,
            *(compared_runs.mean(row, column) for row in _without(content) for column in _binary(content)),
        ],
    )
    heading = [
        "",
        "seeds",
        "XAUC",
        f"against {SQUARED}",
        "XGAUC",
        "MAE, s",
        f"against {SQUARED}",
        "value_PCOC",
    ]
    text = (
        f"MMoE (4 experts [128, 64]) with equal weights on {used(content)}, {EPOCHS} passes at most, chosen "
        f"by the mean AUC of the six binary tasks; commit {content['machine']['commit']}. value_PCOC is the "
        f"sum of predictions over that of times. `{MEDIAN}` asks no network: it predicts the training median "
        "of videos of like length."
    )
    under = (
        f"The binary tasks beside it: AUC `{WITHOUT}` a watch time (of weight 0), and what each row adds to "
        "it, paired, with 95 % intervals over users."
    )
    names = [column.removesuffix("_AUC") if column != "AUC" else "mean" for column in _binary(content)]
    return [
        "",
        "## Watch time on KuaiRand beside six binary tasks, by decoder",
        text,
        *table([*heading, f"a step, × {WITHOUT}"], values),
        under,
        *table(["", *names], binary),
    ]


def _value(row: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    cost = content["cost"].get(row["expid"])
    return [
        row["expid"],
        str(len(row["seeds"])),
        compared_runs.mean(row, f"{TASK}_XAUC"),
        compared_runs.difference(row, f"{TASK}_XAUC"),
        compared_runs.mean(row, f"{TASK}_XGAUC"),
        compared_runs.mean(row, f"{TASK}_MAE", 1 / SECOND, 2),
        compared_runs.difference(row, f"{TASK}_MAE", 1 / SECOND, 2),
        compared_runs.mean(row, f"{TASK}_value_PCOC", digits=2),
        "" if cost is None else f"{cost['median']:.2f}",
    ]


def _binary(content: Mapping[str, Any]) -> list[str]:
    columns = content["binary"]["columns"]
    return [*(each for each in columns if each.endswith("_AUC") and not each.startswith(TASK)), "AUC"]


def _without(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in content["binary"]["rows"] if row["expid"] == WITHOUT]

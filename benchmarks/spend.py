"""How far is a predicted spend from its true mean? Simulated purchases, every decoder of amounts.

An exposure is clicked, a click bought and a purchase paid with probabilities and mean amounts that depend on
the user and the item, so that what an exposure is worth is known on every row. Amounts are lognormal, which
is what ziln believes, or gamma, which it does not. Bias is the mean prediction over the mean truth, less one.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import compared_runs
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from fuxi_mtl.config import Experiment

TASK, BASELINE = "value", "squared"
WORLDS = ("lognormal", "gamma")
SIZES = {"train": 200_000, "valid": 30_000, "test": 50_000}
USERS, ITEMS, WIDTH = 400, 200, 1.0  # width of the logarithm of amounts: their deviation is 1.3 means
_VALUE = {"kind": "regression", "normalizer": "StandardScaler"}
# The value of an exposure as a task of its own ...
DIRECT: dict[str, dict[str, Any]] = {
    BASELINE: _VALUE,
    "log1p, naive": {"decoder": {"type": "log1p", "back": "naive"}},
    "log1p, smearing": {"decoder": "log1p"},
    "poisson": {"decoder": "poisson"},
    "tweedie": {"decoder": "tweedie"},
    "ziln": {"decoder": "ziln"},
}
# ... and as ESMM's chances times the amount of a purchase.
CHAINED = {f"ESMM, {name}": DIRECT[name] for name in ("tweedie", "ziln", "log1p, smearing")}
_RECIPE = {
    "metrics": ["AUC", "value_PCOC", "bucket_bias", "Gini", "MAE"],
    "monitor": "AUC",
    "final_weights": "last",
    "optimizer": "adam",
    "learning_rate": 5e-3,
    "lr_scheduler": {"enabled": True, "type": "cosine", "warmup_steps": 0},  # the last step is no noise
    "embedding_dim": 8,
    "tower_hidden_units": [16],
    "batch_size": 1024,
    "epochs": 6,
    "export": False,
    "verbose": 0,
}


def measure_spend(seeds: Sequence[int], cache: Path, results: Path) -> dict[str, Any]:
    """Trains every decoder on both worlds with every seed; writes ``spend.json`` after every seed.

    Args:
        seeds: Seeds of the networks; the rows are the same.
        cache: Where rows and runs lie.
        results: Where the table goes.
    """
    folder = cache / "spend"
    chosen = {world: experiments(world, folder / world) for world in WORLDS}
    for world, of_world in chosen.items():
        compared_runs.train(f"spend, {world}", of_world, seeds, partial(store, folder, results))
    return store(folder, results)


def experiments(world: str, folder: Path) -> dict[str, Experiment]:
    """All rows of the table on the same exposures.

    Args:
        world: How amounts are distributed.
        folder: Where rows, configuration, encoded data and runs go.
    """
    for seed, (split, rows) in enumerate(SIZES.items()):
        file = folder / f"{split}.parquet"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            simulated(world, rows, seed).write_parquet(file)
    found = {}
    for number, (name, label) in enumerate({**DIRECT, **CHAINED}.items()):
        chain = name in CHAINED
        data = {
            "data_root": f"{folder / 'data'}/",
            "data_format": "parquet",
            **{f"{split}_data": str(folder / f"{split}.parquet") for split in SIZES},
            "feature_cols": [
                {"name": ["user", "item"], "type": "categorical"},
                {"name": f"truth_{TASK}", "type": "meta"},
            ],
            "label_col": [
                {"name": "click"},
                {"name": "buy"},
                {"name": "spend", **label, **({"given": "buy"} if chain else {})},
            ],
        }
        stanza = {"dataset_id": "spend", "model_root": str(folder / "runs"), **_RECIPE}
        if chain:
            tasks = {"ctr": "click", "cvr": "buy | click", "amount": "spend | buy"}
            stanza |= {"model": "ESMM", "tasks": tasks, "expected": {TASK: "ctr * cvr * amount"}}
        else:
            stanza |= {"model": "MMoE", "num_experts": 4, "expert_hidden_units": [32]}
            stanza |= {"tasks": {"ctr": "click", "buy": "buy", TASK: "spend"}}
        found |= compared_runs.experiments(folder / f"config_{number}", {"spend": data}, {name: stanza})
    return found


def simulated(world: str, rows: int, seed: int) -> pl.DataFrame:
    """Exposures with what came of them and what they were worth before.

    Args:
        world: ``lognormal`` or ``gamma`` amounts of the same mean and deviation.
        rows: How many.
        seed: Of these rows; users and items are the same for all.
    """
    people = np.random.default_rng(2026)
    of_user, of_item = (people.normal(size=(count, 3)) for count in (USERS, ITEMS))
    draws = np.random.default_rng([seed, rows])
    user, item = draws.integers(0, USERS, rows), draws.integers(0, ITEMS, rows)
    taste = 0.6 * (of_user[user] + of_item[item])
    click, buy = (1 / (1 + np.exp(-(taste[:, i] - 1))) for i in (0, 1))
    mean = np.exp(3 + taste[:, 2])
    if world == "lognormal":
        share = np.exp(draws.normal(-(WIDTH**2) / 2, WIDTH, rows))
    else:
        shape = 1 / np.expm1(WIDTH**2)
        share = draws.gamma(shape, 1 / shape, rows)
    clicked = draws.random(rows) < click
    bought = clicked & (draws.random(rows) < buy)
    columns = {"user": user, "item": item, "click": clicked, "buy": bought}
    columns |= {"spend": np.where(bought, mean * share, 0.0), f"truth_{TASK}": click * buy * mean}
    return pl.DataFrame(columns).with_columns(pl.col("click", "buy").cast(pl.Int8))


def store(folder: Path, results: Path) -> dict[str, Any]:
    """Writes what there is of all runs."""
    worlds = {}
    for world in WORLDS:
        if (folder / world / "runs").exists():
            found = compared_runs.compared(folder / world / "runs", [*DIRECT, *CHAINED], BASELINE)
            truth = pl.read_parquet(folder / world / "test.parquet")[f"truth_{TASK}"]
            train = pl.read_parquet(folder / world / "train.parquet").select("spend", f"truth_{TASK}").mean()
            sample = train["spend"][0] / train[f"truth_{TASK}"][0] - 1
            worlds[world] = {"table": found, "mean": truth.mean(), "sample": sample}
    content = {"name": "spend", "machine": machine(), "sizes": SIZES, "worlds": worlds}
    write(results / "spend.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report."""
    lines = [""]
    for world, found in content["worlds"].items():
        mean, percent = found["mean"], 100 / found["mean"]
        lines.append(f"## Simulated spend whose mean is known: {world} amounts")
        rows = [
            [
                row["expid"],
                str(len(row["seeds"])),
                compared_runs.mean(row, f"{TASK}_bias", percent, 1),
                compared_runs.mean(row, f"{TASK}_bucket_bias", 100, 1),
                _root(row, mean),
                compared_runs.mean(row, f"{TASK}_Gini"),
                compared_runs.mean(row, f"{TASK}_MAE", 1, 3),
            ]
            for row in found["table"]["rows"]
        ]
        heading = ("", "seeds", "bias, %", "bias by tenth, %", "error of the mean, %", "Gini", "MAE")
        lines += table(heading, rows)
        lines += [f"The training rows' own mean is {100 * found['sample']:+.1f}% from its truth.", ""]
    return lines


def _root(row: Mapping[str, Any], mean: float) -> str:
    """The root of the mean squared distance from the truth, in percent of the mean truth."""
    cell = row["metrics"].get(f"{TASK}_truth_MSE") or {}
    return "" if cell.get("mean") is None else f"{100 * cell['mean'] ** 0.5 / mean:.0f}"

"""Do users' histories help, and which encoder? KuaiRand, every encoder under MMoE, PLE and ESMM.

The histories are the videos that a user watched, and watched for long, before the first impression; their
authors and tags are those that training impressions have. They end there and do not grow during the two weeks
of impressions, and they have no times: position is what they know of order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import compared_runs, step_cost, zoo_rows
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.public_data import datasets, impressions_of, used
from fuxi_mtl.config import Experiment

DATASET = "kuairand_histories"
NONE, POOLED = "none", "mean"
ENCODERS = (NONE, POOLED, "din", "target_attention", "transformer")
PLACES = {"watch": 20, "long_watch": 20}  # the newest so many are read
_TARGETS = {"videos": "video_id", "authors": "author_id", "tags": "tag"}
_NO_AUTHOR, _NO_TAG = -1, "none"  # of a video without an impression in training
MODELS: dict[str, dict[str, Any]] = {
    "MMoE": {"model": "MMoE", "num_experts": 4, "expert_hidden_units": [128, 64]},
    "ESMM": {"model": "ESMM", "tower_hidden_units": [128, 64]},
    "PLE": {
        "model": "PLE",
        "num_layers": 1,
        "num_shared_experts": 2,
        "num_specific_experts": 1,
        "expert_hidden_units": [128, 64],
    },
}
BATCH = 512
EPOCHS = 2  # the better one is kept; without histories every model is at its best after two
COLUMNS = ("ctr_AUC", "cvr_AUC", "ctcvr_AUC", "AUC", "gAUC")


def measure_histories(
    models: Sequence[str], seeds: Sequence[int], turns: int, every: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains every encoder under models with every seed, then times steps; writes ``histories.json``.

    Args:
        models: Models; all, if none.
        seeds: Seeds.
        turns: How often each network takes the steps that are timed; 0 keeps the costs of before.
        every: One in how many training impressions is used.
        cache: Where rows and runs lie.
        results: Where the table goes; it is written after every model.

    Raises:
        ValueError: An unknown model.
    """
    for model in models:
        if model not in MODELS:
            raise ValueError(f"there is no model {model!r} in this study. There are: {', '.join(MODELS)}.")
    folder = cache / DATASET
    chosen = experiments(joined(folder, every), folder)
    content: dict[str, Any] = {}
    for model in models or MODELS:
        of_model = {f"{model}_{encoder}": chosen[f"{model}_{encoder}"] for encoder in ENCODERS}
        compared_runs.train("histories", of_model, seeds, lambda: None)
        if turns:
            found = step_cost.cost(of_model, f"{model}_{NONE}", turns)
            write(folder / "cost.json", step_cost.read_costs(folder / "cost.json") | found)
        content = store(folder, every, results)
    return content


def experiments(file: Path, folder: Path) -> dict[str, Experiment]:
    """Every model with every encoder, and without histories, on the same rows.

    Args:
        file: Impressions with histories.
        folder: Where configuration, encoded data and runs go.
    """
    stanza = zoo_rows.dataset_stanza("kuairand_pure_chain", folder)
    stanza = {**stanza, "train_data": str(file), "data_root": f"{folder / 'data'}/"}
    with_them = {**stanza, "feature_cols": [*stanza["feature_cols"], *_columns()]}
    common = zoo_rows.recipe("kuairand_pure_chain") | {
        "dataset_id": DATASET,
        "model_root": str(folder / "runs"),
        "batch_size": BATCH,
        "epochs": EPOCHS,
    }
    found = {}
    for part, data, encoders in (("without", stanza, ENCODERS[:1]), ("with", with_them, ENCODERS[1:])):
        stanzas = {
            f"{model}_{encoder}": {**common, **own, **({} if encoder == NONE else _groups(encoder))}
            for model, own in MODELS.items()
            for encoder in encoders
        }
        # Two configurations of one data set, so that its runs compare.
        found |= compared_runs.experiments(folder / part / "config", {DATASET: data}, stanzas)
    return {f"{model}_{encoder}": found[f"{model}_{encoder}"] for model in MODELS for encoder in ENCODERS}


def _groups(encoder: str) -> dict[str, Any]:
    """The block ``sequences`` of a stanza."""
    groups = {}
    for history in PLACES:
        columns = {f"{history}_{what}": target for what, target in _TARGETS.items()}
        groups[history] = {"columns": columns, "position": "learned", "encoder": encoder}
    return {"sequences": groups}


def _columns() -> list[dict[str, Any]]:
    """The columns of the histories, each with the table of its target."""
    return [
        {
            "name": f"{history}_{what}",
            "type": "sequence",
            "dtype": "str" if what == "tags" else "int",
            "share_embedding": target,
            "max_len": places,
            "order": "oldest_first",
        }
        for history, places in PLACES.items()
        for what, target in _TARGETS.items()
    ]


def joined(folder: Path, every: int = 1) -> Path:
    """The file of impressions with the history of their user, written unless it is there.

    Args:
        folder: Where it goes.
        every: One in how many training impressions is used.
    """
    source = datasets() / "kuairand_pure_late"
    file = folder / f"one_in_{every}.parquet"
    if not file.exists():
        impressions = impressions_of(source, every)
        histories = pl.read_parquet(source / "user_history_0409_0424.parquet")
        folder.mkdir(parents=True, exist_ok=True)
        with_histories(impressions, histories).write_parquet(file)
    return file


def with_histories(impressions: pl.DataFrame, histories: pl.DataFrame) -> pl.DataFrame:
    """Impressions with what their users watched before, its authors and its tags, oldest first.

    Args:
        impressions: With ``user_id``, ``video_id``, ``author_id``, ``tag`` and ``split``.
        histories: By ``user_id``, lists of video ids; a user without a row has an empty history.
    """
    videos = (
        impressions.filter(pl.col("split") == "train")
        .select("video_id", "author_id", "tag")
        .unique("video_id", keep="first", maintain_order=True)
    )
    joined = impressions
    for history, places in PLACES.items():
        events = (
            histories.select("user_id", pl.col(f"{history}_seq").list.tail(places).alias("video_id"))
            .explode("video_id")
            .drop_nulls("video_id")
            .join(videos, on="video_id", how="left", maintain_order="left")
            .with_columns(pl.col("author_id").fill_null(_NO_AUTHOR), pl.col("tag").fill_null(_NO_TAG))
        )
        named = {f"{history}_{what}": pl.col(column) for what, column in _TARGETS.items()}
        lists = events.group_by("user_id", maintain_order=True).agg(**named)
        joined = joined.join(lists, on="user_id", how="left", maintain_order="left")
        joined = joined.with_columns(pl.col(list(named)).fill_null([]))
    return joined


def store(folder: Path, every: int, results: Path) -> dict[str, Any]:
    """Compares the finished runs and writes ``histories.json``: against no history, and against the mean."""
    tables = {}
    for model in MODELS:
        if not (folder / "runs" / DATASET / f"{model}_{NONE}").is_dir():
            continue  # not trained yet
        order = [f"{model}_{encoder}" for encoder in ENCODERS]
        tables[model] = {
            baseline: compared_runs.compared(folder / "runs", order, f"{model}_{baseline}")
            for baseline in (NONE, POOLED)
        }
    described = machine()
    described["load_before"] = None  # of one moment of many
    content = {
        "name": "histories",
        "machine": described,
        "every": every,
        "cost": step_cost.read_costs(folder / "cost.json"),
        "tables": tables,
        "cells": [],
    }
    write(results / "histories.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    lines = []
    for tables in content["tables"].values():
        against = {row["expid"]: row for row in tables[POOLED]["rows"]}
        for row in tables[NONE]["rows"]:
            name = row["expid"]
            cost = content["cost"].get(name)
            lines.append(
                (
                    name.replace("_", " with ", 1),
                    str(len(row["seeds"])),
                    *(compared_runs.mean(row, column) for column in COLUMNS),
                    *(compared_runs.difference(row, column) for column in ("AUC", "gAUC")),
                    *(compared_runs.difference(against[name], column) for column in ("AUC", "gAUC")),
                    "" if cost is None else f"{cost['median']:.2f}",
                )
            )
    named = [column.replace("_", " ") for column in COLUMNS]
    named = [f"mean {name}" if name in ("AUC", "gAUC") else name for name in named]
    heading = ["", "seeds", *named]
    heading += [
        f"{metric} against {what}" for what in ("no history", "the mean") for metric in ("AUC", "gAUC")
    ]
    heading += ["a step, × without"]
    places = ", ".join(f"{places} of {history}_seq" for history, places in PLACES.items())
    text = (
        f"The newest {places}, each a video with its author and tag and a learned position; "
        f"{used(content)}, the same network and {EPOCHS} passes at most for all rows of a model. "
        "Differences are of means over tasks, paired, with 95 % intervals over the users of test rows; "
        f"commit {content['machine']['commit']}."
    )
    return ["", "## Users' histories on KuaiRand under each encoder", text, *table(heading, lines)]

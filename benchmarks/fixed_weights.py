"""What do fixed weights do, chosen from a small grid? The baseline that all that balances has to beat.

The first task has weight 1, every other one each of :data:`WEIGHTS`, or where that makes too many points,
weights between the least and the largest of them that fill the space evenly; one seed each, on the reference
of the zoo's tables. The point with the best mean AUC on validation rows is trained with all seeds, and what
balances the reference is held against it on test rows (Kurin et al. and Xin et al., NeurIPS 2022).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import compared_runs, zoo, zoo_rows
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write
from benchmarks.zoo_rows import REFERENCE

WEIGHTS = (0.25, 0.5, 1, 2, 4)
_BASES = (2, 3, 5, 7, 11, 13)  # of the coordinates of points that fill a space evenly
CRITERION = "AUC"  # its mean over tasks, on validation rows


def measure_fixed_weights(
    data: str, most: int, seeds: Sequence[int], cache: Path, results: Path
) -> dict[str, Any]:
    """Trains the grid with the first seed and its best point with all; writes ``fixed_weights_{data}.json``.

    The point joins the runs of ``zoo``, from which what it is compared with comes.

    Args:
        data: Data set of the zoo's tables.
        most: How many points there are at most.
        seeds: Seeds.
        cache: Where runs and encoded data lie, those of ``zoo`` too.
        results: Where the table goes.

    Raises:
        ValueError: An unknown data set.
    """
    if data not in zoo_rows.DATA:
        raise ValueError(f"there is no data set {data!r}. There are: {', '.join(zoo_rows.DATA)}.")
    experiments = zoo.experiments_of(data, {REFERENCE: zoo_rows.under({})}, cache)
    weights = grid([task.name for task in experiments[REFERENCE].tasks], most)
    rows = {
        name_of(each): zoo_rows.under({"loss_weight": each}) for each in weights if name_of(each) != REFERENCE
    }
    experiments |= zoo.experiments_of(data, rows, cache)
    compared_runs.train("fixed_weights", experiments, seeds[:1], lambda: None)
    root = cache / "zoo" / "runs" / data
    found = [
        {"weights": each, "runs": name_of(each), "valid": _on_validation(root, data, name_of(each), seeds[0])}
        for each in weights
    ]
    best = max(found, key=lambda point: point["valid"])
    name = best["runs"]
    compared_runs.train("fixed_weights", {name: experiments[name]}, seeds, lambda: None)
    return store(data, found, name, cache, results)


def grid(tasks: Sequence[str], most: int) -> list[dict[str, float]]:
    """The points: weights by task, the first task's being 1; equal weights are among them.

    Args:
        tasks: Names of tasks.
        most: How many points there are at most.
    """
    first, *others = tasks
    if len(WEIGHTS) ** len(others) > most:
        low, high = math.log2(min(WEIGHTS)), math.log2(max(WEIGHTS))
        spread = [
            {
                task: round(2 ** (low + (high - low) * halton(i, base)), 3)
                for task, base in zip(others, _BASES, strict=False)
            }
            for i in range(1, most)
        ]
        return [dict.fromkeys(tasks, 1), *({first: 1, **point} for point in spread)]
    return [
        {first: 1, **dict(zip(others, point, strict=True))} for point in product(WEIGHTS, repeat=len(others))
    ]


def halton(index: int, base: int) -> float:
    """The coordinate of a point of Halton's sequence: the digits of its number behind the point, reversed."""
    found, share = 0.0, 1.0
    while index:
        index, digit = divmod(index, base)
        share /= base
        found += share * digit
    return found


def name_of(weights: Mapping[str, float]) -> str:
    """Name of the runs of a point: ``MMoE_fixed_1_0.25``; equal weights are the reference itself."""
    if set(weights.values()) == {1}:
        return REFERENCE
    return "_".join([REFERENCE, "fixed", *(f"{weight:g}" for weight in weights.values())])


def _on_validation(root: Path, data: str, name: str, seed: int) -> float:
    from fuxi_mtl.comparison import read_run

    return read_run(root / data / name / f"seed_{seed}").metrics["valid"][CRITERION]


def store(
    data: str, found: Sequence[Mapping[str, Any]], best: str, cache: Path, results: Path
) -> dict[str, Any]:
    """Compares all finished runs on the reference with the chosen point, and writes the file.

    Args:
        data: Data set.
        found: The points of the grid, with what they have on validation rows.
        best: Name of the chosen one's runs.
        cache: Where the runs lie.
        results: Where the table goes.
    """
    balanced = [name for name, row in zoo_rows.rows_of(data).items() if row.of_reference]
    order = list(dict.fromkeys([best, *balanced]))
    described = machine()
    described["load_before"] = None  # of one moment of many
    content = {
        "name": "fixed_weights",
        "machine": described,
        "grid": list(found),
        "best": best,
        "table": compared_runs.compared(cache / "zoo" / "runs" / data, order, best),
        "cells": [],
    }
    write(results / f"fixed_weights_{data}.json", content)
    return content


def section(content: Mapping[str, Any]) -> list[str]:
    """The tables of the report: the grid, then what balances against its best point."""
    compared = content["table"]
    tasks = [column.removesuffix("_AUC") for column in compared["columns"] if column.endswith("_AUC")]
    points = sorted(content["grid"], key=lambda point: -point["valid"])
    shown = [
        [*(f"{weight:g}" for weight in each["weights"].values()), f"{each['valid']:.4f}"] for each in points
    ]
    rows = [
        [
            row["expid"] if row["expid"] != content["best"] else "the grid's best",
            str(len(row["seeds"])),
            *(compared_runs.mean(row, f"{task}_AUC") for task in tasks),
            compared_runs.difference(row, "AUC"),
        ]
        for row in compared["rows"]
    ]
    heading = ["", "seeds", *(f"{task} AUC" for task in tasks), "mean AUC against the grid's best"]
    text = (
        f"{REFERENCE} under fixed weights, one seed each, by mean AUC on validation rows ({len(points)} "
        "runs); the best point with all seeds is what the second table compares with, on test rows. "
        f"Commit {content['machine']['commit']}."
    )
    return [
        "",
        f"## Fixed weights from a small grid, and what balances: {compared['dataset_id']}",
        text,
        *table([*points[0]["weights"], "mean AUC, validation"], shown),
        *table(heading, rows),
    ]

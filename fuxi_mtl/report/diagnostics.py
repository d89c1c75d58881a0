"""Gradient conflict and gate health of runs, as lines and as plots."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fuxi_mtl.comparison import StoredRun
from fuxi_mtl.report import diagnostic_plots

TITLE = "Gradient conflict between objectives on shared parameters (means over seeds)"
TEXTS = ("expid", "objectives", "parameters")


class Number(NamedTuple):
    """A column of numbers: its key in a summary, how it is written, and what it means."""

    key: str
    style: str
    hint: str


NUMBERS = {
    "batches": Number("measured", ",.0f", "batches measured, all seeds"),
    "skipped": Number(
        "skipped", ",.0f", "batches in which an objective has no rows, no positive or no shared parameter"
    ),
    "cosine": Number("cosine", ".3f", "mean cosine of the two gradients"),
    "p10": Number("p10", ".3f", "tenth percentile of the cosine"),
    "p50": Number("p50", ".3f", "median of the cosine"),
    "p90": Number("p90", ".3f", "ninetieth percentile of the cosine"),
    "conflicts": Number("conflict_rate", ".1%", "share of batches with a negative cosine"),
    "lately": Number("conflict_rate_ema", ".1%", "the same, moving average at the end of training"),
    "strength": Number("neg_conflict_strength", ".3f", "mean of the negative cosines"),
    "ratio": Number("norm_ratio", ".3g", "median ratio of the second gradient's norm to the first's"),
}
_PARTS = ("dense", "sparse", "all")
_MANY_PAIRS = 3  # beyond these, plots show all shared parameters together only

Line = tuple[tuple[str, ...], list[float]]
Drawn = tuple[str, str, bool]


def conflict_lines(runs: Sequence[StoredRun]) -> list[Line]:
    """A line for each experiment, pair of objectives and part of the parameters: texts, then numbers."""
    summaries: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        for names, part, found in _pairs(run):
            if found["summary"]["measured"]:
                summaries.setdefault((run.expid, names, part), []).append(found["summary"])
    lines: list[Line] = []
    for texts, of_seeds in summaries.items():
        numbers = []
        for number in NUMBERS.values():
            known = [float(each[number.key]) for each in of_seeds if each[number.key] is not None]
            reduce = np.sum if number.key in ("measured", "skipped") else np.mean
            numbers.append(float(reduce(known)) if known else float("nan"))
        lines.append((texts, numbers))
    return lines


def drawn(runs: Sequence[StoredRun], expids: Sequence[str]) -> list[Drawn]:
    """The plots: heading, SVG (empty if there is nothing to draw), and whether colours are experiments."""
    many = len({names for run in runs for names, _, _ in _pairs(run)}) > _MANY_PAIRS
    cosines: diagnostic_plots.Curves = {}
    ratios: diagnostic_plots.Curves = {}
    for run in runs:
        steps = run.diagnostics.get("gradients", {}).get("steps", [])
        for names, part, found in _pairs(run):
            if found["summary"]["measured"] and (part == "all" or not many):
                panel = f"{names}, {part}"
                cosines.setdefault(panel, []).append((run.expid, steps, found["cosine"]))
                ratios.setdefault(panel, []).append((run.expid, steps, found["norm_ratio"]))
    entropies, divergences = _gate_curves(runs)
    dataset = runs[0].dataset_id
    over = diagnostic_plots.over_steps
    return [
        (
            "Cosine of gradients over steps: mean, and the band of the middle 80%",
            over("cosine", dataset, cosines, expids),
            True,
        ),
        (
            "Conflict rate over steps: share of batches with a negative cosine",
            over("conflict", dataset, cosines, expids),
            True,
        ),
        (
            "Ratio of gradient norms over steps: the second objective's to the first's, median",
            over("ratio", dataset, ratios, expids),
            True,
        ),
        (
            "Gates at the end of training, first seed: mean weight of each expert, share of rows it leads",
            diagnostic_plots.heat_maps(dataset, _first_seeds(runs)),
            False,
        ),
        (
            "Entropy of gates over steps: 1 is an equal share of all experts in each row",
            over("entropy", dataset, entropies, expids),
            True,
        ),
        (
            "Jensen-Shannon divergence of tasks' gates over steps: 0 is alike, 0.693 nothing in common",
            over("divergence", dataset, divergences, expids),
            True,
        ),
    ]


def _pairs(run: StoredRun) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for pair in run.diagnostics.get("gradients", {}).get("pairs", []):
        for part in _PARTS:
            yield " · ".join(pair["objectives"]), part, pair["parts"][part]


def _groups(run: StoredRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """Groups of gates, with what to put before a gate's name: nothing where a network has one group."""
    groups = run.diagnostics.get("gates", {}).get("groups", [])
    for group in groups:
        yield f"{group['name']}: " if len(groups) > 1 else "", group


def _gate_curves(runs: Sequence[StoredRun]) -> tuple[diagnostic_plots.Curves, diagnostic_plots.Curves]:
    entropies: diagnostic_plots.Curves = {}
    divergences: diagnostic_plots.Curves = {}
    for run in runs:
        for before, group in _groups(run):
            steps = run.diagnostics["gates"]["steps"]
            for gate in group["gates"]:
                entropies.setdefault(before + gate["name"], []).append((run.expid, steps, gate["entropy"]))
            for pair in group["divergence"]:
                name = before + " · ".join(pair["gates"])
                divergences.setdefault(name, []).append((run.expid, steps, pair["js"]))
    return entropies, divergences


def _first_seeds(runs: Sequence[StoredRun]) -> list[tuple[str, dict[str, Any]]]:
    """Title and group of gates of each experiment's first run; experts are other ones with another seed."""
    first = {run.expid: run for run in reversed(runs)}
    order = dict.fromkeys(run.expid for run in runs)
    return [(f"{expid}, {group['name']}", group) for expid in order for _, group in _groups(first[expid])]

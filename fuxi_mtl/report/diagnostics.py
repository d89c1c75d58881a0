"""Gradient conflict and gate health of runs, as lines and as pictures."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fuxi_mtl.comparison import StoredRun
from fuxi_mtl.report.pictures.panel import Picture
from fuxi_mtl.report.pictures.training import Measured, heat_map, panels_over_steps

TITLE = "Gradient conflict between objectives on shared parameters (means over seeds)"
COSINE, GATES = "Cosine of gradients over steps", "Gates at the end of training"
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


def pictures(runs: Sequence[StoredRun], expids: Sequence[str]) -> list[Picture]:
    """Gradients and gates over steps, and gates at the end; without panels where nothing was measured.

    Args:
        runs: Runs of one dataset.
        expids: Experiments in the order of the colours.
    """
    many = len({names for run in runs for names, _, _ in _pairs(run)}) > _MANY_PAIRS
    cosines: Measured = {}
    ratios: Measured = {}
    for run in runs:
        steps = run.diagnostics.get("gradients", {}).get("steps", [])
        for names, part, found in _pairs(run):
            if found["summary"]["measured"] and (part == "all" or not many):
                panel, what = f"{names}, {part}", f"seed {run.seed}"
                cosines.setdefault(panel, []).append((run.expid, what, steps, found["cosine"]))
                ratios.setdefault(panel, []).append((run.expid, what, steps, found["norm_ratio"]))
    entropies, divergences = _gate_curves(runs)
    curves = [
        ("cosine", COSINE, "Mean, and the band of the middle 80%.", cosines),
        ("conflict", "Conflict rate over steps", "Share of batches with a negative cosine.", cosines),
        (
            "ratio",
            "Ratio of gradient norms over steps",
            "The second objective's to the first's, median.",
            ratios,
        ),
        (
            "entropy",
            "Entropy of gates over steps",
            "1 is an equal share of all experts in each row.",
            entropies,
        ),
        (
            "divergence",
            "Jensen-Shannon divergence of tasks' gates over steps",
            "0 is alike, 0.693 nothing in common.",
            divergences,
        ),
    ]
    drawn = [Picture(head, text, panels_over_steps(kind, of, expids)) for kind, head, text, of in curves]
    maps = [heat_map(title, group) for title, group in _first_seeds(runs)]
    about = "First seed: mean weight of each expert, and below it the share of rows that it leads."
    return [*drawn[:3], Picture(GATES, about, maps, keyed=False), *drawn[3:]]


def _pairs(run: StoredRun) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for pair in run.diagnostics.get("gradients", {}).get("pairs", []):
        for part in _PARTS:
            yield " · ".join(pair["objectives"]), part, pair["parts"][part]


def _groups(run: StoredRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """Groups of gates, with what to put before a gate's name: nothing where a network has one group."""
    groups = run.diagnostics.get("gates", {}).get("groups", [])
    for group in groups:
        yield f"{group['name']}: " if len(groups) > 1 else "", group


def _gate_curves(runs: Sequence[StoredRun]) -> tuple[Measured, Measured]:
    entropies: Measured = {}
    divergences: Measured = {}
    for run in runs:
        for before, group in _groups(run):
            steps, what = run.diagnostics["gates"]["steps"], f"seed {run.seed}"
            for gate in group["gates"]:
                entropies.setdefault(before + gate["name"], []).append(
                    (run.expid, what, steps, gate["entropy"])
                )
            for pair in group["divergence"]:
                name = before + " · ".join(pair["gates"])
                divergences.setdefault(name, []).append((run.expid, what, steps, pair["js"]))
    return entropies, divergences


def _first_seeds(runs: Sequence[StoredRun]) -> list[tuple[str, dict[str, Any]]]:
    """Title and group of gates of each experiment's first run; experts are other ones with another seed."""
    first = {run.expid: run for run in reversed(runs)}
    order = dict.fromkeys(run.expid for run in runs)
    return [(f"{expid}, {group['name']}", group) for expid in order for _, group in _groups(first[expid])]

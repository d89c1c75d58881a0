"""Pictures of what was measured beside training: noisy curves in windows of steps, and gates as heat maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fuxi_mtl.report.pictures.panel import Cell, Curve, Panel

# By panel: experiment, what it is of it, steps and values; None where a batch was skipped.
Measured = dict[str, list[tuple[str, str, Sequence[int], Sequence[float | None]]]]
WINDOWS = 30
FEW = 20  # measurements, of which a window of noisy ones has no fewer if there can be five windows
_REDUCE: dict[str, Callable[[np.ndarray], Any]] = {"conflict": lambda x: np.mean(x < 0), "ratio": np.median}
_AXES: dict[str, dict[str, Any]] = {
    "cosine": {"rule": 0.0},
    "conflict": {"y": (-0.03, 1.03), "percent": True},
    "ratio": {"logarithmic": True, "rule": 1.0},
    "entropy": {"y": (-0.03, 1.03)},
    "divergence": {},
}


def panels_over_steps(kind: str, curves: Measured, expids: Sequence[str]) -> list[Panel]:
    """One panel a name: each run's curve.

    Args:
        kind: ``cosine`` (mean and the band of the middle 80%), ``conflict`` (share of negative values),
            ``ratio`` (median, on a logarithmic axis), ``entropy`` or ``divergence`` (as they are).
        curves: What to draw.
        expids: Experiments in the order of the colours.
    """
    places = {expid: i for i, expid in enumerate(expids)}
    return [
        Panel(
            name,
            [_curve(kind, places[expid], what, steps, values) for expid, what, steps, values in runs],
            **_AXES[kind],
        )
        for name, runs in curves.items()
    ]


def windows(
    steps: Sequence[int], values: Sequence[float | None], noisy: bool = True
) -> list[tuple[float, np.ndarray]]:
    """The values in windows of as many measurements each: mean step, and what was measured in it."""
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    most = max(len(known) // FEW, 5) if noisy else WINDOWS
    parts = np.array_split(np.array(known, np.float64).reshape(-1, 2), max(1, min(most, WINDOWS, len(known))))
    return [(float(part[:, 0].mean()), part[:, 1]) for part in parts if len(part)]


def heat_map(title: str, group: Mapping[str, Any]) -> Panel:
    """A group of gates, as a run stores it: a field for each gate and expert, shaded by its mean weight."""
    experts = _experts(group)
    cells = []
    for row, gate in enumerate(group["gates"]):
        found = zip(gate["experts"], gate["weight"][-1], gate["top_share"][-1], strict=True)
        cells += [Cell(row, experts.index(name), w, f"{w:.2f}", f"{top:.0%}") for name, w, top in found]
    dead = [i for i, name in enumerate(experts) if name in group["dead"]]
    names = [f"{name} (dead)" if i in dead else name for i, name in enumerate(experts)]
    return Panel(
        title, cells=cells, rows=[gate["name"] for gate in group["gates"]], columns=names, struck=dead
    )


def _curve(kind: str, place: int, what: str, steps: Sequence[int], values: Sequence[float | None]) -> Curve:
    parts = windows(steps, values, noisy=kind in ("cosine", "conflict", "ratio"))
    reduce = _REDUCE.get(kind, np.mean)
    low, high = (
        ([float(np.percentile(part, at)) for _, part in parts] if kind == "cosine" else []) for at in (10, 90)
    )
    y = [float(reduce(part)) for _, part in parts]
    return Curve(place, what, [step for step, _ in parts], y, low=low, high=high)


def _experts(group: Mapping[str, Any]) -> list[str]:
    """The experts of a group: private ones, in the order of the gates, before those that many see."""
    seen = [name for gate in group["gates"] for name in gate["experts"]]
    return sorted(dict.fromkeys(seen), key=seen.count)

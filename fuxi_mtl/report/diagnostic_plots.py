"""Plots of measurements beside training: noisy curves in windows of steps, and gates as heat maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fuxi_mtl.report.plots import SETTINGS, as_svg, panels_of, style_of

# By panel: experiment, steps and values of each run; None where a batch was skipped.
Curves = dict[str, list[tuple[str, Sequence[int], Sequence[float | None]]]]
WINDOWS = 30
FEW = 20  # measurements, of which a window of noisy ones has no fewer if there can be five windows
_HEAT = "#0072b2"
_DEAD = "#d55e00"
_REDUCE: dict[str, Callable[[np.ndarray], Any]] = {"conflict": lambda x: np.mean(x < 0), "ratio": np.median}


def over_steps(kind: str, dataset_id: str, curves: Curves, expids: Sequence[str]) -> str:
    """One panel a name: each run's curve, coloured by experiment.

    Args:
        kind: ``cosine`` (mean and the band of the middle 80%), ``conflict`` (share of negative values),
            ``ratio`` (median, on a logarithmic axis), ``entropy`` or ``divergence`` (as they are).
        dataset_id: The dataset, for the plot's name.
        curves: What to draw.
        expids: Experiments in the order of the colours.

    Returns:
        SVG; empty if there is nothing to draw.
    """
    if not curves:
        return ""
    with matplotlib.rc_context(SETTINGS):
        figure, panels = panels_of(len(curves), 2.3, share_y=True)
        for (name, runs), axes in zip(curves.items(), panels, strict=True):
            for expid, steps, values in runs:
                colour, line = style_of(expids.index(expid))
                _draw(axes, kind, steps, values, {"color": colour, "linestyle": line, "linewidth": 1.5})
            axes.set_title(name)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
            axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
            _scale(axes, kind)
        return as_svg(figure, f"{kind} {dataset_id}")


def windows(
    steps: Sequence[int], values: Sequence[float | None], noisy: bool = True
) -> list[tuple[float, np.ndarray]]:
    """The values in windows of as many measurements each: mean step, and what was measured in it."""
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    most = max(len(known) // FEW, 5) if noisy else WINDOWS
    parts = np.array_split(np.array(known, np.float64).reshape(-1, 2), max(1, min(most, WINDOWS, len(known))))
    return [(float(part[:, 0].mean()), part[:, 1]) for part in parts if len(part)]


def heat_maps(dataset_id: str, groups: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """A plot for each group of gates, gates by experts, shaded by mean weight, side by side.

    Args:
        dataset_id: The dataset, for the plots' names.
        groups: Title and group, as a run stores it.

    Returns:
        A block of SVGs; empty without groups.
    """
    maps = []
    with matplotlib.rc_context(SETTINGS):
        for place, (title, group) in enumerate(groups):
            experts = _experts(group)
            gates = len(group["gates"])
            width = max(2.6, 0.56 * len(experts) + 1.2, 0.085 * len(title) + 0.4)
            figure = Figure(figsize=(width, 0.46 * gates + 1.1), layout="constrained")
            axes = figure.subplots()
            _heat_map(axes, group, experts)
            figure.suptitle(title, fontsize=10.5, x=0.02, ha="left")
            maps.append(as_svg(figure, f"gates {place} {dataset_id}"))
    return f'<div class="maps">{"".join(maps)}</div>' if maps else ""


def _draw(
    axes: Axes, kind: str, steps: Sequence[int], values: Sequence[float | None], style: Mapping[str, Any]
) -> None:
    parts = windows(steps, values, noisy=kind in ("cosine", "conflict", "ratio"))
    places = [step for step, _ in parts]
    reduce = _REDUCE.get(kind, np.mean)
    marker = "o" if len(places) < 3 else None
    axes.plot(places, [reduce(part) for _, part in parts], marker=marker, markersize=3, **style)
    if kind == "cosine":
        low, high = (np.array([np.percentile(part, at) for _, part in parts]) for at in (10, 90))
        axes.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _scale(axes: Axes, kind: str) -> None:
    if kind == "cosine":
        axes.axhline(0, color=SETTINGS["text.color"], linewidth=0.8)
    elif kind == "ratio":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.axhline(1, color=SETTINGS["text.color"], linewidth=0.8)
    elif kind in ("conflict", "entropy"):
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(
            matplotlib.ticker.PercentFormatter(1) if kind == "conflict" else "{x:g}"
        )


def _experts(group: Mapping[str, Any]) -> list[str]:
    """The experts of a group: private ones, in the order of the gates, before those that many see."""
    seen = [name for gate in group["gates"] for name in gate["experts"]]
    return sorted(dict.fromkeys(seen), key=seen.count)


def _heat_map(axes: Axes, group: Mapping[str, Any], experts: Sequence[str]) -> None:
    """A cell for each gate and expert: shade and number are the mean weight; below, the share on top."""
    for row, gate in enumerate(group["gates"]):
        found = zip(gate["experts"], gate["weight"][-1], gate["top_share"][-1], strict=True)
        for name, weight, top in found:
            column = experts.index(name)
            cell = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(cell, 1, 1, facecolor=_HEAT, alpha=0.03 + 0.87 * weight, linewidth=0))
            ink = "#ffffff" if weight > 0.75 else SETTINGS["text.color"]
            axes.text(column, row - 0.12, f"{weight:.2f}", ha="center", va="center", color=ink, fontsize=9.5)
            axes.text(column, row + 0.26, f"{top:.0%}", ha="center", va="center", color=ink, fontsize=7.5)
    axes.set_xlim(-0.5, len(experts) - 0.5)
    axes.set_ylim(len(group["gates"]) - 0.5, -0.5)
    axes.set_yticks(range(len(group["gates"])), [gate["name"] for gate in group["gates"]])
    dead = [name in group["dead"] for name in experts]
    labels = [f"{name} (dead)" if gone else name for name, gone in zip(experts, dead, strict=True)]
    axes.set_xticks(range(len(experts)), labels, rotation=35, ha="right", rotation_mode="anchor")
    for label, gone in zip(axes.get_xticklabels(), dead, strict=True):
        label.set_color(_DEAD if gone else SETTINGS["text.color"])
    axes.grid(visible=False)
    axes.tick_params(length=0)

"""Panels drawn on matplotlib's axes, for notebooks and papers."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fuxi_mtl.report.pictures.panel import COLOURS, Panel, style_of

_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # the $ of a name is no formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    "legend.frameon": False,
}


def draw(panel: Panel, names: Sequence[str], axes: Axes, legend: bool = True) -> Axes:
    """Draws a panel on axes.

    Args:
        panel: What to draw.
        names: The experiments, by the owners of curves and dots.
        axes: Where.
        legend: Whether to name the curves.
    """
    with matplotlib.rc_context(_SETTINGS):
        if panel.cells:
            _cells(panel, axes)
        elif panel.rows:
            _dots(panel, axes)
        else:
            _curves(panel, names, axes)
        axes.set_title(panel.title, parse_math=False)
        if panel.x_label:
            axes.set_xlabel(panel.x_label)
        if legend and panel.curves and any(names):
            axes.legend(fontsize="small")
    return axes


def figure_of(panels: Sequence[Panel], names: Sequence[str]) -> Figure:
    """A figure with rows of up to four panels, as even as they can be; the first has the legend."""
    down = -(-len(panels) // 4)
    across = -(-len(panels) // down)
    high = max(2.6, *(0.6 + 0.32 * len(panel.rows) for panel in panels))
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(3.6 * across, high * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for unused in grid[len(panels) :]:
            unused.set_visible(False)
        for place, (panel, axes) in enumerate(zip(panels, grid, strict=False)):
            draw(panel, names, axes, legend=place == 0)
    return figure


def _curves(panel: Panel, names: Sequence[str], axes: Axes) -> None:
    seen: set[int] = set()
    for curve in panel.curves:
        colour, dashes = style_of(curve.owner)
        line = (0, tuple(map(float, dashes.split()))) if dashes else "-"
        label = None if curve.owner in seen else names[curve.owner]
        seen.add(curve.owner)
        marker = "o" if len(curve.x) < 3 else None
        axes.plot(curve.x, curve.y, color=colour, linestyle=line, linewidth=1.5, label=label, marker=marker)
        if len(curve.low):
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        for i in curve.marks:
            axes.plot([curve.x[i]], [curve.y[i]], "D", color=colour, fillstyle="none")
    shapes = {"star": "*", "small": "."}
    for spot in panel.spots:
        fill = "none" if spot.kind == "ring" else "full"
        axes.plot([spot.x], [spot.y], shapes.get(spot.kind, "o"), color=COLOURS[0], fillstyle=fill)
        axes.annotate(spot.text, (spot.x, spot.y), xytext=(7, 5), textcoords="offset points", fontsize=9)
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.set_xlim(*panel.x_limits)
    axes.set_ylim(*panel.y_limits)
    if panel.rule is not None:
        axes.axhline(panel.rule, color="0.4", linewidth=0.8)
    if panel.diagonal:
        axes.plot(panel.x_limits, panel.x_limits, color="0.4", linewidth=0.8)
    if panel.percent:
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    if panel.columns:
        axes.set_xticks(range(len(panel.columns)), panel.columns, rotation=30, ha="right")


def _dots(panel: Panel, axes: Axes) -> None:
    for dots in panel.dots:
        colour, _ = style_of(dots.owner)
        axes.plot(dots.values, [dots.row] * len(dots.values), "o", color=colour, alpha=0.55, markersize=5)
        if len(dots.values):
            mean = [float(np.mean(dots.values))]
            axes.plot(mean, [dots.row], "|", color=colour, markersize=15, markeredgewidth=2.4)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows))
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_xlim(*panel.x_limits)
    axes.grid(axis="y", visible=False)


def _cells(panel: Panel, axes: Axes) -> None:
    for cell in panel.cells:
        at = (cell.column - 0.5, cell.row - 0.5)
        axes.add_patch(Rectangle(at, 1, 1, facecolor="#0072b2", alpha=0.03 + 0.87 * cell.shade, linewidth=0))
        ink = "white" if cell.shade > 0.7 else "black"
        for text, down, size in ((cell.text, -0.12, 9.5), (cell.below, 0.26, 7.5)):
            axes.text(cell.column, cell.row + down, text, ha="center", va="center", color=ink, fontsize=size)
    axes.set_xlim(-0.5, len(panel.columns) - 0.5)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows))
    axes.set_xticks(range(len(panel.columns)), list(panel.columns), rotation=35, ha="right")
    for i in panel.struck:
        axes.get_xticklabels()[i].set_color("#d55e00")
    axes.grid(visible=False)

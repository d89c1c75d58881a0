"""Plots of a comparison as SVG that takes its text colour from the page around it."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fuxi_mtl.comparison import StoredRun, Table

# Stand-ins that no other element uses; the SVG's are replaced by the page's own colours.
_INK, _GRID = "#010203", "#040506"
# Okabe and Ito's palette without black and yellow: told apart by colour-blind readers on light and dark.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8d94")
_STYLES = ("-", "--", ":", "-.")
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,  # the $ of a name is no formula
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
}


def style_of(place: int) -> tuple[str, str]:
    """Colour and line style of the experiment at a place; 28 pairs before they repeat."""
    return _COLOURS[place % len(_COLOURS)], _STYLES[place // len(_COLOURS) % len(_STYLES)]


def metrics_by_experiment(table: Table) -> str:
    """One panel a metric: a point for each seed, a bar at the mean."""
    with matplotlib.rc_context(SETTINGS):
        height = 0.65 + 0.3 * len(table.rows)
        figure, panels = panels_of(len(table.columns), height, share_y=True)
        for column, axes in zip(table.columns, panels, strict=True):
            for place, row in enumerate(table.rows):
                values = list(row.cells[column].by_seed.values())
                colour, _ = style_of(place)
                axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.55, markersize=5)
                if values:
                    axes.plot(
                        [np.mean(values)], [place], "|", color=colour, markersize=15, markeredgewidth=2.4
                    )
            axes.set_yticks(range(len(table.rows)), [row.expid for row in table.rows])
            axes.set_ylim(len(table.rows) - 0.5, -0.5)
            axes.set_title(column)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, min_n_ticks=3))
            axes.grid(axis="y", visible=False)
        return as_svg(figure, f"seeds {table.dataset_id}")


def over_days(table: Table) -> str:
    """One panel a metric: the mean over seeds of each experiment, day by day, before training on the day."""
    columns = [column for column in table.columns if any(day.cells[column].by_seed for day in table.days)]
    days = list(dict.fromkeys(day.day for day in table.days))
    with matplotlib.rc_context(SETTINGS):
        figure, panels = panels_of(len(columns), 2.2)
        for column, axes in zip(columns, panels, strict=True):
            for place, row in enumerate(table.rows):
                own = [day for day in table.days if day.expid == row.expid]
                colour, style = style_of(place)
                places = [days.index(day.day) for day in own]
                means = [day.cells[column].mean for day in own]
                axes.plot(places, means, style, marker="o", markersize=4, color=colour, label=row.expid)
            axes.set_xticks(range(len(days)), days, rotation=30, ha="right")
            axes.set_title(column)
        return as_svg(figure, f"days {table.dataset_id}")


def over_steps(runs: Sequence[StoredRun], kind: str, names: Sequence[str], expids: Sequence[str]) -> str:
    """One panel a name: each run's curve over optimizer steps, coloured by experiment.

    Args:
        runs: Runs of one dataset.
        kind: What of the history: ``metrics``, ``losses`` or ``weights``.
        names: Keys of it, a panel each.
        expids: Experiments in the order of the table, which is the order of the colours.

    Returns:
        SVG; empty if no run has any of it.
    """
    with matplotlib.rc_context(SETTINGS):
        curves = {name: [(run, *_curve(run, kind, name)) for run in runs] for name in names}
        drawn = {name: [c for c in of_name if len(c[1])] for name, of_name in curves.items()}
        drawn = {name: of_name for name, of_name in drawn.items() if of_name}
        if not drawn:
            return ""
        figure, panels = panels_of(len(drawn), 2.3)
        for (name, of_name), axes in zip(drawn.items(), panels, strict=True):
            for run, steps, values in of_name:
                colour, line = style_of(expids.index(run.expid))
                marker = "o" if len(steps) < 3 else None  # a line needs two points to be seen
                axes.plot(
                    steps, values, color=colour, linestyle=line, marker=marker, markersize=3, linewidth=1.5
                )
                if kind == "metrics" and run.best_step in steps:
                    best = values[steps.index(run.best_step)]
                    axes.plot([run.best_step], [best], "D", color=colour, markersize=6, fillstyle="none")
            axes.set_title(name)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
            axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
        return as_svg(figure, f"{kind} {runs[0].dataset_id}")


def names_over_steps(runs: Sequence[StoredRun], kind: str) -> list[str]:
    """The keys that the histories have of a kind, in order."""
    evaluations = [evaluation for run in runs for evaluation in run.evaluations]
    return list(dict.fromkeys(name for e in evaluations for name in e.get(kind) or {}))


def _curve(run: StoredRun, kind: str, name: str) -> tuple[list[float], list[float]]:
    steps, values = [], []
    for evaluation in run.evaluations:
        value = (evaluation.get(kind) or {}).get(name)
        if value is not None and np.isfinite(value):
            steps.append(evaluation["step"])
            values.append(value)
    return steps, values


def panels_of(count: int, height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Rows of up to four panels, as even as they can be."""
    down = -(-count // 4)
    across = -(-count // down)
    width = min(4.2, 12.6 / across)
    figure = Figure(figsize=(width * across + (1.2 if share_y else 0), height * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=share_y).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count])


def as_svg(figure: Figure, salt: str) -> str:
    """The figure as an SVG element, the same bytes for the same content."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_GRID, "var(--line)")
    # Identifiers share the page with those of the other plots.
    prefix = re.sub(r"\W+", "-", salt)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)

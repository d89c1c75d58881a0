"""The front of a search among preferences: a table for the terminal, and its pictures."""

import io
from collections.abc import Mapping
from html import escape
from itertools import combinations

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fuxi_mtl.comparison.pareto import Front, Point
from fuxi_mtl.metrics import find_metric_of_key
from fuxi_mtl.report import cells
from fuxi_mtl.report.html import figures
from fuxi_mtl.report.pictures.panel import Curve, Panel, Picture, Spot

MOST_PANELS = 12


def terminal(front: Front, width: int = 120, colour: bool = False) -> str:
    """A line a preference; what is on the front and what was chosen is marked."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    grid = Grid(title=title(front), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", *front.points[0].preference, "seeds", *front.metrics, "front"):
        grid.add_column(name, justify="right", overflow="fold")
    for number, point in enumerate(front.points, start=1):
        style = "bold green" if point.expid == front.chosen else "" if point.on_front else "dim"
        grid.add_row(str(number), *(Text(text, style=style) for text in _texts(front, point)))
    console.print(grid)
    for line in legend(front):
        console.print(Text(line, style="dim"))
    return out.getvalue().rstrip() + "\n"


def title(front: Front) -> str:
    """``MMoE_default on census_income, preferences by weights, validation``."""
    return f"{front.expid} on {front.dataset_id}, preferences by {front.by}, validation"


def legend(front: Front) -> list[str]:
    """Hypervolume with its reference, and the choice with its test metrics."""
    best = next(point for point in front.points if point.expid == front.chosen)
    lines = [f"Hypervolume {front.hypervolume:.6g} above the reference {_listed(front.reference)}."]
    if len(best.seeds) == 1:
        lines.append("One seed: what differs by less than a rerun does is no trade-off.")
    tested = f" On test: {_listed(best.test)}." if best.test else " There is no test split."
    return [*lines, f"Chosen by {front.rule}: {front.chosen}.{tested}"]


def picture(front: Front) -> Picture:
    """A panel for each pair of metrics, a number for each preference; without panels of a single metric."""
    panels = []
    for across, up in list(combinations(front.metrics, 2))[:MOST_PANELS]:
        spots = []
        for number, point in enumerate(front.points, start=1):
            kind = "star" if point.expid == front.chosen else "full" if point.on_front else "ring"
            if len(point.seeds) > 1:
                seeds = zip(point.by_seed[across], point.by_seed[up], strict=True)
                spots += [Spot(x, y, "small") for x, y in seeds]
            spots.append(Spot(point.valid[across], point.valid[up], kind, str(number)))
        line = [_staircase(front)] if len(front.metrics) == 2 else []
        title = f"{_directed(up)} over {_directed(across)}"
        panels.append(Panel(title, line, spots=spots))
    how = "Filled: on the front; ring: beaten by another; star: chosen; small dots: single seeds."
    return Picture("Front", how, panels, keyed=False)


def section(front: Front, grid: str) -> str:
    """The part of a page: `grid` is its table."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in legend(front))
    drawn = figures([picture(front)], [""])
    return f'<h2>{escape(title(front))}</h2>{drawn}{grid}<ul class="legend">{lines}</ul>'


def _texts(front: Front, point: Point) -> list[str]:
    mark = "chosen" if point.expid == front.chosen else "yes" if point.on_front else "no"
    values = [cells.number(point.valid[metric]) for metric in front.metrics]
    return [*(f"{v:g}" for v in point.preference.values()), str(len(point.seeds)), *values, mark]


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _directed(metric: str) -> str:
    found = find_metric_of_key(metric)
    falls = found is not None and found.larger_is_better is False
    return f"{metric} ({'smaller' if falls else 'larger'} is better)"


def _staircase(front: Front) -> Curve:
    """What the points of the front reach: steps, as nothing between two of them was tried."""
    across, up = front.metrics
    points = np.array([[p.valid[across], p.valid[up]] for p in front.points if p.on_front])
    points = points[np.argsort(points[:, 0])]
    metric = find_metric_of_key(across)
    falls = metric is not None and metric.larger_is_better is False
    x, y = np.repeat(points[:, 0], 2), np.repeat(points[:, 1], 2)
    x, y = (x[1:], y[:-1]) if falls else (x[:-1], y[1:])
    return Curve(0, "front", x.tolist(), y.tolist())

"""What a picture shows, as data: panels of curves, dots and cells that a page or a notebook draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

# Okabe and Ito's palette without black and yellow: told apart by colour-blind readers on light and dark.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8d94")
DASHES = ("", "6 3", "2 3", "7 3 2 3")
_NEAR = 0.01  # of a value: what lies nearer to it is no outlier
MOST_SAID = 6  # curves that a text alternative tells the ends of

Limits = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A line.

    Attributes:
        owner: Place of its experiment, which gives colour and dashes.
        name: What it is, beside the experiment: ``seed 1``.
        x: Where its points lie, rising.
        y: Their values, finite.
        marks: Numbers of points that are marked.
        low: Lower end of a band around it, empty without one.
        high: Its upper end.
    """

    owner: int
    name: str
    x: Sequence[float]
    y: Sequence[float]
    marks: Sequence[int] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Dots:
    """Values in one row of a panel whose rows have names, with a bar at their mean."""

    owner: int
    row: int
    values: Sequence[float]


@dataclass(frozen=True)
class Cell:
    """A shaded field of a panel whose rows and columns have names: its share of ink, and two texts in it."""

    row: int
    column: int
    shade: float
    text: str
    below: str = ""


@dataclass(frozen=True)
class Spot:
    """A point with a text beside it: ``full``, a ``ring``, a ``star``, or a ``small`` one without text."""

    x: float
    y: float
    kind: str
    text: str = ""


@dataclass(frozen=True)
class Panel:
    """A pair of axes.

    Attributes:
        title: What the values are.
        curves: Lines.
        dots: Values by row.
        cells: Fields by row and column.
        spots: Points with texts.
        rows: Names of the rows.
        columns: Names of the columns, or of the whole numbers on the x axis.
        x_label: What x is, where the picture does not say it.
        x: Limits of the x axis; those of the data unless said.
        y: Limits of the y axis; from the data unless said, so that one bad curve does not flatten the rest.
        better: ``high`` or ``low``: which values are good; empty if neither is.
        logarithmic: Whether the y axis is.
        percent: Whether values are shares.
        rule: Where a horizontal line is drawn.
        diagonal: Whether the line y = x is drawn.
        struck: Columns that are crossed out by their colour.
    """

    title: str
    curves: Sequence[Curve] = ()
    dots: Sequence[Dots] = ()
    cells: Sequence[Cell] = ()
    spots: Sequence[Spot] = ()
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    x_label: str = ""
    x: Limits | None = None
    y: Limits | None = None
    better: str = ""
    logarithmic: bool = False
    percent: bool = False
    rule: float | None = None
    diagonal: bool = False
    struck: Sequence[int] = ()

    @property
    def x_limits(self) -> Limits:
        """From where to where the x axis goes."""
        if self.x is not None:
            return self.x
        if self.dots:
            groups = [dots.values for dots in self.dots if len(dots.values)]
            return _padded(*within(groups, self.better))
        if self.columns:
            return (-0.5, len(self.columns) - 0.5)
        ends = [end for curve in self.curves for end in (curve.x[0], curve.x[-1])]
        ends += [spot.x for spot in self.spots]
        return _padded(min(ends, default=0.0), max(ends, default=1.0))

    @property
    def y_limits(self) -> Limits:
        """From where to where the y axis goes, in its own scale."""
        if self.y is not None:
            return self.y
        groups: list[Sequence[float]] = [
            [*curve.y, *curve.low, *curve.high] for curve in self.curves if len(curve.y)
        ]
        if self.spots:
            groups = [[spot.y for spot in self.spots]]
        if self.rule is not None:
            groups = [[*group, self.rule] for group in groups]
        if self.logarithmic:
            low, high = within([np.log10(group).tolist() for group in groups], self.better)
            low, high = _padded(low, high)
            return 10**low, 10**high
        return _padded(*within(groups, self.better))

    def cut(self) -> list[tuple[int, str, float]]:
        """Owner, name (of the curve, or of the dots' row) and farthest value of what leaves the axes."""
        low, high = self.x_limits if self.dots else self.y_limits
        groups = [(dots.owner, self.rows[dots.row], dots.values) for dots in self.dots]
        groups += [(curve.owner, curve.name, curve.y) for curve in self.curves]
        found = []
        for owner, name, values in groups:
            beyond = [value for value in values if not low <= value <= high]
            if beyond:
                found.append((owner, name, max(beyond, key=lambda v: max(low - v, v - high))))
        return found


@dataclass(frozen=True)
class Picture:
    """Panels under one heading.

    Attributes:
        heading: What is shown.
        caption: How to read it.
        panels: Its panels; a picture without any is not shown.
        keyed: Whether colours are experiments.
    """

    heading: str
    caption: str
    panels: Sequence[Panel] = field(default=())
    keyed: bool = True


def style_of(owner: int) -> tuple[str, str]:
    """Colour and dashes of the experiment at a place; 28 pairs before they repeat."""
    return COLOURS[owner % len(COLOURS)], DASHES[owner // len(COLOURS) % len(DASHES)]


def within(groups: Sequence[Sequence[float]], better: str = "") -> Limits:
    """Ends of an axis on which half of the curves fill at least a quarter, however bad the others are.

    With `w` from the median of bad ends to the best value, the axis ends `3 w` beyond that median,
    or where the data do. Where no side is known to be bad, both are treated so, and `w` goes from median to
    median. Good values are never cut, nor what differs from the others by a few percent.

    Args:
        groups: The values of each curve, finite.
        better: ``high`` or ``low``, or empty if neither is.
    """
    if not groups:
        return 0.0, 1.0
    lows, highs = [min(group) for group in groups], [max(group) for group in groups]
    low, high = min(lows), max(highs)
    inner_low = low if better == "low" else float(np.median(lows))
    inner_high = high if better == "high" else float(np.median(highs))
    width = inner_high - inner_low
    if width <= 0:  # single values, of which more than half are the same
        return low, high
    width = max(width, _NEAR * abs(inner_high))
    return max(low, inner_low - 3 * width), min(high, inner_high + 3 * width)


def _padded(low: float, high: float) -> Limits:
    """A little more than the data need; something around a single value."""
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return low - pad, high + pad


def ticks(low: float, high: float, most: int = 5, logarithmic: bool = False) -> list[float]:
    """Round numbers between two ends."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1, 2, 5), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [each for each in found if low <= each <= high]
            if len(found) <= most + 2:
                break
        return found[:: -(-len(found) // (most + 2)) or 1]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def tick_text(value: float, shown: Sequence[float], percent: bool = False) -> str:
    """A tick with as many digits as tell it from its neighbours: ``0.715``, ``12k``, ``25%``."""
    step = min((b - a for a, b in pairwise(shown)), default=abs(value) or 1.0)
    if percent:
        return f"{value:.{max(0, math.ceil(-math.log10(100 * step) - 1e-9))}%}"
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{sign}"
    if 0 < abs(value) < 1e-4:
        return f"{value:.2g}"
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    if digits and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:  # 0.025
        digits += 1
    return f"{value:.{digits}f}"


def in_words(panel: Panel, names: Sequence[str] | Mapping[int, str]) -> str:
    """What a panel shows, for those who cannot see it: where its curves end, means, or the cells."""
    said = []
    for curve in panel.curves[:MOST_SAID]:
        what = f"{_named(names, curve.owner)} {curve.name}".strip()
        said.append(f"{what} from {curve.y[0]:.4g} to {curve.y[-1]:.4g}")
    dots = [each for each in panel.dots if len(each.values)]
    said += [f"{panel.rows[each.row]} {np.mean(each.values):.4g}" for each in dots[:MOST_SAID]]
    said += [f"{spot.text} at {spot.x:.4g}, {spot.y:.4g}" for spot in panel.spots if spot.text][:MOST_SAID]
    said += [f"{panel.rows[c.row]} on {panel.columns[c.column]} {c.text}" for c in panel.cells[:MOST_SAID]]
    shown = (panel.curves, dots, panel.cells, [spot for spot in panel.spots if spot.text])
    more = sum(map(len, shown)) - len(said)
    return f"{panel.title}: {'; '.join(said)}{f'; and {more} more' if more > 0 else ''}."


def _named(names: Sequence[str] | Mapping[int, str], owner: int) -> str:
    return names[owner] if names else ""

"""Panels as SVG of a page: text and lines take the page's colours, and a script can hide and read them."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from fuxi_mtl.report.pictures.panel import Curve, Panel, Spot, in_words, style_of, tick_text, ticks

WIDTH, HEIGHT = 330, 200
_RIGHT, _TOP = 10, 8  # points
# Widths of letters of eleven pixels in the widest of the page's fonts, DejaVu Sans; others are 7.1.
_WIDTHS = {"ijl.,:;|!'": 3.8, "rtf()[]/-": 4.7, "ABCDEFGHIJKLNOPQRSTUVXYZ<>=+~": 9.3, "wmMW@%…": 11.0}
_MANY_ROWS = 40
_CELL_WIDTH, _CELL_HEIGHT = 58, 42
_LONGEST = 24  # letters of a row's name


class _Axes:
    """The inner area of a panel, and how values become its coordinates."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.x, self.y = panel.x_limits, panel.y_limits
        self.left = max((46, *(_wide(_short(name)) + 10 for name in panel.rows)))
        self.bottom = 22.0 + (14 if panel.x_label else 0)
        self.width, self.height = WIDTH - self.left - _RIGHT, float(HEIGHT - _TOP - self.bottom)
        if panel.cells:
            self.bottom = 16 + max(len(name) for name in panel.columns) * 4.2
            self.width = float(_CELL_WIDTH * len(panel.columns))
            self.height = float(_CELL_HEIGHT * len(panel.rows))
        elif panel.rows:
            self.height = float(len(panel.rows) * (20 if len(panel.rows) <= _MANY_ROWS else 13))

    def across(self, value: float) -> float:
        low, high = self.x
        return (value - low) / (high - low) * self.width

    def up(self, value: float) -> float:
        low, high = self.y
        if self.panel.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (high - value) / (high - low) * self.height

    def line(self, curve: Curve) -> str:
        """The points of a curve as a path."""
        return _path(self._points(curve.x, curve.y))

    def band(self, curve: Curve) -> str:
        """The band of a curve as a closed path."""
        there = self._points(curve.x, curve.high)
        return f"{_path([*there, *reversed(self._points(curve.x, curve.low))])}Z"

    def _points(self, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        return [(self.across(x), self.up(y)) for x, y in zip(xs, ys, strict=True)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def draw(panel: Panel, names: Sequence[str]) -> str:
    """The panel: its title, the SVG, and what leaves its axes.

    Args:
        panel: What to draw.
        names: The experiments, by the owners of curves and dots.
    """
    axes = _Axes(panel)
    width, height = axes.left + axes.width + _RIGHT, _TOP + axes.height + axes.bottom
    content = _cells(axes) if panel.cells else _dots(axes) if panel.rows else _curves(axes)
    log = ' data-log="1"' if panel.logarithmic else ""
    ends = f'data-x="{axes.x[0]:.9g} {axes.x[1]:.9g}" data-y="{axes.y[0]:.9g} {axes.y[1]:.9g}"'
    place = f'x="{axes.left:.1f}" y="{_TOP}" width="{axes.width:.1f}" height="{axes.height:.1f}"'
    inner = f'<svg class="in" {place} {ends}{log}>{content}</svg>'
    words = escape(in_words(panel, names))
    return (
        f'<div class="panel"><div class="name">{escape(panel.title)}</div>'
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" style="width:{width:.0f}px">{_frame(axes)}{inner}</svg>'
        f"{_cut(panel, names)}</div>"
    )


def _cut(panel: Panel, names: Sequence[str]) -> str:
    found = panel.cut()
    if not found:
        return ""
    whose = [name if name == names[owner] else f"{names[owner]} {name}".strip() for owner, name, _ in found]
    said = "; ".join(f"{name}, {value:.4g}" for name, (*_, value) in zip(whose[:3], found, strict=False))
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return f'<div class="cut">Beyond the axis: {escape(said)}{more}</div>'


def _frame(axes: _Axes) -> str:
    """Grid, ticks and labels, outside of what is clipped."""
    panel, parts = axes.panel, []
    bottom = _TOP + axes.height
    if panel.rows:
        parts += [
            f'<text x="{axes.left - 7:.1f}" y="{_TOP + (i + 0.5) * axes.height / len(panel.rows) + 4:.1f}" '
            f'class="e">{escape(_short(name))}<title>{escape(name)}</title></text>'
            for i, name in enumerate(panel.rows)
        ]
    else:
        shown = ticks(*axes.y, logarithmic=panel.logarithmic)
        for value in shown:
            y = _TOP + axes.up(value)
            text = f"{value:g}" if panel.logarithmic else tick_text(value, shown, panel.percent)
            parts.append(f'<path class="g" d="M{axes.left:.1f} {y:.1f}h{axes.width:.1f}"/>')
            parts.append(f'<text x="{axes.left - 6:.1f}" y="{y + 4:.1f}" class="e">{text}</text>')
    parts += _columns(axes, bottom) if panel.columns else _x_ticks(axes, bottom)
    if panel.x_label:
        middle = axes.left + axes.width / 2
        parts.append(f'<text x="{middle:.1f}" y="{bottom + 31:.1f}" class="m">{escape(panel.x_label)}</text>')
    return "".join(parts)


def _x_ticks(axes: _Axes, bottom: float) -> list[str]:
    parts = []
    for value, text in _told_apart(axes).items():
        x = axes.left + axes.across(value)
        parts.append(f'<path class="g" d="M{x:.1f} {_TOP}V{bottom:.1f}"/>')
        over = x + _wide(text) / 2 - (axes.left + axes.width + _RIGHT)  # at the right end
        x -= max(over, 0)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15:.1f}" class="m">{text}</text>')
    return parts


def _told_apart(axes: _Axes) -> dict[float, str]:
    """The ticks of the x axis with their texts: four, or as many as have room beside each other."""
    percent = axes.panel.percent and bool(axes.panel.rows)
    found: dict[float, str] = {}
    for most in (4, 3, 2):
        shown = ticks(*axes.x, most=most)
        found = {value: tick_text(value, shown, percent) for value in shown}
        widest = max(map(_wide, found.values()), default=0.0)
        most_right = axes.width + _RIGHT - widest / 2
        places = [min(axes.across(value), most_right) for value in shown]
        if all(after - place > widest for place, after in pairwise(places)):
            break
    return found


def _columns(axes: _Axes, bottom: float) -> list[str]:
    """Names below, slanted where they are long; of many only some."""
    panel, every = axes.panel, 1 if axes.panel.cells else -(-len(axes.panel.columns) // 6)
    parts = []
    for i, name in list(enumerate(panel.columns))[::every]:
        x = axes.left + axes.across(i)
        kind = "e struck" if i in panel.struck else "e"
        turn = f'transform="rotate(-30 {x:.1f} {bottom + 10:.1f})"'
        parts.append(
            f'<text x="{x + 4:.1f}" y="{bottom + 13:.1f}" class="{kind}" {turn}>{escape(name)}</text>'
        )
    return parts


def _curves(axes: _Axes) -> str:
    panel, parts = axes.panel, []
    if panel.rule is not None:
        parts.append(f'<path class="r" d="M0 {axes.up(panel.rule):.1f}h{axes.width:.1f}"/>')
    if panel.diagonal:
        ends = [(axes.across(v), axes.up(v)) for v in axes.x]
        parts.append(f'<path class="r" d="{_path(ends)}"/>')
    for curve in panel.curves:
        colour, dashes = style_of(curve.owner)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        band = f'<path class="b" fill="{colour}" d="{axes.band(curve)}"/>' if len(curve.low) else ""
        few = range(len(curve.x)) if len(curve.x) < 3 else ()  # a line needs two points to be seen
        points = "".join(_round(axes.across(curve.x[i]), axes.up(curve.y[i]), 2.5, colour) for i in few)
        marks = "".join(_diamond(axes.across(curve.x[i]), axes.up(curve.y[i])) for i in curve.marks)
        parts.append(
            f'<g data-run="{curve.owner}" data-n="{escape(curve.name)}" stroke="{colour}"{dashed}>{band}'
            f'<path class="c" d="{axes.line(curve)}"/>{points}{marks}</g>'
        )
    parts += [_spot(axes.across(spot.x), axes.up(spot.y), spot) for spot in panel.spots]
    return "".join(parts)


def _dots(axes: _Axes) -> str:
    parts = []
    high = axes.height / len(axes.panel.rows)
    for dots in axes.panel.dots:
        if not len(dots.values):
            continue
        colour, _ = style_of(dots.owner)
        y = (dots.row + 0.5) * high
        points = "".join(_round(axes.across(value), y, 3, colour) for value in dots.values)
        mean = axes.across(float(np.mean(dots.values)))
        bar = f'<path class="c" d="M{mean:.2f} {y - high / 3:.1f}v{2 * high / 3:.1f}"/>'
        own = f'data-run="{dots.owner}" data-row="{escape(axes.panel.rows[dots.row])}"'
        parts.append(f'<g {own} stroke="{colour}">{bar}{points}</g>')
    return "".join(parts)


def _cells(axes: _Axes) -> str:
    parts = []
    for cell in axes.panel.cells:
        x, y = cell.column * _CELL_WIDTH, cell.row * _CELL_HEIGHT
        ink = ' class="m on"' if cell.shade > 0.7 else ' class="m"'
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH}" height="{_CELL_HEIGHT}" '
            f'fill="#0072b2" fill-opacity="{0.03 + 0.87 * cell.shade:.3f}"/>'
            f'<text x="{x + _CELL_WIDTH / 2}" y="{y + 18}"{ink}>{escape(cell.text)}</text>'
            f'<text x="{x + _CELL_WIDTH / 2}" y="{y + 33}"{ink} font-size="9">{escape(cell.below)}</text>'
        )
    return "".join(parts)


def _round(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius}" fill="{colour}"/>'


def _spot(x: float, y: float, spot: Spot) -> str:
    text = f'<text x="{x + 7:.1f}" y="{y - 5:.1f}">{escape(spot.text)}</text>' if spot.text else ""
    if spot.kind == "star":
        return f'<text x="{x:.1f}" y="{y + 6:.1f}" class="m star">★</text>{text}'
    shape = 'r="2" class="small"' if spot.kind == "small" else f'r="4" class="{spot.kind}"'
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" {shape}/>{text}'


def _diamond(x: float, y: float) -> str:
    return f'<path class="k" d="M{x:.1f} {y - 5:.1f}l4 5l-4 5l-4 -5Z"/>'


def _wide(text: str) -> float:
    """How wide a text of eleven pixels is at most."""

    def width(letter: str) -> float:
        if not letter.isascii() and letter != "…":
            return 11.0
        return next((wide for letters, wide in _WIDTHS.items() if letter in letters), 7.1)

    return sum(map(width, text))


def _short(name: str) -> str:
    """A long name without its middle."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"

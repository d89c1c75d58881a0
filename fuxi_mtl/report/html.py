"""Parts of pages: the frame, tables that sort, and pictures with captions."""

import json
import math
from collections.abc import Sequence
from html import escape

from fuxi_mtl.report import cells
from fuxi_mtl.report.page_assets import SCRIPT, STYLE
from fuxi_mtl.report.pictures.panel import Picture, style_of
from fuxi_mtl.report.pictures.svg import draw

__all__ = [
    "cell",
    "figures",
    "folded",
    "grid",
    "head",
    "key",
    "name_cell",
    "page",
    "section",
    "styled",
    "tools",
]


def page(title: str, about: str, sections: str) -> str:
    """A whole page. It makes no request to anywhere and can be mailed as one file.

    Args:
        title: Its title, plain text.
        about: What stands below it, html.
        sections: The rest, html.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{about}{sections}"
        f"<footer>Made by fuxi_mtl.</footer></main><script>{SCRIPT}</script></body></html>\n"
    )


def section(number: int, names: Sequence[str], content: str) -> str:
    """A part of a page whose pictures and tables know each other's experiments.

    Args:
        number: Which part of the page it is.
        names: The experiments, in the order of the colours.
        content: What is in it, html.
    """
    return (
        f'<section data-table="{number}" data-names="{escape(json.dumps(list(names)))}">{content}</section>'
    )


def tools(csv: str, file: str) -> str:
    """A field that filters experiments by name, and a button that saves the numbers.

    Args:
        csv: What is saved.
        file: Name of the file.
    """
    text = json.dumps(csv).replace("<", "\\u003c")
    return (
        '<div class="tools"><input type="search" placeholder="Filter experiments by name" '
        'aria-label="Filter experiments by name"><output class="soft"></output>'
        f'<button type="button" data-csv="{escape(file)}">Download csv</button></div>'
        f'<script type="application/json">{text}</script>'
    )


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], above: str = "", of: Sequence[str] = ()) -> str:
    """A table.

    Args:
        heads: From :func:`head`.
        rows: Of cells, from :func:`name_cell` and :func:`cell`.
        above: A row above the heads.
        of: The experiment of each row, by which it is filtered.
    """
    names = [f' data-name="{escape(name)}"' for name in of] or [""] * len(rows)
    body = "".join(f"<tr{name}>{''.join(row)}</tr>" for name, row in zip(names, rows, strict=True))
    top = f"{above}<tr>{''.join(heads)}</tr>"
    return f'<div class="card"><table><thead>{top}</thead><tbody>{body}</tbody></table></div>'


def head(text: str, first: str = "descending", label: str = "", kind: str = "") -> str:
    """A column's head, by which one sorts.

    Args:
        text: What it says.
        first: The direction of the first click.
        label: What it says in full, on hover; where the page is narrow in its place, if it ends so.
        kind: Its class: ``text`` of columns of words.
    """
    hint = f' title="{escape(label)}"' if label else ""
    shown = escape(text)
    if label.endswith(f"_{text}"):
        shown = f'<span class="wide">{shown}</span><span class="narrow">{escape(label)}</span>'
    of = f' class="{kind}"' if kind else ""
    return f'<th scope="col" data-first="{first}"{of}{hint}><button type="button">{shown}</button></th>'


def folded(summary: str, content: str, opened: bool) -> str:
    """What is long and not always read, below a line that opens it."""
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{content}</details>"


def name_cell(name: str) -> str:
    """The first cell of a row."""
    return f'<th scope="row" data-value="{escape(name)}">{escape(name)}</th>'


def cell(shown: str, value: float | str | None, kind: str = "", hint: str = "", name: str = "") -> str:
    """A cell.

    Args:
        shown: What it shows, html.
        value: By what it is sorted; last if it is None or NaN.
        kind: Its class.
        hint: What hovering tells.
        name: Its column, said beside it where the page is narrow.
    """
    undefined = value is None or (isinstance(value, float) and math.isnan(value))
    attributes = "" if undefined else f' data-value="{escape(str(value))}"'
    attributes += f' class="{kind}"' if kind else ""
    attributes += f' title="{escape(hint)}"' if hint else ""
    attributes += f' data-name="{escape(name)}"' if name else ""
    return f"<td{attributes}>{shown}</td>"


def styled(value: float, style: str) -> str:
    """A number in a style of :func:`format`, or a dash."""
    return cells.NOTHING if math.isnan(value) else format(value, style)


def figures(pictures: Sequence[Picture], names: Sequence[str]) -> str:
    """Pictures under their headings, each with its caption; those without panels are left out.

    Args:
        pictures: What to draw.
        names: The experiments, by the owners of curves and dots.
    """
    parts = []
    for picture in pictures:
        if picture.panels:
            panels = "".join(draw(panel, names) for panel in picture.panels)
            parts.append(
                f'<h3>{escape(picture.heading)}</h3><figure class="card"><figcaption>'
                f'{escape(picture.caption)}</figcaption><div class="panels">{panels}</div></figure>'
            )
    return "".join(parts)


def key(names: Sequence[str]) -> str:
    """The legend of all pictures of a section; what is pressed there is hidden."""
    entries = []
    for place, name in enumerate(names):
        colour, dashes = style_of(place)
        entries.append(
            f'<button type="button" aria-pressed="true" data-of="{place}"><svg width="26" height="8" '
            f'aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dashes}"/></svg>{escape(name)}</button>'
        )
    ends = '<button type="button" data-all="1">all</button><button type="button" data-all="0">none</button>'
    about = 'role="group" aria-label="Experiments in the pictures"'
    return f'<div class="key" {about}>{"".join(entries)}{ends}</div>'

"""Comparisons shown on the terminal, as markdown, csv, json or a self-contained web page.

print(render(compare(stored_runs("./checkpoints/")), "markdown"))
"""

from collections.abc import Sequence

from fuxi_mtl.comparison import Table
from fuxi_mtl.comparison.pareto import Front
from fuxi_mtl.hints import among
from fuxi_mtl.report import text
from fuxi_mtl.report.text import records, table_html

__all__ = ["FORMATS", "records", "render", "table_html"]

FORMATS = ("terminal", "markdown", "csv", "json", "html")


def render(
    tables: Sequence[Table],
    style: str = "terminal",
    *,
    width: int = 120,
    colour: bool = False,
    fronts: Sequence[Front] = (),
) -> str:
    """A comparison in one of :data:`FORMATS`.

    Args:
        tables: From :func:`fuxi_mtl.comparison.compare`.
        style: One of :data:`FORMATS`.
        width: Columns of the terminal.
        colour: Whether the terminal shows colour.
        fronts: Searches among preferences that a page shows, too.

    Raises:
        ValueError: The style is unknown.
    """
    if style == "terminal":
        return text.terminal(tables, width, colour)
    if style == "html":
        from fuxi_mtl.report import page

        return page.html(tables, fronts)
    if style not in FORMATS:
        raise ValueError(f"unknown format {style!r}.{among(style, FORMATS)}")
    return {"markdown": text.markdown, "csv": text.csv, "json": text.json}[style](tables)

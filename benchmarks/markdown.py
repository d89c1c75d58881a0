"""Numbers and tables as Markdown."""

from collections.abc import Iterable, Sequence


def number(value: float) -> str:
    """Three digits, thousands apart."""
    if value >= 1000:
        digits = max(len(str(int(value))) - 3, 0)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["", f"| {' | '.join(heading)} |", f"|{' --- |' * len(heading)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]

"""A comparison as text: for the terminal, as markdown, csv and json."""

import csv as csv_format
import io
import json as json_format
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fuxi_mtl.comparison import DayRow, Row, Table
from fuxi_mtl.report import cells

DAYS_TITLE = "Rows of each day, before they were trained on"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COST: dict[str, Callable[[Row], str]] = {
    "parameters": cells.parameters,
    "train seconds": cells.seconds,
    "rows/s": cells.speed,
}


def terminal(tables: Sequence[Table], width: int = 120, colour: bool = False) -> str:
    """Tables for a terminal `width` columns wide; wide ones are cut between columns, never inside.

    Args:
        tables: From :func:`fuxi_mtl.comparison.compare`.
        width: Columns of the terminal.
        colour: Whether to mark with colour; marks are readable without.
    """
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    for table in tables:
        console.print(Text(cells.title(table), style="bold"))
        for heading, columns in _sections(table):
            for part in _fitting(table, columns, width):
                console.print(_grid(table, heading, part))
        if table.days:
            for grid in _days_grids(table, width):
                console.print(grid)
        for line in cells.legend(table):
            console.print(Text(line, style="dim"))
        console.print()
    return out.getvalue().rstrip() + "\n"


def _days_grids(table: Table, width: int) -> Iterator[Grid]:
    """The days, cut between columns where a terminal is too narrow; each part names experiment and day."""
    header, rows = days_of(table)
    needed = [max(len(row[i]) for row in (header, *rows)) + 3 for i in range(len(header))]
    parts: list[list[int]] = [[]]
    for place in range(3, len(header)):
        if parts[-1] and sum(needed[:3]) + sum(needed[i] for i in (*parts[-1], place)) > width:
            parts.append([])
        parts[-1].append(place)
    for number, part in enumerate(parts):
        title = None if number else DAYS_TITLE
        grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for place in (0, 1, 2, *part):
            justify: Literal["left", "right"] = "left" if place < 2 else "right"
            grid.add_column(header[place], justify=justify, no_wrap=True, overflow="fold")
        for row in rows:
            grid.add_row(*(Text(row[place]) for place in (0, 1, 2, *part)))
        yield grid


def days_of(table: Table) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the days of experiments that were updated."""
    columns = [column for column in table.columns if any(day.cells[column].by_seed for day in table.days)]
    rows = [
        [day.expid, day.day, f"{day.rows:,}"]
        + [cells.mean_and_spread(day.cells[column], len(day.cells[column].by_seed)) for column in columns]
        for day in table.days
    ]
    return ["expid", "day", "rows", *columns], rows


def _sections(table: Table) -> list[tuple[str, dict[str, list[Text]]]]:
    """Headings and columns: the metrics, the differences, then transfer and cost."""
    metrics = {column: [_metric(table, row, column) for row in table.rows] for column in table.columns}
    sections = [("", {"seeds": [Text(str(len(row.seeds))) for row in table.rows], **metrics})]
    if table.baseline is not None:
        found = {column: [_difference(row, column) for row in table.rows] for column in table.columns}
        sections.append((f"difference to {table.baseline}", found))
    rest: dict[str, list[Text]] = {}
    if table.has_transfer:
        rest["Δm"] = [_signed(cells.delta_m(row.transfer)) for row in table.rows]
        for task in dict.fromkeys(task for row in table.rows for task in row.transfer.by_task):
            changes = [row.transfer.by_task.get(task) for row in table.rows]
            rest[f"Δ {task}"] = [_signed(cells.NOTHING if c is None else f"{c:+.2%}") for c in changes]
    for name, shown in _COST.items():
        rest[name] = [Text(shown(row)) for row in table.rows]
    return [*sections, ("transfer and cost" if table.has_transfer else "cost", rest)]


def _metric(table: Table, row: Row, column: str) -> Text:
    best = row.expid in table.best[column]
    text = cells.mean_and_spread(row.cells[column], len(row.seeds))
    return Text(f"{text} ◂" if best else text, style="bold green" if best else "")


def _difference(row: Row, column: str) -> Text:
    found = row.differences.get(column)
    return Text(cells.difference(found), style="bold" if found is not None and found.excludes_zero else "")


def _signed(text: str) -> Text:
    return Text(text, style="red" if text.startswith("-") else "")


def _fitting(table: Table, columns: dict[str, list[Text]], width: int) -> list[dict[str, list[Text]]]:
    """Cuts columns into parts that fit beside the expids."""
    left = width - max(len("expid"), *(len(row.expid) for row in table.rows)) - 4
    parts: list[dict[str, list[Text]]] = []
    used = left + 1
    for name, values in columns.items():
        needed = max(len(name), *(len(value) for value in values)) + 3
        if used + needed > left:
            parts.append({})
            used = 0
        parts[-1][name] = values
        used += needed
    return parts


def _grid(table: Table, heading: str, columns: dict[str, list[Text]]) -> Grid:
    grid = Grid(title=heading or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("expid", no_wrap=True, overflow="fold")
    for name in columns:
        grid.add_column(name, justify="right", no_wrap=True, overflow="fold")
    for i, row in enumerate(table.rows):
        grid.add_row(Text(row.expid), *(values[i] for values in columns.values()))
    return grid


def markdown(tables: Sequence[Table]) -> str:
    """Tables for a README: the best of a column in bold, differences below, then the legend."""
    return "\n".join(_markdown(table) for table in tables)


def table_html(table: Table) -> str:
    """One table for a notebook: the best of a column in bold, the legend below."""
    header, rows = _grid_of(table, "<b>{}</b>", escape)
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{value}</td>' for value in row)}</tr>" for row in rows)
    legend = "".join(f"<li>{escape(line)}</li>" for line in cells.legend(table))
    return (
        f"<h4>{escape(cells.title(table))}</h4><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<ul>{legend}</ul>"
    )


def _markdown(table: Table) -> str:
    header, rows = _grid_of(table, "**{}**")
    lines = [f"### {cells.title(table)}", "", *_pipes(header, rows)]
    compared = [row for row in table.rows if row.differences]
    if compared:
        found = [[r.expid, *(cells.difference(r.differences[c]) for c in table.columns)] for r in compared]
        lines += ["", *_pipes([f"difference to {table.baseline}", *table.columns], found)]
    if table.days:
        lines += ["", f"{DAYS_TITLE}:", "", *_pipes(*days_of(table))]
    return "\n".join([*lines, "", *(f"- {line}" for line in cells.legend(table)), ""])


def _grid_of(
    table: Table, best: str, escaped: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """The header and rows of metrics, transfer and cost.

    Args:
        table: The table.
        best: How the best of a column is written.
        escaped: What makes a text safe where it goes.
    """
    transfer = ["Δm"] if table.has_transfer else []
    header = ["expid", "seeds", *table.columns, *transfer, *_COST]
    rows = []
    for row in table.rows:
        metrics = []
        for column in table.columns:
            text = cells.mean_and_spread(row.cells[column], len(row.seeds))
            text = escaped(text)
            metrics.append(best.format(text) if row.expid in table.best[column] else text)
        moved = [cells.delta_m(row.transfer)] if table.has_transfer else []
        cost = [shown(row) for shown in _COST.values()]
        rows.append([escaped(row.expid), str(len(row.seeds)), *metrics, *map(escaped, [*moved, *cost])])
    return [escaped(name) for name in header], rows


def _pipes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(values: Sequence[str]) -> str:
        return f"| {' | '.join(value.replace('|', chr(92) + '|') for value in values)} |"

    rule = f"|{'|'.join([' --- ', *[' ---: '] * (len(header) - 1)])}|"
    return [line(header), rule, *map(line, rows)]


def csv(tables: Sequence[Table]) -> str:
    """One line an experiment, in full precision; an empty field is an undefined number."""
    found = [{_defused(name): _defused(value) for name, value in each.items()} for each in records(tables)]
    header = list(dict.fromkeys(name for record in found for name in record))
    out = io.StringIO()
    writer = csv_format.DictWriter(out, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def _defused(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula, as the text that it is; numbers stay."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """A mapping of names to plain values for each experiment; None where undefined."""
    return [_record(table, row) for table in tables for row in table.rows]


def _record(table: Table, row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {
        "dataset_id": table.dataset_id,
        "split": table.split,
        "expid": row.expid,
        "model": row.model,
        "seeds": " ".join(map(str, row.seeds)),
    }
    for column in table.columns:
        cell, found = row.cells[column], row.differences.get(column)
        record[column] = cell.mean
        record[f"{column}_sd"] = cell.deviation
        record[f"{column}_n"] = len(cell.by_seed)
        if table.baseline is not None:
            record[f"{column}_difference"] = found.value if found else None
            record[f"{column}_low"] = found.low if found else None
            record[f"{column}_high"] = found.high if found else None
    record["baseline"] = table.baseline
    record["delta_m"] = row.transfer.delta_m
    record |= {f"{task}_transfer": change for task, change in row.transfer.by_task.items()}
    record["num_parameters"] = row.num_parameters
    record["train_seconds"] = row.train_seconds
    record["rows_per_second"] = row.rows_per_second
    return {name: None if _undefined(value) else value for name, value in record.items()}


def json(tables: Sequence[Table]) -> str:
    """Everything, values of single seeds and reasons included; null where undefined."""
    return json_format.dumps([_content(table) for table in tables], indent=2, ensure_ascii=False) + "\n"


def _content(table: Table) -> dict[str, Any]:
    return {
        "dataset_id": table.dataset_id,
        "split": table.split,
        "columns": list(table.columns),
        "baseline": table.baseline,
        "single_task": table.single_task,
        "level": table.level,
        "resampled": table.resampled,
        "notes": list(table.notes),
        "best": {column: sorted(expids) for column, expids in table.best.items()},
        "rows": [_row_content(row) for row in table.rows],
        **({"days": [_day_content(day) for day in table.days]} if table.days else {}),
    }


def _day_content(day: DayRow) -> dict[str, Any]:
    metrics = {c: {str(seed): v for seed, v in cell.by_seed.items()} for c, cell in day.cells.items()}
    return {"expid": day.expid, "day": day.day, "rows": day.rows, "metrics": metrics}


def _row_content(row: Row) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return None if _undefined(value) else value

    return {
        "expid": row.expid,
        "model": row.model,
        "seeds": list(row.seeds),
        "metrics": {
            column: {
                "mean": plain(cell.mean),
                "sd": plain(cell.deviation),
                "by_seed": {str(seed): value for seed, value in cell.by_seed.items()},
                "reason": cell.reason,
            }
            for column, cell in row.cells.items()
        },
        "differences": {
            column: {
                "value": plain(found.value),
                "low": plain(found.low),
                "high": plain(found.high),
                "seeds": list(found.seeds),
                "reason": found.reason,
            }
            for column, found in row.differences.items()
        },
        "transfer": {
            "delta_m": plain(row.transfer.delta_m),
            "by_task": dict(row.transfer.by_task),
            "metric_of": dict(row.transfer.metric_of),
            "reason": row.transfer.reason,
        },
        "num_parameters": row.num_parameters,
        "train_seconds": row.train_seconds,
        "rows_per_second": row.rows_per_second,
    }


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))

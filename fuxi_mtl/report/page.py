"""A comparison as one web page that needs nothing else: styles, script and plots are inside."""

import math
from collections.abc import Sequence
from html import escape

from fuxi_mtl.comparison import Row, Table
from fuxi_mtl.comparison.pareto import Front
from fuxi_mtl.metrics import find_metric_of_key, split_key
from fuxi_mtl.report import cells, diagnostics, plots
from fuxi_mtl.report import fronts as front_parts
from fuxi_mtl.report.text import DAYS_TITLE, days_of

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #5c6570;
  --line: #d5d9de; --best: #e3f3ea; --best-ink: #0b5a33; --bad: #a3341f; --hover: #f1f4f7; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1b1f24; --ink: #e4e7eb;
  --soft: #98a2ae; --line: #3a414a; --best: #17392a; --best-ink: #7fd6a6;
  --bad: #f0907c; --hover: #242a31; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1440px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 10px; }
h3 { font-size: 15px; margin: 26px 0 8px; } p, ul { margin: 6px 0; }
.soft, .legend { color: var(--soft); font-size: 13.5px; } .legend { padding-left: 18px; max-width: 105ch; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 7px 13px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; } tbody tr:hover > * { background: var(--hover); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody th { font-weight: 600; } thead th { vertical-align: bottom; }
thead tr.tasks th { font-size: 12.5px; color: var(--soft); text-align: center; padding: 6px 13px 0;
  border-bottom: 0; font-weight: 600; } thead tr.tasks th:not(:empty) { border-left: 1px solid var(--line); }
thead button { all: unset; cursor: pointer; font-weight: 600; }
thead button:focus-visible { outline: 2px solid #3b82c4; outline-offset: 3px; border-radius: 2px; }
thead button::after { content: " \\2195"; color: var(--line); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--ink); }
td.best { background: var(--best); color: var(--best-ink); font-weight: 650; }
tbody tr:hover > td.best { background: var(--best); }
.interval { display: block; } .sd, .interval { color: var(--soft); font-weight: 400; font-size: 12.5px; }
.best .sd { color: inherit; }
.worse { color: var(--bad); } .sure { font-weight: 650; }
.plot { padding: 12px 14px; } .plot svg { max-width: 100%; height: auto; display: block; }
@media (max-width: 900px) { .plot { overflow-x: auto; } .plot svg { max-width: none; } }
.maps { display: flex; flex-wrap: wrap; gap: 10px 30px; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 10px 16px 0; font-size: 13.5px; }
.key svg { vertical-align: middle; margin-right: 6px; }
footer { margin-top: 44px; color: var(--soft); font-size: 13px; }
"""
# Empty values sort last in both directions; one click sorts by the better end first.
_SCRIPT = """
for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0], at = head.cellIndex;
  const first = head.dataset.first || "descending", other = first == "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") == first ? other : first, sign = order == "ascending" ? 1 : -1;
  for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const value = row => row.cells[at].dataset.value ?? "";
  const compare = (a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  };
  body.append(...[...body.rows].sort(compare));
});
"""


def html(tables: Sequence[Table], fronts: Sequence[Front] = ()) -> str:
    """The page. It makes no request to anywhere and can be mailed as one file."""
    sections = "".join([*(_front(front) for front in fronts), *(_section(table) for table in tables)])
    runs = sum(len(table.runs) for table in tables)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(_title(tables))}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(_title(tables))}</h1>"
        f'<p class="soft">{_count(sum(len(t.rows) for t in tables), "experiment")}, {_count(runs, "run")}. '
        "Click a column to sort.</p>"
        f"{sections}<footer>Made by fuxi_mtl.</footer></main><script>{_SCRIPT}</script></body></html>\n"
    )


def _title(tables: Sequence[Table]) -> str:
    return f"Comparison on {', '.join(table.dataset_id for table in tables)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _section(table: Table) -> str:
    parts = [f"<h2>{escape(cells.title(table))}</h2>", _metrics_table(table)]
    if any(row.differences for row in table.rows):
        parts.append(f"<h3>Difference to {escape(table.baseline or '')}</h3>{_differences_table(table)}")
    parts.append(f"<h3>{'Transfer and cost' if table.has_transfer else 'Cost'}</h3>{_cost_table(table)}")
    if table.days:
        header, rows = days_of(table)
        heads = [_head(name, "ascending") for name in header]
        days = _grid(heads, [[_cell(escape(value), value) for value in row] for row in rows], "")
        parts.append(f"<h3>{escape(DAYS_TITLE)}</h3>{days}")
        parts.append(f'<div class="card plot">{plots.over_days(table)}</div>')
    legend = "".join(f"<li>{escape(line)}</li>" for line in cells.legend(table))
    plots_ = [_plots(table), _diagnostics(table)]
    return "".join([*parts, f'<ul class="legend">{legend}</ul>', *plots_])


def _front(front: Front) -> str:
    what = front.by.removesuffix("s")
    heads = [_head("number", "ascending"), *(_head(f"{what} {name}") for name in front.points[0].preference)]
    heads += [*(_head(metric) for metric in front.metrics), _head("front", "ascending")]
    rows = []
    for number, point in enumerate(front.points, start=1):
        best = "best" if point.expid == front.chosen else ""
        mark = "chosen" if best else "on it" if point.on_front else "beaten"
        values = [_cell(f"{value:g}", value) for value in point.preference.values()]
        values += [_cell(cells.number(point.valid[m]), point.valid[m], best) for m in front.metrics]
        rows.append([_cell(str(number), number, hint=point.expid), *values, _cell(mark, mark)])
    return front_parts.section(front, _grid(heads, rows, ""))


def _metrics_table(table: Table) -> str:
    rows = []
    for row in table.rows:
        values = [_name(row.expid), _cell(str(len(row.seeds)), len(row.seeds))]
        rows.append([*values, *(_metric(table, row, column) for column in table.columns)])
    heads = [_head("expid", "ascending"), _head("seeds"), *(_metric_head(c) for c in table.columns)]
    return _grid(heads, rows, _tasks_row(table, 2))


def _differences_table(table: Table) -> str:
    rows = [
        [_name(row.expid), *(_difference(row, column) for column in table.columns)]
        for row in table.rows
        if row.differences
    ]
    heads = [_head("expid", "ascending"), *(_metric_head(column) for column in table.columns)]
    return _grid(heads, rows, _tasks_row(table, 1))


def _cost_table(table: Table) -> str:
    tasks = list(dict.fromkeys(task for row in table.rows for task in row.transfer.by_task))
    heads = [_head("expid", "ascending"), _head("model", "ascending")]
    if table.has_transfer:
        heads += [_head("Δm"), *(_head(f"Δ {task}") for task in tasks)]
    heads += [_head("parameters", "ascending"), _head("train seconds", "ascending"), _head("rows/s")]
    rows = []
    for row in table.rows:
        values = [_name(row.expid), _cell(escape(row.model), row.model)]
        if table.has_transfer:
            changes = [row.transfer.delta_m, *(row.transfer.by_task.get(task, math.nan) for task in tasks)]
            values += [_change(change, row.transfer.reason) for change in changes]
        values.append(_cell(cells.parameters(row), row.num_parameters))
        values.append(_cell(cells.seconds(row), row.train_seconds))
        rows.append([*values, _cell(cells.speed(row), row.rows_per_second)])
    return _grid(heads, rows, "")


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], above: str) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    head = f"{above}<tr>{''.join(heads)}</tr>"
    return f'<div class="card"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _tasks_row(table: Table, before: int) -> str:
    """A line above the headings that says which task the metrics below it belong to."""
    spans: list[list] = []
    for column in table.columns:
        task = _parts(column)[0] or "mean over tasks"
        if spans and spans[-1][0] == task:
            spans[-1][1] += 1
        else:
            spans.append([task, 1])
    cells_ = "".join(f'<th colspan="{span}" scope="colgroup">{escape(task)}</th>' for task, span in spans)
    return f'<tr class="tasks"><th colspan="{before}"></th>{cells_}</tr>'


def _parts(column: str) -> tuple[str, str]:
    """The task and the number of a column."""
    task, name = split_key(column)
    if not name:  # of the conversion checks
        task, _, name = column.rpartition("_")
    return task, name


def _metric_head(column: str) -> str:
    metric = find_metric_of_key(column)
    falls = metric is not None and metric.larger_is_better is False
    return _head(_parts(column)[1], "ascending" if falls else "descending", column)


def _head(text: str, first: str = "descending", label: str = "") -> str:
    hint = f' title="{escape(label)}"' if label else ""
    return f'<th scope="col" data-first="{first}"{hint}><button type="button">{escape(text)}</button></th>'


def _name(expid: str) -> str:
    return f'<th scope="row" data-value="{escape(expid)}">{escape(expid)}</th>'


def _cell(shown: str, value: float | str | None, kind: str = "", hint: str = "") -> str:
    undefined = value is None or (isinstance(value, float) and math.isnan(value))
    attributes = "" if undefined else f' data-value="{escape(str(value))}"'
    attributes += f' class="{kind}"' if kind else ""
    attributes += f' title="{escape(hint)}"' if hint else ""
    return f"<td{attributes}>{shown}</td>"


def _metric(table: Table, row: Row, column: str) -> str:
    cell = row.cells[column]
    mean, plus, spread = cells.mean_and_spread(cell, len(row.seeds)).partition(" ± ")
    shown = f'{mean}<span class="sd"> ± {spread}</span>' if plus else mean
    seeds = ", ".join(f"seed {seed}: {value:.6f}" for seed, value in cell.by_seed.items())
    hint = "; ".join(text for text in (seeds, cell.reason) if text)
    return _cell(shown, cell.mean, "best" if row.expid in table.best[column] else "", hint)


def _difference(row: Row, column: str) -> str:
    found = row.differences[column]
    value, bracket, interval = cells.difference(found).partition(" [")
    if bracket:
        ends, star, _ = interval.partition(" *")
        value += f'{star}<span class="interval">[{escape(ends)}</span>'
    return _cell(value, found.value, "sure" if found.excludes_zero else "", found.reason)


def _change(value: float, reason: str) -> str:
    shown = cells.NOTHING if math.isnan(value) else f"{value:+.2%}"
    return _cell(shown, value, "worse" if value < 0 else "", reason)


def _plots(table: Table) -> str:
    expids = [row.expid for row in table.rows]
    logged = plots.names_over_steps(table.runs, "metrics")
    monitored = [column for column in table.columns if column in logged]
    parts = [
        (
            "Metrics by experiment: a dot for each seed, a bar at the mean",
            plots.metrics_by_experiment(table),
            "",
        )
    ]
    for heading, kind, names in [
        ("Validation metrics over steps (diamond: the checkpoint that was kept)", "metrics", monitored),
        ("Training losses over steps, unweighted", "losses", None),
        ("Loss weights over steps", "weights", None),
    ]:
        keys = plots.names_over_steps(table.runs, kind) if names is None else names
        parts.append((heading, plots.over_steps(table.runs, kind, keys, expids), _key(expids)))
    return _cards(parts)


def _diagnostics(table: Table) -> str:
    """What was measured beside training; empty if no run measured anything."""
    expids = [row.expid for row in table.rows]
    heads = [_head(name, "ascending") for name in diagnostics.TEXTS]
    heads += [_head(name, label=number.hint) for name, number in diagnostics.NUMBERS.items()]
    rows = []
    for (expid, *texts), numbers in diagnostics.conflict_lines(table.runs):
        values = [_name(expid), *(_cell(escape(text), text) for text in texts)]
        styles = [number.style for number in diagnostics.NUMBERS.values()]
        rows.append([*values, *(_cell(_styled(v, s), v) for v, s in zip(numbers, styles, strict=True))])
    grid = f"<h3>{diagnostics.TITLE}</h3>{_grid(heads, rows, '')}" if rows else ""
    drawn = diagnostics.drawn(table.runs, expids)
    return grid + _cards([(heading, svg, _key(expids) if keyed else "") for heading, svg, keyed in drawn])


def _styled(value: float, style: str) -> str:
    return cells.NOTHING if math.isnan(value) else format(value, style)


def _cards(parts: Sequence[tuple[str, str, str]]) -> str:
    """Plots under their headings, each with its key; those that are empty are left out."""
    return "".join(
        f'<h3>{heading}</h3><div class="card">{key}<div class="plot">{svg}</div></div>'
        for heading, svg, key in parts
        if svg
    )


def _key(expids: Sequence[str]) -> str:
    """The legend of lines, as text of the page, so that it wraps and can be searched."""
    entries = []
    for place, expid in enumerate(expids):
        colour, line = plots.style_of(place)
        dashes = {"-": "", "--": "6 3", ":": "2 3", "-.": "7 3 2 3"}[line]
        entries.append(
            f'<span><svg width="26" height="8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" '
            f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dashes}"/></svg>{escape(expid)}</span>'
        )
    return f'<div class="key">{"".join(entries)}</div>'

"""A comparison as one web page that needs nothing else: styles, script and pictures are inside."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from fuxi_mtl.comparison import Row, StoredRun, Table
from fuxi_mtl.comparison.pareto import Front
from fuxi_mtl.metrics import find_metric_of_key, split_key
from fuxi_mtl.report import cells, diagnostics, facts, text
from fuxi_mtl.report import fronts as front_parts
from fuxi_mtl.report import html as html_parts
from fuxi_mtl.report.html import cell, folded, grid, head, name_cell
from fuxi_mtl.report.pictures import histories, scores
from fuxi_mtl.report.pictures.panel import Picture

_SPLITS = ("train", "valid", "test")
_MEAN = "mean over tasks"
MOST_COLUMNS = 12  # of metrics side by side
MOST_OPEN = 24  # rows of a table that is not folded


def html(tables: Sequence[Table], fronts: Sequence[Front] = ()) -> str:
    """The page. It makes no request to anywhere and can be mailed as one file."""
    runs = sum(len(table.runs) for table in tables)
    about = (
        f'<p class="soft">{_count(sum(len(t.rows) for t in tables), "experiment")}, {_count(runs, "run")}. '
        "Click a column to sort, a name above the pictures to hide it there.</p>"
    )
    parts = [html_parts.section(i, (), _front(front)) for i, front in enumerate(fronts)]
    parts += [_section(table, i) for i, table in enumerate(tables, start=len(fronts))]
    return html_parts.page(_title(tables), about, "".join(parts))


def _title(tables: Sequence[Table]) -> str:
    return f"Comparison on {', '.join(table.dataset_id for table in tables)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _section(table: Table, number: int) -> str:
    expids = [row.expid for row in table.rows]
    parts = [f"<h2>{escape(cells.title(table))}</h2>"]
    parts.append(html_parts.tools(text.csv([table]), f"{table.dataset_id}.csv"))
    parts += [_metrics_table(table, columns) for columns in parted(table.columns)]
    if any(row.differences for row in table.rows):
        parts.append(f"<h3>Difference to {escape(table.baseline or '')}</h3>{_differences_table(table)}")
    parts.append(f"<h3>{'Transfer and cost' if table.has_transfer else 'Cost'}</h3>{_cost_table(table)}")
    if table.days:
        header, rows = text.days_of(table)
        heads = [head(name, "ascending") for name in header]
        body = [[cell(escape(v), v, name=name) for name, v in zip(header, r, strict=True)] for r in rows]
        parts.append(f"<h3>{escape(text.DAYS_TITLE)}</h3>{grid(heads, body, of=[r[0] for r in rows])}")
    legend = "".join(f"<li>{escape(line)}</li>" for line in cells.legend(table))
    parts.append(f'<ul class="legend">{legend}</ul>')
    parts += [_facts_table(table), _stanzas_table(table)]
    pictures = [*_pictures(table), *diagnostics.pictures(table.runs, expids)]
    parts += [f"<h3>Pictures</h3>{html_parts.key(expids)}", html_parts.figures(pictures, expids)]
    return html_parts.section(number, expids, "".join([*parts, conflicts_table(table.runs)]))


def _pictures(table: Table) -> list[Picture]:
    expids = [row.expid for row in table.rows]
    logged = histories.names_over_steps(table.runs, "metrics")
    monitored = [column for column in table.columns if column in logged]
    return [
        histories.metrics_by_experiment(table),
        *([histories.over_days(table)] if table.days else []),
        histories.over_steps(table.runs, "metrics", expids, monitored),
        histories.over_steps(table.runs, "losses", expids),
        histories.over_steps(table.runs, "weights", expids),
        *scores.pictures(table.runs, expids, table.split),
    ]


def _facts_table(table: Table) -> str:
    """Date, commit, data, rows and positives: a line a run."""
    heads = [head("expid", "ascending"), head("seed", "ascending")]
    heads += [head("finished", kind="text"), head("commit", "ascending", kind="text")]
    heads += [head("data", "ascending", "hash of the data", "text"), *(head(f"{s} rows") for s in _SPLITS)]
    heads.append(head("positives", label=f"in {table.split} rows", kind="text"))
    rows = []
    for run, fact in zip(table.runs, facts.facts_of(table.runs, [table.split]), strict=True):
        values = [name_cell(run.expid), cell(str(run.seed), run.seed, name="seed")]
        texts = (("finished", fact.finished, 16), ("commit", fact.commit, 10), ("data", fact.data_key, 10))
        for name, value, most in texts:
            values.append(cell(escape(value[:most]) or cells.NOTHING, value or None, "text", value, name))
        for split in _SPLITS:
            count = fact.rows.get(split)
            values.append(cell(cells.NOTHING if count is None else f"{count:,}", count, name=f"{split} rows"))
        rows.append([*values, _positives(fact.positives[table.split])])
    return folded("Runs and their data", grid(heads, rows, of=[r.expid for r in table.runs]), _is_short(rows))


def _is_short(rows: Sequence[object]) -> bool:
    return len(rows) <= MOST_OPEN


def _positives(found: Mapping[str, tuple[int, int]]) -> str:
    shown = "".join(
        f'<span class="chip"><b>{escape(task)}</b> {count:,} of {rows:,} ({count / rows:.2%})</span> '
        for task, (count, rows) in found.items()
    )
    return cell(shown or cells.NOTHING, sum(count for count, _ in found.values()), "long", name="positives")


def _stanzas_table(table: Table) -> str:
    """A line for each key that is not the same in all stanzas: each value, and whose it is."""
    first = list({run.expid: run for run in reversed(table.runs)}.values())[::-1]
    if len(first) < 2 or not any(run.stanza for run in first):
        return ""
    rows = []
    for key, values in facts.differences(first).items():
        shown = "".join(
            f'<span class="chip"><b>{escape(value)}</b> {escape(", ".join(expids))}</span> '
            for value, expids in values.items()
        )
        rows.append([name_cell(key), cell(shown, len(values), "long", name="values")])
    label = "sorted by how many values there are"
    heads = [head("key", "ascending"), head("value, and whose it is", label=label, kind="text")]
    content = grid(heads, rows) if rows else '<p class="soft">Nothing but the seed.</p>'
    return folded("What differs between the stanzas", content, _is_short(rows))


def _front(front: Front) -> str:
    what = front.by.removesuffix("s")
    preferences = [f"{what} {name}" for name in front.points[0].preference]
    heads = [head("number", "ascending"), *map(head, preferences)]
    heads += [*(head(metric) for metric in front.metrics), head("front", "ascending")]
    rows = []
    for number, point in enumerate(front.points, start=1):
        best = "best" if point.expid == front.chosen else ""
        mark = "chosen" if best else "on it" if point.on_front else "beaten"
        weighed = zip(preferences, point.preference.values(), strict=True)
        values = [cell(f"{value:g}", value, name=name) for name, value in weighed]
        values += [cell(cells.number(point.valid[m]), point.valid[m], best, name=m) for m in front.metrics]
        rows.append([cell(str(number), number, hint=point.expid), *values, cell(mark, mark, name="front")])
    return front_parts.section(front, grid(heads, rows))


def parted(columns: Sequence[str]) -> list[list[str]]:
    """Columns of metrics in parts that fit on a page, cut between tasks."""
    parts: list[list[str]] = [[]]
    for _, of_task in groupby(columns, lambda column: _parts(column)[0]):
        together = list(of_task)
        if parts[-1] and len(parts[-1]) + len(together) > MOST_COLUMNS:
            parts.append([])
        parts[-1] += together
    return parts


def _metrics_table(table: Table, columns: Sequence[str]) -> str:
    rows = []
    for row in table.rows:
        values = [name_cell(row.expid), cell(str(len(row.seeds)), len(row.seeds), name="seeds")]
        rows.append([*values, *(_metric(table, row, column) for column in columns)])
    heads = [head("expid", "ascending"), head("seeds"), *(metric_head(c) for c in columns)]
    return grid(heads, rows, tasks_row(columns, 2), [row.expid for row in table.rows])


def _differences_table(table: Table) -> str:
    """A line for each experiment and task, so that intervals have room however many metrics there are."""
    tasks: dict[str, dict[str, str]] = {}
    for column in table.columns:
        task, metric = _parts(column)
        tasks.setdefault(task or _MEAN, {})[metric] = column
    metrics = list(dict.fromkeys(metric for of_task in tasks.values() for metric in of_task))
    compared = [
        (row, task)
        for row in table.rows
        for task, of_task in tasks.items()
        if any(not math.isnan(row.differences[c].value) for c in of_task.values() if row.differences)
    ]
    rows = []
    for row, task in compared:
        of_task = tasks[task]
        values = [name_cell(row.expid), cell(escape(task), task, "text", name="task")]
        for metric in metrics:
            shown = metric in of_task
            values.append(_difference(row, of_task[metric], metric) if shown else cell("", None, "none"))
        rows.append(values)
    heads = [
        head("expid", "ascending"),
        head("task", "ascending", kind="text"),
        *(head(metric) for metric in metrics),
    ]
    return grid(heads, rows, of=[row.expid for row, _ in compared])


def _cost_table(table: Table) -> str:
    tasks = list(dict.fromkeys(task for row in table.rows for task in row.transfer.by_task))
    changes = ["Δm", *(f"Δ {task}" for task in tasks)] if table.has_transfer else []
    heads = [head("expid", "ascending"), head("model", "ascending", kind="text"), *map(head, changes)]
    heads += [head("parameters", "ascending"), head("train seconds", "ascending"), head("rows/s")]
    rows = []
    for row in table.rows:
        values = [name_cell(row.expid), cell(escape(row.model), row.model, "text", name="model")]
        if changes:
            found = [row.transfer.delta_m, *(row.transfer.by_task.get(task, math.nan) for task in tasks)]
            named = zip(changes, found, strict=True)
            values += [_change(change, row.transfer.reason, name) for name, change in named]
        values.append(cell(cells.parameters(row), row.num_parameters, name="parameters"))
        values.append(cell(cells.seconds(row), row.train_seconds, name="train seconds"))
        rows.append([*values, cell(cells.speed(row), row.rows_per_second, name="rows/s")])
    return grid(heads, rows, of=[row.expid for row in table.rows])


def tasks_row(columns: Sequence[str], before: int) -> str:
    """A line above the headings that says which task the metrics below it belong to."""
    spans: list[list] = []
    for column in columns:
        task = _parts(column)[0] or _MEAN
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


def metric_head(column: str) -> str:
    """The head of a column of metrics below that of its task, sorted by its better end first."""
    metric = find_metric_of_key(column)
    falls = metric is not None and metric.larger_is_better is False
    return head(_parts(column)[1], "ascending" if falls else "descending", column)


def _metric(table: Table, row: Row, column: str) -> str:
    found = row.cells[column]
    mean, plus, spread = cells.mean_and_spread(found, len(row.seeds)).partition(" ± ")
    shown = f'{mean}<span class="sd"> ± {spread}</span>' if plus else mean
    seeds = ", ".join(f"seed {seed}: {value:.6f}" for seed, value in found.by_seed.items())
    hint = "; ".join(each for each in (seeds, found.reason) if each)
    return cell(shown, found.mean, "best" if row.expid in table.best[column] else "", hint, column)


def _difference(row: Row, column: str, name: str) -> str:
    found = row.differences[column]
    value, bracket, interval = cells.difference(found).partition(" [")
    if bracket:
        ends, star, _ = interval.partition(" *")
        value += f'{star}<span class="interval"> [{escape(ends)}</span>'
    return cell(value, found.value, "sure" if found.excludes_zero else "", found.reason, name)


def _change(value: float, reason: str, name: str) -> str:
    shown = cells.NOTHING if math.isnan(value) else f"{value:+.2%}"
    return cell(shown, value, "worse" if value < 0 else "", reason, name)


def conflicts_table(runs: Sequence[StoredRun]) -> str:
    """Gradient conflict as numbers; empty if no run measured it."""
    heads = [head(name, "ascending", kind="text") for name in diagnostics.TEXTS]
    heads += [head(name, label=number.hint) for name, number in diagnostics.NUMBERS.items()]
    rows, of = [], []
    for (expid, *texts), numbers in diagnostics.conflict_lines(runs):
        named = zip(diagnostics.TEXTS[1:], texts, strict=True)
        values = [name_cell(expid), *(cell(escape(value), value, "text", name=name) for name, value in named)]
        for (name, number), value in zip(diagnostics.NUMBERS.items(), numbers, strict=True):
            values.append(cell(html_parts.styled(value, number.style), value, name=name))
        rows.append(values)
        of.append(expid)
    return folded(diagnostics.TITLE, grid(heads, rows, of=of), _is_short(rows)) if rows else ""

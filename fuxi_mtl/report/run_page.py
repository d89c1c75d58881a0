"""One run as a web page: its data, curves, weights, gates, calibration, groups and errors."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from fuxi_mtl.comparison import StoredRun
from fuxi_mtl.report import cells, diagnostics, facts
from fuxi_mtl.report.html import cell, figures, folded, grid, head, name_cell, page, section, styled
from fuxi_mtl.report.page import conflicts_table, metric_head, parted, tasks_row
from fuxi_mtl.report.pictures import histories, scores
from fuxi_mtl.report.pictures.panel import Dots, Panel, Picture
from fuxi_mtl.report.slices import Slice, slices
from fuxi_mtl.runs import Run

_SPLITS = ("valid", "test")
_FEATURE = ("type", "source", "vocab_size", "max_len", "embedding_dim", "share_embedding", "pooling")


def html(run: StoredRun) -> str:
    """The page of a run. It makes no request to anywhere and can be mailed as one file."""
    expids = [run.expid]
    split = "test" if run.metrics["test"] else "valid"
    pictures = [
        *(histories.over_steps([run], kind, expids) for kind in ("metrics", "losses", "weights")),
        *scores.pictures([run], expids, split),
        *diagnostics.pictures([run], expids),
        metrics_by(run),
    ]
    parts = [
        _facts(run),
        f"<h2>Data</h2>{_data(run)}",
        f"<h2>Metrics</h2>{_metrics(run)}",
        f"<h2>Pictures</h2>{figures(pictures, expids)}",
        conflicts_table([run]),
        _groups(run),
        _errors(run, split),
        _environment(run),
    ]
    about = f'<p class="soft">{escape(run.model)} on {escape(run.dataset_id)}, seed {run.seed}.</p>'
    return page(f"{run.expid}, seed {run.seed}", about, section(0, expids, "".join(parts)))


def metrics_by(run: StoredRun) -> Picture:
    """The metrics of each value of the column that the stanza's ``metrics_by`` names, a panel a metric."""
    values: Mapping[str, Any] = run.metrics_by.get("values", {})
    keys = list(dict.fromkeys(key for entry in values.values() for key in entry["metrics"]))
    panels = []
    for key in keys:
        found = [entry["metrics"].get(key) for entry in values.values()]
        dots = [Dots(0, i, [value]) for i, value in enumerate(found) if value is not None]
        if dots:
            panels.append(Panel(key, dots=dots, rows=list(values), better=histories.better_of(key)))
    column = run.metrics_by.get("column", "")
    return Picture(f"Metrics by {column}", f"On {run.metrics_by.get('split')} rows.", panels, keyed=False)


def _facts(run: StoredRun) -> str:
    environment = run.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    seconds = "" if run.train_seconds is None else f"{run.train_seconds:,.1f} s"
    speed = "" if run.rows_per_second is None else f"{run.rows_per_second:,.0f} rows/s"
    said = {
        "finished": run.finished,
        "commit": environment.get("git_commit") or "",
        "data": run.data_key,
        "parameters": "" if run.num_parameters is None else f"{run.num_parameters:,}",
        "training": ", ".join(filter(None, (seconds, speed))),
        "kept checkpoint": "" if run.best_step is None else f"of step {run.best_step:,}",
        "tasks": "; ".join(f"{name}: {expression}" for name, expression in run.tasks.items()),
        "thresholds": ", ".join(f"{name} {value:.6g}" for name, value in run.thresholds.items()),
        "machine": environment.get("machine", ""),
        "packages": packages,
        "folder": str(run.folder),
    }
    return f"<dl>{''.join(f'<dt>{n}</dt><dd>{escape(v)}</dd>' for n, v in said.items() if v)}</dl>"


def _data(run: StoredRun) -> str:
    """Rows and labels of the splits, and what the inputs are."""
    (found,) = facts.facts_of([run], list(run.rows))
    heads = [
        head("split", "ascending", kind="text"),
        head("rows"),
        *(head(f"labels of {t}") for t in run.tasks),
    ]
    rows = []
    for split, count in run.rows.items():
        values = [name_cell(split), cell(f"{count:,}", count, name="rows")]
        for task in run.tasks:
            shown, value = _labels(
                found.positives.get(split, {}).get(task), run.labels.get(split, {}).get(task)
            )
            values.append(cell(shown, value, name=f"labels of {task}"))
        rows.append(values)
    return f"{grid(heads, rows)}{_features(run)}"


def _labels(
    positives: tuple[int, int] | None, counted: Mapping[str, float] | None
) -> tuple[str, float | None]:
    """Labels of a task in a split as a cell shows them, and the number that it is sorted by."""
    if positives:
        count, defined = positives
        return f'{count:,} positives<span class="sd"> {count / defined:.2%} of {defined:,}</span>', count
    if not counted or not counted["rows"]:
        return cells.NOTHING, None
    mean = f" with mean {counted['mean']:.4g}" if "mean" in counted else ""
    return f"{counted['rows']:,}{mean}", counted["rows"]


def _features(run: StoredRun) -> str:
    stored = Run(run.folder)
    file = stored.features / "feature_map.json"
    if not file.is_file():
        return ""
    content = stored.read_json(file, "features")
    heads = [head("input", "ascending", kind="text"), *(head(name.replace("_", " ")) for name in _FEATURE)]
    heads += [head(f"unknown in {split}") for split in run.unknown]
    rows = []
    for feature in content["features"]:
        ((name, of),) = feature.items()
        found = {key: of.get(key) for key in _FEATURE}
        if of.get("type") == "numeric":
            found |= dict.fromkeys(("vocab_size", "max_len", "embedding_dim", "pooling"))
        values = [name_cell(name)]
        for key, value in found.items():
            shown = (
                cells.NOTHING
                if value in (None, "")
                else f"{value:,}"
                if isinstance(value, int)
                else str(value)
            )
            values.append(cell(escape(shown), value, name=key.replace("_", " ")))
        for split, shares in run.unknown.items():
            share = shares.get(name)
            shown = cells.NOTHING if share is None else f"{share:.2%}"
            values.append(cell(shown, share, name=f"unknown in {split}"))
        rows.append(values)
    return folded(f"Inputs ({len(rows)})", grid(heads, rows), opened=len(rows) <= 40)


def _metrics(run: StoredRun) -> str:
    keys = list(dict.fromkeys(key for split in _SPLITS for key in run.metrics[split]))
    rows = []
    for key in keys:
        values = [name_cell(key)]
        for split in _SPLITS:
            value = run.metrics[split].get(key, math.nan)
            reason = run.undefined.get(split, {}).get(key, "")
            shown = f"{value:.6f}" if not math.isnan(value) else escape(reason) or cells.NOTHING
            values.append(cell(shown, value, hint=reason, name=split))
        rows.append(values)
    return grid([head("metric", "ascending", kind="text"), *(head(split) for split in _SPLITS)], rows)


def _groups(run: StoredRun) -> str:
    """Metrics by the values of a column, as numbers."""
    values: Mapping[str, Any] = run.metrics_by.get("values", {})
    if not values:
        hint = "metrics_by in a stanza names a column by whose values metrics are told apart here."
        return f'<h2>Metrics by group</h2><p class="soft">{hint}</p>'
    keys = list(dict.fromkeys(key for entry in values.values() for key in entry["metrics"]))
    column = run.metrics_by["column"]
    tables = "".join(_groups_table(column, values, of) for of in parted(keys))
    return f"<h2>Metrics by {escape(column)}</h2>{tables}"


def _groups_table(column: str, values: Mapping[str, Any], keys: Sequence[str]) -> str:
    heads = [head(column, "ascending", kind="text"), head("rows"), *map(metric_head, keys)]
    rows = []
    for value, entry in values.items():
        line = [name_cell(value), cell(f"{entry['rows']:,}", entry["rows"], name="rows")]
        for key in keys:
            number = entry["metrics"].get(key)
            number = math.nan if number is None else number
            line.append(cell(cells.number(number), number, hint=entry["undefined"].get(key, ""), name=key))
        rows.append(line)
    return grid(heads, rows, tasks_row(keys, 2))


def _errors(run: StoredRun, split: str) -> str:
    """Slices of each task's rows, with their part of its error."""
    stored = run.read_scores(split)
    if stored is None:
        return (
            f'<h2>Errors by slice</h2><p class="soft">The {split} scores are not saved '
            "(save_predictions: true saves them).</p>"
        )
    binary = facts.positives(run, split)
    rows = [
        _slice_row(task, each, task in binary)
        for task in run.tasks
        for each in slices(stored, task, task in binary)
    ]
    heads = [head("task", "ascending", kind="text"), head("slice of", "ascending", kind="text")]
    heads += [head("which", kind="text"), head("rows"), head("predicted"), head("observed")]
    heads += [
        head("ratio", label="predicted by observed"),
        head("error"),
        head("share", label="of the error"),
    ]
    note = (
        f"{split.capitalize()} rows of each task in tenths of its predictions, and by how many rows their "
        "group has; error is log loss, or absolute error of a number; share is the slice's part of all error."
    )
    return f'<h2>Errors by slice</h2><p class="soft">{note}</p>{grid(heads, rows)}'


def _slice_row(task: str, found: Slice, binary: bool) -> list[str]:
    ratio = found.predicted / found.observed if found.observed else math.nan
    which = f"log loss {found.error:.6f}" if binary else f"absolute error {found.error:.6f}"
    return [
        name_cell(task),
        cell(escape(found.by), found.by, "text", name="slice of"),
        cell(escape(found.name), float(found.name.split()[0]), "text", name="which"),
        cell(f"{found.rows:,}", found.rows, name="rows"),
        cell(cells.number(found.predicted), found.predicted, name="predicted"),
        cell(cells.number(found.observed), found.observed, name="observed"),
        cell(styled(ratio, ".3f"), ratio, name="ratio"),
        cell(cells.number(found.error), found.error, hint=which, name="error"),
        cell(styled(found.share, ".1%"), found.share, name="share"),
    ]


def _environment(run: StoredRun) -> str:
    if not run.stanza:
        return ""
    text = yaml.safe_dump(run.stanza, sort_keys=False, allow_unicode=True)
    return folded(
        "Stanza, with every key", f'<div class="card"><pre>{escape(text)}</pre></div>', opened=False
    )

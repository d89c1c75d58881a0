"""Numbers of a comparison as text, the same in every format."""

import math

from fuxi_mtl.comparison import Cell, Difference, Row, Table, Transfer

NOTHING = "–"


def number(value: float, signed: bool = False) -> str:
    """Four decimals; three significant digits below 0.01, where four decimals would hide them.

    Of what is signed, a difference, one digit where four decimals would be zeros.
    """
    if math.isnan(value):
        return NOTHING
    if signed and 0 < abs(value) < 5e-5:
        return f"{value:+.1g}"
    digits = ".3g" if 0 < abs(value) < 0.01 and not signed else ".4f" if abs(value) < 1000 else ".6g"
    return f"{value:{'+' if signed else ''}{digits}}"


def mean_and_spread(cell: Cell, seeds: int) -> str:
    """``0.9481 ± 0.0004``, with ``(2)`` behind it where the metric is defined on fewer seeds."""
    text = number(cell.mean)
    if not math.isnan(cell.deviation):
        text += f" ± {cell.deviation:.4f}" if cell.deviation >= 5e-5 else f" ± {cell.deviation:.1g}"
    return f"{text} ({len(cell.by_seed)})" if 0 < len(cell.by_seed) < seeds else text


def difference(found: Difference | None) -> str:
    """``+0.0012 [+0.0003, +0.0021] *``; the star says that the interval excludes zero."""
    if found is None or math.isnan(found.value):
        return NOTHING
    text = number(found.value, signed=True)
    if math.isnan(found.low):
        return text
    star = " *" if found.excludes_zero else ""
    return f"{text} [{number(found.low, signed=True)}, {number(found.high, signed=True)}]{star}"


def delta_m(transfer: Transfer) -> str:
    """Delta_m in percent; positive is better than single tasks."""
    return NOTHING if math.isnan(transfer.delta_m) else f"{transfer.delta_m:+.2%}"


def parameters(row: Row) -> str:
    """``23,399,122``."""
    return NOTHING if row.num_parameters is None else f"{row.num_parameters:,}"


def seconds(row: Row) -> str:
    """Training time."""
    return NOTHING if row.train_seconds is None else f"{row.train_seconds:,.1f}"


def speed(row: Row) -> str:
    """Training rows a second."""
    return NOTHING if row.rows_per_second is None else f"{row.rows_per_second:,.0f}"


def title(table: Table) -> str:
    """``census_income, test``."""
    return f"{table.dataset_id}, {table.split}"


def legend(table: Table) -> list[str]:
    """What the marks mean, then the table's notes."""
    lines = ["mean ± standard deviation over seeds; best mean of each column marked."]
    if table.baseline is not None:
        line = f"Differences are to {table.baseline}, averaged over common seeds"
        if table.resampled:
            line += (
                f"; [{table.level:.0%} interval] by paired bootstrap ({table.resampled}), * excludes zero. "
                "It covers the choice of test rows, not of seeds"
            )
        lines.append(f"{line}.")
    if table.has_transfer:
        lines.append(
            f"Δm: mean relative change of each task against {table.single_task} "
            f"({_metrics_of_transfer(table)}); negative means negative transfer."
        )
    return [*lines, *table.notes]


def _metrics_of_transfer(table: Table) -> str:
    used = {task: name for row in table.rows for task, name in row.transfer.metric_of.items()}
    if len(set(used.values())) == 1:
        return next(iter(used.values()))
    return ", ".join(f"{task}: {name}" for task, name in used.items())

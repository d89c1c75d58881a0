"""Finished runs side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuxi_mtl.comparison import StoredRun, Table, read_run
from fuxi_mtl.comparison import compare as tables_of
from fuxi_mtl.files.remote import is_url
from fuxi_mtl.report import records, render, table_html
from fuxi_mtl.workflow.remote_runs import fetch_run

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from fuxi_mtl.interface.run import Run


class Comparison:
    """Tables of runs: a table for each dataset, a row for each experiment, means and spread over its seeds.

    A notebook shows it as a table, `print` as text.

    Attributes:
        tables: The tables.

    Example:
        >>> fm.compare([run]).to_pandas()["expid"].tolist()
        ['MMoE']
    """

    def __init__(self, tables: Sequence[Table]):
        self.tables = tuple(tables)

    def to_markdown(self) -> str:
        """The tables for a document, with a legend."""
        return render(self.tables, "markdown")

    def to_html(self) -> str:
        """A web page with pictures that needs nothing else."""
        return render(self.tables, "html")

    def to_pandas(self) -> "pd.DataFrame":
        """A row an experiment, in full precision; NaN where undefined."""
        import pandas as pd

        return pd.DataFrame.from_records(records(self.tables))

    def to_polars(self) -> "pl.DataFrame":
        """A row an experiment, in full precision; null where undefined."""
        import polars as pl

        return pl.DataFrame(records(self.tables), infer_schema_length=None)

    def __str__(self) -> str:
        return render(self.tables, "terminal")

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(row.expid for table in self.tables for row in table.rows)}>"

    def _repr_html_(self) -> str:
        return "".join(table_html(table) for table in self.tables)


def compare(
    runs: "Run | str | Path | Iterable[Run | str | Path]",
    baseline: str | None = None,
    *,
    checks: bool = False,
    resamples: int = 1000,
) -> Comparison:
    """Compares finished runs: mean and spread over seeds, intervals of differences, transfer, cost.

    Args:
        runs: Runs, their folders or URLs, one or several. Two of one name and seed are told apart by a
            number.
        baseline: Name of the experiment that the others are compared with. Without it, a dataset's SingleTask
            experiment, else its first.
        checks: Whether the numbers of the conversion checks are columns, too.
        resamples: Resamples of the test rows for the intervals; 0 leaves them out.

    Raises:
        ValueError: Something is no run, there is none, or the baseline is not among them.

    Example:
        >>> "| expid |" in fm.compare([run]).to_markdown()
        True
    """
    return Comparison(tables_of(read_runs(runs, "compare"), baseline, checks=checks, resamples=resamples))


def read_runs(runs: "Run | str | Path | Iterable[Run | str | Path]", what: str) -> list[StoredRun]:
    """Runs, or what lies in their folders; two of one name and seed are told apart by a number.

    Args:
        runs: One or several.
        what: Who asks, for messages.

    Raises:
        ValueError: Something is no run.
    """
    seen: dict[tuple[Any, ...], int] = {}
    stored = []
    for run in runs if isinstance(runs, Iterable) and not isinstance(runs, str) else [runs]:
        if not isinstance(run, (str, Path)) and not hasattr(run, "folder"):
            raise ValueError(
                f"{what}: {type(run).__name__} is no run. Give what fm.fit returned, or a folder."
            )
        folder = run if isinstance(run, (str, Path)) else run.folder
        read = read_run(fetch_run(folder) if is_url(folder) else folder)
        key = (read.dataset_id, read.expid, read.seed)
        seen[key] = seen.get(key, 0) + 1
        stored.append(read if seen[key] == 1 else replace(read, expid=f"{read.expid} ({seen[key]})"))
    return stored

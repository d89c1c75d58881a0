"""The workload as a csv file of texts, as a log export would give it."""

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.workload import Columns, load


def csv_of(folder: Path) -> Path:
    """``rows.csv`` of a prepared workload, made if it is not there.

    An id becomes a text of ten digits, so that the order of texts says nothing about frequency.
    """
    file = folder / "rows.csv"
    if not file.exists():
        workload, columns = load(folder), Columns(folder)
        made = {name: _texts(columns[name]) for name in workload.field_names}
        made |= {name: pl.Series(np.round(columns[name], 6)) for name in workload.number_names}
        made |= {name: pl.Series(columns[name].astype(np.int8)) for name in workload.labels}
        partial = folder / "rows.partial.csv"
        pl.DataFrame(made).write_csv(partial)
        partial.replace(file)
    return file


def _texts(ids: np.ndarray) -> pl.Series:
    mixed = ids.astype(np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**32)
    return pl.Series(mixed + np.uint64(10**9)).cast(pl.String)

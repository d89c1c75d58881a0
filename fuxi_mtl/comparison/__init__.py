"""Comparison of finished runs: mean and spread over seeds, paired intervals, negative transfer, cost.

    tables = compare(stored_runs("./checkpoints/", ["MMoE_test", "PLE_test"]))

:mod:`fuxi_mtl.report` shows them.
"""

from fuxi_mtl.comparison.build import SINGLE_TASK, compare
from fuxi_mtl.comparison.runs import StoredRun, read_run, stored_runs
from fuxi_mtl.comparison.table import Cell, DayRow, Difference, Row, Table, Transfer

__all__ = [
    "SINGLE_TASK",
    "Cell",
    "DayRow",
    "Difference",
    "Row",
    "StoredRun",
    "Table",
    "Transfer",
    "compare",
    "read_run",
    "stored_runs",
]

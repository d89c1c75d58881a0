"""Optimizers: of tables by the rows of the batch, of everything else by Keras."""

from fuxi_mtl.optimizers.catching_up import DeferredUpdates, DenseEquivalentAdam
from fuxi_mtl.optimizers.dense import by_few_operations
from fuxi_mtl.optimizers.factory import make_optimizer
from fuxi_mtl.optimizers.rows import (
    LazyAdam,
    RowAdagrad,
    RowFtrl,
    RowOptimizer,
    RowSGD,
    RowWiseAdagrad,
    sum_duplicates,
)
from fuxi_mtl.optimizers.schedule import WarmUpThenDecay
from fuxi_mtl.optimizers.split import (
    SplitOptimizer,
    is_scheduled,
    rate_of,
    row_counterpart,
    schedule_of,
    split_of,
    summed_before,
    with_rows,
)

__all__ = [
    "DeferredUpdates",
    "DenseEquivalentAdam",
    "LazyAdam",
    "RowAdagrad",
    "RowFtrl",
    "RowOptimizer",
    "RowSGD",
    "RowWiseAdagrad",
    "SplitOptimizer",
    "WarmUpThenDecay",
    "by_few_operations",
    "is_scheduled",
    "make_optimizer",
    "rate_of",
    "row_counterpart",
    "schedule_of",
    "split_of",
    "sum_duplicates",
    "summed_before",
    "with_rows",
]

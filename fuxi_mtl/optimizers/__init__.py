"""How variables move: tables by the rows of the batch, everything else by Keras."""

from fuxi_mtl.optimizers.making import make_optimizer
from fuxi_mtl.optimizers.rows import (
    LazyAdam,
    RowAdagrad,
    RowFtrl,
    RowOptimizer,
    RowSGD,
    RowWiseAdagrad,
    sum_duplicates,
)
from fuxi_mtl.optimizers.split import SplitOptimizer, rate_of, row_counterpart

__all__ = [
    "LazyAdam",
    "RowAdagrad",
    "RowFtrl",
    "RowOptimizer",
    "RowSGD",
    "RowWiseAdagrad",
    "SplitOptimizer",
    "make_optimizer",
    "rate_of",
    "row_counterpart",
    "sum_duplicates",
]

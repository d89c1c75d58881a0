"""The fitted encoding of raw rows as TensorFlow operations, so that a SavedModel takes raw features.

Each module computes in a graph what its namesake in :mod:`fuxi_mtl.dataset` computes with polars and numpy,
from the same fitted rules. A missing text is ``""`` and a missing number is NaN. A missing integer is the
smallest int64, which is also what numpy makes of NaN.
"""

from fuxi_mtl.dataset.raw import MISSING_INTEGER
from fuxi_mtl.serving.encoding import PADDED, RAGGED, TEXT, GraphEncoder

__all__ = ["MISSING_INTEGER", "PADDED", "RAGGED", "TEXT", "GraphEncoder"]

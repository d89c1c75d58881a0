"""SavedModels that take raw rows, predictions for files, and the fitted encoding as TensorFlow operations.

`bags`, `encoding` and `raw` compute in a graph what their namesakes in :mod:`fuxi_mtl.dataset` compute with
polars and numpy, from the same fitted rules. A missing text is ``""`` and a missing number is NaN. A missing
integer is the smallest int64, which is also what numpy makes of NaN.
"""

from fuxi_mtl.dataset.raw import MISSING_INTEGER
from fuxi_mtl.options.exported import PADDED, TEXT
from fuxi_mtl.serving.encoding import RAGGED, GraphEncoder

__all__ = ["MISSING_INTEGER", "PADDED", "RAGGED", "TEXT", "GraphEncoder"]

"""Encoding of rows for a model that takes ids, in programs without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.dataset.encoding_file import read_encoding
from fuxi_mtl.dataset.frames import is_frame, rows_of
from fuxi_mtl.dataset.unknown import UnknownIds


class Encoder:
    """From raw rows to the two arrays that a model takes which was exported with ``signature: from_ids``.

    It computes what training computed, and imports no TensorFlow, so that a server with ONNX Runtime,
    OpenVINO or LiteRT needs none.

    Args:
        file: The ``encoding.json`` beside the model.

    Raises:
        ValueError: It is missing, damaged or of a newer format.

    Example:
        >>> run.export("ids/served", signature="from_ids").name
        'served'
        >>> encode = fm.Encoder("ids/served/encoding.json")
        >>> batch = encode(frame.head(3))
        >>> sorted(batch), batch["ids"].dtype.name, len(batch["numeric"])
        (['ids', 'numeric'], 'int32', 3)
    """

    def __init__(self, file: str | Path):
        self._encoder = read_encoding(Path(file).expanduser())
        self._rules = {column.name: column.rule for column in self._encoder.columns}
        self._unknown = UnknownIds(self._encoder)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that rows must have; others may be there."""
        return self._encoder.raw_columns

    @property
    def unknown(self) -> dict[str, float]:
        """By feature, the share of entries since the beginning that training has not seen."""
        return self._unknown.shares()

    def __call__(self, rows: Any) -> dict[str, np.ndarray]:
        """``ids`` ``(rows, id columns)`` int32 and ``numeric`` ``(rows, numeric columns)`` float32.

        Args:
            rows: A frame of pandas or polars, an arrow table, or a dict of arrays or lists.

        Raises:
            ValueError: A column is missing, or an entry cannot be read.
        """
        if not is_frame(rows):
            raise ValueError(
                f"rows are {type(rows).__name__}. They can be: a frame of pandas or polars, an arrow "
                "table, or a dict of arrays or lists."
            )
        frame = rows_of("rows", rows, self._rules, self._encoder.raw_columns)
        ids, numeric = self._encoder.encode(frame)
        self._unknown.observe(frame, ids)
        return {"ids": ids, "numeric": numeric}

"""Requests that TensorFlow Serving sends a model before it takes others.

``assets.extra/tf_serving_warmup_requests`` is a file of TFRecords, each a ``PredictionLog`` of
tensorflow-serving-api. Its few fields are written here, so that an export needs no package more.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from fuxi_mtl.serving import MISSING_INTEGER

WARM_UP = "tf_serving_warmup_requests"
BATCHES = (1, 100)  # rows of a request; the first steps of a size are the slow ones
# The numbers of the fields, see tensorflow_serving/apis: of PredictionLog, PredictLog, PredictRequest,
# ModelSpec, and an entry of a map.
_PREDICT_LOG, _REQUEST, _MODEL, _INPUTS, _SIGNATURE, _KEY, _VALUE = 6, 1, 1, 2, 3, 1, 2


def write_warm_up(file: Path, signatures: Mapping[str, Mapping[str, tf.TensorSpec]]) -> None:
    """Writes a request of each size to each signature, whose texts and integers are missing and numbers 0.

    Args:
        file: Where they go.
        signatures: The inputs of each.
    """
    with tf.io.TFRecordWriter(str(file)) as records:
        for name, specs in signatures.items():
            for rows in BATCHES:
                records.write(_predict_log(name, {put: _entries(spec, rows) for put, spec in specs.items()}))


def _entries(spec: tf.TensorSpec, rows: int) -> np.ndarray:
    """Entries of no content; an open dimension behind that of the rows is 1."""
    first, *others = spec.shape.as_list()
    shape = [rows if first is None else first, *(1 if size is None else size for size in others)]
    if spec.dtype == tf.string:
        return np.full(shape, b"", object)
    return np.full(shape, MISSING_INTEGER if spec.dtype == tf.int64 else 0, spec.dtype.as_numpy_dtype)


def _predict_log(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    request = _field(_MODEL, _field(_SIGNATURE, signature.encode()))
    for name, values in inputs.items():
        tensor = tf.make_tensor_proto(values).SerializeToString()
        request += _field(_INPUTS, _field(_KEY, name.encode()) + _field(_VALUE, tensor))
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message: its number and kind, its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, all bytes but the last with their highest bit."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])

"""A trained model as one ONNX file that takes raw features, for runtimes without TensorFlow."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import compose, helper

from fuxi_mtl.dataset import Encoder
from fuxi_mtl.files import remove_leavings, write_bytes
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.serving.encoding import encoded_specs
from fuxi_mtl.serving.export import ExportError, info_of, input_names, traced_network
from fuxi_mtl.serving.onnx_encoding import IDS, NUMERIC, OPSET, OPSET_ML, OnnxEncoder

logger = logging.getLogger(__name__)

LIMIT = 2**31 - 2**20  # bytes of a message of protocol buffers, and room for what is no number or token
_IR_VERSION = 8  # the oldest that these operators need
_ENCODED = {"ids": IDS, "numeric": NUMERIC}


def export_onnx(
    model: MultiTaskModel,
    encoder: Encoder,
    file: str | Path,
    fusion: GraphFusion | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Writes one ONNX file with the encoding of its inputs inside.

    Its outputs are those of :func:`~fuxi_mtl.serving.export.export_model`, and so are its inputs but for
    bags and their weights, which are padded lists ``(batch, length)`` as in ``serve_lists``, and for hashed
    columns, which come as ids (int64, 0 being padding) because ONNX has no such hash. What the model is
    stands in its metadata under ``model_info``.

    Example::

        session = onnxruntime.InferenceSession("mmoe.onnx")
        session.run(None, {"user_id": np.array(["u0042"], object), "age": np.array([34], np.float32)})

    Args:
        model: A built model.
        encoder: The encoding that it was trained with.
        file: Where it goes; an older file is replaced once the new one is whole.
        fusion: Makes one score of an encoded batch and its predictions by task; a batch is one request to it.
        info: What is said of the model.

    Raises:
        ExportError: The model is too large for one file, has an operation that ONNX has not, or cannot be
            written.
    """
    file = Path(file).expanduser()
    if file.suffix != ".onnx" or file.is_dir():
        raise ExportError(f"output: {file} is no name of an ONNX file: it must end in .onnx.")
    names = input_names(encoder.raw_columns)
    encoding = OnnxEncoder(encoder, names)
    whole = _merged(encoding.graph(), _network(model, encoder, fusion))
    helper.set_model_props(whole, {"model_info": info_of(model, info)})
    for column in encoding.hashed:
        logger.info("ONNX has no hash: the input %r takes ids of column %r.", names[column], column)
    _write(whole, file)


def _network(model: MultiTaskModel, encoder: Encoder, fusion: GraphFusion | None) -> onnx.ModelProto:
    """From encoded batches to predictions."""
    network = traced_network(model, encoder, fusion)
    size = sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in network.graph.variables)
    if size > LIMIT:
        raise ExportError(
            f"tables and kernels are {size / 1e9:.1f} GB, and an ONNX file holds 2: export a SavedModel."
        )
    specs = encoded_specs(encoder.feature_map)
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()]

    def named(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(dict(zip(specs, inputs, strict=True)))

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    converted, _ = tf2onnx.convert.from_function(
        tf.function(named, autograph=False), input_signature=signature, opset=OPSET
    )
    return converted


def _merged(encoding: onnx.GraphProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """The encoding, and the network behind it."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    first = helper.make_model(encoding, opset_imports=opsets, ir_version=_IR_VERSION)
    network.ir_version = _IR_VERSION
    network = compose.add_prefix(network, "network/", rename_outputs=False)
    reached = {put.name.removeprefix("network/"): put.name for put in network.graph.input}
    whole = compose.merge_models(
        first,
        network,
        io_map=[(_ENCODED[name], put) for name, put in reached.items()],
        outputs=[put.name for put in network.graph.output],
    )
    whole.producer_name = "fuxi_mtl"
    return whole


def _write(whole: onnx.ModelProto, file: Path) -> None:
    if whole.ByteSize() > LIMIT:
        raise ExportError(
            f"tables and vocabularies are {whole.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2: "
            "export a SavedModel."
        )
    onnx.checker.check_model(whole)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_leavings(file)
        write_bytes(file, whole.SerializeToString())
    except OSError as error:
        raise ExportError(f"cannot write {file} ({error.strerror or error}).") from error

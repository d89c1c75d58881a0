"""A trained model as one ONNX file that takes raw features, for runtimes without TensorFlow."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import compose, helper, version_converter

from fuxi_mtl.dataset import Encoder
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.exported import FROM_IDS
from fuxi_mtl.serving.encoding import encoded_specs
from fuxi_mtl.serving.export import (
    ExportError,
    Form,
    info_of,
    input_names,
    said_of,
    traced_network,
    with_encoding,
)
from fuxi_mtl.serving.files import checked_file, write_file
from fuxi_mtl.serving.onnx_encoding import IDS, NUMERIC, OPSET, OPSET_ML, OnnxEncoder
from fuxi_mtl.serving.onnx_operators import graph_of

logger = logging.getLogger(__name__)

LIMIT = 2**31 - 2**20  # bytes of a message of protocol buffers, and room for what is no number or token
_IR_VERSION, _IR_VERSION_OF_TEXTS = 8, 9  # the oldest that these operators need, and those of opset 20
_ENCODED = {"ids": IDS, "numeric": NUMERIC}


def export_onnx(
    model: MultiTaskModel,
    encoder: Encoder,
    file: str | Path,
    fusion: GraphFusion | None = None,
    info: Mapping[str, Any] | None = None,
    form: Form = Form(),  # noqa: B008 - it is frozen
) -> None:
    """Writes one ONNX file with the encoding of its inputs inside.

    Its outputs are those of :func:`~fuxi_mtl.serving.export.export_model`, and so are its inputs but for
    bags and their weights, which are padded lists ``(batch, length)`` as in ``serve_lists`` unless the form
    says ``text`` (which takes opset 20: ONNX Runtime has it from 1.17 on), and for hashed
    columns, which come as ids (int64, 0 being padding) because ONNX has no such hash. What the model is
    stands in its metadata under ``model_info``. In the form ``from_ids`` the inputs are ``ids`` and
    ``numeric``, and ``encoding.json`` lies beside the file.

    Example::

        session = onnxruntime.InferenceSession("mmoe.onnx")
        session.run(None, {"user_id": np.array(["u0042"], object), "age": np.array([34], np.float32)})

    Args:
        model: A built model.
        encoder: The encoding that it was trained with.
        file: Where it goes; an older file is replaced once the new one is whole.
        fusion: Makes one score of an encoded batch and its predictions by task; a batch is one request to it.
        info: What is said of the model.
        form: Its inputs and the type of its tables.

    Raises:
        ExportError: The model is too large for one file, has an operation that ONNX has not, a table does
            not fit its type, or the file cannot be written.
    """
    file = checked_file(file, ".onnx", "an ONNX file")
    network = _network(model, encoder, fusion, form.tables)
    if form.signature == FROM_IDS:
        info = with_encoding(info, encoder)
        whole = _alone(network, encoder)
    else:
        names = input_names(encoder.raw_columns)
        encoding = OnnxEncoder(encoder, names, form.bags)
        whole = _merged(encoding.graph(), network, encoding.opset)
        for column in encoding.hashed:
            logger.info("ONNX has no hash: the input %r takes ids of column %r.", names[column], column)
    helper.set_model_props(whole, {"model_info": info_of(model, info)})
    if whole.ByteSize() > LIMIT:
        raise ExportError(
            f"tables and vocabularies are {whole.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2: "
            "export a SavedModel."
        )
    onnx.checker.check_model(whole)
    if form.signature == FROM_IDS:
        write_file(file, whole.SerializeToString(), encoder, said_of(model, info))
    else:
        write_file(file, whole.SerializeToString())


def _network(
    model: MultiTaskModel, encoder: Encoder, fusion: GraphFusion | None, tables: str
) -> onnx.ModelProto:
    """From encoded batches to predictions."""
    network = traced_network(model, encoder, fusion, tables)
    size = sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in network.graph.variables)
    if size > LIMIT:
        raise ExportError(
            f"tables and kernels are {size / 1e9:.1f} GB, and an ONNX file holds 2: export a SavedModel."
        )
    specs = encoded_specs(encoder.feature_map)
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()]

    def named(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(dict(zip(specs, inputs, strict=True)))

    return graph_of(named, signature)


def _alone(network: onnx.ModelProto, encoder: Encoder) -> onnx.ModelProto:
    """The network with both of its inputs, though it may read but one."""
    known = {put.name for put in network.graph.input}
    for name, spec in encoded_specs(encoder.feature_map).items():
        if name not in known:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype.as_numpy_dtype))
            network.graph.input.append(helper.make_tensor_value_info(name, dtype, ["batch", spec.shape[1]]))
    network.ir_version = _IR_VERSION
    network.producer_name = "fuxi_mtl"
    return network


def _merged(encoding: onnx.GraphProto, network: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The encoding, and the network behind it."""
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    version = _IR_VERSION if opset == OPSET else _IR_VERSION_OF_TEXTS
    first = helper.make_model(encoding, opset_imports=opsets, ir_version=version)
    network = network if opset == OPSET else version_converter.convert_version(network, opset)
    network.ir_version = version
    network = compose.add_prefix(network, "network/")
    reached = {put.name.removeprefix("network/"): put.name for put in network.graph.input}
    whole = compose.merge_models(
        first,
        network,
        io_map=[(_ENCODED[name], put) for name, put in reached.items()],
        outputs=[put.name for put in network.graph.output],
    )
    for put in whole.graph.output:  # their own names again, by which they are served
        name = put.name.removeprefix("network/")
        whole.graph.node.append(helper.make_node("Identity", [put.name], [name]))
        put.name = name
    whole.producer_name = "fuxi_mtl"
    return whole

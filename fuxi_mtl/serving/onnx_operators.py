"""Operations of TensorFlow that tf2onnx does not know, written in those of ONNX."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, helper

from fuxi_mtl.serving.export import ExportError
from fuxi_mtl.serving.onnx_encoding import OPSET

Handler = Callable[..., None]


def _replaced(ctx: Any, node: Any, make: Callable[..., Any]) -> None:
    """Puts what `make` makes of a node's inputs in its place."""
    output, inputs = node.output[0], list(node.input)
    shape, dtype = ctx.get_shape(output), ctx.get_dtype(output)
    ctx.remove_node(node.name)
    made = make(*inputs)
    ctx.make_node("Identity", [made], outputs=[output], shapes=[shape], dtypes=[dtype])


def _of_one(make: Callable[[Callable[[str, list[str]], str], str, str], str]) -> Handler:
    """A handler for what is made of the input and the number 1, in the input's type.

    Args:
        make: Of what adds a node and names its output, the input and the number.
    """

    def handler(ctx: Any, node: Any, *_: Any) -> None:
        dtype = helper.tensor_dtype_to_np_dtype(ctx.get_dtype(node.input[0]))
        one = ctx.make_const(f"{node.name}/one", np.array(1, dtype)).output[0]

        def added(kind: str, inputs: list[str]) -> str:
            return str(ctx.make_node(kind, inputs).output[0])

        _replaced(ctx, node, lambda x: make(added, x, one))

    return handler


def _bound(comparison: str) -> Handler:
    """How many of the sorted numbers of a row lie before each of its others: all are compared."""

    def handler(ctx: Any, node: Any, *_: Any) -> None:
        dtype = ctx.get_dtype(node.output[0])
        axes = [ctx.make_const(f"{node.name}/axis_{k}", np.array([k], np.int64)).output[0] for k in (1, 2)]

        def make(ordered: str, values: str) -> str:
            across = ctx.make_node("Unsqueeze", [ordered, axes[0]]).output[0]  # (rows, 1, sorted)
            down = ctx.make_node("Unsqueeze", [values, axes[1]]).output[0]  # (rows, values, 1)
            before = ctx.make_node(comparison, [across, down]).output[0]
            ones = ctx.make_node("Cast", [before], attr={"to": TensorProto.INT32}).output[0]
            total = ctx.make_node("ReduceSum", [ones, axes[1]], attr={"keepdims": 0}).output[0]
            return ctx.make_node("Cast", [total], attr={"to": dtype}).output[0]

        _replaced(ctx, node, make)

    return handler


_HANDLERS: dict[str, tuple[Handler, list]] = {
    "Erfc": (_of_one(lambda add, x, one: add("Sub", [one, add("Erf", [x])])), []),
    # Near 0 these two are right to the rounding of 1.
    "Expm1": (_of_one(lambda add, x, one: add("Sub", [add("Exp", [x]), one])), []),
    "Log1p": (_of_one(lambda add, x, one: add("Log", [add("Add", [x, one])])), []),
    "LowerBound": (_bound("Less"), []),
    "UpperBound": (_bound("LessOrEqual"), []),
}


def graph_of(function: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> onnx.ModelProto:
    """A function of TensorFlow as a graph of ONNX.

    Args:
        function: Of tensors, to tensors by name.
        specs: Of its inputs, with their names.

    Raises:
        ExportError: It has an operation that ONNX has not.
    """
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it lacks is told below
    converted, _ = tf2onnx.convert.from_function(
        tf.function(function, autograph=False),
        input_signature=list(specs),
        opset=OPSET,
        custom_op_handlers=_HANDLERS,
    )
    unknown = sorted({node.op_type for node in converted.graph.node if not onnx.defs.has(node.op_type)})
    if unknown:
        raise ExportError(
            f"ONNX cannot hold this model, since it has no {', '.join(unknown)}: export a SavedModel."
        )
    return converted

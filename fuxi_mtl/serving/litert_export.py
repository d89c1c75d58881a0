"""A trained model as one LiteRT file (TensorFlow Lite) that takes encoded rows."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from fuxi_mtl.dataset import Encoder
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.exported import FROM_IDS
from fuxi_mtl.serving.export import ExportError, Form, said_of, served_module, with_encoding
from fuxi_mtl.serving.files import checked_file, write_file


def export_litert(
    model: MultiTaskModel,
    encoder: Encoder,
    file: str | Path,
    fusion: GraphFusion | None = None,
    info: Mapping[str, Any] | None = None,
    form: Form = Form(FROM_IDS),  # noqa: B008 - it is frozen
) -> None:
    """Writes one file with the signature ``from_ids``, and ``encoding.json`` beside it.

    It needs LiteRT's own operations alone, none of TensorFlow's.

    Example::

        run = ai_edge_litert.interpreter.Interpreter("mmoe.tflite").get_signature_runner("from_ids")
        run(**fm.Encoder("encoding.json")(rows))["ctr_pred"]

    Args:
        model: A built model.
        encoder: The encoding that it was trained with.
        file: Where it goes; an older file is replaced once the new one is whole.
        fusion: Makes one score of an encoded batch and its predictions by task; a batch is one request to it.
        info: What is said of the model.
        form: The type of its tables.

    Raises:
        ExportError: The model has an operation that LiteRT has not, or cannot be written.
    """
    file = checked_file(file, ".tflite", "a LiteRT file")
    info = with_encoding(info, encoder)
    served, signatures = served_module(model, encoder, fusion, info, form=form)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(served, folder, signatures={FROM_IDS: signatures[FROM_IDS]})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[FROM_IDS])
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own classes are no part of what TensorFlow offers
            lacking = re.search(r"^TF Select ops: (.*)$", str(error), re.MULTILINE)
            reason = f"it has no {lacking[1]}" if lacking else str(error).strip().partition("\n")[0]
            raise ExportError(
                f"LiteRT cannot hold this model ({reason}): export ONNX or a SavedModel."
            ) from error
    write_file(file, content, encoder, said_of(model, info))

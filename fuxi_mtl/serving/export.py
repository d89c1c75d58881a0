"""A trained model as a SavedModel that takes raw features, for servers that know TensorFlow only."""

import keyword
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from fuxi_mtl.dataset import Encoder
from fuxi_mtl.files import partial_name, remove_leavings, replace_folder
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.layers import folded
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.serving import PADDED, RAGGED, TEXT, GraphEncoder

logger = logging.getLogger(__name__)


class ExportError(ValueError):
    """A model cannot be exported."""


def export_model(
    model: MultiTaskModel, encoder: Encoder, folder: str | Path, fusion: GraphFusion | None = None
) -> None:
    """Writes a SavedModel with the encoding of its inputs inside, and nothing of the training.

    Its signatures all return ``{task}_pred`` ``(batch,)`` float32, probabilities or values of a regression,
    and ``fused_score`` ``(batch,)`` float64 if there is a fusion:

    * ``serving_default`` takes the raw columns by name, each ``(batch,)``: float32 for numbers
      (float64 for those that float32 does not tell apart, such as Unix time), int64 for features of dtype
      int and for ids, text for the rest. A bag and its weights are texts as in a csv file (``a^b^c``); a
      dense vector is ``(batch, length)``.
    * ``serve_lists``, if there are bags, takes these as padded lists ``(batch, length)`` instead: behind the
      last member, members are missing.
    * ``from_ids`` takes an encoded batch, ``ids`` and ``numeric``.

    A missing text is ``""``, a missing number NaN, a missing integer the smallest int64. Beside the
    signatures, the loaded object has a function ``serve_ragged`` that takes a dict with ragged bags.

    Example::

        served = tf.saved_model.load("saved_model").signatures["serving_default"]
        served(user_id=tf.constant(["u0042"]), age=tf.constant([34.0]))["ctr_pred"]

    Args:
        model: A built model; it is exported in the precision that it was built with.
        encoder: The encoding that it was trained with.
        folder: Where it goes. An older SavedModel there is replaced once the new one is whole.
        fusion: Makes one score of an encoded batch and its predictions by task; a batch is one request to it.

    Raises:
        ExportError: The encoder is not the model's, or the folder holds something else or cannot be written.
    """
    if encoder.feature_map != model.features:
        raise ExportError("the encoder belongs to other features than the model: load both from one run.")
    folder = Path(folder).expanduser()
    if folder.exists() and not _is_replaceable(folder):
        raise ExportError(f"{folder} exists and is no SavedModel: name a new folder.")
    partial = partial_name(folder)
    try:
        partial.mkdir(parents=True)
        remove_leavings(folder)
        served, signatures = served_module(model, encoder, fusion)
        tf.saved_model.save(served, str(partial), signatures=signatures)
        replace_folder(partial, folder)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", error)
        raise ExportError(f"cannot write {folder} ({reason}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def served_module(
    model: MultiTaskModel, encoder: Encoder, fusion: GraphFusion | None = None
) -> tuple[tf.Module, dict[str, Any]]:
    """What is saved: the encoding's tables with the variables that predictions need, and the signatures."""
    served = tf.Module(name="served")
    served.encoding = GraphEncoder(encoder)
    names = input_names(encoder.raw_columns)

    def predictions(inputs):
        probabilities = model.probabilities(model(inputs, training=False), inputs)
        served_columns = model.served_columns.items()
        outputs = {column: tf.cast(probabilities[name], tf.float32) for column, name in served_columns}
        if fusion is not None:
            outputs["fused_score"] = fusion(inputs, model.scalars(probabilities))
        return outputs

    with folded(model):
        from_ids = _traced(predictions, served.encoding.encoded_specs)

    def from_raw(inputs):
        return from_ids(served.encoding({column: inputs[name] for column, name in names.items()}))

    def raw_specs(bags):
        return {names[column]: spec for column, spec in served.encoding.specs(bags).items()}

    signatures = {
        "serving_default": _traced(from_raw, raw_specs(TEXT)),
        "from_ids": from_ids,
    }
    if served.encoding.has_bags:
        signatures["serve_lists"] = _traced(from_raw, raw_specs(PADDED))
        served.serve_ragged = tf.function(from_raw, input_signature=[raw_specs(RAGGED)], autograph=False)
    # Only these, because the model itself would bring its optimizer along.
    served.network = list(from_ids.graph.variables)
    return served, signatures


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """The name of each raw column as an input: TensorFlow allows letters, digits and underscores only.

    A column that has such a name keeps it, wherever it stands, unless one before it differs in capitals
    only, which are the same to TensorFlow.

    Example:
        >>> input_names(["age", "user id", "user_id", "7day"])
        {'age': 'age', 'user id': 'user_id_2', 'user_id': 'user_id', '7day': 'arg_7day'}
    """
    plain_names = {column: _plain(column) for column in columns}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column, plain in sorted(plain_names.items(), key=lambda each: each[0] != each[1]):
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name.lower())
        names[column] = name
        if name != column:
            logger.warning("The exported model calls column %r %r: inputs have plain names.", column, name)
    return {column: names[column] for column in plain_names}


def _plain(column: str) -> str:
    plain = re.sub(r"\W", "_", column, flags=re.ASCII)
    if not re.match(r"[A-Za-z]", plain) or keyword.iskeyword(plain) or plain == "self":
        return f"arg_{plain}"
    return plain


def _traced(function: Callable, specs: Mapping[str, tf.TensorSpec]) -> Any:
    """A signature; it calls its inputs by the names of the specs.

    Without autograph, as Keras traces training: converting the code of a model would take seconds.
    """
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    return tf.function(function, autograph=False).get_concrete_function(named)


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "saved_model.pb").is_file() or not any(folder.iterdir()))

"""A trained model as a SavedModel that takes raw features, for servers that know TensorFlow only."""

import itertools
import json
import keyword
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from fuxi_mtl.dataset import DataError, Encoder
from fuxi_mtl.dataset.encoding_file import identity_of, write_encoding
from fuxi_mtl.files import check_listed, list_files, partial_name, remove_leavings, replace_folder
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.layers import FeatureEmbedding, folded, stored_in
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.exported import FROM_IDS, RAW, STORED
from fuxi_mtl.serving import MISSING_INTEGER, PADDED, RAGGED, TEXT, GraphEncoder
from fuxi_mtl.serving.encoding import encoded_specs
from fuxi_mtl.serving.filling import Rows, fill_tables
from fuxi_mtl.serving.warm_up import WARM_UP, write_warm_up

DEFAULT = "serving_default"  # the signature that servers take unless they are told another
EXTRA = "assets.extra"  # where TensorFlow Serving looks for what belongs to a model beside its graph
MODEL_INFO = "model_info.json"
CHECKSUMS = "SHA256SUMS"
_VOCABULARIES = "vocabularies"  # while a model is written; the SavedModel takes the files as its assets

logger = logging.getLogger(__name__)


class ExportError(ValueError):
    """A model cannot be exported."""


@dataclass(frozen=True)
class Form:
    """What an exported model takes, and how it holds its tables.

    Attributes:
        signature: ``raw`` for raw columns, ``from_ids`` for encoded ones alone: then ``encoding.json`` lies
            beside the model, which :class:`fuxi_mtl.Encoder` reads.
        tables: Type in which the rows of tables are stored; they are computed with in float32.
        bags: In an ONNX file of raw columns, ``padded`` for lists or ``text`` for bags as in a csv file.
    """

    signature: str = RAW
    tables: str = STORED[0]
    bags: str = PADDED


def export_model(
    model: MultiTaskModel,
    encoder: Encoder,
    folder: str | Path,
    fusion: GraphFusion | None = None,
    info: Mapping[str, Any] | None = None,
    form: Form = Form(),
    rows: Mapping[int, Rows] = MappingProxyType({}),
) -> None:
    """Writes a SavedModel with the encoding of its inputs inside, and nothing of the training.

    Its signatures all return ``{task}_pred`` ``(batch,)`` float32, probabilities or values of a regression,
    and ``fused_score`` ``(batch,)`` float64 if there is a fusion; all but ``model_info``:

    * ``serving_default`` takes the raw columns by name, each ``(batch,)``: float32 for numbers
      (float64 for those that float32 does not tell apart, such as Unix time), int64 for features of dtype
      int and for ids, text for the rest. A bag and its weights are texts as in a csv file (``a^b^c``); a
      dense vector is ``(batch, length)``.
    * ``serve_lists``, if there are bags, takes these as padded lists ``(batch, length)`` instead: behind the
      last member, members are missing.
    * ``serve_ranking``, where features have a ``source``, ranks items for one user: columns of a feature
      whose source is ``user`` or ``context`` have one entry, all others and the outputs one an item. The
      user's columns are encoded once.
    * ``from_ids`` takes an encoded batch, ``ids`` and ``numeric``.
    * ``model_info`` takes nothing and returns what the model is, one JSON text of that name. The same text
      is the file ``assets.extra/model_info.json``.

    A missing text is ``""``, a missing number NaN, a missing integer the smallest of its type. A signature
    refuses other types than its own. Beside the signatures, the loaded object has a function ``serve`` that
    takes a dict of the inputs of ``serving_default``, whose integers may all be int32 and whose numbers all
    float64, and ``serve_ragged``, which takes a dict with ragged bags.

    In the form ``from_ids`` that signature is ``serving_default``, too, and there are no others but
    ``model_info``; the encoding is the file ``encoding.json`` in the folder.

    Vocabularies of many tokens are files among the assets of the SavedModel, all others lie in its graph.
    ``assets.extra/SHA256SUMS`` lists all files with their checksums; see :func:`check_saved_model`.
    ``assets.extra/tf_serving_warmup_requests`` has requests that TensorFlow Serving begins with.

    Example::

        served = tf.saved_model.load("saved_model").signatures["serving_default"]
        served(user_id=tf.constant(["u0042"]), age=tf.constant([34.0]))["ctr_pred"]

    Args:
        model: A built model; it is exported in the precision that it was built with.
        encoder: The encoding that it was trained with.
        folder: Where it goes. An older SavedModel there is replaced once the new one is whole.
        fusion: Makes one score of an encoded batch and its predictions by task; a batch is one request to it.
        info: What is said of the model beside the names of its tasks and outputs.
        form: Its signature and the type of its tables.
        rows: Those of tables that the model was made without, see
            :func:`~fuxi_mtl.serving.filling.fill_tables`.

    Raises:
        ExportError: The encoder is not the model's, a table does not fit its type, or the folder holds
            something else or cannot be written.
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
        if form.signature == FROM_IDS:
            info = with_encoding(info, encoder)
            write_encoding(encoder, partial, folder.name, said_of(model, info))
        served, signatures = served_module(model, encoder, fusion, info, partial / _VOCABULARIES, form)
        tf.saved_model.save(served, str(partial), signatures=signatures)
        if rows:
            fill_tables(partial, served.network, "network", rows)
        shutil.rmtree(partial / _VOCABULARIES, ignore_errors=True)
        (partial / EXTRA).mkdir()
        (partial / EXTRA / MODEL_INFO).write_text(info_of(model, info) + "\n", encoding="utf-8")
        write_warm_up(partial / EXTRA / WARM_UP, _inputs_of(signatures))
        list_files(partial, partial / EXTRA / CHECKSUMS)
        replace_folder(partial, folder)
    except DataError as error:  # of the encoding
        raise ExportError(str(error)) from error
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", error)
        raise ExportError(f"cannot write {folder} ({reason}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_saved_model(folder: Path) -> None:
    """Makes sure that an exported model holds what was written; one of an older version is taken as it is.

    ``sha256sum -c assets.extra/SHA256SUMS`` does the same in the folder.

    Raises:
        DamagedError: A file is missing, or another.
    """
    try:
        check_listed(folder, folder / EXTRA / CHECKSUMS, "export the run again.")
    except FileNotFoundError:
        logger.info("%s was written without checksums.", folder)


def served_module(
    model: MultiTaskModel,
    encoder: Encoder,
    fusion: GraphFusion | None = None,
    info: Mapping[str, Any] | None = None,
    vocabularies: Path | None = None,
    form: Form = Form(),
) -> tuple[tf.Module, dict[str, Any]]:
    """What is saved, and its signatures: see :func:`export_model`.

    The module holds the encoding's tables and the variables that predictions need.

    Args:
        model: A built model.
        encoder: The encoding that it was trained with.
        fusion: Makes one score of an encoded batch and its predictions by task.
        info: What is said of the model.
        vocabularies: Where large vocabularies are written as files; without it they are constants.
        form: Which signatures there are, and the type of the tables.
    """
    served = tf.Module(name="served")
    from_ids = traced_network(model, encoder, fusion, form.tables)
    # Only these, because the model itself would bring its optimizer along.
    served.network = list(from_ids.graph.variables)
    signatures = {FROM_IDS: from_ids, "model_info": _constant(model, info)}
    if form.signature == FROM_IDS:
        return served, {DEFAULT: from_ids, **signatures}
    return served, _add_raw(served, GraphEncoder(encoder, vocabularies), encoder, from_ids) | signatures


def _add_raw(served: tf.Module, encoding: GraphEncoder, encoder: Encoder, from_ids: Any) -> dict[str, Any]:
    """Gives a module the encoding and functions of raw columns, and returns its signatures of these."""
    served.encoding = encoding
    names = input_names(encoder.raw_columns)
    once = encoding.once

    def from_raw(inputs):
        return from_ids(encoding({column: inputs[name] for column, name in names.items()}))

    def from_request(inputs):
        return from_ids(encoding({column: inputs[name] for column, name in names.items()}, once))

    def raw_specs(bags):
        return {names[column]: spec for column, spec in encoding.specs(bags).items()}

    texts = raw_specs(TEXT)
    default = _traced(from_raw, texts)
    signatures = {DEFAULT: default}
    served.serve = tf.function(lambda inputs: default(**_of_types(inputs, texts)), autograph=False)
    for specs in _of_either_width(texts):
        _traced(served.serve, specs)
    if encoding.has_bags:
        signatures["serve_lists"] = _traced(from_raw, raw_specs(PADDED))
        served.serve_ragged = tf.function(from_raw, input_signature=[raw_specs(RAGGED)], autograph=False)
    if once and once != set(names):
        single = {names[column] for column in once}
        signatures["serve_ranking"] = _traced(
            from_request,
            {name: _one(spec) if name in single else spec for name, spec in texts.items()},
        )
    else:
        logger.info(
            "The exported model has no signature serve_ranking: %s.",
            "all features are of the user or the context"
            if once
            else "no feature has source: user or context",
        )
    return signatures


def traced_network(
    model: MultiTaskModel, encoder: Encoder, fusion: GraphFusion | None = None, tables: str = STORED[0]
) -> Any:
    """The graph from an encoded batch to what signatures return.

    Raises:
        ExportError: A number of a table is too large for the type of the tables.
    """

    def predictions(inputs):
        probabilities = model.probabilities(model(inputs, training=False), inputs)
        served_columns = model.served_columns.items()
        outputs = {column: tf.cast(probabilities[name], tf.float32) for column, name in served_columns}
        if fusion is not None:
            outputs["fused_score"] = fusion(inputs, model.scalars(probabilities))
        return outputs

    try:
        with folded(model), stored_in(model, tables) as copies:
            network = _traced(predictions, encoded_specs(encoder.feature_map))
    except OverflowError as error:
        raise ExportError(str(error)) from error
    network.copies_of_tables = copies  # which live as long as it does
    return network


def said_of(model: MultiTaskModel, info: Mapping[str, Any] | None) -> dict[str, Any]:
    """What ``encoding.json`` says of the model: what it is, and the columns of each history that it reads."""
    embeddings = [layer for layer in model._flatten_layers() if isinstance(layer, FeatureEmbedding)]
    groups = {name: each.group for embedding in embeddings for name, each in embedding.histories.items()}
    histories = {
        name: {"columns": group.columns, "extra": group.extra, "time": group.time}
        for name, group in groups.items()
    }
    return {"model_info": json.loads(info_of(model, info)), "histories": histories}


def with_encoding(info: Mapping[str, Any] | None, encoder: Encoder) -> dict[str, Any]:
    """What is said of a model, and which encoding its ids are of."""
    return {**(info or {}), "encoding": identity_of(encoder)}


def info_of(model: MultiTaskModel, info: Mapping[str, Any] | None) -> str:
    """What a model is, as JSON."""
    tasks = {task.name: task.expression for task in model.tasks}
    said = {**(info or {}), "model": type(model).__name__, "tasks": tasks, "outputs": [*model.served_columns]}
    return json.dumps(said, indent=2)


def _inputs_of(signatures: Mapping[str, Any]) -> dict[str, dict[str, tf.TensorSpec]]:
    """What each signature that predicts takes."""
    found = {name: tf.nest.flatten(each.structured_input_signature) for name, each in signatures.items()}
    return {name: {spec.name: spec for spec in specs} for name, specs in found.items() if specs}


def _constant(model: MultiTaskModel, info: Mapping[str, Any] | None) -> Any:
    text = info_of(model, info)
    return tf.function(lambda: {"model_info": tf.constant(text)}, [], autograph=False).get_concrete_function()


def _of_types(inputs: Mapping[str, tf.Tensor], specs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Entries in the types of a signature; the smallest int32 is a missing integer."""
    cast = {name: tf.cast(inputs[name], spec.dtype) for name, spec in specs.items()}
    narrow = [name for name, entries in inputs.items() if entries.dtype == tf.int32]
    missing = {name: tf.where(inputs[name] == tf.int32.min, MISSING_INTEGER, cast[name]) for name in narrow}
    return cast | missing


def _of_either_width(specs: Mapping[str, tf.TensorSpec]) -> Iterator[dict[str, tf.TensorSpec]]:
    """The specs with int64 or int32, and with float32 or float64, as far as there are such inputs."""
    types = {spec.dtype for spec in specs.values()}
    integers, numbers = [tf.int64, tf.int32], [tf.float32, tf.float64]
    choices = [either if either[0] in types else either[:1] for either in (integers, numbers)]
    for integer, number in itertools.product(*choices):
        chosen = {tf.int64: integer, tf.float32: number}
        yield {
            name: tf.TensorSpec(spec.shape, chosen.get(spec.dtype, spec.dtype))
            for name, spec in specs.items()
        }


def _one(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([1, *spec.shape[1:]], spec.dtype)


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
    graph = function if hasattr(function, "get_concrete_function") else tf.function(function, autograph=False)
    return graph.get_concrete_function(named)


def _is_replaceable(folder: Path) -> bool:
    known = ("saved_model.pb", f"{EXTRA}/{CHECKSUMS}")  # either may be lost
    return folder.is_dir() and (any((folder / name).is_file() for name in known) or not any(folder.iterdir()))

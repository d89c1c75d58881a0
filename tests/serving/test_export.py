"""The SavedModel: raw rows in, the model's own predictions out, and nothing of the training inside."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import fuxi_mtl as fm
from fuxi_mtl import registry
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.files import DamagedError
from fuxi_mtl.options import FeatureOptions
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.serving.export import (
    ExportError,
    Form,
    check_saved_model,
    export_model,
    input_names,
    served_module,
)
from fuxi_mtl.serving.formats import exporter
from tests import raw_rows, tiny

import_zoo()

PLAIN_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

raw = dict(np.load(sys.argv[2], allow_pickle=True))
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
scores = served(**{name: tf.constant(x.tolist() if x.dtype == object else x) for name, x in raw.items()})
np.savez(sys.argv[3], **{name: x.numpy() for name, x in scores.items()})
assert not {"fuxi_mtl", "fuxi_mtl_zoo", "polars"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return raw_rows.fitted(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Encoder:
    """The encoder of a few columns, without bags and sources: no prediction of a row depends on them."""
    names = ("user", "item", "age")
    features = [replace(feature, source="") for feature in raw_rows.FEATURES if feature.name in names]
    return raw_rows.fitted(tmp_path_factory.mktemp("small"), features)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return raw_rows.frame(257, seed=3, unseen=True)


@pytest.fixture(scope="module")
def trained(encoder, rows):
    """A model with an optimizer that has moved, as at the end of a run."""
    model = raw_rows.model_for(encoder)
    model.compile(optimizer="adam")
    ids, numeric = encoder.encode(rows)
    labels = {task.name: np.ones(len(ids), np.float32) for task in model.tasks}
    batch = ({"ids": ids, "numeric": numeric}, labels, np.ones(len(ids), np.float32))
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(trained, encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "saved_model"
    export_model(trained, encoder, folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    """What TensorFlow makes of it, which takes seconds."""
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model without bags, which is exported sooner, and its encoder."""
    features = [FeatureOptions("user"), FeatureOptions("age", type="numeric")]
    encoder = raw_rows.fitted(tmp_path_factory.mktemp("plain"), features)
    return raw_rows.model_for(encoder, "ShareBottom"), encoder


def predictions(model, encoder: Encoder, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    ids, numeric = encoder.encode(rows)
    scores = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    return {f"{name}_pred": values for name, values in scores.items()}


def assert_close(scores: dict, expected: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    assert scores.keys() == expected.keys()
    for name, values in expected.items():
        scored = np.asarray(scores[name])
        assert scored.dtype == np.float32
        assert scored.shape == values.shape
        np.testing.assert_allclose(scored, values, rtol=0, atol=tolerance, err_msg=name)
        assert len(values) < 2 or values.std() > 1e-4, "these rows would not show a difference"


def tensors(raw: dict) -> dict:
    return {name: tf.constant(x) if isinstance(x, np.ndarray) else x for name, x in raw.items()}


@pytest.mark.parametrize("name", registry.names())
def test_every_model_gives_its_predictions_from_raw_rows(name, small, rows, tmp_path):
    model = raw_rows.model_for(small, name)
    export_model(model, small, tmp_path / name)
    served = tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"]
    raw = tensors(raw_rows.texts(rows[:64]))
    found = served(**{name: raw[name] for name in small.raw_columns})
    ids, numeric = small.encode(rows[:64])
    inputs = {"ids": ids, "numeric": numeric}  # what `predict` does, without tracing it
    expected = {
        f"{task}_pred": np.asarray(x) for task, x in model.probabilities(model(inputs), inputs).items()
    }
    assert_close(found, expected, tolerance=1e-5)  # SPECS, section 13


def test_every_signature_gives_the_same_predictions(trained, encoder, rows, loaded):
    assert set(loaded.signatures) == {
        "serving_default",
        "serve_lists",
        "serve_ranking",
        "from_ids",
        "model_info",
    }
    expected = predictions(trained, encoder, rows)
    ids, numeric = encoder.encode(rows)
    assert_close(loaded.signatures["serving_default"](**tensors(raw_rows.texts(rows))), expected)
    assert_close(loaded.signatures["serve_lists"](**tensors(raw_rows.padded(rows))), expected)
    assert_close(loaded.signatures["from_ids"](ids=tf.constant(ids), numeric=tf.constant(numeric)), expected)
    assert_close(loaded.serve_ragged(raw_rows.ragged(rows)), expected)


@pytest.mark.parametrize("integer", [np.int32, np.int64])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_serve_takes_integers_and_numbers_of_either_width(integer, number, trained, encoder, rows, loaded):
    least = {np.dtype(np.int64): np.iinfo(np.int64).min}

    def cast(values: np.ndarray) -> np.ndarray:
        if values.dtype == np.float32:
            return values.astype(number)
        if values.dtype == np.int64:
            missing = values == least[values.dtype]
            return np.where(missing, np.iinfo(integer).min, values).astype(integer)
        return values

    raw = {name: cast(values) for name, values in raw_rows.texts(rows).items()}
    assert {values.dtype for values in raw.values()} >= {np.dtype(integer), np.dtype(number)}
    assert_close(loaded.serve(tensors(raw)), predictions(trained, encoder, rows))


def test_serve_ranking_takes_a_user_once(trained, encoder, rows, loaded):
    once = ["user", "hour", "age", "tags", "tag_weights"]
    request = rows.with_columns(pl.lit(rows[name][7]).alias(name) for name in once)
    raw = raw_rows.texts(request)
    raw |= {name: raw[name][:1] for name in once}
    found = loaded.signatures["serve_ranking"](**tensors(raw))
    assert_close(found, predictions(trained, encoder, request))


def test_a_request_without_items_ranks_none(rows, loaded):
    once = ["user", "hour", "age", "tags", "tag_weights"]
    raw = {name: x[: name in once] for name, x in raw_rows.texts(rows).items()}
    found = loaded.signatures["serve_ranking"](**tensors(raw))
    assert {scores.shape.as_list()[0] for scores in found.values()} == {0}


def test_serve_ranking_is_there_only_if_a_source_says_who_the_user_is(plain, caplog):
    with caplog.at_level(logging.INFO):
        _, signatures = served_module(*plain)
    assert "serve_ranking" not in signatures
    assert "no signature serve_ranking: no feature has source: user or context" in caplog.text


def test_serve_ranking_needs_columns_of_items(tmp_path, caplog):
    features = [
        FeatureOptions("user", source="user"),
        FeatureOptions("age", source="context", type="numeric"),
    ]
    encoder = raw_rows.fitted(tmp_path, features)
    with caplog.at_level(logging.INFO):
        _, signatures = served_module(raw_rows.model_for(encoder, "ShareBottom"), encoder)
    assert "serve_ranking" not in signatures
    assert "all features are of the user or the context" in caplog.text


def test_every_file_of_an_export_has_a_checksum_which_others_can_check(folder):
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "assets.extra/SHA256SUMS"],
        check=False,
        cwd=folder,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {"saved_model.pb", "variables.index", "model_info.json"} < {file.name for file in files}
    check_saved_model(folder)
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        kept = file.rename(file.with_suffix(".kept"))
        for damage in (lambda file=file, content=content: file.write_bytes(content), file.unlink):
            damage()
            if file.name == "SHA256SUMS" and not file.exists():
                check_saved_model(folder)  # as older versions wrote them
                continue
            told = (
                "SHA256SUMS|cannot be read"
                if file.name == "SHA256SUMS"
                else rf"{file} cannot be read \(.*SHA256SUMS"
            )
            with pytest.raises(DamagedError, match=rf"(?s){told}.*export the run again\."):
                check_saved_model(folder)
        kept.rename(file)
    check_saved_model(folder)


def test_the_model_says_what_it_is(plain, tmp_path):
    export_model(*plain, tmp_path / "model", info={"expid": "mine", "rows": {"train": 7}})
    told = tf.saved_model.load(str(tmp_path / "model")).signatures["model_info"]()["model_info"].numpy()
    tasks = {task.name: task.expression for task in plain[0].tasks}
    assert json.loads(told) == {
        "expid": "mine",
        "rows": {"train": 7},
        "model": "ShareBottom",
        "tasks": tasks,
        "outputs": [f"{name}_pred" for name in tasks],
    }
    assert json.loads((tmp_path / "model/assets.extra/model_info.json").read_text()) == json.loads(told)


def test_a_model_of_ids_has_its_encoding_beside_it(plain, rows, tmp_path):
    model, encoder = plain
    export_model(model, encoder, tmp_path / "ids", form=Form("from_ids"))
    served = tf.saved_model.load(str(tmp_path / "ids"))
    assert set(served.signatures) == {"serving_default", "from_ids", "model_info"}
    assert not hasattr(served, "serve")
    batch = fm.Encoder(tmp_path / "ids" / "encoding.json")(rows)
    found = served.signatures["serving_default"](**tensors(batch))
    assert_close(found, predictions(model, encoder, rows))
    told = json.loads((tmp_path / "ids" / "encoding.json").read_text())
    info = json.loads(served.signatures["model_info"]()["model_info"].numpy())
    assert told["identity"] == info["encoding"]
    assert told["model_info"] == info
    check_saved_model(tmp_path / "ids")


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 11), ("bfloat16", 8)])
def test_tables_in_half_the_bytes_round_their_rows_and_nothing_else(dtype, digits, plain, rows):
    model, encoder = plain
    served, signatures = served_module(model, encoder, form=Form(tables=dtype))
    ids, numeric = map(tf.constant, encoder.encode(rows))
    found = {name: x.numpy() for name, x in signatures["from_ids"](ids=ids, numeric=numeric).items()}
    (table,) = [each for each in served.network if each.dtype == dtype]
    (trained,) = [layer for layer in model._flatten_layers() if hasattr(layer, "read_rows")]
    before = trained.rows.numpy()
    assert not any(variable is trained.rows.value for variable in served.network)
    # Half a unit in the last place of so many digits.
    np.testing.assert_allclose(tf.cast(table, tf.float32), before, rtol=2.0**-digits, atol=1e-7)
    assert (tf.cast(table, tf.float32).numpy() != before).any()
    trained.rows.assign(tf.cast(table, tf.float32))
    try:
        assert_close(found, predictions(model, encoder, rows))
    finally:
        trained.rows.assign(before)


def test_numbers_beyond_a_type_are_refused(plain):
    model, encoder = plain
    (trained,) = [layer for layer in model._flatten_layers() if hasattr(layer, "read_rows")]
    before = trained.rows.numpy()
    trained.rows.assign(np.where(np.arange(len(before))[:, None] == 3, 1e5, before))
    try:
        with pytest.raises(ExportError, match="float16 holds numbers up to 65504, and a table has 100000"):
            served_module(model, encoder, form=Form(tables="float16"))
        served_module(model, encoder, form=Form("from_ids", "bfloat16"))
    finally:
        trained.rows.assign(before)
    assert trained.read_rows is None


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"format": "pmml"}, "format: 'pmml' is none. It can be: savedmodel, onnx, litert"),
        ({"signature": "from_id"}, "signature: 'from_id' is none. Did you mean 'from_ids'"),
        ({"export_dtype": "int8"}, "export_dtype: 'int8' is none. It can be: float32, float16, bfloat16"),
        ({"bags": "ragged"}, "bags: 'ragged' is none. It can be: padded, text"),
        (
            {"format": "litert", "signature": "raw"},
            "signature: raw is none of format: litert, which takes ids",
        ),
        ({"format": "litert", "export_dtype": "float16"}, "float16 is none of format: litert"),
        ({"bags": "text"}, "bags: text is a choice of format: onnx with raw columns"),
        ({"format": "onnx", "signature": "from_ids", "bags": "text"}, "bags: text is a choice of"),
    ],
)
def test_a_form_that_there_is_not_is_refused_before_anything_is_read(choices, told):
    with pytest.raises(ValueError, match=told):
        exporter(**{"format": "savedmodel", **choices})


def test_a_served_network_drops_no_units(small, rows):
    cls = registry.model("ShareBottom")
    model = cls(small.feature_map, tiny.named_plan(cls), **tiny.options_of(cls) | {"net_dropout": 0.9})
    model.build()
    ids, numeric = small.encode(rows)
    _, signatures = served_module(model, small)
    served = signatures["from_ids"](ids=tf.constant(ids), numeric=tf.constant(numeric))
    expected = model.probabilities(model({"ids": ids, "numeric": numeric}, training=False))
    for name, values in expected.items():
        np.testing.assert_allclose(served[f"{name}_pred"], values, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_a_batch_of_any_size_is_served(batch, trained, encoder, rows, loaded):
    some = rows[:batch]
    scores = loaded.signatures["serving_default"](**tensors(raw_rows.texts(some)))
    assert_close(scores, predictions(trained, encoder, some))


def test_a_process_that_imports_tensorflow_only_serves_raw_strings(trained, encoder, rows, folder, tmp_path):
    np.savez(tmp_path / "raw.npz", **raw_rows.texts(rows))
    script = tmp_path / "serve.py"
    script.write_text(PLAIN_TENSORFLOW)
    command = [sys.executable, "-I", script, folder, tmp_path / "raw.npz", tmp_path / "scores.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "scores.npz") as scores:
        assert_close(dict(scores), predictions(trained, encoder, rows))


def test_inputs_are_the_raw_columns_in_their_types_and_outputs_the_tasks(encoder, loaded):
    served = loaded.signatures["serving_default"]
    inputs = served.structured_input_signature[1]
    assert set(inputs) == set(encoder.raw_columns)
    assert not {"click", "buy"} & set(inputs)
    assert inputs["user"].dtype == inputs["tags"].dtype == inputs["tag_weights"].dtype == tf.string
    assert inputs["item"].dtype == inputs["slot"].dtype == tf.int64
    assert inputs["age"].dtype == inputs["income"].dtype == inputs["vector"].dtype == tf.float32
    assert inputs["vector"].shape.as_list() == [None, 2]
    assert set(served.structured_outputs) == {"ctr_pred", "cvr_pred", "ctcvr_pred"}


def test_nothing_of_optimizer_weighting_and_metrics_is_in_the_file(trained, folder):
    saved = [name for name, _ in tf.train.list_variables(str(folder / "variables" / "variables"))]
    variables = [name for name in saved if "VARIABLE_VALUE" in name]
    network = [name for name in variables if name.startswith("network/")]
    scales = [name for name in variables if name.startswith("encoding/scales/")]
    assert sorted(network + scales) == sorted(variables)
    # Every weight of the network but the states that only training has.
    assert len(network) == len(trained.weights)
    size = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    weights = 4 * sum(int(np.prod(v.shape)) for v in trained.weights)
    assert size < weights + 10_000 < 4 * 3 * trained.count_params()
    assert b"adam" not in (folder / "saved_model.pb").read_bytes().lower()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_it_and_gives_float32(policy, small, rows, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = raw_rows.model_for(small)
    finally:
        keras.config.set_dtype_policy("float32")
    export_model(model, small, tmp_path / "mixed")
    served = tf.saved_model.load(str(tmp_path / "mixed")).signatures["serving_default"]
    raw = tensors(raw_rows.texts(rows[:32]))
    scores = served(**{name: raw[name] for name in small.raw_columns})
    assert_close(scores, predictions(model, small, rows[:32]), tolerance=5e-3)


def test_without_bags_there_is_nothing_to_give_as_lists(plain, tmp_path):
    export_model(*plain, tmp_path / "plain")
    loaded = tf.saved_model.load(str(tmp_path / "plain"))
    assert set(loaded.signatures) == {"serving_default", "from_ids", "model_info"}
    assert not hasattr(loaded, "serve_ragged")


def test_columns_whose_names_tensorflow_refuses_get_plain_ones(tmp_path, caplog):
    columns = ["user id", "7day", "user_id", "Stück", "from", "self", "_x", "标签", "价格", "User_id"]
    labels = {"click": ["0", "1", "0", "1"], "buy": "0"}
    rows = pl.DataFrame({name: ["a", "b", "b", ""] for name in columns} | labels)
    rows.write_csv(tmp_path / "odd.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_rows, "frame", lambda *_, **__: rows)
        encoder = raw_rows.fitted(tmp_path, [FeatureOptions(name) for name in columns])
    model = raw_rows.model_for(encoder)
    with caplog.at_level(logging.WARNING):
        export_model(model, encoder, tmp_path / "odd")
    assert "calls column 'user id' 'user_id_3'" in caplog.text
    names = input_names(columns)
    assert names["user_id"] == "user_id"  # the exact name wins over a cleaned one
    assert names["User_id"] == "User_id_2"  # TensorFlow takes capitals for the same
    assert names["user id"] == "user_id_3"
    assert len(set(names.values())) == len(columns)
    served = tf.saved_model.load(str(tmp_path / "odd")).signatures["serving_default"]
    raw = {names[name]: tf.constant(rows[name].to_list()) for name in columns}
    assert_close(served(**raw), predictions(model, encoder, rows))


def test_a_vector_of_a_wrong_length_does_not_fit_the_signature(rows, loaded):
    served = loaded.signatures["serving_default"]
    raw = tensors(raw_rows.texts(rows)) | {"vector": tf.zeros([len(rows), 3])}
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        served(**raw)


def test_an_older_export_is_replaced_and_a_folder_of_something_else_is_not(plain, tmp_path):
    target = tmp_path / "model"
    export_model(*plain, target)
    export_model(*plain, target)
    assert (target / "saved_model.pb").is_file()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    with pytest.raises(ExportError, match="notes exists and is no SavedModel"):
        export_model(*plain, tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "notes"]


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(plain, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write .*file/model"):
        export_model(*plain, tmp_path / "file" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_while_saving_leaves_the_older_export_as_it_was(plain, tmp_path, monkeypatch):
    target = tmp_path / "model"
    export_model(*plain, target)
    before = sorted(path.name for path in target.rglob("*"))

    def full(served, path, signatures):
        Path(path, "saved_model.pb").write_text("half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export_model(*plain, target)
    assert sorted(path.name for path in target.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_encoder_of_other_features_is_refused(plain, tmp_path):
    model, encoder = plain
    other = replace(encoder, feature_map=replace(encoder.feature_map, dataset_id="other"))
    with pytest.raises(ExportError, match="other features"):
        export_model(model, other, tmp_path / "model")

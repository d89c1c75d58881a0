"""ONNX files: raw rows in, the model's own predictions out, in a runtime without TensorFlow."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl import registry
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.dataset.rules import HashBuckets
from fuxi_mtl.options import FeatureOptions
from fuxi_mtl.registry import import_zoo
from tests import raw_rows

WITHOUT = "of the extra serving-test: pip install 'fuxi-mtl[serving-test]'"
onnxruntime = pytest.importorskip("onnxruntime", reason=WITHOUT)
pytest.importorskip("tf2onnx", reason=WITHOUT)

from fuxi_mtl.serving import MISSING_INTEGER, onnx_export  # noqa: E402 - behind what it needs
from fuxi_mtl.serving.export import ExportError, Form  # noqa: E402

import_zoo()


def hashed_as_ids(encoder: Encoder, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """The hashed columns, which come as ids."""
    ids, _ = encoder.encode(rows)
    pairs = zip(encoder.columns, encoder.feature_map.features, strict=True)
    hashed = {
        column: ids[:, feature.columns].astype(np.int64)
        for column, feature in pairs
        if isinstance(column.rule, HashBuckets)
    }
    return {column.name: x if column.bag else x[:, 0] for column, x in hashed.items()}


def session_of(model, encoder: Encoder, folder: Path, **options):
    file = folder / "model.onnx"
    onnx_export.export_onnx(model, encoder, file, **options)
    return onnxruntime.InferenceSession(str(file))


def inputs_of(session, encoder: Encoder, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """Rows as padded lists in numpy, hashed columns as ids."""
    raw = {name: np.asarray(x) for name, x in raw_rows.padded(rows).items()}
    text = np.vectorize(lambda entry: entry.decode() if isinstance(entry, bytes) else entry, otypes=[object])
    raw = {name: text(x) if x.dtype.kind in "OSU" else x for name, x in raw.items()}
    raw |= hashed_as_ids(encoder, rows)
    return {put.name: raw[put.name] for put in session.get_inputs()}


def scored(session, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [put.name for put in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def assert_same(session, model, encoder: Encoder, rows: pl.DataFrame) -> None:
    """What `predict` gives, to 1e-6."""
    ids, numeric = encoder.encode(rows)
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    found = scored(session, inputs_of(session, encoder, rows))
    assert found.keys() == set(model.served_columns)
    for column, name in model.served_columns.items():
        assert found[column].shape == expected[name].shape
        np.testing.assert_allclose(found[column], expected[name], rtol=0, atol=1e-6, err_msg=name)
        assert len(rows) < 2 or expected[name].std() > 1e-4, "these rows would not show a difference"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return raw_rows.fitted(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Encoder:
    features = [feature for feature in raw_rows.FEATURES if feature.name in ("user", "item", "age", "tags")]
    return raw_rows.fitted(tmp_path_factory.mktemp("small"), features)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return raw_rows.frame(257, seed=3, unseen=True)


@pytest.fixture(scope="module")
def trained(encoder):
    return raw_rows.model_for(encoder)


@pytest.fixture(scope="module")
def session(trained, encoder, tmp_path_factory):
    return session_of(trained, encoder, tmp_path_factory.mktemp("onnx"))


@pytest.mark.parametrize("batch", [1, 2, 257])
def test_every_kind_of_column_gives_the_predictions(batch, session, trained, encoder, rows):
    assert_same(session, trained, encoder, rows[:batch])


@pytest.mark.parametrize("name", registry.names())
def test_every_model_gives_its_predictions(name, small, rows, tmp_path):
    model = raw_rows.model_for(small, name, times=1.0)
    assert_same(session_of(model, small, tmp_path), model, small, rows)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("order", [None, "oldest_first", "newest_first"])
@pytest.mark.parametrize("fill_na", [None, "t1^t2"])
def test_bags_are_laid_out_and_cut_as_in_training(padding, order, fill_na, rows, tmp_path):
    feature = FeatureOptions(
        "tags",
        type="sequence",
        max_len=2,
        padding=padding,
        order=order,
        fill_na=fill_na,
        weights="tag_weights",
    )
    encoder = raw_rows.fitted(tmp_path, [feature])
    model = raw_rows.model_for(encoder, "ShareBottom")
    assert_same(session_of(model, encoder, tmp_path), model, encoder, rows)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("fill_na", [None, "t1^t2"])
def test_bags_as_texts_are_split_in_the_graph(padding, fill_na, rows, tmp_path):
    own = {"padding": padding, "fill_na": fill_na, "weights": "tag_weights", "max_len": 2}
    changed = [replace(each, **own) if each.name == "tags" else each for each in raw_rows.FEATURES]
    encoder = raw_rows.fitted(tmp_path, [each for each in changed if each.type != "numeric"])
    model = raw_rows.model_for(encoder, "ShareBottom")
    session = session_of(model, encoder, tmp_path, form=Form(bags="text"))
    raw = raw_rows.texts(rows) | hashed_as_ids(encoder, rows)
    inputs = {put.name: raw[put.name] for put in session.get_inputs()}
    assert inputs["tags"].ndim == inputs["recent"].ndim == 1
    ids, numeric = encoder.encode(rows)
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    for name, values in scored(session, inputs).items():
        np.testing.assert_allclose(values, expected[model.served_columns[name]], rtol=0, atol=1e-6)
    inputs["tags"] = inputs["tags"].copy()
    inputs["tag_weights"] = np.array(["1^2^3"] * len(rows), object)
    inputs["tags"][:] = "t1^t2"
    with pytest.raises(Exception, match="tag_weights: a row has not as many weights as members"):
        scored(session, inputs)


@pytest.mark.parametrize("bags", ["padded", "text"])
def test_integers_of_bags_may_be_spelled_as_floats(bags, tmp_path):
    feature = FeatureOptions("recent", type="sequence", dtype="int", max_len=3)
    train = pl.DataFrame({"recent": ["1^2", "3^4^5", "2", "1"], "click": ["0", "1", "0", "1"], "buy": "0"})
    encoder = raw_rows.fitted(tmp_path, [feature], rows=train)
    model = raw_rows.model_for(encoder, "ShareBottom")
    session = session_of(model, encoder, tmp_path, form=Form(bags=bags))
    texts = ["1^2", "", "3^^5", "9", "2^1^4^3"]
    if bags == "text":
        given = np.array(["1.0^2", "", "3^^5", " 9", "2^+1^004^3"], object)
    else:
        members = [[int(x) if x else MISSING_INTEGER for x in each.split("^")] for each in texts]
        given = np.array([each + [MISSING_INTEGER] * (4 - len(each)) for each in members])
    ids, numeric = encoder.encode(pl.DataFrame({"recent": texts}))
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    for name, values in scored(session, {"recent": given}).items():
        np.testing.assert_allclose(values, expected[model.served_columns[name]], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_tables_may_be_stored_in_half_the_bytes(dtype, tolerance, small, rows, tmp_path):
    model = raw_rows.model_for(small, "ShareBottom", times=1.0)
    session_of(model, small, tmp_path)
    whole = (tmp_path / "model.onnx").stat().st_size
    session = session_of(model, small, tmp_path, form=Form(tables=dtype))
    table = sum(
        4 * layer.rows.value.numpy().size for layer in model._flatten_layers() if hasattr(layer, "read_rows")
    )
    assert abs(whole - (tmp_path / "model.onnx").stat().st_size - table / 2) < 2000
    ids, numeric = small.encode(rows)
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    for name, values in scored(session, inputs_of(session, small, rows)).items():
        np.testing.assert_allclose(values, expected[model.served_columns[name]], rtol=0, atol=tolerance)


def test_whole_numbers_have_two_spellings(tmp_path):
    encoder = raw_rows.fitted(tmp_path, [FeatureOptions("item"), FeatureOptions("age", type="numeric")])
    model = raw_rows.model_for(encoder, "ShareBottom")
    session = session_of(model, encoder, tmp_path)
    texts = ["7", "7.0", "0", "-0.0", "", "7.00", "unseen"]
    rows = pl.DataFrame({"item": texts, "age": ["1"] * len(texts)})
    ids, numeric = encoder.encode(rows)
    assert ids[0] == ids[1] != ids[5]
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    inputs = {"item": np.array(texts, object), "age": np.ones(len(texts), np.float32)}
    for name, values in scored(session, inputs).items():
        np.testing.assert_allclose(values, expected[model.served_columns[name]], atol=1e-6)


def test_a_number_without_logarithm_is_an_error_that_names_its_column(tmp_path):
    feature = FeatureOptions("income", type="numeric", dtype="float", normalizer="log1p", fill_na=0)
    rows = raw_rows.frame(50, seed=1).with_columns(pl.col("income").str.strip_prefix("-"))
    encoder = raw_rows.fitted(tmp_path, [feature], rows=rows)
    model = raw_rows.model_for(encoder, "ShareBottom")
    session = session_of(model, encoder, tmp_path)
    assert_same(session, model, encoder, rows)
    with pytest.raises(Exception, match="income: an entry is not above -1"):
        scored(session, {"income": np.array([3.0, -1.0], np.float32)})


def test_hashed_columns_are_told(small, tmp_path, caplog):
    encoder = raw_rows.fitted(
        tmp_path, [FeatureOptions("session", category_processor="hash_bucket", num_buckets=5)]
    )
    with caplog.at_level(logging.INFO):
        session_of(raw_rows.model_for(encoder, "ShareBottom"), encoder, tmp_path)
    assert "ONNX has no hash: the input 'session' takes ids of column 'session'" in caplog.text


def test_the_file_says_what_it_is(small, tmp_path):
    model = raw_rows.model_for(small, "ShareBottom")
    session = session_of(model, small, tmp_path, info={"expid": "mine"})
    told = json.loads(session.get_modelmeta().custom_metadata_map["model_info"])
    assert told["expid"] == "mine"
    assert told["outputs"] == list(model.served_columns)


@pytest.mark.parametrize(
    ("of", "what"), [(0.5, "tables and kernels are"), (1.0, "tables and vocabularies are")]
)
def test_what_one_file_cannot_hold_is_refused(of, what, small, tmp_path, monkeypatch):
    model = raw_rows.model_for(small, "ShareBottom")
    monkeypatch.setattr(onnx_export, "LIMIT", of * 4 * model.count_params())
    with pytest.raises(ExportError, match=f"{what} .* an ONNX file holds 2: export a SavedModel"):
        session_of(model, small, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_the_output_is_an_onnx_file(small, tmp_path):
    model = raw_rows.model_for(small, "ShareBottom")
    with pytest.raises(ExportError, match=r"served is no name of an ONNX file: it must end in \.onnx"):
        onnx_export.export_onnx(model, small, tmp_path / "served")
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot write"):
        onnx_export.export_onnx(model, small, tmp_path / "file" / "model.onnx")


def test_calibration_and_the_fused_score_are_inside(tmp_path):
    import fuxi_mtl as fm

    random = np.random.default_rng(0)
    rows = {"item": random.integers(0, 8, 160), "price": random.gamma(2.0, 3.0, 160).astype(np.float32)}
    rows["click"] = (random.random(160) < 0.2 + 0.08 * rows["item"]).astype(int)
    rows["buy"] = rows["click"] * (random.random(160) < 0.4)
    data = fm.Dataset(
        train_data=rows,
        valid_size=0.2,
        test_size=0.2,
        features=[fm.Categorical("item", dtype="int"), fm.Numeric("price", normalizer="StandardScaler")],
        tasks={"ctr": "click", "cvr": "buy | click"},
    )
    model = fm.ShareBottom(data.features, data.tasks, embedding_dim=4)
    run = fm.fit(model, data, epochs=1, batch_size=32, calibration="platt", fusion={"method": "product"})
    session = onnxruntime.InferenceSession(str(fm.export(run, tmp_path / "model.onnx", format="onnx")))
    found = scored(session, {name: rows[name] for name in ("item", "price")})
    expected = run.predict(pl.DataFrame({name: rows[name] for name in ("item", "price")}))
    np.testing.assert_allclose(found["ctr_pred"], expected["ctr"], atol=1e-6)
    np.testing.assert_allclose(found["fused_score"], expected["fused_score"], atol=1e-6)
    with pytest.raises(ValueError, match="format: 'pmml' is none. It can be: savedmodel, onnx, litert"):
        fm.export(run, tmp_path / "model.pmml", format="pmml")
    assert tf.io.gfile.exists(str(tmp_path / "model.onnx"))

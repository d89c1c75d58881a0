"""Models of ids in ONNX Runtime, OpenVINO and LiteRT give their own predictions."""

from pathlib import Path

import numpy as np
import pytest

WITHOUT = "of the extra serving-test: pip install 'fuxi-mtl[serving-test]'"
onnxruntime = pytest.importorskip("onnxruntime", reason=WITHOUT)
openvino = pytest.importorskip("openvino", reason=WITHOUT)
interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason=WITHOUT)
pytest.importorskip("tf2onnx", reason=WITHOUT)

import fuxi_mtl as fm  # noqa: E402 - behind what it needs
from fuxi_mtl.options import FeatureOptions  # noqa: E402
from fuxi_mtl.registry import import_zoo  # noqa: E402
from fuxi_mtl.serving.export import ExportError  # noqa: E402
from fuxi_mtl.serving.formats import exporter  # noqa: E402
from tests import raw_rows  # noqa: E402

import_zoo()


def scores_of(model, encoder, rows, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The scores of each runtime, of rows that :class:`fuxi_mtl.Encoder` encoded."""
    exporter("onnx", "from_ids")(model, encoder, folder / "onnx" / "model.onnx")
    exporter("litert")(model, encoder, folder / "lite" / "model.tflite")
    batch = fm.Encoder(folder / "onnx" / "encoding.json")(rows)
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    names = [put.name for put in session.get_outputs()]
    found = {"onnxruntime": dict(zip(names, session.run(names, batch), strict=True))}
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(folder / "onnx" / "model.onnx", "CPU", exact)(batch)
    found["openvino"] = {name: compiled[name] for name in names}
    run = interpreter.Interpreter(str(folder / "lite" / "model.tflite")).get_signature_runner("from_ids")
    found["litert"] = run(**fm.Encoder(folder / "lite" / "encoding.json")(rows))
    return found


def assert_same(model, encoder, rows, folder: Path) -> None:
    """What `predict` gives, to 1e-6."""
    ids, numeric = encoder.encode(rows)
    expected = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    for runtime, found in scores_of(model, encoder, rows, folder).items():
        assert found.keys() == set(model.served_columns), runtime
        for column, name in model.served_columns.items():
            of_runtime = np.reshape(found[column], expected[name].shape)
            np.testing.assert_allclose(of_runtime, expected[name], rtol=0, atol=1e-6, err_msg=runtime)
            assert expected[name].std() > 1e-4, "these rows would not show a difference"


@pytest.fixture(scope="module")
def rows():
    return raw_rows.frame(257, seed=3, unseen=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    features = [feature for feature in raw_rows.FEATURES if feature.name in ("user", "item", "age", "tags")]
    return raw_rows.fitted(tmp_path_factory.mktemp("small"), features)


def test_every_kind_of_column(rows, tmp_path):
    encoder = raw_rows.fitted(tmp_path)
    assert_same(raw_rows.model_for(encoder, times=1.0), encoder, rows, tmp_path)


# One of each structure: shared and gated experts, a chain, generated and bilevel weights, domains, products.
# test_onnx.py has every model in one of the runtimes.
@pytest.mark.parametrize(
    "name", ["ShareBottom", "PLE", "ESMM", "APG_MMOE", "M3oE", "STAR", "HoME", "DeepFM_MMoE"]
)
def test_models_of_each_structure(name, small, rows, tmp_path):
    assert_same(raw_rows.model_for(small, name, times=1.0), small, rows, tmp_path)


@pytest.mark.parametrize("feature", [FeatureOptions("user"), FeatureOptions("age", type="numeric")])
def test_a_model_that_reads_ids_or_numbers_alone_takes_both(feature, rows, tmp_path):
    encoder = raw_rows.fitted(tmp_path, [feature])
    assert_same(raw_rows.model_for(encoder, "ShareBottom"), encoder, rows, tmp_path)


def test_the_output_is_a_litert_file_that_can_be_written(small, tmp_path):
    model = raw_rows.model_for(small, "ShareBottom")
    with pytest.raises(ExportError, match=r"served is no name of a LiteRT file: it must end in \.tflite"):
        exporter("litert")(model, small, tmp_path / "served")
    exporter("litert")(model, small, tmp_path / "first.tflite")
    with pytest.raises(ExportError, match=r"belongs to first\.tflite: write second\.tflite into another"):
        exporter("litert")(model, small, tmp_path / "second.tflite")
    assert not (tmp_path / "second.tflite").exists()

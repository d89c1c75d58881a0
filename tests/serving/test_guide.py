"""Every block of the guide to serving runs: commands, Python, a client of TensorFlow Serving, C."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

WITHOUT = "of the extra serving-test: pip install 'fuxi-mtl[serving-test]'"
for package in ("onnxruntime", "tf2onnx", "openvino", "ai_edge_litert", "tensorflow_serving", "grpc"):
    pytest.importorskip(package, reason=WITHOUT)

import grpc  # noqa: E402 - behind what it needs
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402

import fuxi_mtl as fm  # noqa: E402
from fuxi_mtl.cli.commands import main  # noqa: E402
from tests.serving.prediction_service import PredictionService, served  # noqa: E402

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A working directory where the commands and the blocks of the guide have run, and what these left."""
    folder = tmp_path_factory.mktemp("guide")
    for name in ("data", "config"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = ["data_root=encoded", "export=false", "calibration=platt", "verbose=0"]
        assert main(["run", "--expid", "MMoE_test", "--set", *small]) == 0
        for line in blocks("bash")[0].splitlines():
            command = shlex.split(line)
            assert command[:3] == ["python", "-m", "fuxi_mtl"]
            assert main([*command[3:], "--set", *small]) == 0, line
        names: dict = {}
        with served(PredictionService("mmoe", folder / "served" / "mmoe")) as address:
            for number, block in enumerate(blocks("python"), 1):
                code = block.replace("localhost:8500", address)
                exec(compile(code, f"serving.md, block {number}", "exec"), names)
            yield folder, names, address


@pytest.fixture(scope="module")
def predicted(world):
    """What `predict` gives for the rows of the blocks, and for the rows of the request."""
    folder, names, _ = world
    (run,) = [fm.load_run(path.parent) for path in folder.rglob("metrics.json")]
    request = {name: column.numpy() for name, column in names["request"].items()}
    texts = {
        name: [entry.decode() for entry in column] for name, column in request.items() if column.dtype == "O"
    }
    return run.predict(names["rows"]), run.predict(pd.DataFrame({**request, **texts}))


def test_each_runtime_gives_the_predictions(world, predicted):
    _, names, _ = world
    of_rows, of_request = (each["click"].to_numpy() for each in predicted)
    for name in ("by_onnxruntime", "by_openvino", "by_litert"):
        np.testing.assert_allclose(names[name], of_rows, rtol=0, atol=1e-6, err_msg=name)
    assert of_rows.std() > 1e-3
    np.testing.assert_allclose(names["predictions"]["click_pred"], of_request, rtol=0, atol=1e-6)
    np.testing.assert_allclose(names["clicks"], of_request, rtol=0, atol=1e-6)
    np.testing.assert_allclose(names["ranked"]["click_pred"][:1], of_request[:1], rtol=0, atol=1e-6)


def test_a_client_of_tensorflow_serving_gets_the_predictions(world, predicted):
    np.testing.assert_allclose(world[1]["scores"], predicted[1]["click"], rtol=0, atol=1e-6)


def test_a_client_that_sends_another_type_is_refused(world):
    _, names, _ = world
    message = predict_pb2.PredictRequest()
    message.CopyFrom(names["message"])
    message.inputs["hour"].CopyFrom(tf.make_tensor_proto([3, 22], tf.int32))
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        names["stub"].Predict(message, timeout=10.0)


def test_the_server_says_what_it_takes(world):
    _, names, _ = world
    question = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    question.model_spec.name = "mmoe"
    told = names["stub"].GetModelMetadata(question, timeout=10.0)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert told.metadata["signature_def"].Unpack(signatures)
    inputs = signatures.signature_def["serving_default"].inputs
    assert {name: tf.as_dtype(put.dtype) for name, put in inputs.items()} == {
        name: column.dtype for name, column in names["request"].items()
    }


def test_the_requests_that_warm_up_are_answered(world):
    folder, names, _ = world
    file = folder / "served/mmoe/1/assets.extra/tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(x.numpy()) for x in tf.data.TFRecordDataset(str(file))
    ]
    requests = [log.predict_log.request for log in logs]
    signatures = {"serving_default", "serve_lists", "serve_ranking", "from_ids"}
    assert {request.model_spec.signature_name for request in requests} == signatures
    rows = []
    for request in requests:
        request.model_spec.name = "mmoe"  # the server does not look at it
        answer = names["stub"].Predict(request, timeout=10.0)
        scores = tf.make_ndarray(answer.outputs["click_pred"])
        assert np.isfinite(scores).all()
        rows.append(len(scores))
    assert rows == [1, 100] * 4


def test_the_higher_version_is_served_until_it_is_taken_away(world, tmp_path):
    folder, names, _ = world
    for version in (1, 2):
        (tmp_path / str(version)).symlink_to(folder / "served/mmoe/1")
    service = PredictionService("mmoe", tmp_path)
    with served(service) as address:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
        assert stub.Predict(names["message"], timeout=10.0).model_spec.version.value == 2
        (tmp_path / "2").unlink()
        service.turn_to(1)
        assert stub.Predict(names["message"], timeout=10.0).model_spec.version.value == 1


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on the PATH")
def test_the_program_in_c_gets_the_predictions(world, predicted):
    folder, _, _ = world
    (folder / "score.c").write_text(blocks("c")[0])
    console = next(block for block in blocks("console") if "gcc" in block)
    content = SavedModel.FromString((folder / "served/mmoe/1/saved_model.pb").read_bytes())
    outputs = content.meta_graphs[0].signature_def["serving_default"].outputs
    console = re.sub(r"StatefulPartitionedCall\S+", outputs["click_pred"].name, console)
    console = f'set -e\npython() {{ {shlex.quote(sys.executable)} "$@"; }}\n{console}'
    done = subprocess.run(["bash", "-c", console], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert abs(float(done.stdout) - predicted[1]["click"][0]) < 1e-6


def test_the_configuration_of_versions_is_one():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(next(block for block in blocks("protobuf") if "model_config_list" in block), config)
    (model,) = config.model_config_list.config
    assert model.model_version_policy.specific.versions == [1, 2]
    assert model.version_labels["stable"] == 1


def test_the_configuration_of_triton_is_the_models_signature(world):
    folder, _, _ = world
    text = next(block for block in blocks("protobuf") if "onnxruntime" in block)
    entry = r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ (\d+) \]( reshape \{ shape: \[ \] \})?'
    types = {"INT32": "tensor(int32)", "FP32": "tensor(float)"}
    told = {
        name: (types[dtype], [] if scalar else [int(width)])
        for name, dtype, width, scalar in re.findall(entry, text)
    }
    session = onnxruntime.InferenceSession(folder / "ids/mmoe.onnx")
    puts = [*session.get_inputs(), *session.get_outputs()]
    assert told == {put.name: (put.type, put.shape[1:]) for put in puts}


def test_the_encoding_is_that_of_the_model(world):
    folder, _, _ = world
    told = json.loads((folder / "ids/encoding.json").read_text())
    session = onnxruntime.InferenceSession(folder / "ids/mmoe.onnx")
    info = json.loads(session.get_modelmeta().custom_metadata_map["model_info"])
    assert told["identity"] == info["encoding"] == told["model_info"]["encoding"]
    assert told["model"] == "mmoe.onnx"

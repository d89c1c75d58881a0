"""A stand-in for TensorFlow Serving: its PredictionService over gRPC, answered by a SavedModel."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves the version with the highest number, as the server does; `turn_to` another one."""

    def __init__(self, name: str, base: Path):
        self.name, self.base = name, base
        self.turn_to(max(int(folder.name) for folder in base.iterdir()))

    def turn_to(self, version: int) -> None:
        self.version, self.model = version, tf.saved_model.load(str(self.base / str(version)))

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        if spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {spec.name}")
        signature = self.model.signatures[spec.signature_name or "serving_default"]
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        try:
            outputs = signature(**inputs)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.version.value = self.name, self.version
        for name, values in outputs.items():
            if not request.output_filter or name in request.output_filter:
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        saved = (self.base / str(self.version) / "saved_model.pb").read_bytes()
        meta_graph = SavedModel.FromString(saved).meta_graphs[0]
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=meta_graph.signature_def)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(signatures)
        return answer


@contextmanager
def served(service: PredictionService) -> Iterator[str]:
    """The address of a server that answers."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None)

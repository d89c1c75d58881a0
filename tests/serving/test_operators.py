"""Parts of networks and of what is served, as graphs of ONNX Runtime, OpenVINO and LiteRT."""

import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

WITHOUT = "of the extra serving-test: pip install 'fuxi-mtl[serving-test]'"
onnxruntime = pytest.importorskip("onnxruntime", reason=WITHOUT)
openvino = pytest.importorskip("openvino", reason=WITHOUT)
interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason=WITHOUT)
pytest.importorskip("tf2onnx", reason=WITHOUT)

from fuxi_mtl.decoders import DECODERS, make_decoder  # noqa: E402 - behind what it needs
from fuxi_mtl.evaluation.calibration.maps import Isotonic, Platt  # noqa: E402
from fuxi_mtl.evaluation.calibration.values import IsotonicValue, Ratio  # noqa: E402
from fuxi_mtl.features import Feature, FeatureMap  # noqa: E402
from fuxi_mtl.fusion.formulas import Fusion  # noqa: E402
from fuxi_mtl.fusion.graph import graph_score  # noqa: E402
from fuxi_mtl.layers import MLP, make_encoder, make_interaction  # noqa: E402
from fuxi_mtl.layers.routing import routed  # noqa: E402
from fuxi_mtl.options.decoders import kind_of  # noqa: E402
from fuxi_mtl.options.fusion import TRANSFORMS  # noqa: E402
from fuxi_mtl.options.layers import ACTIVATIONS  # noqa: E402
from fuxi_mtl.serving.export import ExportError  # noqa: E402
from fuxi_mtl.serving.onnx_operators import graph_of  # noqa: E402
from fuxi_mtl.tasks import Task  # noqa: E402
from tests.layers import test_encoders, test_interactions  # noqa: E402

ROWS = 37
# Of the same operations as another variant.
ALIKE = ("sum", "din scaled_softmax", "din sigmoid", "target_attention", "transformer sum")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 12)).astype(np.float32)


def in_each_runtime(function, inputs: dict, litert: bool) -> dict:
    """What a function of tensors gives as a graph of each of them, the batch being dynamic."""
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype, name) for name, x in inputs.items()]
    model = graph_of(function, specs).SerializeToString()
    session = onnxruntime.InferenceSession(model)
    names = [put.name for put in session.get_outputs()]
    found = {"onnxruntime": dict(zip(names, session.run(names, inputs), strict=True))}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)
    found["openvino"] = {name: compiled[name] for name in names}
    if litert:
        module = tf.Module()
        concrete = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
        frozen = convert_variables_to_constants_v2(concrete)
        module.f = tf.function(
            lambda *x: dict(zip(sorted(names), frozen(*x), strict=True)),
            input_signature=specs,
            autograph=False,
        )
        with tempfile.TemporaryDirectory() as folder:
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(module, folder, signatures={"f": module.f}, options=options)
            content = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["f"]).convert()
        run = interpreter.Interpreter(model_content=content).get_signature_runner("f")
        found["litert"] = run(**inputs)
    return found


def values_of(function, inputs: dict) -> dict:
    return {name: x.numpy() for name, x in function(*map(tf.constant, inputs.values())).items()}


def moved_by_last_digits(function, inputs: dict) -> dict:
    """The most by which each output moves when inputs, but for zeros and ones, move by their last digits."""
    expected, random = values_of(function, inputs), np.random.default_rng(0)
    found = dict.fromkeys(expected, 0.0)
    for _ in range(4):
        digits = {name: random.choice([-1, 1], x.shape) * 2.0**-23 for name, x in inputs.items()}
        near = {
            name: x if x.dtype != np.float32 or np.isin(x, (0, 1)).all() else x * np.float32(1 + digits[name])
            for name, x in inputs.items()
        }
        for name, values in values_of(function, near).items():
            found[name] = max(found[name], np.abs(values - expected[name]).max())
    return found


def assert_same(function, inputs: dict, litert=True) -> None:
    expected, moved = values_of(function, inputs), moved_by_last_digits(function, inputs)
    for runtime, found in in_each_runtime(function, inputs, litert).items():
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            told = f"{name} in {runtime}"
            assert values.std() > 1e-3, f"{name}: these rows would not show a difference"
            # Sums round by the size of their terms, which a small result does not show; and where a function
            # magnifies the last digits of its inputs (a norm of nearly equal numbers), its own as well.
            size = max(1.0, np.abs(values).max())
            near = min(max(1e-6, 2 * moved[name] / size), 2e-5)
            np.testing.assert_allclose(found[name] / size, values / size, atol=near, rtol=0, err_msg=told)


@pytest.fixture(autouse=True)
def seeded():
    """Weights do not depend on which tests ran before."""
    keras.utils.set_random_seed(0)


def stirred(layer):
    """The layer with every weight moved, so that no part of it is an identity."""
    for variable in layer.trainable_variables:
        variable.assign_add(RANDOM.normal(scale=0.3, size=variable.shape))
    return layer


def test_every_encoder_of_histories():
    encoders = {}
    for variant, options in test_encoders.VARIANTS.items():
        if variant in ALIKE:
            continue
        encoders[variant.replace(" ", "_")] = make_encoder({"type": variant.split()[0], **options})
    lengths = RANDOM.integers(0, 6, (ROWS, 1))
    keys = {
        "keys": RANDOM.normal(size=(ROWS, 5, 4)).astype(np.float32),
        "there": (np.arange(5) < lengths).astype(np.float32),
        "query": X[:, :4],
    }

    def encoded(keys, there, query):
        inputs = {"keys": keys, "present": there > 0, "query": query}
        return {name: encoder(inputs) for name, encoder in encoders.items()}

    encoded(*map(tf.constant, keys.values()))
    for encoder in encoders.values():
        stirred(encoder)
    assert_same(encoded, keys)


def test_every_interaction_and_activation():
    columns = {f"field_{i}": (3 * i, 3 * i + 3) for i in range(4)}
    parts = {
        name.replace(" ", "_"): make_interaction({"type": name, **options}, columns, (), None, name=name[:4])
        for name, options in test_interactions.SMALL.items()
    }
    parts |= {name: MLP([5], activations=name) for name in ACTIVATIONS}

    def made(x):
        return {name: part(x) for name, part in parts.items()}

    made(tf.constant(X))
    for part in parts.values():
        stirred(part)
    assert_same(made, {"x": X})


def test_every_decoder():
    features = FeatureMap.of("t", [Feature("price", "numeric"), Feature("length", "numeric")], ["y"])
    numeric = RANDOM.gamma(2.0, size=(400, 2)).astype(np.float32)
    labels = np.round(numeric[:, 1] * RANDOM.gamma(1.0, size=400))
    own = {"d2q": {"by": "length", "groups": 4}, "softmax": {"classes": ["a", "b", "c"]}}
    decoders = {}
    for name in DECODERS:
        kind = kind_of(name)
        options = tuple(own.get(name, {}).items())
        decoders[name] = make_decoder(
            Task("y", ("y",), kind=kind, decoder=name, decoder_options=options), features
        )
        decoders[name].fit(labels % 3 if kind == "classes" else labels, numeric)

    def served(raw, numeric):
        found = {}
        for name, decoder in decoders.items():
            head = raw[:, 0] if decoder.outputs == 1 else raw[:, : decoder.outputs]
            found[name] = decoder.value(head, {"numeric": numeric})
            found |= dict(
                zip((f"{name}_{part}" for part in decoder.part_names), decoder.parts(head), strict=True)
            )
        return found

    most = max(decoder.outputs for decoder in decoders.values())
    raw = RANDOM.normal(size=(ROWS, most)).astype(np.float32)
    assert_same(served, {"raw": raw, "numeric": numeric[:ROWS]})


def test_every_calibration_and_few_experts_of_many():
    knots = np.linspace(-1.0, 1.0, 9).tolist()
    maps = {
        "platt": Platt(1.3, 0.2),
        "isotonic": Isotonic([0.2, 0.3, 0.7], [0.1, 0.5, 0.6]),
        "ratio": Ratio(knots, np.linspace(0.5, 2.0, 10).tolist()),
        "isotonic_value": IsotonicValue(knots, np.linspace(0.0, 3.0, 9).tolist()),
        "one_knot": lambda x: IsotonicValue([0.5], [2.0])(x) * x,
    }

    def served(x):
        shares = tf.nn.softmax(tf.reshape(x, (-1, 2, 6)))
        return {name: each(x[:, 0]) for name, each in maps.items()} | {
            "routed": routed(shares, 1, 2, [0.3, 0.7])[0]
        }

    assert_same(served, {"x": X})


def test_every_formula_of_a_fused_score():
    formulas = {
        "product": Fusion("product", {"a": 1.0, "b": 0.5}),
        "alpha": Fusion("product", {"a": 1.0, "b": 0.5}, alpha=3.0),
        **{each: Fusion("sum", {"a": 1.0, "b": 0.5}, each) for each in TRANSFORMS},
        **{each: Fusion("rank", {"a": 1.0, "b": 0.5}, ties=each) for each in ("min", "average", "dense")},
    }
    a, b = RANDOM.random((2, ROWS)).astype(np.float32)
    a[:5], b[9:20] = a[5:10], 0.25  # ties

    def fused(a, b):
        scores = {"a": a, "b": b}
        return {name: tf.cast(graph_score(each, scores), tf.float32) for name, each in formulas.items()}

    assert_same(fused, {"a": a, "b": b}, litert=False)


def test_an_operation_that_onnx_has_not_is_named():
    with pytest.raises(ExportError, match="it has no Lgamma: export a SavedModel"):
        graph_of(lambda x: {"y": tf.math.lgamma(x)}, [tf.TensorSpec([None], tf.float32, "x")])

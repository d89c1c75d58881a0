"""What an answer takes: each form of an exported model, numpy rows in, probabilities out.

The network is that of the reference work with untrained weights, drawn wide enough for rows to differ. All
runtimes have one thread, take turns, and are held against `predict`.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.runner import Summary
from benchmarks.workload import Workload, zipf_ids

ROWS = (1, 100, 1000)
SECONDS = 1.0  # of each turn of a form at a number of rows
FORMS = (
    "SavedModel, serving_default",
    "SavedModel, serve",
    "ONNX Runtime, raw columns",
    "Encoder and ONNX Runtime",
    "Encoder and OpenVINO",
    "Encoder and LiteRT",
    "Encoder alone",
)
PACKAGES = ("tensorflow", "onnxruntime", "openvino", "ai-edge-litert")
Rows = Mapping[str, np.ndarray]
Ask = Callable[[Rows], Mapping[str, np.ndarray]]


def measure_serving(workload: Workload, rounds: int, results: Path) -> dict[str, Any]:
    """Asks each form in turns; writes ``serving.json``.

    Args:
        workload: Its fields are the columns.
        rounds: How often each takes its turn.
        results: Where the result goes.

    Raises:
        ValueError: A runtime is not installed.
    """
    _check_packages()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    content: dict[str, Any] = {
        "name": "serving",
        "machine": machine(),
        "rounds": rounds,
        "vocabulary": workload.vocabulary,
        "versions": {name: version(name) for name in PACKAGES},
    }
    model, encoder = served_model(workload)
    batches = {rows: rows_of(workload, rows) for rows in ROWS}
    with tempfile.TemporaryDirectory() as folder:
        forms = dict(zip(FORMS, _forms(model, encoder, Path(folder)), strict=True))
        largest = batches[max(ROWS)]
        expected = _predicted(model, encoder, largest)
        del model
        gc.collect()
        times: dict[str, dict[int, list[dict[str, float]]]] = {
            name: {rows: [] for rows in ROWS} for name in forms
        }
        for _ in range(rounds):
            for name, ask in forms.items():
                for rows, batch in batches.items():
                    times[name][rows].append(_timed(ask, batch))
        content["cells"] = [
            {
                "form": name,
                "difference": _difference(ask(largest), expected),
                "rows": {str(rows): _summed(turns) for rows, turns in times[name].items()},
            }
            for name, ask in forms.items()
        ]
    write(results / "serving.json", content)
    return content


def served_model(workload: Workload) -> tuple[Any, Any]:
    """The reference network of these fields and its encoding, made without training."""
    import keras

    from fuxi_mtl.dataset import Column, Encoder
    from fuxi_mtl.dataset.rules import Number, Vocabulary
    from fuxi_mtl.features import Feature, FeatureMap
    from fuxi_mtl.registry import import_zoo, model
    from fuxi_mtl.tasks import Tasks, parse_task

    import_zoo()
    pairs = list(zip(workload.field_names, workload.sizes, strict=True))
    features = [Feature(name, "categorical", vocab_size=size) for name, size in pairs]
    features += [Feature(name, "numeric") for name in workload.number_names]
    columns = [Column(name, Vocabulary(name)) for name in workload.field_names]
    columns += [Column(name, Number(0.1, 1.3)) for name in workload.number_names]
    tokens = {name: tuple([f"{name}_{i}" for i in range(1, size - 1)]) for name, size in pairs}
    encoder = Encoder(FeatureMap.of("reference", features), tuple(columns), tokens)
    tasks = Tasks([parse_task("ctr", "click"), parse_task("cvr", "conversion | click")], explicit=True)
    network = model("MMoE")(
        encoder.feature_map,
        tasks,
        num_experts=4,
        expert_hidden_units=[256, 128],
        tower_hidden_units=[64],
        embedding_dim=16,
    )
    keras.utils.set_random_seed(workload.seed)
    network.build()
    for variable in network.trainable_variables:
        variable.assign(variable * (30.0 if variable.name == "rows" else 1.0))
    return network, encoder


def rows_of(workload: Workload, rows: int) -> dict[str, np.ndarray]:
    """Raw rows: texts, of which some are unknown, and numbers."""
    random = np.random.default_rng(workload.seed)
    made: dict[str, np.ndarray] = {}
    for name, size in zip(workload.field_names, workload.sizes, strict=True):
        ids = zipf_ids(random, size, rows) if size > 3 else np.ones(rows, np.int32)
        made[name] = np.array([f"{name}_{i if i % 50 else 'new'}" for i in ids], object)
    for name in workload.number_names:
        made[name] = random.standard_normal(rows, dtype=np.float32)
    return made


def _forms(model: Any, encoder: Any, folder: Path) -> Iterator[Ask]:
    """A function of each form, in the order of :data:`FORMS`."""
    import onnxruntime
    import openvino
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    import fuxi_mtl as fm
    from fuxi_mtl.serving.formats import exporter

    exporter("savedmodel")(model, encoder, folder / "served")
    exporter("onnx")(model, encoder, folder / "raw.onnx")
    exporter("onnx", "from_ids")(model, encoder, folder / "ids" / "model.onnx")
    exporter("litert")(model, encoder, folder / "lite" / "model.tflite")
    loaded = tf.saved_model.load(str(folder / "served"))
    default = loaded.signatures["serving_default"]

    def tensors(rows: Rows) -> dict[str, Any]:
        return {name: tf.constant(column) for name, column in rows.items()}

    def arrays(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: x.numpy() for name, x in found.items()}

    yield lambda rows: arrays(default(**tensors(rows)))
    yield lambda rows: arrays(loaded.serve(tensors(rows)))
    single = onnxruntime.SessionOptions()
    single.intra_op_num_threads = 1
    raw, ids = (
        onnxruntime.InferenceSession(folder / name, single) for name in ("raw.onnx", "ids/model.onnx")
    )
    names = [put.name for put in raw.get_outputs()]
    encode = fm.Encoder(folder / "ids" / "encoding.json")
    yield lambda rows: dict(zip(names, raw.run(names, rows), strict=True))
    yield lambda rows: dict(zip(names, ids.run(names, encode(rows)), strict=True))
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.compile_model(folder / "ids" / "model.onnx", "CPU", exact)
    yield lambda rows: dict(zip(names, map(compiled(encode(rows)).get, names), strict=True))
    lite = Interpreter(str(folder / "lite" / "model.tflite"), num_threads=1).get_signature_runner("from_ids")
    yield lambda rows: lite(**encode(rows))
    yield encode


def _predicted(model: Any, encoder: Any, rows: Rows) -> dict[str, np.ndarray]:
    import polars as pl

    ids, numeric = encoder.encode(pl.DataFrame({name: column.tolist() for name, column in rows.items()}))
    found = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    return {column: found[name] for column, name in model.served_columns.items()}


def _difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float | None:
    """The largest of all outputs; None of what gives none."""
    if not expected.keys() <= found.keys():
        return None
    return max(float(np.abs(np.ravel(found[name]) - x).max()) for name, x in expected.items())


def _timed(ask: Ask, rows: Rows) -> dict[str, float]:
    """Milliseconds of an answer: the middle one, the 99th of 100, and of the processor on average."""
    ask(rows)
    walls: list[float] = []
    busy, begun = time.process_time(), time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(walls) < 3:
        start = time.perf_counter()
        ask(rows)
        walls.append(time.perf_counter() - start)
    busy = (time.process_time() - busy) / len(walls)
    middle, slow = np.quantile(walls, [0.5, 0.99])
    return {"median": 1e3 * float(middle), "p99": 1e3 * float(slow), "cpu": 1e3 * busy}


def _summed(turns: list[dict[str, float]]) -> dict[str, Any]:
    return {key: Summary.of([float(f"{turn[key]:.4g}") for turn in turns]).plain() for key in turns[0]}


def _check_packages() -> None:
    try:
        for name in (*PACKAGES, "tf2onnx"):
            version(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"there is no package {error.name}: pip install 'fuxi-mtl[serving-test]'."
        ) from error


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = []
    for cell in content["cells"]:
        shown = [
            f"{number(each['cpu']['median'])} ({number(each['median']['median'])})"
            for each in cell["rows"].values()
        ]
        difference = "" if cell["difference"] is None else f"{cell['difference']:.1e}"
        rows.append((cell["form"], difference, *shown))
    heading = ("form", "largest difference", *(f"{rows} rows, ms" for rows in content["cells"][0]["rows"]))
    versions = ", ".join(f"{name} {each}" for name, each in content["versions"].items())
    note = (
        f"MMoE of the reference work, {content['vocabulary']:,} ids as texts; one thread each, {versions}. "
        "Numpy rows in, probabilities out: the processor's time of an answer, in parentheses the clock's; of "
        f"{content['rounds']} rounds in turns. Load before: {content['machine']['load_before']}. The "
        f"difference to `predict` is the largest of {max(ROWS)} rows."
    )
    return ["", "## What an answer takes, by the form of the exported model", "", note, *table(heading, rows)]

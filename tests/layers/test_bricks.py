"""What Keras asks of a layer, of every public layer: one table of expectations."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

import fuxi_mtl as fm
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import (
    MLP,
    AttendedTransfer,
    BagPooling,
    Brick,
    CrossNetwork,
    DomainShares,
    Experts,
    ExtractionLevels,
    FeatureEmbedding,
    Gate,
    GatedExperts,
    GatedTransfer,
    GeneratedMLP,
    InformationTransfer,
    MaskedBlocks,
    Mixture,
    SharedBottom,
    SharedEmbedding,
    StarDense,
    TokenMixer,
    Towers,
    TwoStreams,
)
from fuxi_mtl.layers.generated import GeneratedDense
from fuxi_mtl.options.blocks import GateStabilize, Generation

NAMES = ["ctr", "cvr"]
STACK = {"activations": "tanh", "dropout": 0.2, "batch_norm": True, "penalty": "l1_l2(1e-3,1e-3)"}
GENERATION = Generation(mode="decomposed", rank_k=2, hypernet_hidden_units=[3])
POLICIES = ("float32", "mixed_bfloat16")


@dataclass
class Case:
    """What is expected of a layer.

    Attributes:
        kind: The layer.
        options: What it is made with.
        inputs: Shapes of its arguments, without the batch; integers where the dtype says so.
        output: Shape of what comes out, without the batch.
        trained: Numbers that are trained.
        fixed: Numbers that are not, such as means of batches.
        losses: Regularizers, and what the call adds.
        is_float32: Whether that is what comes out under any policy.
    """

    kind: type[Brick]
    options: dict[str, Any]
    inputs: tuple
    output: Any
    trained: int
    fixed: int = 0
    losses: int = 0
    is_float32: bool = False

    def arguments(self) -> list:
        return [tf.nest.map_structure(np.array, each) for each in _numbers(self.inputs)]


def _numbers(shapes) -> list:
    random = np.random.default_rng(0)

    def made(shape):
        if isinstance(shape, dict):
            return {name: made(each) for name, each in shape.items()}
        if isinstance(shape, list):
            return [made(each) for each in shape]
        return random.normal(size=(5, *shape)).astype(np.float32)

    return [tiny.inputs(5) if each is IDS else made(each) for each in shapes]


IDS = {"ids": (9,), "numeric": (7,)}
FIELDS = {"user": (0, 2), "item": (2, 5)}
# name: (..., numbers: a Dense layer of n inputs and m outputs has n m + m, a batch norm 2 m and 2 m fixed)
CASES = {
    "MLP": Case(MLP, {"units": [4, 2], **STACK}, ((3,),), (2,), 16 + 8 + 10 + 4, 8 + 4, 2),
    "MLP, the identity": Case(MLP, {"units": []}, ((3,),), (3,), 0),
    "MLP, a norm of rows": Case(
        MLP, {"units": [4], "layer_norm": True, "activations": ["prelu"]}, ((3,),), (4,), 16 + 8 + 4
    ),
    "Experts": Case(Experts, {"num_experts": 3, "units": [4], **STACK}, ((3,),), (3, 4), 72, 24, 3),
    "Gate": Case(
        Gate,
        {
            "num_experts": 4,
            "units": [2],
            "stabilize": GateStabilize(temperature=2.0),
            "experts": list("abcd"),
        },
        ((3,),),
        (4,),
        8 + 12,
        is_float32=True,
    ),
    "Mixture of one gate": Case(Mixture, {}, ((3,), (3, 4)), (4,), 0),
    "Mixture of gates by name": Case(
        Mixture, {}, ({"ctr": (3,), "cvr": (3,)}, (3, 4)), {"ctr": (4,), "cvr": (4,)}, 0
    ),
    "Mixture of a list of gates": Case(Mixture, {}, ([(3,), (3,)], (3, 4)), [(4,), (4,)], 0),
    "Towers": Case(
        Towers,
        {"names": NAMES, "units": [4], "own": {"cvr": {"units": [2]}}, "penalty": 1e-3, "dropout": 0.1},
        ({"ctr": (3,), "cvr": (3,)},),
        {"ctr": (), "cvr": ()},
        16 + 5 + 8 + 3,
        losses=4,
        is_float32=True,
    ),
    "Towers on one input": Case(
        Towers, {"names": NAMES, "units": ()}, ((3,),), {"ctr": (), "cvr": ()}, 8, is_float32=True
    ),
    "SharedEmbedding": Case(SharedEmbedding, {"names": NAMES}, ((3,),), {"ctr": (3,), "cvr": (3,)}, 0),
    "SharedBottom": Case(
        SharedBottom,
        {"names": NAMES, "mlp": {"penalty": 1e-3}, "bottom_hidden_units": [4, 2]},
        ((3,),),
        {"ctr": (2,), "cvr": (2,)},
        16 + 10,
        losses=2,
    ),
    "GatedExperts": Case(
        GatedExperts,
        {
            "names": NAMES,
            "mlp": STACK,
            "num_experts": 3,
            "expert_hidden_units": [4],
            "gate_stabilize": {"noise_std": 0.0},
        },
        ((3,),),
        {"ctr": (4,), "cvr": (4,)},
        72 + 2 * 12,
        24,
        3 + 2 + 1,
    ),
    "ExtractionLevels, one level": Case(
        ExtractionLevels,
        {"names": NAMES, "num_shared_experts": 1, "num_specific_experts": 1, "expert_hidden_units": [4]},
        ((3,),),
        {"ctr": (4,), "cvr": (4,)},
        3 * 16 + 2 * 8,
    ),
    "ExtractionLevels, two levels": Case(
        ExtractionLevels,
        {"names": NAMES, "mlp": {}, "num_layers": 2, "num_shared_experts": 1, "expert_hidden_units": [4]},
        ((3,),),
        {"ctr": (4,), "cvr": (4,)},
        5 * 16 + 2 * 12 + 20 + 5 * 20 + 2 * 15,
    ),
    "FeatureEmbedding": Case(
        FeatureEmbedding,
        {"features": tiny.FEATURES, "embedding_dim": 4, "penalty": "l2(1e-3)"},
        (IDS,),
        (17,),
        (12 + 7) * 4 + 9 * 3,
    ),
    "FeatureEmbedding of some features": Case(
        FeatureEmbedding,
        {"features": tiny.FEATURES, "embedding_dim": 4, "names": ["user"]},
        (IDS,),
        (4,),
        12 * 4,
    ),
    "FeatureEmbedding with an interaction": Case(
        FeatureEmbedding,
        {
            "features": tiny.FEATURES,
            "embedding_dim": 4,
            "interaction": {
                "type": "masknet",
                "parallel_num_blocks": 1,
                "parallel_block_dim": 2,
                "number_dim": 3,
            },
            "mlp": {"activations": "tanh"},
        },
        (IDS,),
        (64,),
        # 20 columns are masked: those of five fields and three of the price's
        ((12 + 7) * 4 + 9 * 3 + 6 + 2 * 19)
        + ((17 * 19 + 19) + (19 * 19 + 19) + 19 * 2 + 4)
        + ((2 * 128 + 128) + (128 * 64 + 64)),
    ),
    "CrossNetwork": Case(
        CrossNetwork,
        {
            "columns": FIELDS,
            "mlp": {"penalty": 1e-3},
            "num_cross_layers": 1,
            "parallel_dnn_hidden_units": [2],
        },
        ((5,),),
        (7,),
        30 + 12,
        losses=2,
    ),
    "MaskedBlocks, serial": Case(
        MaskedBlocks,
        {"columns": FIELDS, "model_type": "SerialMaskNet", "dnn_hidden_units": [3, 2]},
        ((5,),),
        (2,),
        10 + (30 + 30 + 15 + 6) + ((15 + 3) + (9 + 3) + 6 + 4),
    ),
    "TwoStreams": Case(
        TwoStreams,
        {
            "columns": FIELDS,
            "mlp": STACK,
            "mlp1_hidden_units": [4],
            "mlp2_hidden_units": [2],
            "fs_hidden_units": [3],
            "fs1_context": ["user"],
            "num_heads": 2,
            "fusion_dim": 3,
        },
        ((5,),),
        (3,),
        ((9 + 20) + (3 + 12 + 20)) + (24 + 8 + 12 + 4) + (4 * 3 + 7 * 3),
        8 + 4,
        2 * 2 + 2 + 2,
    ),
    "TokenMixer": Case(
        TokenMixer,
        {"columns": FIELDS, "mlp": {"dropout": 0.1}, "num_tokens": 2, "token_dim": 4, "num_blocks": 1},
        ((5,),),
        (4,),
        (3 * 4 + 4) + (2 * 4 + 4) + 2 * (2 * 2 * 16 + 8 + 4) + 16,
    ),
    "BagPooling": Case(BagPooling, {"pooling": "max"}, ((4, 3),), (3,), 0),
    "BagPooling with weights": Case(BagPooling, {}, ([(4, 3), (4,)],), (3,), 0),
    "InformationTransfer": Case(
        InformationTransfer, {"units": 3, "stddev": 0.1, "penalty": 1e-3}, ([(3,), (3,)],), (3,), 27, losses=3
    ),
    "GatedTransfer": Case(
        GatedTransfer,
        {"units": 3, "hidden_units": [4], "penalty": 1e-3, "dropout": 0.1},
        ([(2,), (3,), ()],),
        (3,),
        9 + (7 * 4 + 4) + 15 + 6,
        losses=3,
    ),
    "AttendedTransfer": Case(AttendedTransfer, {"units": 3}, ([(2,), (3,), ()],), (3,), 9 + 3 * 12),
    "DomainShares": Case(
        DomainShares, {"features": tiny.FEATURES, "name_of_feature": "item"}, (IDS,), (7,), 0, is_float32=True
    ),
    "StarDense": Case(
        StarDense,
        {"units": 4, "domains": 2, "penalty": 1e-3},
        ((3,), (2,)),
        (4,),
        3 * (3 * 4 + 4),
        losses=1,
    ),
    "GeneratedDense": Case(
        GeneratedDense,
        {"units": 4, "generation": GENERATION, "penalty": 1e-3},
        ([(3,), (2,)],),
        (4,),
        3 * 2 + 2 * 4 + (2 * 3 + 3) + (3 * 8 + 8),
        losses=4,
    ),
    "GeneratedMLP": Case(
        GeneratedMLP,
        {"units": [4], "generation": GENERATION, "activations": "tanh"},
        ([(3,), (2,)],),
        (4,),
        3 * 2 + 2 * 4 + (2 * 3 + 3) + (3 * 8 + 8),
    ),
}


@functools.cache
def functional(name: str, policy: str) -> keras.Model:
    """A model of the layer alone, whose arguments are a list."""
    keras.utils.set_random_seed(0)
    case = CASES[name]
    arguments = [
        tf.nest.map_structure(lambda x: keras.Input(x.shape[1:], dtype=x.dtype.name), each)
        for each in case.arguments()
    ]
    layer = case.kind(**case.options, name="brick", dtype=policy)
    return keras.Model(arguments, layer(*arguments))


def shapes(structure, batch=None):
    """The same with a batch in front of each shape."""
    if isinstance(structure, dict):
        return {name: shapes(each, batch) for name, each in structure.items()}
    if isinstance(structure, list):
        return [shapes(each, batch) for each in structure]
    return (batch, *structure)


def count(variables) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_keeps_what_keras_expects_of_it(name, policy):
    case = CASES[name]
    model = functional(name, policy)
    layer = model.get_layer("brick")
    expected = shapes(case.output)
    assert keras.tree.map_structure(lambda x: x.shape, model.output) == expected
    assert layer.compute_output_shape(*(shapes(each) for each in case.inputs)) == expected
    dtype = "float32" if case.is_float32 else layer.compute_dtype
    assert {x.dtype for x in keras.tree.flatten(model.output)} == {dtype}
    assert count(layer.trainable_variables) == case.trained
    assert count(layer.non_trainable_variables) - count(seeds(layer)) == case.fixed
    assert {v.dtype for v in layer.weights} <= {"float32"}
    arguments = case.arguments()
    with tf.GradientTape() as tape:
        outputs = model(arguments, training=True)
        total = tf.add_n([tf.reduce_sum(tf.cast(x, tf.float32) ** 2) for x in tf.nest.flatten(outputs)])
    assert len(layer.losses) == case.losses
    gradients = tape.gradient(total, layer.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    config = json.loads(json.dumps(layer.get_config()))
    copy = case.kind.from_config(config)
    assert copy.get_config() == layer.get_config()
    rebuilt = keras.Model.from_config(model.get_config())
    rebuilt.set_weights(model.get_weights())
    same(rebuilt(arguments), model(arguments))
    same(layer(*map(tensors, arguments)), model(arguments))


def seeds(layer) -> list:
    """States of random numbers, which dropout has."""
    return [v for v in layer.non_trainable_variables if "seed_generator" in v.path]


def tensors(structure):
    return tf.nest.map_structure(tf.constant, structure)


def same(one, other):
    keras.tree.assert_same_structure(one, other)
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(np.array(a, np.float32), np.array(b, np.float32))


LOADING = """
import sys, pathlib
import numpy as np, tensorflow as tf, keras
import fuxi_mtl.layers
import test_bricks
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.keras")):
    model = keras.models.load_model(path)
    case = test_bricks.CASES[list(test_bricks.CASES)[int(path.stem.split("-")[0])]]
    outputs = tf.nest.flatten(model(case.arguments()))
    np.savez(path.with_suffix(".npz"), *[np.array(x, np.float32) for x in outputs])
"""


def test_layers_give_the_same_to_the_bit_when_another_process_loads_them(tmp_path):
    expected = {}
    for number, (name, case) in enumerate(CASES.items()):
        for policy in POLICIES:
            model = functional(name, policy)
            path = tmp_path / f"{number}-{policy}.keras"
            model.save(path)
            expected[path] = tf.nest.flatten(model(case.arguments()))
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for path, outputs in expected.items():
        with np.load(path.with_suffix(".npz")) as found:
            same([found[name] for name in found.files], outputs)


def test_every_registered_layer_has_a_row_in_the_table():
    registered = {
        kind
        for name, kind in keras.saving.get_custom_objects().items()
        if name.startswith("fuxi_mtl>") and issubclass(kind, Brick)
    }
    # Those take a mask and a query beside the vectors: tests/layers/test_encoders.py has them all.
    registered = {kind for kind in registered if not kind.__module__.startswith("fuxi_mtl.layers.sequences")}
    assert registered == {case.kind for case in CASES.values()}


def test_a_pretrained_file_is_not_needed_to_load(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.save(tmp_path / "rows.npy", rows)
    item = Feature(
        "item", "categorical", vocab_size=4, embedding_dim=2, pretrained="rows.npy", trainable=False
    )
    features = FeatureMap(
        "x", assign_columns([item, Feature("user", "categorical", vocab_size=3)]), folder=str(tmp_path)
    )
    layer = FeatureEmbedding(features, 2)
    inputs = layer.keras_inputs()
    assert list(inputs) == ["ids"]
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    (tmp_path / "rows.npy").unlink()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ids = {"ids": np.array([[1, 2], [3, 1]], np.int32)}
    same(loaded(ids), model(ids))
    (restored,) = (each for each in loaded.layers if isinstance(each, FeatureEmbedding))
    assert restored.features == replace(
        features, features=tuple(replace(each, pretrained=None) for each in features.features)
    )
    (frozen,) = restored.non_trainable_variables
    np.testing.assert_array_equal(frozen.numpy(), [[0, 0], *rows[1:]])


def test_a_users_own_layer_keeps_its_own_arguments():
    @keras.saving.register_keras_serializable("test")
    class Twice(MLP):
        def __init__(self, width, **options):
            super().__init__([width, width], "tanh", **options)

    config = Twice(3, dropout=0.5).get_config()
    assert config == {
        "width": 3,
        "dropout": 0.5,
        "name": config["name"],
        "trainable": True,
        "dtype": config["dtype"],
    }
    assert [dense.units for dense in Twice.from_config(config).hidden] == [3, 3]


def test_pooling_leaves_out_what_keras_masks():
    embedding = keras.layers.Embedding(5, 2, mask_zero=True)
    ids = keras.Input((3,), dtype="int32")
    model = keras.Model(ids, BagPooling("mean")(embedding(ids)))
    rows = np.array(embedding.embeddings)
    found = np.array(model(np.array([[1, 2, 0], [0, 0, 0]])))
    np.testing.assert_allclose(found, [(rows[1] + rows[2]) / 2, [0, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="pooling is 'median'"):
        BagPooling("median")


def test_features_that_know_their_data_are_saved_without_it():
    frame = {"item": ["a", "b", "a"] * 4, "price": [1.0, 2.0, 3.0] * 4, "click": [0, 1, 1] * 4}
    columns = [fm.Categorical("item"), fm.Numeric("price")]
    data = fm.Dataset(frame, valid_size=0.5, features=columns, tasks={"ctr": "click"})
    config = json.loads(json.dumps(FeatureEmbedding(data.features, 2).get_config()))
    assert FeatureEmbedding.from_config(config).features == data.features

"""docs/bricks.md and the examples in docstrings run."""

import doctest
import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import MMoE
from fuxi_mtl.optimizers import LazyAdam, SplitOptimizer
from fuxi_mtl.weighting import DynamicAverage, GradNorm

GUIDE = (Path(__file__).parents[2] / "docs" / "bricks.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
MODULES = [
    "layers.domains",
    "layers.bottoms",
    "layers.brick",
    "layers.embedding",
    "layers.experts",
    "layers.generated",
    "layers.interactions.cross",
    "layers.interactions.mask",
    "layers.interactions.mixer",
    "layers.interactions.streams",
    "layers.mlp",
    "layers.pooling",
    "layers.transfer",
    "objectives.row_losses",
    "optimizers.catching_up",
    "optimizers.rows",
    "optimizers.schedule",
    "optimizers.split",
    "surgery.backward",
    "weighting.base",
    "weighting.gradnorm",
    "weighting.loss_based",
    "weighting.uncertainty",
]

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

ONE_PAPERS = ["DomainTowers", "FusionScalars"]  # parts of M3oE alone


def run(blocks) -> dict:
    """Names that the blocks leave, run one after another."""
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/bricks.md", "exec"), names)
    return names


def test_every_block_of_the_guide_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    run(BLOCKS)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_has_an_example_that_runs(name):
    module = importlib.import_module(f"fuxi_mtl.{name}")
    assert doctest.testmod(module).failed == 0
    public = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and key in _exported(name)
    ]
    assert public
    for each in public:
        assert ">>> " in each.__doc__ or each.__name__ in ONE_PAPERS, each.__name__


def _exported(name: str) -> list[str]:
    return importlib.import_module(f"fuxi_mtl.{name.split('.')[0]}").__all__


@pytest.mark.parametrize("kind", [GradNorm, DynamicAverage])
def test_the_guides_own_step_does_what_a_model_of_the_library_does(kind):
    """The same numbers: losses and weights of every step, and what the variables are in the end."""
    step = next(block for block in BLOCKS if "class Weighted" in block).split("\nweighting = ")[0]
    names = run(["import keras\nimport fuxi_mtl as fm\n", step])
    tasks = tiny.tasks_of({"ctr": "click", "cvr": "buy | click"})
    kinds = {task.name: "binary" for task in tasks}
    keras.utils.set_random_seed(0)
    own = names["Weighted"](tiny.FEATURES, list(kinds), kind(kinds))
    own(tiny.inputs(2))
    model = MMoE(
        tiny.FEATURES,
        tasks,
        embedding_dim=8,
        num_experts=4,
        expert_hidden_units=[16],
        tower_hidden_units=[8],
        embedding_regularizer=0.0,
    )
    model.build()
    model.set_weights(own.get_weights())
    own.compile(optimizer=SplitOptimizer(keras.optimizers.Adam(0.01), LazyAdam(0.01)))
    model.compile(SplitOptimizer(keras.optimizers.Adam(0.01), LazyAdam(0.01)), weighting=kind(kinds))
    inputs, labels, _ = tiny.batch(tasks, rows=48)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(16)
    for _ in range(2):
        for each in (own, model):
            each.fit(data, verbose=0, shuffle=False)
    ours = {name: float(value) for name, value in model.weighting.weights().items()}
    found = {name: float(value) for name, value in own.weighting.weights().items()}
    assert found == pytest.approx(ours, rel=1e-5)
    assert abs(ours["ctr"] - 1) > 1e-3  # the weights have moved
    for one, other in zip(own.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

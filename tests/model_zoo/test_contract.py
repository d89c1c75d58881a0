"""Every registered model keeps the contract; a new file of the zoo is picked up by itself."""

import contract
import pytest
import tiny

from fuxi_mtl import registry
from fuxi_mtl.registry import import_zoo

import_zoo()

ZOO = [name for name in registry.names() if registry.model(name).__module__.startswith(registry.ZOO)]

USER_MODEL = '''
"""A model as a user would write it."""

import keras
import tensorflow as tf

from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class CrossedBottom(MultiTaskModel):
    """One cross layer under the towers.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        tower_hidden_units: Widths of each tower's hidden layers.
        net_dropout: Share of inputs dropped in training.

    Reference:
        Wang et al. Deep and Cross Network. ADKDD 2017.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 8,
        tower_hidden_units: tuple = (8,),
        net_dropout: float = 0.0,
    ):
        super().__init__(features, tasks)
        self.embedding = FeatureEmbedding(features, embedding_dim)
        self.cross = keras.layers.Dense(1, use_bias=False)
        self.dropout = keras.layers.Dropout(net_dropout)
        self.towers = Towers([task.name for task in tasks], tower_hidden_units, activations="tanh")

    def heads(self, x, training=False):
        return self.towers(self.dropout(x * self.cross(x) + x))

    def shared_variables(self):
        return [self.cross.kernel]
'''


def test_the_zoo_is_registered():
    assert {"SingleTask", "ShareBottom", "MMoE", "PLE", "ESMM", "ESM2"} <= set(ZOO)


@pytest.fixture(scope="module", autouse=True)
def _models_that_are_looked_at():
    yield
    contract.built.cache_clear()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ZOO)
def test_every_model(name, check):
    check(registry.model(name))


@pytest.fixture(scope="module")
def user_model(tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "crossed.py"
    file.write_text(USER_MODEL, encoding="utf-8")
    (name,) = registry.import_models(str(file))
    yield registry.model(name)
    del registry._MODELS[name]


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_a_users_model(user_model, check):
    check(user_model)


def test_together_the_plans_cover_two_and_three_objectives_and_numbers():
    kinds, counts = set(), set()
    for name in ZOO:
        for tasks in tiny.plans(registry.model(name)).values():
            kinds |= {task.kind for task in tasks}
            counts.add(len(registry.model(name).objective_names(tasks)))
    assert kinds == {"binary", "regression"}
    assert {2, 3} <= counts

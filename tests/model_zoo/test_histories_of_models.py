"""Histories under the models of the zoo, none of which knows of them."""

import contract
import keras
import numpy as np
import pytest
import tiny

from fuxi_mtl import registry
from fuxi_mtl.registry import import_zoo

import_zoo()
ZOO = [name for name in registry.names() if registry.model(name).__module__.startswith(registry.ZOO)]
GROUP = {
    "columns": {"history": "item"},
    "position": "learned",
    "position_dim": 3,
    "encoder": {"type": "din", "hidden_units": [4], "activation": "tanh"},
}
WITH_HISTORY = '''
from fuxi_mtl import registry
from fuxi_mtl.registry import register

Base = registry.model("{base}")


@register
class {base}WithHistory(Base):
    """The model on an encoded history.

    Args:
        features: The inputs.
        tasks: What to predict.

    Reference:
        None.
    """

    defaults = {{**getattr(Base, "defaults", {{}}), "sequences": {group}}}
'''


@pytest.mark.parametrize("name", ZOO)
def test_every_model_of_the_zoo_trains_what_encodes_a_history(name):
    cls = registry.model(name)
    keras.utils.set_random_seed(1)
    tasks = contract.first_plan(cls)
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, sequences={"recent": GROUP}))
    model.build()
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    encoders = [variable for variable in model.trainable_variables if "compare" in variable.path]
    assert encoders, f"{name} has no encoder"
    before = [variable.numpy() for variable in encoders]
    batch = tiny.batch(tasks)
    for _ in range(3):  # some move in turns
        logs = model.train_step(batch)
        assert np.isfinite(float(logs["loss"]))
    assert all((variable.numpy() != old).any() for variable, old in zip(encoders, before, strict=True))
    heads = model(tiny.tensors(tiny.inputs(4)))
    assert all(np.isfinite(head).all() for head in heads.values())


@pytest.fixture(scope="module", params=[("mmoe", "MMoE"), ("esmm", "ESMM")])
def model_with_history(request, tmp_path_factory):
    file, base = request.param
    path = tmp_path_factory.mktemp("models") / f"{file}_with_history.py"
    path.write_text(WITH_HISTORY.format(base=base, group=repr({"recent": GROUP})))
    (name,) = registry.import_models(str(path))
    yield registry.model(name)
    contract.built.cache_clear()
    del registry._MODELS[name]


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_a_model_with_a_history_keeps_the_contract(model_with_history, check):
    if "documents" not in check.__name__:
        check(model_with_history)


def test_a_surgery_looks_at_histories_as_at_all_that_embed_gives():
    model = registry.model("MMoE")(tiny.FEATURES, tiny.PLAIN["two"], sequences={"recent": GROUP})
    model.build()
    counts, x = model._learnt_parts(model.embed(tiny.tensors(tiny.inputs(4))))
    assert sum(each.shape[1] for each in counts) == x.shape[1] - 3  # without price and vector
    start, end = model.embedding.column_ranges["recent"]
    assert end - start == 3 + 3

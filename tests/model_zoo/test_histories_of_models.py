"""Histories and interactions under the models of the zoo, few of which know of them."""

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
# One a model, in turn: all of them under all would take minutes.
INTERACTIONS = [
    {"type": "dcnv2", "parallel_dnn_hidden_units": [6], "num_cross_layers": 2},
    {"type": "masknet", "parallel_block_dim": 6, "dnn_hidden_units": [6]},
    {"type": "finalmlp", "mlp1_hidden_units": [8], "mlp2_hidden_units": [4], "fs1_context": ["user"]},
    {"type": "rankmixer", "token_dim": 8, "num_blocks": 1},
    {"type": "dcnv2", "model_structure": "crossnet_only", "use_low_rank_mixture": True, "low_rank": 2},
]
WITH_HISTORY = '''
from fuxi_mtl import registry
from fuxi_mtl.registry import register

Base = registry.model("{base}")


@register
class {base}WithHistory(Base):
    """The model on an encoded history, which meets the other features.

    Args:
        features: The inputs.
        tasks: What to predict.

    Reference:
        None.
    """

    defaults = {{**getattr(Base, "defaults", {{}}), "sequences": {group}, "interaction": {interaction}}}
'''


@pytest.mark.parametrize("name", ZOO)
def test_every_model_of_the_zoo_trains_what_encodes_a_history_and_what_lets_features_meet(name):
    cls = registry.model(name)
    keras.utils.set_random_seed(1)
    tasks = contract.first_plan(cls)
    interaction = INTERACTIONS[ZOO.index(name) % len(INTERACTIONS)]
    own = tiny.options_of(cls, sequences={"recent": GROUP}, interaction=interaction)
    model = cls(tiny.FEATURES, tasks, **own)
    model.build()
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    encoders = [variable for variable in model.trainable_variables if "compare" in variable.path]
    meeting = [variable for variable in model.trainable_variables if "interaction/" in variable.path]
    assert encoders, f"{name} has no encoder"
    assert meeting, f"{name} has no interaction"
    watched = encoders + meeting
    before = [variable.numpy() for variable in watched]
    batch = tiny.batch(tasks)
    for _ in model.alternating_steps() or [None]:  # some move in turns
        logs = model.train_step(batch)
        assert np.isfinite(float(logs["loss"]))
    assert all((variable.numpy() != old).any() for variable, old in zip(watched, before, strict=True))
    heads = model(tiny.tensors(tiny.inputs(4)))
    assert all(np.isfinite(head).all() for head in heads.values())


@pytest.fixture(scope="module", params=[("mmoe", "MMoE", 2), ("esmm", "ESMM", 3)])
def model_with_history(request, tmp_path_factory):
    file, base, number = request.param
    path = tmp_path_factory.mktemp("models") / f"{file}_with_history.py"
    own = {"group": repr({"recent": GROUP}), "interaction": repr(INTERACTIONS[number])}
    path.write_text(WITH_HISTORY.format(base=base, **own))
    (name,) = registry.import_models(str(path))
    yield registry.model(name)
    contract.built.cache_clear()
    del registry._MODELS[name]


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_a_model_with_a_history_and_an_interaction_keeps_the_contract(model_with_history, check):
    if "documents" not in check.__name__:
        check(model_with_history)


def test_a_surgery_looks_at_histories_as_at_all_that_embed_gives():
    model = registry.model("MMoE")(tiny.FEATURES, tiny.PLAIN["two"], sequences={"recent": GROUP})
    model.build()
    counts, x = model._learnt_parts(model.embed(tiny.tensors(tiny.inputs(4))))
    assert sum(each.shape[1] for each in counts) == x.shape[1] - 3  # without price and vector
    start, end = model.embedding.column_ranges["recent"]
    assert end - start == 3 + 3

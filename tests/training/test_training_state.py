"""A training that is put down and taken up between two steps is one that was not, whatever it is made of."""

import json
import logging
import random
from types import FunctionType, ModuleType

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import registry
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers.folding import Foldable
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.optimizers import make_optimizer, split_of
from fuxi_mtl.options import (
    OPTIMIZERS,
    ROW_OPTIMIZERS,
    SURGERIES,
    WEIGHTINGS,
    OptimizerOptions,
    SurgeryOptions,
    WeightingOptions,
)
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.state import StateFolder, TrainingState, memory, stored_states
from fuxi_mtl.weighting import make_weighting

import_zoo()
TASKS = tiny.PLAIN["three"]
# Two tables of rows and a number: what has a state, in as few variables as can be.
FEATURES = FeatureMap(
    "tiny",
    tuple(each for each in tiny.FEATURES if each.name in {"user", "item", "price"}),
    tiny.FEATURES.labels,
)
# Each member of each family once, in as few trainings as there are members of the largest.
KEYS = ("loss_weight", "surgery", "optimizer", "embedding_optimizer")
NAMES = (
    [each.name for each in WEIGHTINGS.members if each.name != "manual"],
    [each.name for each in SURGERIES.members],
    [each.name for each in OPTIMIZERS.members],
    [each.name for each in ROW_OPTIMIZERS.members],
)
FAMILIES = [
    {
        "scaled": place % 3 == 0,
        **{key: names[place % len(names)] for key, names in zip(KEYS, NAMES, strict=True)},
    }
    for place in range(max(map(len, NAMES)))
]


def mode_of(surgery) -> str:
    """The default, unless the surgery has none of that kind."""
    default, member = SurgeryOptions().surgery_mode, SURGERIES[surgery]
    modes = (default,) if member.target is None else member.load().modes
    return default if default in modes else modes[0]


def training(
    *,
    name="ShareBottom",
    features=FEATURES,
    tasks=TASKS,
    towers=(),
    loss_weight="EQ",
    surgery="none",
    scaled=False,
    start=1,
    **optimizer,
) -> TrainingState:
    """A small model, ready for eager steps."""
    keras.utils.set_random_seed(start)
    cls = registry.model(name)
    options = tiny.options_of(cls, net_dropout=0.3, batch_norm=True, tower_hidden_units=towers)
    model = cls(features, tasks, **options)
    objectives = {objective.name: objective.kind for objective in model.objectives()}
    optimizer = make_optimizer(OptimizerOptions(**{"learning_rate": 0.01, **optimizer}))
    model.compile(
        keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=1) if scaled else optimizer,
        make_weighting(WeightingOptions(loss_weight=loss_weight), objectives, epoch_steps=2, seed=start),
        surgery=make_surgery(SurgeryOptions(surgery=surgery, surgery_mode=mode_of(surgery)), objectives),
        run_eagerly=True,
    )
    return TrainingState(model, Position(), {})


def steps(state, first, last):
    """Some steps; what they log."""
    for number in range(first, last):
        logs = state.model.train_step(tiny.batch(state.model.tasks, rows=16, seed=number))
        state.position.step += 1
    return {name: float(value) for name, value in logs.items()}


def put_down(state, folder):
    states = StateFolder(folder, {"stanza": {}, "data_key": ""})
    note = states.note(state.plain(), 9, state.has_global_seed)
    return states.write(note, state.parts(), state.orders(), None) / "state.h5"


def arrays(state):
    return {
        name: part.read(...) if part.rows is None else part.read(slice(0, part.shape[0]))
        for name, part in state.parts().items()
    }


def assert_same(one, other):
    ours, theirs = arrays(one), arrays(other)
    assert list(ours) == list(theirs)
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


@pytest.mark.parametrize("choice", FAMILIES, ids=lambda choice: "-".join(map(str, choice.values())))
def test_what_is_taken_up_goes_on_to_the_last_bit(tmp_path, choice):
    whole = training(**choice)
    steps(whole, 0, 2)
    before = arrays(whole)
    file = put_down(whole, tmp_path)
    for name, values in arrays(whole).items():  # putting it down changes nothing
        np.testing.assert_array_equal(values, before[name], err_msg=name)
    other = training(**choice, start=7)
    steps(other, 5, 6)
    other.restore_numbers(file)
    assert other.position == Position(2, 0)
    assert_same(whole, other)
    assert steps(whole, 2, 4) == steps(other, 2, 4)  # of losses and weights, means over all four steps
    assert_same(whole, other)


def test_moves_that_rows_put_off_are_stored_as_put_off(tmp_path):
    whole = training(embedding_optimizer="dense_equivalent_adam")
    steps(whole, 0, 3)
    found = arrays(whole)
    late = [name for name in found if name.endswith("/lasts")]
    assert any(len(np.unique(found[name])) > 1 for name in late)  # rows that are behind others
    assert found["optimizer/rows/now"] == 3
    put_down(whole, tmp_path)
    np.testing.assert_array_equal(arrays(whole)["network/embedding/user"], found["network/embedding/user"])
    whole.model.apply_deferred_updates()
    assert (arrays(whole)["network/embedding/user"] != found["network/embedding/user"]).any()


@pytest.mark.parametrize(("rows", "large"), [("adam", 200), ("dense_equivalent_adam", 0)])
def test_copies_stay_what_they_were_while_training_goes_on(monkeypatch, rows, large):
    monkeypatch.setattr(memory, "LARGE", large)
    tasks = tiny.PLAIN["two"]
    state = training(tasks=tasks, embedding_optimizer=rows, loss_weight="UW", surgery="pcgrad")
    model = state.model
    model.run_eagerly = False
    model.make_train_function(force=True)
    batches = iter(tf.data.Dataset.from_tensors(tiny.batch(tasks, rows=16)).repeat())
    for _ in range(2):
        model.train_function(batches)
    parts = state.parts()
    copies = memory.Copies(parts.values())  # takes memory while training goes on
    for _ in range(3):
        model.train_function(batches)
    before, now = arrays(state), copies.now()
    assert copies.have_memory
    held = {name: part.held(now) for name, part in parts.items()}
    for _ in range(3):
        model.train_function(batches)
    moved = arrays(state)
    assert any((moved[name] != before[name]).any() for name in before if name.startswith("network/embedding"))
    for name, part in held.items():
        values = [part.read(chunk).reshape(-1) for chunk in part.chunks()]
        np.testing.assert_array_equal(np.concatenate(values), before[name].reshape(-1), err_msg=name)


def test_states_of_another_training_go_even_if_they_are_as_new_and_further(tmp_path):
    state = training()
    for step, name in ((9, "old"), (2, "new"), (4, "new")):
        state.position.step = step
        states = StateFolder(tmp_path, {}, keep=1, training=name)
        note = {**states.note(state.plain(), 9, False), "saved": "2026-11-29T00:00:00"}
        states.write(note, state.parts(), state.orders(), None)
    assert [each.name for each in tmp_path.iterdir()] == ["state_4"]


def reachable(root) -> dict[int, tuple[str, object]]:
    """Every variable that attributes, lists and dicts lead to, with a way there."""
    found: dict[int, tuple[str, object]] = {}
    seen: set[int] = set()
    queue = [("", root)]
    while queue:
        path, value = queue.pop()
        if id(value) in seen or isinstance(value, (str, bytes, int, float, type, ModuleType, FunctionType)):
            continue
        seen.add(id(value))
        if isinstance(value, tf.Variable):
            found[id(value)] = path, value
        elif isinstance(value, dict):
            queue += [(f"{path}[{key}]", each) for key, each in value.items()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            queue += [(f"{path}[{place}]", each) for place, each in enumerate(value)]
        elif hasattr(value, "__dict__") and not isinstance(value, tf.Tensor):
            queue += [(f"{path}.{name}", each) for name, each in vars(value).items()]
    return found


@pytest.mark.parametrize(
    "choice",
    [
        {"loss_weight": "GN", "surgery": "pe_ltr", "scaled": True},
        {"embedding_optimizer": "dense_equivalent_adam", "loss_weight": "UW"},
        {"name": "DRJL", "tasks": "named", "optimizer": "nadam"},
        {"name": "ESCM2_IPS", "tasks": "named"},
        {"name": "M3oE"},
        {"name": "APG_MMOE"},
    ],
    ids=str,
)
def test_every_variable_that_a_training_reaches_is_in_its_state(choice):
    if choice.get("tasks"):
        choice = {**choice, "tasks": tiny.named_plan(registry.model(choice["name"]))}
    state = training(**choice, features=tiny.FEATURES, towers=(6,))
    model = state.model
    if model.bilevel_variables():
        model.bilevel_optimizer = keras.optimizers.Adam(0.1)
        model.bilevel_optimizer.build(model.bilevel_variables())
    held = {id(part.variable) for part in state.parts().values()}
    split = split_of(model.optimizer)
    unused = (
        split._iterations,
        split._learning_rate,
        *model._loss_tracker.variables,
    )  # Keras's own, never set
    constant = {id(variable.value) for variable in unused}
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, MultiTaskModel):  # a part that is never trained as a model of its own
            constant |= {id(v.value) for mean in layer.means.metrics for v in mean.variables}
        if isinstance(layer, Foldable):  # products that are made of the network before each prediction
            constant |= {id(v) for _, v in reachable(vars(layer)).values()} - {
                id(v.value) for v in layer.weights
            }
    forgotten = [path for key, (path, _) in reachable(model).items() if key not in held | constant]
    assert not forgotten


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 64])
        + content[middle + 64 :]
    )


def test_the_generators_of_python_and_numpy_go_on_where_they_were(tmp_path):
    state = training()
    steps(state, 0, 1)
    put_down(state, tmp_path)
    drawn = random.random(), np.random.random(), np.random.normal()  # noqa: NPY002
    (stored,) = stored_states(tmp_path)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    state.restore_members(stored.note["plain"])
    assert (random.random(), np.random.random(), np.random.normal()) == drawn  # noqa: NPY002


def test_numbers_that_a_layer_draws_of_kerass_own_generator_go_on(tmp_path):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    state = training()
    keras.random.uniform((2,))
    file = put_down(state, tmp_path)
    drawn = keras.random.uniform((3,)).numpy()
    keras.utils.clear_session()
    keras.utils.set_random_seed(8)
    other = training()
    assert not other.has_global_seed
    other.restore_numbers(file)
    np.testing.assert_array_equal(keras.random.uniform((3,)).numpy(), drawn)
    keras.utils.clear_session()


def test_a_flipped_bit_is_seen_in_the_numbers_and_in_what_lies_beside_them(tmp_path, caplog):
    state = training()
    file = put_down(state, tmp_path)
    good = file.read_bytes()
    text = json.dumps(state.plain()["members"]["generators"]["numpy"])[:40].encode()
    place = good.index(text)
    file.write_bytes(good[:place] + b"x" + good[place + 1 :])
    with caplog.at_level(logging.WARNING):
        assert stored_states(tmp_path) == []
    assert "this state of a training cannot be read (note is not what was written)" in caplog.text
    file.write_bytes(flip(good))
    before = arrays(state)
    with pytest.raises((ValueError, OSError, RuntimeError)):
        state.restore_numbers(file)
    for name, values in arrays(state).items():
        np.testing.assert_array_equal(values, before[name])

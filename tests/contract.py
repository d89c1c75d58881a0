"""What every model must do, as functions over its class: ours and any user's.

    from contract import CHECKS
    for check in CHECKS:
        check(MyModel)

A check builds small networks on the data of `tiny`, for the sets of tasks that the model can serve.
"""

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import registry
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import WeightingOptions
from fuxi_mtl.options.declaring import REQUIRED
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.state import StateFolder, TrainingState
from fuxi_mtl.weighting import make_weighting

CHECKS: list[Callable[[type], None]] = []
DROPPING = {"net_dropout": 0.3, "batch_norm": True}  # of models that have them
EPOCH = 3  # steps, of the training that is put down and taken up


def check(function: Callable[[type], None]) -> Callable[[type], None]:
    """Adds a function to the contract."""
    CHECKS.append(function)
    return function


def make(cls: type, tasks, seed: int = 1, **changes) -> MultiTaskModel:
    """A small model with its variables."""
    random.seed(seed)  # Keras draws all seeds from here; TensorFlow's own would forget its compiled kernels
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, **changes))
    model.build()
    return model


@cache
def built(cls: type, tasks, **changes) -> MultiTaskModel:
    """One such model for all checks that only look at it, wide enough to learn a few rows by heart."""
    return make(cls, tasks, **{"embedding_dim": 8} | changes)


@contextmanager
def lent(cls: type, tasks, **changes) -> Iterator[MultiTaskModel]:
    """The same model for a check that trains it: as it was before, afterwards."""
    model = built(cls, tasks, **changes)
    before = [(variable, variable.numpy()) for variable in model.variables]
    try:
        yield model
    finally:
        for variable, value in before:
            variable.assign(value)


def compiled(model: MultiTaskModel, optimizer, loss_weight="EQ") -> MultiTaskModel:
    """A model that is ready to train eagerly: no time goes into tracing."""
    objectives = {objective.name: objective.kind for objective in model.objectives()}
    weighting = make_weighting(WeightingOptions(loss_weight=loss_weight), objectives)
    model.compile(optimizer, weighting, run_eagerly=True)
    return model


def first_plan(cls: type):
    """One set of tasks that the model can serve."""
    return next(iter(tiny.plans(cls).values()))


def objective_gradients(model: MultiTaskModel, batch, variables) -> Iterator[tuple[str, list]]:
    """The gradients of each objective alone; None where there is no path."""
    inputs, labels, sample_weight = batch
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            loss, _ = objective.loss(model(inputs, training=True), labels, sample_weight)
        yield objective.name, tape.gradient(loss, [v.value for v in variables])


@cache
def learning(cls: type, tasks) -> np.ndarray:
    """Of which objectives (rows) alone which trainable variables have a gradient."""
    model = built(cls, tasks)
    found = objective_gradients(model, tiny.batch(tasks), model.trainable_variables)
    return np.array([[nonzero(gradient) for gradient in gradients] for _, gradients in found])


def nonzero(gradient) -> bool:
    """Whether there is a gradient at all."""
    return gradient is not None and bool(np.any(tf.convert_to_tensor(gradient).numpy() != 0))


# ---- what a model is ----------------------------------------------------------------------------


@check
def serves_some_tasks_and_names_its_objectives(cls):
    plans = tiny.plans(cls)
    assert plans, f"{cls.__name__} serves none of the tiny tasks"
    for tasks in plans.values():
        names = tuple(objective.name for objective in built(cls, tasks).objectives())
        assert names == cls.objective_names(tasks)
        assert len(set(names)) == len(names) > 0


@check
def documents_itself_every_option_and_a_reference(cls):
    document = inspect.getdoc(cls)
    assert "Reference:" in document
    for name, parameter in registry.options(cls.__name__).items():
        assert f"    {name}: " in document, f"{name} is not documented"
        assert parameter.type is not Any, f"{name} has no type"
        assert parameter.default is not REQUIRED, f"{name} has no default"


@check
def takes_only_options_by_name(cls):
    parameters = inspect.signature(cls).parameters.values()
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["features", "tasks"]
    with pytest.raises(TypeError, match="num_exprts"):
        cls(tiny.FEATURES, first_plan(cls), num_exprts=3)


# ---- the forward pass ---------------------------------------------------------------------------


@check
def gives_a_finite_float32_head_for_every_task(cls):
    for tasks in tiny.plans(cls).values():
        model = built(cls, tasks)
        heads = model(tiny.tensors(tiny.inputs(5)))
        # Objectives may need a head that is no task, such as an imputed error: it is never predicted.
        assert set(heads) >= {task.name for task in tasks}
        assert set(model.probabilities(heads)) == {task.name for task in tasks}
        for head in heads.values():
            assert head.shape == (5,)
            assert head.dtype == tf.float32
            assert np.isfinite(head.numpy()).all()
        for task in tasks:
            probability = model.probabilities(heads)[task.name].numpy()
            assert task.kind == "regression" or ((probability > 0) & (probability < 1)).all()


@check
def trains_in_half_precision(cls):
    """A step under ``mixed_bfloat16``: float32 heads and variables, all finite, something moves."""
    tasks = first_plan(cls)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = compiled(make(cls, tasks), keras.optimizers.SGD(0.1))
        before = [v.numpy() for v in model.trainable_variables]
        logs = model.train_step(tiny.batch(tasks))
        heads = model(tiny.tensors(tiny.inputs()))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {head.dtype for head in heads.values()} == {tf.float32}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert np.isfinite([float(value) for value in logs.values()]).all()
    pairs = list(zip(model.trainable_variables, before, strict=True))
    assert all(np.isfinite(variable.numpy()).all() for variable, _ in pairs)
    assert any((variable.numpy() != old).any() for variable, old in pairs)


@check
def treats_each_row_by_itself(cls):
    model = built(cls, first_plan(cls))
    inputs = tiny.tensors(tiny.inputs(6))
    together = model(inputs)
    for row in range(6):
        alone = model({name: array[row : row + 1] for name, array in inputs.items()})
        for name, head in alone.items():
            np.testing.assert_allclose(head[0], together[name][row], rtol=1e-5, atol=1e-6)


@check
def gives_the_same_answer_twice(cls):
    model = built(cls, first_plan(cls), **DROPPING)
    inputs = tiny.tensors(tiny.inputs())
    first, second = model(inputs), model(inputs)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@check
def starts_with_different_kernels(cls):
    for tasks in tiny.plans(cls).values():
        kernels = [v.numpy() for v in built(cls, tasks).trainable_variables if len(v.shape) > 1]
        assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


# ---- gradients ----------------------------------------------------------------------------------


@check
def every_variable_learns(cls):
    for tasks in tiny.plans(cls).values():
        model = built(cls, tasks)
        learns = learning(cls, tasks).any(axis=0)
        idle = [v.path for v, moves in zip(model.trainable_variables, learns, strict=True) if not moves]
        assert not idle, f"no gradient reaches {idle}"


@check
def shared_variables_learn_from_several_objectives(cls):
    for tasks in tiny.plans(cls).values():
        model = built(cls, tasks)
        shared = {id(variable) for variable in model.shared_variables()}
        own = [id(variable) for variable in model.trainable_variables]
        assert shared <= set(own)
        counts = learning(cls, tasks).sum(axis=0)
        assert all(count >= 2 for key, count in zip(own, counts, strict=True) if key in shared)


# ---- training -----------------------------------------------------------------------------------


@check
def trains_under_a_weighting_of_each_family(cls):
    """GradNorm, which asks for gradients, and one of the others by turns: a model cannot tell them apart."""
    others = ["manual", "UW", "GLS"]  # EQ below
    for number, tasks in enumerate(tiny.plans(cls).values()):
        with lent(cls, tasks) as model:
            for choice in ("GN", random.Random(cls.__name__).choice(others)) if number == 0 else ("GN",):
                names = [objective.name for objective in model.objectives()]
                loss_weight = dict.fromkeys(names, 0.5) if choice == "manual" else choice
                compiled(model, keras.optimizers.SGD(0.1), loss_weight)
                moves_everything(model, choice, model.train_step)


def moves_everything(model: MultiTaskModel, choice: str, step: Callable) -> None:
    """Takes one step, in which everything moves and the weights are what they should be."""
    kinds = {objective.name: objective.kind for objective in model.objectives()}
    before = [v.numpy() for v in model.trainable_variables]
    for _ in model.alternating_steps() or [None]:  # where the variables take turns, each has had its own
        logs = step(tiny.batch(model.tasks))
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert {f"loss_{name}" for name in kinds} < set(logs)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert (variable.numpy() != old).any(), variable.path
    weights = [float(weight) for weight in model.weighting.weights().values()]
    assert min(weights) > 0
    # Fixed objectives stay at one, and most weightings balance two others at least.
    adaptive = len([kind for kind in kinds.values() if kind != "fixed"])
    moves = {"EQ": False, "manual": True, "UW": adaptive >= 1, "GLS": adaptive >= 2, "GN": adaptive >= 2}
    assert (weights == [1.0] * len(kinds)) == (not moves[choice])


@check
def overfits_a_few_rows(cls):
    """Under equal weights, each step of which moves everything."""
    tasks = first_plan(cls)
    batch = tiny.batch(tasks)
    losses = [f"loss_{name}" for name in cls.objective_names(tasks)]
    with lent(cls, tasks) as model, graphs.as_traced():
        compiled(model, keras.optimizers.Adam(0.03, global_clipnorm=10.0))
        first = model.test_step(batch)
        bounds = {name: 0.1 * float(first[name]) + 0.02 for name in losses}
        step = tf.function(model.train_step, autograph=False)  # as Keras compiles it
        moves_everything(model, "EQ", step)
        turns = max(1, len(model.alternating_steps()))  # every variable moves 200 times at most
        for _ in range(10 * turns):
            for _ in range(20):
                step(batch)
            model.reset_metrics()
            last = {name: float(value) for name, value in model.test_step(batch).items() if name in bounds}
            if all(last[name] < bounds[name] for name in losses):
                return
    raise AssertionError(f"after {200 * turns} steps the losses are {last}, not below {bounds}")


@check
def repeats_itself_and_goes_on_from_its_state_to_the_last_digit(cls):
    """From a step inside an epoch, drawn for each model; what is logged are means over the whole epoch."""
    taken = random.Random(cls.__name__).randrange(1, EPOCH)
    where = f"{cls.__name__}, taken up behind step {taken} of {EPOCH}"
    tasks = first_plan(cls)

    def begun(model):  # Adam has eight times the operations a variable, and no more to remember
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=10.0)
        return TrainingState(compiled(model, optimizer, "UW"), Position(), {})  # learns its weights

    def steps(state, first, last):
        batches = [tiny.batch(tasks, rows=16, seed=number) for number in range(first, last)]
        return [state.model.train_step(batch) for batch in batches][-1]

    with lent(cls, tasks, **DROPPING) as model:
        whole, resumed = begun(model), begun(make(cls, tasks, embedding_dim=8, **DROPPING))
        pairs = zip(whole.model.weights, resumed.model.weights, strict=True)  # seeds of dropout, too
        for one, other in pairs:
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        steps(whole, 0, taken)
        for part in resumed.parts().values():  # somewhere else
            for chunk in part.chunks():
                part.write(chunk, part.read(chunk) + 1)
        with TemporaryDirectory() as folder:
            states = StateFolder(Path(folder), {})
            note = states.note(whole.plain(), EPOCH, whole.has_global_seed)
            file = states.write(note, whole.parts(), whole.orders(), None) / checkpoint.FILE
            resumed.restore_numbers(file)
        assert steps(whole, taken, EPOCH) == steps(resumed, taken, EPOCH), where
        ours, theirs = whole.parts(), resumed.parts()
        assert list(ours) == list(theirs), where
        for name, part in ours.items():
            for chunk in part.chunks():
                values = part.read(chunk), theirs[name].read(chunk)
                np.testing.assert_array_equal(*values, err_msg=f"{where}: {name}")

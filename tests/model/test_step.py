"""What a model may say of its training: alternating steps, things to watch, factors, a word beforehand."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.model.prediction import batches_of
from fuxi_mtl.objectives import Objective, supervised
from fuxi_mtl.weighting import GradNorm, Manual, Uncertainty

TASKS = tiny.PLAIN["regression"]
KINDS = {"click": "binary", "watch": "regression"}


class Alternating(ShareBottom):
    """Moves the tower of `click` and the rest in turn, and counts the rows it saw."""

    def alternating_steps(self):
        tower = [*self.towers.stacks[0].trainable_variables, *self.towers.outputs[0].trainable_variables]
        mine = {id(variable) for variable in tower}
        rest = [v for v in self.trainable_variables if id(v) not in mine]
        return [(("click",), tower), (("click", "watch"), rest)]


class Watching(ShareBottom):
    """Counts the clicks of each step."""

    def objectives(self):
        def watch(heads, labels):
            return {"clicks": tf.reduce_sum(labels["click"]), "step": tf.cast(self.step, tf.float32)}

        click, watched = (supervised(task) for task in self.tasks)
        return [replace(click, watch=watch, watched=("clicks", "step")), replace(watched, scale=0.5)]


def make(cls, **compile_options):
    keras.utils.set_random_seed(3)
    model = cls(tiny.FEATURES, TASKS, **(tiny.options_of(ShareBottom) | {"embedding_regularizer": 0}))
    model.build()
    model.compile(**compile_options)
    return model


def state(model):
    """Every variable and every slot of the optimizer by path."""
    named = [*model.trainable_variables, *model.optimizer.variables]
    return {f"{i} {v.path}": v.numpy().copy() for i, v in enumerate(named)}


def mean_loss(objective, head, **labels):
    tensors = {name: tf.constant(label, tf.float32) for name, label in labels.items()}
    heads = {"a": tf.constant(head, tf.float32)}
    with tf.GradientTape() as tape:
        tape.watch(heads["a"])
        loss, rows = objective.loss(heads, tensors)
    return float(loss), tape.gradient(loss, heads["a"]).numpy(), float(rows)


# ---- objectives ---------------------------------------------------------------------------------


def test_rows_of_an_objective_may_have_weights_through_which_no_gradient_flows():
    objective = Objective(
        "a",
        error=lambda heads, labels: heads["a"],
        given=lambda labels: tf.logical_not(tf.math.is_nan(labels["y"])),
        weight=lambda heads, labels: heads["a"] + labels["y"],
    )
    loss, gradient, rows = mean_loss(objective, [1.0, 2.0, 50.0], y=[1.0, 2.0, np.nan])
    assert loss == pytest.approx((2 * 1 + 4 * 2) / 6)
    assert gradient == pytest.approx([2 / 6, 4 / 6, 0])
    assert rows == 6


def test_a_weight_that_is_not_a_number_does_not_matter_where_a_row_does_not_count():
    objective = Objective(
        "a",
        error=lambda heads, labels: heads["a"],
        given=lambda labels: labels["y"] > 0,
        weight=lambda heads, labels: 1 / labels["y"] - 1 / labels["y"] + 1,
    )
    loss, gradient, _ = mean_loss(objective, [1.0, 2.0], y=[1.0, 0.0])
    assert (loss, gradient.tolist()) == (1, [1, 0])


# ---- factors and what adaptive weightings leave alone -------------------------------------------


def test_the_factor_of_an_objective_stands_outside_the_weighting():
    model = make(Watching, weighting=Manual(KINDS, {"click": 2, "watch": 3}), run_eagerly=True)
    logs = model.train_step(tiny.batch(TASKS))
    assert (float(logs["weight_click"]), float(logs["weight_watch"])) == (2, 1.5)
    assert float(logs["loss"]) == pytest.approx(
        2 * float(logs["loss_click"]) + 1.5 * float(logs["loss_watch"])
    )


@pytest.mark.parametrize("weighting", [Uncertainty, GradNorm])
def test_an_adaptive_weighting_leaves_a_fixed_objective_alone(weighting):
    with_fixed = weighting({"a": "binary", "risk": "fixed", "b": "binary"})
    without = weighting({"a": "binary", "b": "binary"})
    for step in range(5):
        losses, norms = {"a": 1.0, "b": 0.2 + step}, {"a": 3.0, "b": 1.0}
        with_fixed.update({**losses, "risk": -7.0}, {**norms, "risk": 100.0})
        without.update(losses, norms)
    weights = {name: float(w) for name, w in with_fixed.weights().items()}
    assert weights.pop("risk") == 1
    assert weights == {name: float(w) for name, w in without.weights().items()}
    assert weights["a"] != 1


def test_a_manual_weight_may_be_given_to_a_fixed_objective():
    weighting = Manual({"a": "binary", "risk": "fixed"}, {"a": 1, "risk": 0.1})
    assert float(weighting.weights()["risk"]) == pytest.approx(0.1)


# ---- alternating steps --------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [True, False])
def test_what_is_not_of_a_turn_stays_as_it_is_with_its_slots(eager):
    model = make(Alternating, optimizer=keras.optimizers.Adam(0.1), run_eagerly=eager)
    data = tf.data.Dataset.from_tensors(tiny.batch(TASKS)).repeat()
    tower = {v.path for v in model.alternating_steps()[0][1]}
    changed = []
    for _ in range(2):
        before = state(model)
        model.fit(data, steps_per_epoch=1, verbose=0, shuffle=False)
        after = state(model)
        changed.append({key for key in before if (before[key] != after[key]).any()})
    moved = [{key for key in keys if "iteration" not in key} for keys in changed]
    assert not moved[0] & moved[1]
    of_tower = [any(path in key for key in keys) for keys in moved for path in tower]
    assert of_tower == [True] * len(tower) + [False] * len(tower)
    assert any("momentum" in key for key in moved[0])
    assert int(model.step) == 2


def test_several_turns_fit_into_one_execution():
    one, several = (make(Alternating, steps_per_execution=steps) for steps in (1, 4))
    data = tf.data.Dataset.from_tensors(tiny.batch(TASKS)).repeat()
    for model in (one, several):
        model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False)
    for a, b in zip(one.trainable_variables, several.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


# ---- what is watched, and what comes before -----------------------------------------------------


def test_what_objectives_watch_is_logged_as_its_mean():
    model = make(Watching)
    batch = tiny.batch(TASKS)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    logs = model.fit(data, steps_per_epoch=3, verbose=0, shuffle=False).history
    clicks = batch[1]["click"].numpy()
    assert logs["watched_clicks"] == [np.nansum(clicks)]
    assert logs["watched_step"] == [pytest.approx((1 + 2 + 3) / 3)]


def test_steps_are_counted_from_zero():
    keras.utils.set_random_seed(3)
    model = ShareBottom(tiny.FEATURES, TASKS, **tiny.options_of(ShareBottom))
    assert int(model.step) == 0


# ---- prediction ---------------------------------------------------------------------------------


def test_prediction_goes_step_by_step_whatever_training_does():
    model = make(ShareBottom, steps_per_execution=8)
    inputs = tf.data.Dataset.from_tensor_slices(tiny.inputs(32)).batch(5)
    expected = model(tiny.tensors(tiny.inputs(32)))["watch"].numpy()
    ours = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(ours["watch"], expected, rtol=1e-5, atol=1e-6)
    keras_own = model.predict(inputs, verbose=0, callbacks=[])
    assert {name: values.tolist() for name, values in ours.items()} == {
        name: values.tolist() for name, values in keras_own.items()
    }
    graphs = [model.prediction.graph, model.predict_function]
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1, 1]
    assert model.steps_per_execution == 8
    model.calibrate(None)  # as it is already
    assert [model.prediction.graph, model.predict_function] == graphs


def test_rows_are_predicted_alike_as_arrays_as_batches_and_where_there_are_none():
    model = make(ShareBottom)
    rows = tiny.inputs(32)
    whole = model.predict(rows, verbose=0)
    parts = model.predict(tf.data.Dataset.from_tensor_slices(rows).batch(5), verbose=0)
    for name, values in whole.items():
        np.testing.assert_allclose(values, parts[name], rtol=1e-6, atol=1e-7)
        sevens = model.predict(rows, batch_size=7, verbose=0)[name]
        np.testing.assert_allclose(values, sevens, rtol=1e-6, atol=1e-7)
    assert not any(
        np.shares_memory(part[name], rows[name]) for part in batches_of(rows, 7) for name in rows
    )  # TensorFlow may write into a slice of what it is given
    nothing = [
        model.predict({name: array[:0] for name, array in rows.items()}, verbose=0),
        model.predict(tf.data.Dataset.from_tensor_slices(rows).take(0).batch(5), verbose=0),
    ]
    assert [{name: values.shape for name, values in each.items()} for each in nothing] == [
        dict.fromkeys(whole, (0,))
    ] * 2

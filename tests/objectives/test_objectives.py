"""Objectives: masked means of errors, with exactly nothing from the rows that do not count."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESM2, ESMM, MMoE
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import Objective, supervised
from fuxi_mtl.tasks import Task, parse_task

NAN = np.nan


def loss_and_gradient(task, head, label, weight=None):
    head, label = tf.constant(head, tf.float32), {task.name: tf.constant(label, tf.float32)}
    weight = tf.ones_like(head) if weight is None else tf.constant(weight, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(head)
        loss, rows = supervised(task).loss({task.name: head}, label, weight)
    return loss.numpy(), tape.gradient(loss, head).numpy(), rows.numpy()


def test_a_binary_task_is_a_mean_cross_entropy_over_observed_rows():
    loss, gradient, rows = loss_and_gradient(Task("ctr", ("click",)), [0.0, 0.0, 5.0], [1, 0, NAN])
    assert loss == pytest.approx(np.log(2))
    assert gradient == pytest.approx([-0.25, 0.25, 0])
    assert gradient[2] == 0
    assert rows == 2


def test_sample_weights_weigh_rows():
    loss, *_ = loss_and_gradient(
        Task("w", ("watch",), kind="regression"), [0.0, 0.0, 0.0], [1, 2, NAN], [3.0, 1.0, 9.0]
    )
    assert loss == pytest.approx((3 * 1 + 1 * 4) / 4)


@pytest.mark.parametrize(("label", "weight"), [([NAN, NAN], None), ([1.0, 0.0], [0.0, 0.0])])
def test_n5_a_batch_without_a_row_that_counts_gives_zero_and_says_so(label, weight):
    loss, gradient, rows = loss_and_gradient(Task("cvr", ("buy",), ("click",)), [3.0, -3.0], label, weight)
    assert (loss, gradient.tolist(), rows) == (0, [0, 0], 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mse", 9), ("mean_squared_error", 9), ("mae", 3), ("mean_absolute_error", 3), ("huber", 2.5)],
)
def test_a_regression_may_choose_its_error(name, expected):
    task = Task("w", ("watch",), kind="regression", loss=name)
    assert loss_and_gradient(task, [1.0], [4.0])[0] == pytest.approx(expected)


def test_t6_a_regression_is_not_a_cross_entropy():
    assert loss_and_gradient(Task("w", ("watch",), kind="regression"), [1.0], [4.0])[0] == pytest.approx(9)


@pytest.mark.parametrize(("kind", "loss"), [("binary", "mse"), ("regression", "binary_crossentropy")])
def test_a_loss_must_fit_the_kind_of_its_task(kind, loss):
    with pytest.raises(
        ValueError, match=f"'x' is {kind} but its loss is '{loss}'. Losses of a {kind} task: "
    ):
        supervised(Task("x", ("click",), kind=kind, loss=loss))


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(ValueError, match="its loss is 'hinge'. Losses of a regression task: mse"):
        supervised(Task("x", ("watch",), kind="regression", loss="hinge"))


def objective_gradients(cls, tasks, columns):
    tf.keras.utils.set_random_seed(1)
    model: MultiTaskModel = cls(tiny.FEATURES, tasks, **tiny.options_of(cls))
    model.build()
    labels = {task.name: tf.constant(task.label(columns)) for task in tasks}
    with tf.GradientTape() as tape:
        heads = model(tiny.tensors(tiny.inputs()), training=True)
        losses = [o.loss(heads, labels, tf.ones(32))[0] for o in model.objectives()]
        total = tf.add_n(losses)
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    return [total.numpy(), *(tf.convert_to_tensor(g).numpy() for g in gradients)]


@pytest.mark.parametrize(
    ("cls", "expressions"),
    [
        (ESMM, tiny.NAMED["chain"]),
        (ESM2, tiny.NAMED["funnel"]),
        (MMoE, {"ctr": "click", "cvr": "buy | click"}),
    ],
)
def test_n6_labels_of_unclicked_rows_leave_loss_and_gradients_bit_identical(cls, expressions):
    tasks = cls.plan_tasks(tiny.tasks_of(expressions))
    columns = tiny.events()
    noise = np.random.default_rng(9).integers(0, 2, (2, 32)).astype(np.float32)
    unclicked = columns["click"] == 0
    changed = {
        **columns,
        "buy": np.where(unclicked, noise[0], columns["buy"]),
        "cart": np.where(unclicked, noise[1], columns["cart"]),
    }
    assert any((noise[i][unclicked] != 0).any() for i in range(2))
    for before, after in zip(
        objective_gradients(cls, tasks, columns), objective_gradients(cls, tasks, changed), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_an_expression_decides_which_rows_count():
    task = parse_task("cvr", "buy | click")
    label = task.label({"click": np.array([1.0, 0.0, 1.0]), "buy": np.array([1.0, 1.0, 0.0])})
    _, gradient, _ = loss_and_gradient(task, [0.0, 0.0, 0.0], label)
    assert gradient == pytest.approx([-0.25, 0, 0.25])


def test_weights_of_rows_are_constants_to_the_gradient():
    objective = Objective(
        "x",
        error=lambda heads, labels: heads["x"],
        given=lambda labels: tf.ones_like(labels["x"], tf.bool),
        weight=lambda heads, labels: tf.exp(heads["x"]),
    )
    heads = {"x": tf.constant([np.log(1.0), np.log(3.0)], tf.float32)}
    with tf.GradientTape() as tape:
        tape.watch(heads)
        loss, weight = objective.loss(heads, {"x": tf.zeros(2)})
    assert loss.numpy() == pytest.approx(3 * np.log(3) / 4)
    assert weight.numpy() == pytest.approx(4)
    assert tape.gradient(loss, heads)["x"].numpy() == pytest.approx([1 / 4, 3 / 4])

"""Learning rates that follow a plan, weight decay, and clipping of dense gradients alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.layers import Lookup
from fuxi_mtl.optimizers import (
    DenseEquivalentAdam,
    LazyAdam,
    RowSGD,
    SplitOptimizer,
    WarmUpThenDecay,
    is_scheduled,
    make_optimizer,
)
from fuxi_mtl.options import LearningRateOptions, OptimizerOptions
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.callbacks import StepLog

COSINE = LearningRateOptions(warmup_steps=5000, total_steps=40000, min_lr_ratio=0.1)


def rates(options, steps, rate=6e-4, total_steps=40000):
    plan = WarmUpThenDecay(rate, options, total_steps)
    return [float(plan(tf.constant(step))) for step in steps]


def test_s2_the_cosine_by_hand():
    steps = [0, 2499, 4999, 22500, 40000, 90000]
    assert rates(COSINE, steps) == pytest.approx([1.2e-7, 3e-4, 6e-4, 3.3e-4, 6e-5, 6e-5], rel=1e-4)


def test_the_cosine_ends_with_the_run_unless_said():
    options = LearningRateOptions(min_lr_ratio=0.5)
    assert rates(options, [0, 50, 100], 1.0, total_steps=100) == pytest.approx([1, 0.75, 0.5])


def test_steps_multiply_the_rate_at_each_milestone_down_to_the_least():
    options = LearningRateOptions(
        type="step", warmup_steps=10, step_milestones=[20, 30], step_gamma=0.3, min_lr_ratio=0.2
    )
    found = rates(options, [4, 9, 10, 19, 20, 29, 30, 99], 1.0)
    assert found == pytest.approx([0.5, 1, 1, 1, 0.3, 0.3, 0.2, 0.2])


def test_a_warm_up_that_is_longer_than_the_run_is_warned_of(caplog):
    options = LearningRateOptions(warmup_steps=10)
    assert rates(options, [0, 4], 1.0, total_steps=5) == pytest.approx([0.1, 0.5])
    assert "the run ends after 5 steps, before the warm-up of 10 is over" in caplog.text


# ---- in a model ---------------------------------------------------------------------------------


def compiled(optimizer=None, **options):
    """A small model under an optimizer of a stanza."""
    keras.utils.set_random_seed(1)
    model = ShareBottom(tiny.FEATURES, tiny.PLAIN["two"], **tiny.options_of(ShareBottom))
    model.build()
    made = make_optimizer(OptimizerOptions(**options), total_steps=8)
    model.compile(optimizer(made) if optimizer else made, run_eagerly=True)
    return model


def rates_of(model, steps):
    """The rate of dense variables and of tables before each of some steps."""
    split = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    found = []
    for seed in range(steps):
        found.append((float(split.learning_rate), float(split.rows.learning_rate)))
        model.train_step(tiny.batch(model.tasks, seed=seed))
    return np.array(found)


PLAN = LearningRateOptions(warmup_steps=2, total_steps=4)


@pytest.mark.parametrize("target", ["both", "dense"])
def test_the_tables_follow_the_plan_or_keep_their_rate(target):
    plan = LearningRateOptions(warmup_steps=2, total_steps=4, target=target)
    model = compiled(learning_rate=0.1, embedding_learning_rate=0.2, lr_scheduler=plan)
    assert is_scheduled(model.optimizer)
    expected = np.array([0.5, 1, 1, 0.5])
    tables = expected if target == "both" else np.ones(4)
    np.testing.assert_allclose(
        rates_of(model, 4), np.stack([0.1 * expected, 0.2 * tables], axis=1), rtol=1e-5
    )


def test_a_plan_that_is_off_changes_nothing():
    off = LearningRateOptions(enabled=False, warmup_steps=2)
    plain, model = compiled(), compiled(lr_scheduler=off)
    assert not is_scheduled(model.optimizer)
    for one in (plain, model):
        one.train_step(tiny.batch(one.tasks))
    for one, other in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_plan_goes_on_from_a_checkpoint(tmp_path):
    whole = compiled(lr_scheduler=PLAN, learning_rate=0.1)
    expected = rates_of(whole, 4)
    half = compiled(lr_scheduler=PLAN, learning_rate=0.1)
    rates_of(half, 2)
    checkpoint.save(half, tmp_path / "checkpoint")
    resumed = compiled(lr_scheduler=PLAN, learning_rate=0.1)
    checkpoint.restore(resumed, tmp_path / "checkpoint")
    np.testing.assert_allclose(rates_of(resumed, 2), expected[2:], rtol=1e-6)


def test_the_plan_holds_under_loss_scaling_and_for_rows_that_catch_up():
    def scaled(inner):
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)

    options = {"learning_rate": 0.1, "embedding_optimizer": "dense_equivalent_adam", "lr_scheduler": PLAN}
    model = compiled(scaled, **options)
    assert isinstance(model.optimizer.inner_optimizer.rows, DenseEquivalentAdam)
    assert is_scheduled(model.optimizer)
    np.testing.assert_allclose(rates_of(model, 3)[:, 0], [0.05, 0.1, 0.1], rtol=1e-5)


def test_every_step_in_one_call_of_the_graph_has_its_own_rate():
    """One row of gradient 1 under plain descent: it ends where the sum of the rates takes it."""
    keras.utils.set_random_seed(1)
    variable = keras.Variable(np.zeros((1, 1), np.float32))
    optimizer = SplitOptimizer(keras.optimizers.SGD(WarmUpThenDecay(1.0, PLAN, 4)), RowSGD(1.0))
    optimizer.build([variable])

    @tf.function
    def several():
        for _ in tf.range(4):
            optimizer.apply([tf.ones((1, 1))], [variable])

    several()
    assert float(variable.value[0, 0]) == pytest.approx(-(0.5 + 1 + 1 + 0.5))


# ---- weight decay -------------------------------------------------------------------------------


def test_weight_decay_reaches_kernels_only():
    """Without a gradient a decayed variable shrinks by rate times decay, and any other stays."""
    kernel, bias, rows = (keras.Variable(np.full(shape, 2.0, np.float32)) for shape in ((2, 3), (3,), (4, 2)))
    options = OptimizerOptions("adamw", 0.1, weight_decay=0.5, max_gradient_norm=0.0)
    rows.lookup = Lookup()
    optimizer = make_optimizer(options)
    nothing = tf.IndexedSlices(tf.zeros((2, 2)), tf.constant([0, 3]), tf.constant([4, 2]))
    optimizer.build([kernel, bias, rows])
    optimizer.apply([tf.zeros((2, 3)), tf.zeros(3), nothing], [kernel, bias, rows])
    np.testing.assert_allclose(kernel.numpy(), np.full((2, 3), 2 * (1 - 0.1 * 0.5)), rtol=1e-6)
    assert (bias.numpy() == 2).all()
    assert (rows.numpy() == 2).all()


@pytest.mark.parametrize(("name", "given", "decay"), [("adamw", None, 0.004), ("adam", None, None)])
def test_weight_decay_is_that_of_the_optimizer_unless_said(name, given, decay):
    assert make_optimizer(OptimizerOptions(name, weight_decay=given)).dense.weight_decay == decay


# ---- clipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("scope", "clips"), [("all", True), ("dense", False)])
def test_s6_clipping_may_leave_the_tables_alone(scope, clips):
    made = make_optimizer(OptimizerOptions("sgd", 1.0, max_gradient_norm=2.0, clip_scope=scope))
    assert made.clips_tables == clips
    kernel, rows = keras.Variable(np.zeros((1, 2), np.float32)), keras.Variable(np.zeros((3, 1), np.float32))
    rows.lookup = Lookup()
    optimizer = SplitOptimizer(keras.optimizers.SGD(1.0), RowSGD(1.0), 2.0, clips)
    optimizer.build([kernel, rows])
    row = tf.IndexedSlices(tf.constant([[12.0]]), tf.constant([1]), tf.constant([3, 1]))
    optimizer.apply([tf.constant([[3.0, 4.0]]), row], [kernel, rows])
    norm = 13.0 if clips else 5.0
    np.testing.assert_allclose(kernel.numpy(), [[-3 * 2 / norm, -4 * 2 / norm]], rtol=1e-6)
    np.testing.assert_allclose(rows.numpy(), [[0], [-12 * 2 / 13 if clips else -12], [0]], rtol=1e-6)


def test_a_step_of_tables_alone_has_nothing_to_clip():
    rows = keras.Variable(np.zeros((2, 1), np.float32))
    rows.lookup = Lookup()
    optimizer = SplitOptimizer(keras.optimizers.SGD(1.0), LazyAdam(1.0), 1.0, False)
    optimizer.build([rows])
    optimizer.apply([tf.IndexedSlices(tf.constant([[9.0]]), tf.constant([1]), tf.constant([2, 1]))], [rows])
    assert rows.numpy()[1, 0] < 0


# ---- the log ------------------------------------------------------------------------------------


def test_the_losses_are_logged_every_so_many_steps(caplog):
    caplog.set_level("INFO")
    log = StepLog(every=4, steps=6)
    for epoch in range(2):
        log.on_epoch_begin(epoch)
        for last in (2, 5):  # three steps in one call of the graph
            log.on_train_batch_end(last, {"loss": 0.5, "loss_click": 0.25, "weight_click": 2.0})
    assert [record.message for record in caplog.records] == [
        f"Step {step}: loss 0.500000 (click: 0.250000)" for step in (6, 9, 12)
    ]

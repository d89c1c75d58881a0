"""GradDrop: signs that are dropped at random, on average the plain sum, and what lies below."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import MMoE
from fuxi_mtl.options import SurgeryOptions
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.surgery.elementwise import ElementwiseMethod, ElementwiseSurgery, SignDrop, kept_shares
from fuxi_mtl.weighting import Manual

KINDS = {"click": "binary", "watch": "regression"}
G = np.array([[2, -1, 0.5], [-1, 3, 0.5]], np.float32)
NOTHING = tf.constant([[0.0], [0.0]])


def test_the_positive_parts_are_kept_with_the_probability_of_their_mass():
    for uniform, expected in ((0.6, [2, 3, 1]), (0.7, [-1, 3, 1]), (0.8, [-1, -1, 1])):
        kept = kept_shares(tf.constant(G), tf.fill([3], uniform), NOTHING)
        assert (G * kept).numpy().sum(axis=0) == pytest.approx(expected)


def test_on_average_it_is_the_plain_sum_with_the_variance_of_the_masses():
    draws = 20_000
    wide = tf.constant(np.repeat(G[:, None], draws, axis=1))  # every row the same, each element drawn
    found = SignDrop(("a", "b"), seed=1).combined(wide, wide[0], tf.constant([0, 0], tf.int64)).numpy()
    variance = np.array([2, 3, 0])
    assert (abs(found.mean(axis=0) - [1, 2, 1]) <= 5 * np.sqrt(variance / draws) + 1e-6).all()
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.05, atol=1e-6)


def test_a_leak_is_never_dropped_and_no_gradient_is_no_gradient():
    leaks = tf.constant([[1.0], [0.25]])
    kept = kept_shares(tf.constant(G), tf.fill([3], 0.9), leaks)
    assert (G * kept).numpy().sum(axis=0) == pytest.approx([2 - 1, -1 + 0.75, 0.5 + 0.5])
    assert not (kept_shares(tf.zeros((2, 3)), tf.fill([3], 0.5), NOTHING)).numpy().any()


def test_gradients_that_agree_are_their_sum_whatever_is_drawn():
    agreeing = tf.constant([[[1.0, -2.0]], [[0.5, -1.0]]])
    for step in range(5):
        found = SignDrop(("a", "b")).combined(agreeing, agreeing[0], tf.constant([step, 0], tf.int64))
        assert found.numpy() == pytest.approx(np.array([[1.5, -3.0]]))


def test_draws_follow_seed_step_and_part():
    wide = tf.constant(np.repeat(G[:, None], 50, axis=1))

    def drawn(seed=1, step=0, place=0):
        return (
            SignDrop(("a", "b"), seed).combined(wide, wide[0], tf.constant([step, place], tf.int64)).numpy()
        )

    assert (drawn() == drawn()).all()
    for other in (drawn(seed=2), drawn(step=5), drawn(place=1)):
        assert (drawn() != other).any()


def test_signs_over_the_batch_are_those_of_gradients_times_what_they_are_on():
    x = tf.constant([[1.0, -1.0], [-2.0, 3.0], [1.0, 1.0]])
    gradients = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)
    masses = (gradients * np.sign(x)).sum(axis=1)
    positive = 0.5 * (1 + masses.sum(axis=0) / abs(masses).sum(axis=0))
    method = SignDrop(("a", "b"), graddrop_signs="batch")
    seen = set()
    for step in range(40):
        found = method.combined(tf.constant(gradients), x, tf.constant([step, 0], tf.int64)).numpy()
        columns = []
        for column in range(2):
            ways = [np.zeros(3), np.zeros(3)]
            for k in range(2):
                ways[int(masses[k, column] > 0)] += gradients[k, :, column]
            (way,) = [i for i, each in enumerate(ways) if np.allclose(found[:, column], each, atol=1e-6)][:1]
            columns.append(way)
        seen.add(tuple(columns))
    for column in range(2):  # a column without conflict has one way
        ways = {way[column] for way in seen}
        assert ways == ({0, 1} if 0 < positive[column] < 1 else {int(positive[column] == 1)})


# ---- the step -----------------------------------------------------------------------------------


class Doubled(ElementwiseMethod):
    """The first gradient twice and nothing of the others."""

    def combined(self, gradients, x, seed):
        return 2 * gradients[0]


def compiled(surgery, **options):
    keras.utils.set_random_seed(3)
    chosen = tiny.options_of(MMoE) | {"embedding_regularizer": 0.01}
    model = MMoE(tiny.FEATURES, tiny.PLAIN["regression"], **chosen)
    model.build()
    weighting = Manual(KINDS, {"click": 2.0, "watch": 0.5})
    model.compile(keras.optimizers.SGD(1.0), weighting, surgery=surgery, run_eagerly=True, **options)
    return model


def doubled(*names):
    return ElementwiseSurgery(names, Doubled(names))


def moved_tables(model, batch):
    """How far each variable moves, and which of them are tables."""
    before = [v.numpy() for v in model.trainable_variables]
    model.train_step(batch)
    tables = set(map(id, model.tables()))
    moved = [old - v.numpy() for old, v in zip(before, model.trainable_variables, strict=True)]
    return moved, [id(v) in tables for v in model.trainable_variables]


def gradients_of(model, batch, weights):
    """Dense gradients of weighted losses, without what keeps rows small."""
    inputs, labels, weight = batch
    with tf.GradientTape() as tape:
        heads = model(inputs, training=True)
        loss = tf.add_n([weights[o.name] * o.loss(heads, labels, weight)[0] for o in model.objectives()])
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]


def assert_moved(surgery, weights, **options):
    """Tables move by losses of such weights and everything else, their penalties too, as without surgery."""
    batch = tiny.batch(tiny.PLAIN["regression"])
    plain, model = compiled(None, **options), compiled(surgery, **options)
    below, above = (
        gradients_of(model, batch, weights),
        gradients_of(model, batch, {"click": 2.0, "watch": 0.5}),
    )
    (as_ever, _), (moved, of_table) = moved_tables(plain, batch), moved_tables(model, batch)
    assert sum(of_table) >= 2
    for old, new, one, sum_of_all, is_table in zip(as_ever, moved, below, above, of_table, strict=True):
        more = one - sum_of_all if is_table else 0
        np.testing.assert_allclose(new, old + more, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("columns", ["all", "learnt"])
def test_tables_move_by_the_one_gradient_and_all_above_as_without_surgery(columns):
    assert_moved(doubled(*KINDS), {"click": 2 * 2.0, "watch": 0.0}, representation_columns=columns)


def test_an_objective_that_takes_no_part_counts_below_as_it_does_without_surgery():
    assert_moved(doubled("click"), {"click": 2 * 2.0, "watch": 0.5})


def test_gradients_of_tables_stay_rows(monkeypatch):
    model = compiled(make_surgery(SurgeryOptions(surgery="graddrop"), KINDS))
    seen = {}
    monkeypatch.setattr(
        model.optimizer, "apply_gradients", lambda pairs: seen.update({v.path: g for g, v in pairs})
    )
    model.train_step(tiny.batch(tiny.PLAIN["regression"]))
    assert all(isinstance(seen[v.path], tf.IndexedSlices) for v in model.tables())


@pytest.mark.parametrize(
    ("options", "own", "message"),
    [
        (
            {"surgery_mode": "full"},
            {},
            "surgery: graddrop cannot be of surgery_mode full. Use representation",
        ),
        ({}, {"graddrop_leak": {"cvr": 0.5}}, "graddrop_leak names 'cvr', which is no objective"),
        ({}, {"graddrop_leak": {"click": 2.0}}, "graddrop_leak of 'click' is 2.0; a leak is a number from 0"),
    ],
)
def test_what_cannot_be_is_refused(options, own, message):
    with pytest.raises(ValueError, match=message):
        make_surgery(SurgeryOptions(surgery="graddrop", **options), KINDS, own=own)


def test_a_method_must_say_what_it_makes_of_gradients():
    with pytest.raises(
        NotImplementedError, match=r"ElementwiseMethod must define combined\(gradients, x, seed"
    ):
        ElementwiseMethod(("a", "b")).combined(tf.zeros((2, 1)), tf.zeros(1), tf.zeros(2, tf.int64))

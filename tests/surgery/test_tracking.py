"""MoCo: running gradients of objectives, their weights by small steps, and what moves along them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESMM, MMoE
from fuxi_mtl.options import SurgeryOptions
from fuxi_mtl.surgery import Backward, make_surgery
from fuxi_mtl.surgery.solvers import min_norm_weights
from fuxi_mtl.surgery.tracking import Tracked
from fuxi_mtl.training import checkpoint
from fuxi_mtl.weighting import Manual

KINDS = {"click": "binary", "watch": "regression"}
J = np.array([[-4, 1, 1], [6, 1, 1]], float)


def test_two_steps_give_the_golden_weights_and_direction():
    method = Tracked(("a", "b"))
    state, kept = method.begins(), np.zeros_like(J)
    for weights, products in (
        ([0.5125, 0.4875], [[4.5, -5.5], [-5.5, 9.5]]),
        ([0.5371094, 0.4628906], None),
    ):
        kept += 0.5 * (J - kept)
        found = method.advance(kept @ kept.T, ("a", "b"), 0, state)
        np.testing.assert_allclose(found, weights, atol=1e-6)
        if products is not None:
            np.testing.assert_allclose(kept @ kept.T, products)
            np.testing.assert_allclose(found @ kept, [0.4375, 0.5, 0.5], atol=1e-6)


def test_small_steps_lead_to_the_weights_of_least_norm():
    rows = np.array([[1, 0, 0], [-0.5, 1, 0], [0.2, -0.6, 0.4]])
    method = Tracked(tuple("abc"), moco_gamma=0.05)
    state = method.begins()
    for step in range(3000):
        found = method.advance(rows @ rows.T, tuple("abc"), step, state)
    np.testing.assert_allclose(found, min_norm_weights(rows @ rows.T), atol=1e-4)


def test_steps_fall_with_the_count_of_steps_and_a_pull_leads_to_equal_weights():
    gram = np.diag([4.0, 1.0])
    slow = Tracked(("a", "b"), moco_gamma=0.1, moco_decay=0.5)
    np.testing.assert_allclose(slow(gram, ("a", "b"), 3), [0.5 - 0.05 * 0.75, 0.5 + 0.05 * 0.75])
    assert float(slow.share(tf.constant(3))) == pytest.approx(0.25)
    pulled, state = Tracked(("a", "b"), moco_gamma=0.1, moco_rho=1.0), {"weights": np.array([0.9, 0.1])}
    for step in range(200):
        found = pulled.advance(np.zeros((2, 2)), ("a", "b"), step, state)
    np.testing.assert_allclose(found, [0.5, 0.5], atol=1e-6)


def test_an_objective_that_had_no_row_yet_keeps_its_weight():
    method = Tracked(tuple("abc"), moco_gamma=0.1)
    state = method.begins()
    found = method.advance(np.diag([4.0, 1.0]), ("a", "c"), 0, state)
    assert found.sum() == pytest.approx(1)
    assert state["weights"][1] == pytest.approx(1 / 3)
    assert state["weights"].sum() == pytest.approx(1)


# ---- the step -----------------------------------------------------------------------------------


def mmoe(mode="full", optimizer=None, run_eagerly=True, embedding_regularizer=0.0, **own):
    keras.utils.set_random_seed(3)
    options = tiny.options_of(MMoE) | {"embedding_regularizer": embedding_regularizer}
    model = MMoE(tiny.FEATURES, tiny.PLAIN["regression"], **options, net_regularizer=0.01)
    model.build()
    surgery = make_surgery(SurgeryOptions(surgery="moco", surgery_mode=mode), KINDS, own=own)
    weighting = Manual(KINDS, {"click": 2.0, "watch": 0.5})
    model.compile(optimizer or keras.optimizers.SGD(1.0), weighting, surgery=surgery, run_eagerly=run_eagerly)
    return model


def gradients_of(model, batch):
    """Weighted dense gradients by objective, and those of the penalties."""
    inputs, labels, weight = batch
    found = {}
    values = [v.value for v in model.trainable_variables]
    for objective, factor in zip(model.objectives(), (2.0, 0.5), strict=True):
        with tf.GradientTape() as tape:
            loss, _ = objective.loss(model(inputs, training=True), labels, weight)
            loss = factor * loss
        found[objective.name] = tape.gradient(loss, values)
    with tf.GradientTape() as tape:
        model(inputs, training=True)
        penalty = tf.add_n(model.losses)
    found["penalty"] = tape.gradient(penalty, values)
    return {
        name: [None if g is None else tf.convert_to_tensor(g).numpy() for g in each]
        for name, each in found.items()
    }


@pytest.mark.parametrize("mode", ["last_layer", "full"])
def test_variables_move_along_what_is_kept_and_tables_along_the_batch(mode):
    model, beta = mmoe(mode, moco_beta=0.5, moco_gamma=0.3), 0.5
    names = [v.path for v in model.trainable_variables]
    tables = {id(v) for v in model.tables()}
    last = {id(v) for v in model.shared_variables()}
    kept, weights, rest = {}, np.full(2, 0.5), 0
    for seed in range(3):
        batch = tiny.batch(tiny.PLAIN["regression"], seed=seed)
        single = gradients_of(model, batch)
        before = [v.numpy() for v in model.trainable_variables]
        model.reset_metrics()
        logs = model.train_step(batch)
        shared = [
            i
            for i, (c, w) in enumerate(zip(single["click"], single["watch"], strict=True))
            if c is not None and w is not None
        ]
        tracked = [
            i
            for i in shared
            if (
                id(model.trainable_variables[i]) in last
                if mode == "last_layer"
                else id(model.trainable_variables[i]) not in tables
            )
        ]
        for i in tracked:
            now = np.stack([single["click"][i], single["watch"][i]])
            kept[i] = kept.get(i, np.zeros_like(now)) + beta * (now - kept.get(i, np.zeros_like(now)))
        flat = np.concatenate([kept[i].reshape(2, -1) for i in tracked], axis=1).astype(np.float64)
        moved = weights - 0.3 * flat @ flat.T @ weights
        weights = np.clip((1 + moved[0] - moved[1]) / 2, 0, 1) * np.array([1, -1]) + [0, 1]
        found = [float(logs[f"watched_coefficient_{name}"]) for name in KINDS]
        np.testing.assert_allclose(found, 2 * weights, atol=2e-4)
        for i, name in enumerate(names):
            change = before[i] - model.trainable_variables[i].numpy()
            penalty = 0 if single["penalty"][i] is None else single["penalty"][i]
            pair = np.stack(
                [
                    g if g is not None else np.zeros_like(change)
                    for g in (single["click"][i], single["watch"][i])
                ]
            )
            factors = 2 * weights if i in shared else np.ones(2)
            source = kept[i] if i in tracked else pair
            rest += i in shared and i not in tracked
            expected = np.tensordot(factors, source, axes=1) + penalty
            np.testing.assert_allclose(change, expected, rtol=3e-3, atol=3e-5, err_msg=name)
    assert rest > 2
    assert any(single["penalty"][i] is not None for i in tracked)


def test_what_is_kept_lies_in_the_checkpoint(tmp_path):
    batches = [tiny.batch(tiny.PLAIN["regression"], seed=seed) for seed in range(3)]
    model = mmoe("last_layer")
    for batch in batches[:2]:
        model.train_step(batch)
    assert all(kept.numpy().any() for kept in model.surgery.kept)
    checkpoint.save(model, tmp_path / "checkpoint")
    model.train_step(batches[2])
    resumed = mmoe("last_layer")
    checkpoint.restore(resumed, tmp_path / "checkpoint")
    resumed.train_step(batches[2])
    for one, other in zip(model.trainable_variables, resumed.trainable_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_gradients_of_an_objective_without_rows_stay_as_they_were():
    model = mmoe("last_layer")
    inputs, labels, weight = tiny.batch(tiny.PLAIN["regression"])
    model.train_step((inputs, labels, weight))
    before = [kept.numpy() for kept in model.surgery.kept]
    model.train_step((inputs, {**labels, "watch": tf.fill(labels["watch"].shape, np.nan)}, weight))
    for kept, old in zip(model.surgery.kept, before, strict=True):
        assert (kept.numpy()[0] != old[0]).any()
        assert (kept.numpy()[1] == old[1]).all()


def test_an_overflow_changes_nothing_that_is_kept():
    model = mmoe("last_layer")
    batch = tiny.batch(tiny.PLAIN["regression"])
    model.train_step(batch)
    before = [kept.numpy() for kept in model.surgery.kept]
    with tf.GradientTape(persistent=True) as tape:
        x, heads = model(batch[0], training=True, representation=True)
        losses = {name: tf.reduce_sum(heads[name]) * np.inf for name in KINDS}
    places = {"representation": x, "last_layer": [v.value for v in model.shared_variables()]}
    rows = factors = dict.fromkeys(KINDS, tf.constant(1.0))
    model.surgery.gradients(
        Backward(tape, losses), rows, factors, model.trainable_variables, places, model.step
    )
    for kept, old in zip(model.surgery.kept, before, strict=True):
        np.testing.assert_array_equal(kept.numpy(), old)


def test_rows_cannot_be_tracked_and_a_last_layer_must_be_there():
    with pytest.raises(
        ValueError, match="surgery: moco cannot be of surgery_mode representation. Use last_layer or"
    ):
        make_surgery(SurgeryOptions(surgery="moco"), KINDS)
    tasks = next(iter(tiny.plans(ESMM).values()))
    model = ESMM(tiny.FEATURES, tasks, **{**tiny.options_of(ESMM), "bottom": "shared_embedding"})
    model.build()
    kinds = {o.name: o.kind for o in model.objectives()}
    surgery = make_surgery(SurgeryOptions(surgery="moco", surgery_mode="last_layer"), kinds)
    with pytest.raises(ValueError, match="the model has no last shared layer. Use surgery_mode: full"):
        model.compile("adam", surgery=surgery)


def test_it_trains_in_a_graph():
    model = mmoe("full", keras.optimizers.Adam(0.01), run_eagerly=False)
    data = tf.data.Dataset.from_tensors(tiny.batch(tiny.PLAIN["regression"])).repeat()
    logs = model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False).history
    assert np.isfinite(logs["loss"]).all()

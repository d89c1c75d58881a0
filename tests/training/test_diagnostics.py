"""What is measured of a training: gradients against numpy, gates by hand."""

import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import PLE, MMoE, ShareBottom, registry
from fuxi_mtl.objectives import supervised
from fuxi_mtl.training.diagnostics import (
    PARTS,
    GateHealth,
    GradientConflict,
    GradientProducts,
    Products,
    compared,
    dead_experts,
    divergence,
    health,
    summary,
)
from fuxi_mtl.training.diagnostics.gradients import inner_products

TWO = tiny.PLAIN["two"]


@pytest.fixture(autouse=True)
def _eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make(cls, tasks=TWO, objectives=None, **options):
    keras.utils.set_random_seed(3)
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, **options))
    if objectives is not None:
        object.__setattr__(model, "objectives", objectives)
    model.build()
    model.compile()
    return model


def measured(model, tasks=TWO, **batch):
    return GradientProducts(model)(tiny.batch(tasks, **batch))


def test_measuring_moves_no_variable_and_draws_no_random_number():
    model = make(MMoE, net_dropout=0.5, batch_norm=True)
    before = {v.path: v.numpy().tobytes() for v in [*model.variables, *model.optimizer.variables]}
    assert any("seed" in path for path in before)
    assert any("moving_variance" in path for path in before)
    gates = GateHealth(model)
    gates.measure(1, tiny.batch(TWO))
    assert measured(model).counted.all()
    after = {v.path: v.numpy().tobytes() for v in [*model.variables, *model.optimizer.variables]}
    assert after == before


def twins(sign):
    """Two objectives of one head, the second one's loss times a sign."""
    click = supervised(TWO[0])
    other = replace(click, name="other", error=lambda h, y: sign * click.error(h, y))
    return lambda: [click, other]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_same_loss_has_cosine_one_and_its_negative_minus_one(sign):
    found = compared(measured(make(ShareBottom, objectives=twins(sign))))
    for part in PARTS:
        assert found[part].cosine[0, 1] == pytest.approx(sign, abs=1e-6)
        assert found[part].ratio[0, 1] == pytest.approx(1, abs=1e-6)


def test_networks_without_a_common_parameter_are_skipped_and_not_orthogonal():
    model = make(registry.model("SingleTask"))
    conflict = GradientConflict(["click", "buy"])
    conflict.add(7, measured(model))
    for part in PARTS:
        numbers = conflict.summaries()["click", "buy"][part]
        assert (numbers["measured"], numbers["skipped"]) == (0, 1)
        assert math.isnan(numbers["cosine"])
        assert math.isnan(numbers["conflict_rate"])
    assert np.isnan(conflict.content()["norms"]["all"]["click"]).all()


def dense_gradients(model, batch):
    """Gradients of each loss as one matrix a variable, tables included."""
    inputs, labels, weight = batch
    places = [variable.value for variable in model.trainable_variables]
    gradients = []
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            loss, _ = objective.loss(model(inputs, training=False), labels, weight)
        found = tape.gradient(loss, places)
        matrices = [np.zeros(place.shape) for place in places]
        for place, gradient in enumerate(found):
            if isinstance(gradient, tf.IndexedSlices):
                np.add.at(matrices[place], gradient.indices.numpy(), gradient.values.numpy())
            elif gradient is not None:
                matrices[place] += gradient.numpy()
        gradients.append(matrices)
    return gradients


def cosine_and_ratio(first, second):
    first, second = (np.concatenate([each.ravel() for each in part]) for part in (first, second))
    norms = np.linalg.norm(first), np.linalg.norm(second)
    return first @ second / (norms[0] * norms[1]), norms[1] / norms[0]


def test_cosines_are_those_of_whole_gradients_over_what_both_tasks_reach():
    model = make(MMoE)
    first, second = dense_gradients(model, tiny.batch(TWO))
    found = compared(measured(model))
    names = [variable.path for variable in model.trainable_variables]
    inside = {
        "sparse": [i for i, name in enumerate(names) if "table" in name],
        "dense": [i for i, name in enumerate(names) if "/experts" in name],
    }
    assert len(inside["sparse"]) == 2
    inside["all"] = inside["sparse"] + inside["dense"]
    for part, places in inside.items():
        cosine, ratio = cosine_and_ratio([first[i] for i in places], [second[i] for i in places])
        assert found[part].cosine[0, 1] == pytest.approx(cosine, abs=1e-5)
        assert found[part].ratio[0, 1] == pytest.approx(ratio, rel=1e-5)
        assert found[part].norm[1] == pytest.approx(
            np.linalg.norm([np.linalg.norm(second[i]) for i in places])
        )


def test_a_private_gate_beside_the_other_is_not_shared_although_its_gradient_exists():
    model = make(MMoE)
    found = measured(model)
    gates = [i for i, v in enumerate(model.trainable_variables) if "click_gate" in v.path]
    assert (found.products[gates, 0, 0] > 0).all()
    assert (found.products[gates, 1, 1] == 0).all()


def test_tables_are_compared_over_the_union_of_the_rows_that_two_gradients_name():
    rng = np.random.default_rng(0)
    slices, matrices = [], []
    for indices in ([1, 1, 3], [3, 5], [0, 2]):
        values = rng.normal(size=(len(indices), 2)).astype(np.float32)
        slices.append(tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([10**9, 2])))
        matrices.append(np.zeros((6, 2)))
        np.add.at(matrices[-1], indices, values)
    found = inner_products([slices[0], None, *slices[1:]], tf.constant(1.0)).numpy()
    expected = np.array([[np.sum(a * b) for a in matrices] for b in matrices])
    assert found[np.ix_([0, 2, 3], [0, 2, 3])] == pytest.approx(expected, abs=1e-6)
    assert (found[1] == 0).all()
    assert (found[0, 3], found[2, 3]) == (0, 0)


def test_a_loss_scale_leaves_the_products():
    gradient = tf.constant([3.0, 4.0])
    assert inner_products([gradient * 8, gradient * 8], tf.constant(8.0)).numpy() == pytest.approx(25.0)


def test_a_batch_without_a_positive_of_one_task_is_skipped():
    inputs, labels, weight = tiny.batch(TWO)
    labels["buy"] = tf.zeros_like(labels["buy"])
    found = GradientProducts(make(ShareBottom))((inputs, labels, weight))
    assert found.counted.tolist() == [True, False]
    assert np.isnan(compared(found)["all"].cosine[0, 1])


def test_a_number_is_learnt_from_without_positives():
    tasks = tiny.PLAIN["regression"]
    inputs, labels, weight = tiny.batch(tasks)
    labels["watch"] = -tf.abs(labels["watch"])
    assert GradientProducts(make(ShareBottom, tasks))((inputs, labels, weight)).counted.all()


def by_hand(*variables):
    """Products of three objectives, each row a variable: ``|a|^2, |b|^2, <a, b>, |c|^2``."""
    products = np.zeros((len(variables), 3, 3))
    for place, (a, b, inner, c) in enumerate(variables):
        products[place] = np.diag([a, b, c])
        products[place, 0, 1] = products[place, 1, 0] = inner
    return products


def test_a_parameter_is_shared_by_as_many_objectives_as_asked_for():
    found = Products(by_hand((4, 9, 3, 1), (5, 7, -2, 0)), np.zeros(2, bool), np.ones(3, bool))
    assert compared(found, 2)["all"].cosine[0, 1] == pytest.approx(1 / math.sqrt(9 * 16))
    assert compared(found, 3)["all"].cosine[0, 1] == pytest.approx(3 / 6)
    assert compared(found, 2)["all"].ratio[0, 1] == pytest.approx(4 / 3)
    assert compared(found, 2)["all"].norm[0] == pytest.approx(3)


def test_two_objectives_are_compared_only_where_both_reach():
    found = Products(by_hand((4, 9, 3, 1), (100, 0, 0, 50)), np.zeros(2, bool), np.ones(3, bool))
    assert compared(found)["all"].cosine[0, 1] == pytest.approx(0.5)


def test_a_gradient_that_overflowed_is_skipped_and_the_others_are_not():
    products = by_hand((4, 9, 3, np.inf))
    products[0, 0, 2] = products[0, 2, 0] = np.nan
    found = compared(Products(products, np.zeros(1, bool), np.ones(3, bool)))["all"]
    assert found.cosine[0, 1] == pytest.approx(0.5)
    assert np.isnan(found.cosine[0, 2])


def test_a_summary_counts_conflicts_and_skipped_batches():
    found = summary([0.5, -0.2, math.nan, -0.4, 0.1], [1, 2, math.nan, 4, 8])
    assert (found["measured"], found["skipped"]) == (4, 1)
    assert found["cosine"] == pytest.approx(0)
    assert found["conflict_rate"] == 0.5
    assert found["conflict_rate_ema"] == pytest.approx(0.9 * (0.9 * 0.1 + 0.1))
    assert found["neg_conflict_strength"] == pytest.approx(-0.3)
    assert found["p50"] == pytest.approx(-0.05)
    assert found["p10"] == pytest.approx(-0.4 + 0.3 * 0.2)
    assert found["p90"] == pytest.approx(0.1 + 0.7 * 0.4)
    assert found["norm_ratio"] == 3


# ---- gates --------------------------------------------------------------------------------------


def test_entropy_and_divergence_of_a_gate_are_the_sheets_golden():
    found = health(np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]]))
    assert found.entropy == pytest.approx(0.940448 / math.log(4), abs=1e-6)
    assert found.divergence == pytest.approx(0.192745, abs=1e-6)
    assert found.weight == pytest.approx([0.4, 0.4, 0.1, 0.1])
    assert found.top_share.tolist() == [0.5, 0.5, 0, 0]


def test_a_uniform_gate_has_entropy_one_and_a_one_hot_gate_zero():
    assert health(np.full((3, 4), 0.25)).entropy == pytest.approx(1)
    assert health(np.full((3, 4), 0.25)).divergence == pytest.approx(0)
    assert health(np.eye(4)[[1, 1]]).entropy == 0
    assert health(np.eye(4)[[1, 1]]).divergence == pytest.approx(math.log(4))
    assert math.isnan(health(np.ones((3, 1))).entropy)


def test_gates_differ_by_the_experts_that_they_mix():
    assert divergence({"a": 0.3, "b": 0.7}, {"a": 0.3, "b": 0.7}) == pytest.approx(0)
    assert divergence({"a": 1.0}, {"b": 1.0}) == pytest.approx(math.log(2))
    # Private experts of two tasks are different experts, even if they stand at the same place.
    half = divergence({"a": 0.5, "shared": 0.5}, {"b": 0.5, "shared": 0.5})
    assert half == pytest.approx(0.5 * math.log(2))


def test_an_expert_is_dead_when_every_gate_that_sees_it_leaves_it_out():
    weights = {"ctr": {"a": 0.999, "b": 0.0009, "c": 0.0001}, "cvr": {"a": 0.5, "b": 0.0001, "c": 0.4999}}
    assert dead_experts(weights) == ["b"]
    assert dead_experts({"ctr": {"a": 0.004, "b": 0.996}}) == ["a"]
    assert dead_experts({"ctr": {"a": 0.006, "b": 0.994}}) == []


def test_gates_are_measured_as_the_network_calls_them():
    model = make(MMoE)
    gates, batch = GateHealth(model), tiny.batch(TWO)
    gates.measure(5, batch)
    content = gates.content()
    (group,) = content["groups"]
    assert (content["steps"], group["name"].startswith("gated_experts")) == ([5], True)
    assert [gate["name"] for gate in group["gates"]] == ["click", "buy"]
    for found, gate in zip(group["gates"], model.bottom.gates, strict=True):
        logits = model.embed(batch[0]).numpy() @ gate.logits.kernel.numpy()
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert found["weight"][0] == pytest.approx(shares.mean(axis=0), abs=1e-5)
    (pair,) = group["divergence"]
    assert pair["gates"] == ["click", "buy"]
    assert 0 < pair["js"][0] < math.log(2)
    json.dumps(content)


def test_every_level_of_ple_is_a_group_and_its_shared_gate_is_no_task():
    gates = GateHealth(make(PLE, num_layers=2))
    gates.measure(1, tiny.batch(TWO))
    first, last = gates.content()["groups"]
    assert [gate["name"] for gate in first["gates"]] == ["click", "buy", "shared"]
    assert first["gates"][1]["experts"] == ("buy_0", "shared_0", "shared_1")
    assert first["gates"][2]["experts"] == ("click_0", "buy_0", "shared_0", "shared_1")
    assert [pair["gates"] for pair in first["divergence"]] == [["click", "buy"]]
    assert (first["name"], last["name"], len(last["gates"])) == ("level_1", "level_2", 2)


def test_the_gates_of_a_bottom_under_a_funnel_are_found():
    cls = registry.model("ESMM")
    tasks = tiny.named_plan(cls)
    block = {"type": "MMoE", "num_experts": 2, "expert_hidden_units": [4]}
    gates = GateHealth(make(cls, tasks, bottom=block))
    gates.measure(1, tiny.batch(tasks))
    assert [gate["name"] for gate in gates.content()["groups"][0]["gates"]] == ["ctr", "cvr"]


def test_a_network_without_gates_has_none():
    gates = GateHealth(make(ShareBottom))
    gates.measure(1, tiny.batch(TWO))
    assert gates.content()["groups"] == []

"""Sparse routing: which experts a row reads, what of it is learnt, and MMoE with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from equations import INPUTS, TASKS, X, assert_heads, blend, experts, gate, network, reached, tower

from fuxi_mtl import MMoE
from fuxi_mtl.layers import GatedExperts, make_bottom
from fuxi_mtl.layers.experts import recorded_gates
from fuxi_mtl.layers.routing import routed
from fuxi_mtl.options.blocks import SparseRouting

SHARES = np.array([[[0.5, 0.3, 0.15, 0.05], [0.1, 0.4, 0.2, 0.3]]], np.float32)
EQUAL = [0.5, 0.5]


def numbers(shares, shared, own, weights=EQUAL):
    return [each.numpy() for each in routed(tf.constant(shares), shared, own, weights)]


def random_shares(batch=40, tasks=3, count=8, seed=0):
    logits = np.random.default_rng(seed).normal(size=(batch, tasks, count)).astype(np.float32)
    return tf.nn.softmax(logits).numpy()


def test_a_row_reads_the_experts_of_the_golden_case():
    shares, unequal = numbers(SHARES, 1, 1)
    expected = [[0.625, 0.375, 0, 0], [0, 0.571429, 0, 0.428571]]
    np.testing.assert_allclose(shares[0], expected, atol=1e-6)
    assert unequal == pytest.approx(1.175, abs=1e-6)


def test_tasks_that_count_more_choose_what_all_read():
    shares, _ = numbers(SHARES, 1, 0, [1.0, 0.0])
    np.testing.assert_allclose(shares[0], [[1, 0, 0, 0], [1, 0, 0, 0]])


def test_all_experts_are_the_gate_itself_and_no_shared_one_is_each_tasks_own_choice():
    given = random_shares()
    np.testing.assert_allclose(numbers(given, 8, 0, [1 / 3] * 3)[0], given, rtol=1e-5)
    shares, _ = numbers(given, 0, 2, [1 / 3] * 3)
    for row, sparse in zip(given.reshape(-1, 8), shares.reshape(-1, 8), strict=True):
        largest = np.argsort(row)[-2:]
        assert set(np.flatnonzero(sparse)) == set(largest)
        np.testing.assert_allclose(sparse[largest], row[largest] / row[largest].sum(), rtol=1e-5)


@pytest.mark.parametrize(("shared", "own"), [(1, 1), (2, 1), (1, 2)])
def test_a_row_reads_no_more_experts_than_it_says_and_shares_add_up_to_one(shared, own):
    shares, unequal = numbers(random_shares(), shared, own, [1 / 3] * 3)
    assert ((shares > 0).sum(axis=2) == shared + own).all()
    assert ((shares > 0).any(axis=1).sum(axis=1) <= shared + 3 * own).all()
    assert ((shares > 0).all(axis=1).sum(axis=1) >= shared).all()
    np.testing.assert_allclose(shares.sum(axis=2), 1, rtol=1e-5)
    assert np.isfinite(unequal)


def test_of_equal_shares_the_lower_number_is_chosen_and_equal_use_has_the_least_penalty():
    shares, unequal = numbers(np.full((2, 2, 4), 0.25, np.float32), 1, 1)
    assert (shares == [0.5, 0.5, 0, 0]).all()
    assert unequal == pytest.approx(1)  # gates that are alike, whatever is chosen
    turns = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]][:, None] * 0.7 + 0.075
    assert numbers(turns, 0, 1, [1.0])[1] == pytest.approx(1, abs=1e-6)
    assert numbers(turns[:1], 0, 1, [1.0])[1] == pytest.approx(4 * turns[0].max(), abs=1e-5)


def test_a_task_whose_shares_of_what_all_read_are_nothing_is_no_division_by_zero():
    logits = tf.Variable([[[0.0, 300.0], [300.0, 0.0]]])
    with tf.GradientTape() as tape:
        shares, unequal = routed(tf.nn.softmax(logits), 1, 0, [1.0, 0.0])
        total = tf.reduce_sum(shares * [[[1.0, 2.0], [3.0, 4.0]]]) + unequal
    assert np.isfinite(shares).all()
    assert np.isfinite(tape.gradient(total, logits)).all()


# ---- MMoE ---------------------------------------------------------------------------------------

OPTIONS = {"num_experts": 5, "expert_hidden_units": [4], "tower_hidden_units": [3]}


def smes(count=5, **routing):
    options = {**OPTIONS, "num_experts": count}
    return network(MMoE, **options, sparse_routing={"shared_experts": 1, "own_experts": 1, **routing})


def by_hand(model):
    """Shares of the experts by task, in numpy."""
    gates = np.stack([gate(layer, X) for layer in model.bottom.gates], axis=1)
    shares = np.zeros_like(gates)
    for row, found in zip(gates, shares, strict=True):
        agreed = row.mean(axis=0).argmax()
        for task in range(2):
            others = np.where(np.arange(len(row[task])) == agreed, -1, row[task])
            read = [agreed, others.argmax()]
            found[task, read] = row[task, read] / row[task, read].sum()
    return shares


def test_mmoe_with_sparse_routing_is_what_the_equations_give():
    model = smes()
    shares, outputs = by_hand(model), experts(model.bottom.experts, X)
    mixed = {task.name: blend(shares[:, i], outputs) for i, task in enumerate(TASKS)}
    assert_heads(model, {name: tower(model.towers, name, h) for name, h in mixed.items()})
    with recorded_gates() as record:  # what diagnostics of idle experts see
        model(INPUTS)
    np.testing.assert_allclose(np.stack([found for _, found in record], axis=1), shares, atol=1e-5)


def test_all_experts_routed_are_mmoe():
    model, plain = network(MMoE, **OPTIONS), smes(shared_experts=5, own_experts=0)
    assert_heads(plain, {name: head.numpy() for name, head in model(INPUTS).items()})


def test_a_loss_leaves_experts_that_its_rows_do_not_read_and_gates_of_others_alone():
    model = smes(count=20)
    shares = by_hand(model)
    for i, task in enumerate(TASKS):
        found = reached(model, task.name)
        read = (shares[:, i] > 0).any(axis=0)
        assert not read.all()
        for e, stack in enumerate(model.bottom.experts.stacks):
            assert (id(stack.hidden[0].kernel) in found) == read[e]
        for k, layer in enumerate(model.bottom.gates):
            assert (id(layer.logits.kernel) in found) == (k == i)


def test_the_balance_is_a_penalty_of_all_gates_in_training_alone():
    model = smes(balance=0.5)
    with tf.GradientTape() as tape:
        model(INPUTS, training=True)
        (penalty,) = model.losses
    gates = np.stack([gate(layer, X) for layer in model.bottom.gates], axis=1)
    use = (by_hand(model) > 0).mean(axis=(0, 1))
    assert float(penalty) == pytest.approx(0.5 * 5 / 2 * (use * gates.mean(axis=(0, 1))).sum(), rel=1e-5)
    kernels = [layer.logits.kernel.value for layer in model.bottom.gates]
    assert all((gradient.numpy() != 0).any() for gradient in tape.gradient(penalty, kernels))
    model(INPUTS)
    assert not model.losses
    silent = smes(balance=0.0)
    silent(INPUTS, training=True)
    assert not silent.losses


def test_any_model_with_mmoe_as_its_bottom_has_it():
    spec = {
        "type": "MMoE",
        "num_experts": 4,
        "expert_hidden_units": [3],
        "sparse_routing": {"own_experts": 2},
    }
    bottom = make_bottom(spec, ["ctr", "cvr"], {})
    assert bottom.routing == SparseRouting(own_experts=2)
    again = GatedExperts.from_config(bottom.get_config())
    assert again.routing == bottom.routing
    keras.utils.set_random_seed(1)
    assert {name: tuple(h.shape) for name, h in again(tf.ones((2, 3))).items()} == {
        "ctr": (2, 3),
        "cvr": (2, 3),
    }


@pytest.mark.parametrize(
    ("routing", "told"),
    [
        ({"shared_experts": 4, "own_experts": 2}, "sparse_routing reads 6 experts of 5: num_experts is less"),
        ({"shared_experts": 0, "own_experts": 0}, "a row reads one expert at least"),
        ({"task_weights": {"click": 0}}, "task_weights are 0: one at least is above 0"),
        ({"task_weights": {"clik": 1}}, "names 'clik', which is no task. Did you mean 'click'?"),
        ({"task_weights": {"click": -1}}, "sparse_routing.task_weights"),
        ({"share_experts": 1}, "sparse_routing: unknown key 'share_experts'"),
        ({"own_experts": "two"}, "sparse_routing.own_experts expects a whole number"),
    ],
)
def test_a_routing_that_cannot_be_is_refused(routing, told):
    with pytest.raises(ValueError, match=told):
        network(MMoE, **OPTIONS, sparse_routing=routing)


def test_options_of_another_type_are_told_by_their_check():
    with pytest.raises(ValueError, match="own_experts expects a whole number"):
        network(MMoE, **OPTIONS, sparse_routing=SparseRouting(own_experts="two"))

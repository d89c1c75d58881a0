"""Where an interaction lies in models with more than one input, and which losses reach it."""

import contract
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import registry
from fuxi_mtl.layers.interactions import CrossNetwork
from fuxi_mtl.options import SurgeryOptions
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.weighting import Equal

import_zoo()
CROSS = {"type": "dcnv2", "model_structure": "crossnet_only", "num_cross_layers": 1}


def made(name, tasks=None, **changes):
    cls = registry.model(name)
    tasks = contract.first_plan(cls) if tasks is None else tasks
    return contract.make(cls, tasks, interaction=CROSS, **changes)


def rows():
    return tiny.tensors(tiny.inputs(8))


def reached(model, interaction) -> set[str]:
    """The objectives whose loss reaches an interaction."""
    batch = tiny.batch(model.tasks)
    found = set()
    for name, gradients in contract.objective_gradients(model, batch, interaction.trainable_variables):
        if any(map(contract.nonzero, gradients)):
            found.add(name)
    return found


def test_experts_of_a_bottom_over_crosses_see_the_crosses_and_both_losses_of_a_funnel_reach_them():
    tasks = registry.model("ESMM").plan_tasks(tiny.tasks_of(tiny.NAMED["chain"]))
    bottom = {"type": "MMoE", "num_experts": 2, "expert_hidden_units": [6]}
    model = made("ESMM", tasks, bottom=bottom)
    x, interaction = model.embed(rows()), model.embedding.interaction
    assert isinstance(interaction, CrossNetwork)
    hidden = model.bottom(x)
    towers = model.towers(hidden)
    heads = model(rows())
    for name in ("ctr", "cvr"):
        np.testing.assert_allclose(towers[name], heads[name], rtol=1e-5)
    assert reached(model, interaction) == {"ctr", "ctcvr"}
    assert model.shared_variables() == model.bottom.shared_variables()


def test_surgery_compares_gradients_on_what_an_interaction_gives_and_moves_it_by_what_comes_of_them():
    tasks = tiny.PLAIN["two"]
    model, batch = made("MMoE", tasks), tiny.batch(tasks)
    kinds = {task.name: task.kind for task in tasks}
    surgery = make_surgery(SurgeryOptions(surgery="mgda"), kinds)
    model.compile(keras.optimizers.SGD(0.1), Equal(kinds), surgery=surgery, run_eagerly=True)
    x, compared = model.embed(batch[0]), []
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss, _ = objective.loss(model.heads(x, training=True), *batch[1:])
        compared.append(tape.gradient(loss, x).numpy().astype(float).ravel())
    first, second = compared
    share = np.clip((second - first) @ second / np.square(first - second).sum(), 0, 1)
    crosses = model.embedding.interaction.trainable_variables
    gradients = dict(contract.objective_gradients(model, batch, crosses))
    before = [variable.numpy() for variable in crosses]
    model.train_step(batch)
    for place, variable in enumerate(crosses):
        one, other = (np.asarray(gradients[task.name][place]) for task in tasks)
        step = 2 * (share * one + (1 - share) * other)  # T times the shortest combination
        np.testing.assert_allclose(before[place] - variable.numpy(), 0.1 * step, rtol=1e-3, atol=1e-7)


def test_single_tasks_share_no_interaction():
    model = made("SingleTask", tiny.PLAIN["two"])
    for task, embedding in model.embedding_layers().items():
        assert reached(model, embedding.interaction) == {task}


def test_pepnets_lies_behind_the_gated_inputs_and_its_gates_read_the_embeddings():
    model = made("PEPNet", tiny.PLAIN["two"], ppnet=False, tower_hidden_units=())
    x = model.embed(rows())
    start, end = model.embedding.column_ranges["item"]
    delta = model.input_gate(tf.concat([x[:, start:end], x], axis=1))
    expected = model.towers(dict.fromkeys(model.towers.names, model.interaction(x * delta)))
    for name, head in model(rows()).items():
        np.testing.assert_allclose(head, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sees", [True, False])
def test_apgs_is_of_what_the_network_sees_and_conditions_are_the_embeddings(sees):
    apg = {
        "condition_features": ["user"],
        "mode": "decomposed",
        "rank_k": 3,
        "condition_participate_bottom": sees,
    }
    model = made("APG_SharedBottom", tiny.PLAIN["two"], apg=apg)
    x = model.embed(rows())
    seen, condition = model.embedding.split(x)
    start, end = model.embedding.shared.column_ranges["user"]
    np.testing.assert_array_equal(condition, x[:, start:end])
    given = x if sees else tf.concat([x[:, :start], x[:, end:]], axis=1)
    np.testing.assert_allclose(seen, model.embedding.interaction(given), rtol=1e-6)
    columns = model.embedding.interaction.columns
    assert ("user" in columns) == sees
    assert max(last for _, last in columns.values()) == given.shape[1]


def test_deepfms_lies_under_the_deep_part_alone():
    model = made("DeepFM_MMoE", tiny.PLAIN["two"])
    x = model.embed(rows())["embeddings"]
    deep, pairs = model.backbone(x)
    np.testing.assert_allclose(deep, model.backbone.deep(model.backbone.interaction(x)), rtol=1e-5)
    np.testing.assert_allclose(pairs, model.backbone.machine(x), rtol=1e-6)


def test_gates_of_a_pepnet_may_have_tables_of_their_own():
    model = made("PEPNet", tiny.PLAIN["two"], epnet=False, gate_embedding_dim=5)
    found = model.embed(rows())
    assert found["gates"].shape[1] == 5
    assert model.prior == [(0, 5)]
    counts, whole = model._learnt_parts(found)
    assert set(whole) == {"x", "gates"}
    assert counts["gates"][0].shape[1] == 5
    own = model.gate_embedding.trainable_variables
    for _, gradients in contract.objective_gradients(model, tiny.batch(model.tasks), own):
        assert all(map(contract.nonzero, gradients))

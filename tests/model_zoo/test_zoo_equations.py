"""Each paper's equations in numpy, with kernels taken from the network, and where each loss may reach."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import (
    BUY,
    CLICK,
    INPUTS,
    TASKS,
    X,
    assert_heads,
    blend,
    experts,
    gate,
    ids,
    network,
    own_tower,
    reached,
    sigmoid,
    stack,
    tower,
)

from fuxi_mtl import CGC, ESM2, ESMM, PLE, MMoE, MoE, ShareBottom, SingleTask
from fuxi_mtl.tasks import Task

# ---- ShareBottom --------------------------------------------------------------------------------


def test_share_bottom_is_towers_on_one_stack():
    model = network(ShareBottom, bottom_hidden_units=[5, 4], tower_hidden_units=[3])
    h = stack(model.bottom.stack, X)
    assert_heads(model, {name: tower(model.towers, name, h) for name in ("click", "buy")})


def test_share_bottom_routes_each_loss_to_the_stack_and_its_own_tower():
    model = network(ShareBottom, bottom_hidden_units=[4], tower_hidden_units=[3])
    for name in ("click", "buy"):
        assert reached(model, name) == ids(model.bottom) | own_tower(model, name)


def test_share_bottom_with_one_task_is_a_plain_stack():
    model = network(ShareBottom, TASKS[:1], bottom_hidden_units=[4], tower_hidden_units=[])
    assert_heads(model, {"click": tower(model.towers, "click", stack(model.bottom.stack, X))})


def test_single_task_shares_nothing():
    keras.utils.set_random_seed(0)
    model = SingleTask(tiny.FEATURES, TASKS, **tiny.options_of(SingleTask))
    model.build()
    inputs, labels, _ = tiny.batch(TASKS)
    click, buy = (reached(model, name, inputs, labels) for name in ("click", "buy"))
    assert not click & buy
    assert click | buy == {id(v) for v in model.trainable_variables}


# ---- MMoE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate_units", [[], [4]])
def test_mmoe_mixes_the_experts_by_each_tasks_gate(gate_units):
    model = network(
        MMoE, num_experts=3, expert_hidden_units=[5, 4], gate_hidden_units=gate_units, tower_hidden_units=[3]
    )
    outputs = experts(model.bottom.experts, X)
    expected = {
        name: tower(model.towers, name, blend(gate(model.bottom.gates[i], X), outputs))
        for i, name in enumerate(("click", "buy"))
    }
    assert_heads(model, expected)


def test_mmoe_routes_each_loss_to_all_experts_its_own_gate_and_tower():
    model = network(MMoE, num_experts=3, expert_hidden_units=[4], tower_hidden_units=[3])
    for i, name in enumerate(("click", "buy")):
        expected = ids(model.bottom.experts, model.bottom.gates[i]) | own_tower(model, name)
        assert reached(model, name) == expected


def test_a3_mmoe_with_one_expert_is_share_bottom():
    one = network(MMoE, num_experts=1, expert_hidden_units=[5], tower_hidden_units=[3])
    other = network(ShareBottom, bottom_hidden_units=[5], tower_hidden_units=[3])
    other.bottom.stack.set_weights(one.bottom.experts.stacks[0].get_weights())
    other.towers.set_weights(one.towers.get_weights())
    heads = other(INPUTS)
    assert_heads(one, {name: head.numpy() for name, head in heads.items()})


def test_mmoe_with_gates_of_zero_takes_the_mean_expert():
    model = network(MMoE, num_experts=4, expert_hidden_units=[5], tower_hidden_units=[3])
    for layer in model.bottom.gates:
        layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    mean = experts(model.bottom.experts, X).mean(axis=1)
    assert_heads(model, {name: tower(model.towers, name, mean) for name in ("click", "buy")})


def test_a4_the_order_of_the_experts_does_not_matter():
    model = network(MMoE, num_experts=3, expert_hidden_units=[5], tower_hidden_units=[3])
    before = {name: head.numpy() for name, head in model(INPUTS).items()}
    order = [2, 0, 1]
    old = [expert.get_weights() for expert in model.bottom.experts.stacks]
    for expert, source in zip(model.bottom.experts.stacks, order, strict=True):
        expert.set_weights(old[source])
    for layer in model.bottom.gates:
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel[:, order], bias[order]])
    assert_heads(model, before)


# ---- MoE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate_units", [[], [4]])
def test_moe_mixes_the_experts_by_one_gate_for_all_tasks(gate_units):
    model = network(
        MoE, num_experts=3, expert_hidden_units=[5, 4], gate_hidden_units=gate_units, tower_hidden_units=[3]
    )
    (shares,) = (gate(each, X) for each in model.bottom.gates)
    np.testing.assert_allclose(shares.sum(axis=1), np.ones(8))
    f = blend(shares, experts(model.bottom.experts, X))
    assert_heads(model, {name: tower(model.towers, name, f) for name in ("click", "buy")})


def test_moe_routes_each_loss_to_all_experts_the_gate_and_its_own_tower():
    model = network(MoE, num_experts=3, expert_hidden_units=[4], tower_hidden_units=[3])
    for name in ("click", "buy"):
        assert reached(model, name) == ids(model.bottom) | own_tower(model, name)


def test_a3_moe_with_one_expert_is_share_bottom():
    one = network(MoE, num_experts=1, expert_hidden_units=[5], tower_hidden_units=[3])
    other = network(ShareBottom, bottom_hidden_units=[5], tower_hidden_units=[3])
    other.bottom.stack.set_weights(one.bottom.experts.stacks[0].get_weights())
    other.towers.set_weights(one.towers.get_weights())
    assert_heads(one, {name: head.numpy() for name, head in other(INPUTS).items()})


def test_moe_is_mmoe_whose_gates_are_the_same():
    one = network(MoE, num_experts=3, expert_hidden_units=[4], tower_hidden_units=[3])
    other = network(MMoE, num_experts=3, expert_hidden_units=[4], tower_hidden_units=[3])
    other.bottom.experts.set_weights(one.bottom.experts.get_weights())
    for each in other.bottom.gates:
        each.set_weights(one.bottom.gates[0].get_weights())
    other.towers.set_weights(one.towers.get_weights())
    assert_heads(one, {name: head.numpy() for name, head in other(INPUTS).items()})


def test_moe_adds_the_penalty_of_its_gate_to_the_loss_in_training():
    block = {"temperature": 1, "noise_std": 0, "entropy_reg_weight": 0.5, "load_balance_kl_weight": 0.25}
    model = network(MoE, num_experts=3, gate_stabilize=block)
    shares = gate(model.bottom.gates[0], X)
    mean = shares.mean(axis=0)
    entropy, kl = -(shares * np.log(shares)).sum(axis=1).mean(), (mean * np.log(3 * mean)).sum()
    model(INPUTS, training=True)
    assert float(sum(model.losses)) == pytest.approx(-0.5 * entropy + 0.25 * kl, rel=1e-4)


# ---- CGC ----------------------------------------------------------------------------------------

CGC_SIZES = {
    "num_shared_experts": 2,
    "num_specific_experts": 1,
    "expert_hidden_units": [4],
    "tower_hidden_units": [3],
}


def test_cgc_mixes_a_tasks_own_experts_with_the_shared_ones():
    model = network(CGC, **CGC_SIZES)
    (level,) = model.bottom.levels
    expected = {}
    for i, name in enumerate(("click", "buy")):
        seen = np.concatenate([experts(level.specific[i], X), experts(level.shared, X)], axis=1)
        expected[name] = tower(model.towers, name, blend(gate(level.gates[i], X), seen))
    assert_heads(model, expected)


def test_cgc_never_lets_a_loss_reach_another_tasks_experts():
    model = network(CGC, **CGC_SIZES)
    (level,) = model.bottom.levels
    for i, name in enumerate(("click", "buy")):
        expected = ids(level.shared, level.specific[i], level.gates[i]) | own_tower(model, name)
        assert reached(model, name) == expected
    assert {id(v) for v in model.shared_variables()} == {id(s.hidden[-1].kernel) for s in level.shared.stacks}


def test_cgc_is_ple_with_one_level():
    cgc, ple = network(CGC, **CGC_SIZES), network(PLE, num_layers=1, **CGC_SIZES)
    ple.set_weights(cgc.get_weights())
    assert_heads(cgc, {name: head.numpy() for name, head in ple(INPUTS).items()})


# ---- PLE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ple_level_by_level(levels):
    model = network(
        PLE,
        num_layers=levels,
        num_shared_experts=2,
        num_specific_experts=1,
        expert_hidden_units=[4],
        tower_hidden_units=[3],
    )
    streams, shared = {"click": X, "buy": X}, X
    for number, level in enumerate(model.bottom.levels):
        own = [experts(level.specific[i], streams[name]) for i, name in enumerate(streams)]
        common = experts(level.shared, shared)
        mixed = {
            name: blend(gate(level.gates[i], streams[name]), np.concatenate([own[i], common], axis=1))
            for i, name in enumerate(streams)
        }
        if number < levels - 1:
            shared = blend(gate(level.shared_gate, shared), np.concatenate([*own, common], axis=1))
        streams = mixed
    assert_heads(model, {name: tower(model.towers, name, h) for name, h in streams.items()})


def test_a6_c18_another_tasks_experts_are_reached_through_the_shared_gate_of_earlier_levels_only():
    sizes = {"num_shared_experts": 1, "num_specific_experts": 2, "expert_hidden_units": [4]}
    one = network(PLE, num_layers=1, **sizes)
    (level,) = one.bottom.levels
    for i, name in enumerate(("click", "buy")):
        expected = ids(level.shared, level.specific[i], level.gates[i]) | own_tower(one, name)
        assert reached(one, name) == expected
    two = network(PLE, num_layers=2, **sizes)
    first, last = two.bottom.levels
    for i, name in enumerate(("click", "buy")):
        found, other = reached(two, name), 1 - i
        assert ids(first.specific[other], first.shared_gate) <= found
        assert not ids(last.specific[other], last.gates[other], first.gates[other]) & found
        expected = ids(first.shared, first.shared_gate, *first.specific, first.gates[i])
        expected |= ids(last.shared, last.specific[i], last.gates[i])
        assert found == expected | own_tower(two, name)


def test_a3_ple_without_private_experts_is_mmoe():
    one = network(
        PLE, num_shared_experts=3, num_specific_experts=0, expert_hidden_units=[4], tower_hidden_units=[3]
    )
    other = network(MMoE, num_experts=3, expert_hidden_units=[4], tower_hidden_units=[3])
    (level,) = one.bottom.levels
    other.bottom.experts.set_weights(level.shared.get_weights())
    for mine, theirs in zip(other.bottom.gates, level.gates, strict=True):
        mine.set_weights(theirs.get_weights())
    other.towers.set_weights(one.towers.get_weights())
    assert_heads(one, {name: head.numpy() for name, head in other(INPUTS).items()})


def test_ple_without_shared_experts_shares_nothing():
    model = network(PLE, num_layers=2, num_shared_experts=0, num_specific_experts=2, expert_hidden_units=[4])
    assert model.shared_variables() == []
    assert not reached(model, "click") & reached(model, "buy")


# ---- sizes --------------------------------------------------------------------------------------


def dense(inputs, *units):
    """Parameters of a stack of dense layers with biases."""
    widths = [inputs, *units]
    return sum(a * b + b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize(
    ("cls", "options", "expected"),
    [
        (
            ShareBottom,
            {"bottom_hidden_units": [5, 4], "tower_hidden_units": [3]},
            dense(3, 5, 4) + 2 * dense(4, 3, 1),
        ),
        (
            MMoE,
            {
                "num_experts": 3,
                "expert_hidden_units": [4],
                "gate_hidden_units": [6],
                "tower_hidden_units": [3],
            },
            3 * dense(3, 4) + 2 * dense(3, 6, 3) + 2 * dense(4, 3, 1),
        ),
        (
            PLE,
            {
                "num_layers": 2,
                "num_shared_experts": 2,
                "num_specific_experts": 1,
                "expert_hidden_units": [4],
                "tower_hidden_units": [],
            },
            # level 1: 4 experts, 2 gates over 3, 1 over 4; level 2 on width 4 without the shared gate
            4 * dense(3, 4)
            + 2 * dense(3, 3)
            + dense(3, 4)
            + 4 * dense(4, 4)
            + 2 * dense(4, 3)
            + 2 * dense(4, 1),
        ),
        (
            MoE,
            {"num_experts": 3, "expert_hidden_units": [4], "tower_hidden_units": [3]},
            3 * dense(3, 4) + dense(3, 3) + 2 * dense(4, 3, 1),
        ),
        (CGC, CGC_SIZES, 4 * dense(3, 4) + 2 * dense(3, 3) + 2 * dense(4, 3, 1)),
        (SingleTask, {"tower_hidden_units": [5, 4]}, 2 * dense(3, 5, 4, 1)),
    ],
)
def test_a5_the_number_of_parameters(cls, options, expected):
    assert network(cls, **options).count_params() == expected


def test_a5_the_number_of_parameters_of_the_tables():
    keras.utils.set_random_seed(0)
    for cls, copies in ((ShareBottom, 1), (SingleTask, 2)):
        model = cls(tiny.FEATURES, TASKS, **tiny.options_of(cls))
        model.build()
        tables = sum(v.numpy().size for v in model.trainable_variables if "rows" in v.path)
        assert tables == copies * ((12 + 7) * 4 + 9 * 3)


# ---- entire-space models ------------------------------------------------------------------------


def esmm(**options):
    return network(ESMM, ESMM.plan_tasks(TASKS, explicit=False), tower_hidden_units=[4], **options)


def test_esmm_multiplies_its_two_towers():
    model = esmm()
    ctr, cvr = (tower(model.towers, name, X) for name in ("ctr", "cvr"))
    p = sigmoid(ctr) * sigmoid(cvr)
    assert_heads(model, {"ctr": ctr, "cvr": cvr, "ctcvr": np.log(p / (1 - p))})
    probabilities = model.probabilities(model(INPUTS))
    assert (probabilities["ctcvr"] <= probabilities["ctr"]).numpy().all()
    assert (probabilities["ctcvr"] <= probabilities["cvr"]).numpy().all()


def test_esmm_learns_from_clicks_and_conversions_on_all_exposures():
    model = esmm()
    assert [o.name for o in model.objectives()] == ["ctr", "ctcvr"]
    labels = {t.name: tf.constant(t.label({"click": CLICK, "buy": BUY})) for t in model.tasks}
    a, b = (sigmoid(tower(model.towers, name, X)) for name in ("ctr", "cvr"))
    for objective, p, y in zip(model.objectives(), (a, a * b), (CLICK, CLICK * BUY), strict=True):
        loss, rows = objective.loss(model(INPUTS), labels)
        assert float(loss) == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), rel=1e-5)
        assert rows == 8


def test_esmm_gradient_in_closed_form():
    model = esmm()
    towers = {name: tf.constant(tower(model.towers, name, X), tf.float32) for name in ("ctr", "cvr")}
    labels = {t.name: tf.constant(t.label({"click": CLICK, "buy": BUY})) for t in model.tasks}
    with tf.GradientTape() as tape:
        tape.watch(towers)
        loss, _ = model.objectives()[1].loss(model.funnel.logits(towers, model.tasks), labels)
    gradient = tape.gradient(loss, towers)
    a, b = (sigmoid(towers[name].numpy()) for name in ("ctr", "cvr"))
    p, y = a * b, CLICK * BUY
    np.testing.assert_allclose(gradient["cvr"], (1 - b) * (p - y) / (1 - p) / 8, rtol=1e-5)
    np.testing.assert_allclose(gradient["ctr"], (1 - a) * (p - y) / (1 - p) / 8, rtol=1e-5)


def test_esmm_routes_ctr_to_one_tower_and_ctcvr_to_both():
    model = esmm()
    assert reached(model, "ctr") == own_tower(model, "ctr")
    assert reached(model, "ctcvr") == own_tower(model, "ctr") | own_tower(model, "cvr")


@pytest.mark.parametrize("bottom", ["ShareBottom", "MMoE", "PLE"])
def test_esmm_stands_on_any_bottom(bottom):
    model = esmm(bottom={"type": bottom})
    assert ids(model.bottom) & reached(model, "ctr") & reached(model, "ctcvr")
    assert model.shared_variables()


def test_esmm_at_extreme_logits_still_learns():
    model = esmm()
    towers = {name: tf.fill([8], -80.0) for name in ("ctr", "cvr")}
    labels = {t.name: tf.ones(8) for t in model.tasks}
    with tf.GradientTape() as tape:
        tape.watch(towers)
        loss, _ = model.objectives()[1].loss(model.funnel.logits(towers, model.tasks), labels)
    assert float(loss) == pytest.approx(160)
    np.testing.assert_allclose(tape.gradient(loss, towers)["cvr"], np.full(8, -1 / 8), rtol=1e-5)


def test_a_chain_of_three_events_multiplies_three_towers():
    tasks = ESMM.plan_tasks(tiny.tasks_of({"a": "click", "b": "cart | click", "c": "buy | click & cart"}))
    assert [t.expression for t in tasks][3:] == ["click & cart", "click & cart & buy"]
    model = network(ESMM, tasks, tower_hidden_units=[4])
    p = np.prod([sigmoid(tower(model.towers, name, X)) for name in "abc"], axis=0)
    np.testing.assert_allclose(sigmoid(model(INPUTS)["click_and_cart_and_buy"]), p, rtol=1e-5)


@pytest.mark.parametrize("tasks", [TASKS[:1], (*TASKS, Task("cart", ("cart",)))])
def test_esmm_needs_a_chain(tasks):
    with pytest.raises(ValueError, match="ESMM needs a chain of events, but the tasks are click"):
        ESMM.plan_tasks(tasks, explicit=False)
    with pytest.raises(ValueError, match="ESMM needs a chain of events"):
        ESMM.plan_tasks(TASKS, explicit=True)


@pytest.mark.parametrize("cls", [ESMM, ESM2])
def test_a_regression_does_not_fit_an_entire_space_model(cls):
    with pytest.raises(ValueError, match="task 'watch' .* is a regression"):
        cls.plan_tasks((*TASKS[:1], Task("watch", ("watch",), kind="regression")), explicit=False)


def esm2():
    labels = (TASKS[0], Task("cart", ("cart",)), TASKS[1])
    return network(ESM2, ESM2.plan_tasks(labels, explicit=False), tower_hidden_units=[4])


def steps(model):
    return [sigmoid(tower(model.towers, name, X)) for name in ("y1", "y2", "y3", "y4")]


def test_esm2_decomposes_the_conversion():
    model = esm2()
    y1, y2, y3, y4 = steps(model)
    cvr = y2 * y3 + (1 - y2) * y4
    expected = {"ctr": y1, "ctavr": y1 * y2, "cvr": cvr, "ctcvr": y1 * cvr}
    assert_heads(model, {name: np.log(p / (1 - p)) for name, p in expected.items()})
    assert [o.name for o in model.objectives()] == ["ctr", "ctavr", "ctcvr"]


def test_esm2_routes_each_loss_to_the_steps_behind_it():
    model = esm2()
    y1, y2, y3, y4 = (own_tower(model, name) for name in ("y1", "y2", "y3", "y4"))
    assert reached(model, "ctr") == y1
    assert reached(model, "ctavr") == y1 | y2
    assert reached(model, "ctcvr") == y1 | y2 | y3 | y4


def test_a7_esm2_with_equal_branches_is_esmm():
    model = esm2()
    i, j = (model.towers.names.index(name) for name in ("y3", "y4"))
    for layers in (model.towers.stacks, model.towers.outputs):
        layers[j].set_weights(layers[i].get_weights())
    y1, _, y3, _ = steps(model)
    heads = model(INPUTS)
    np.testing.assert_allclose(sigmoid(heads["cvr"]), y3, rtol=1e-5)
    np.testing.assert_allclose(sigmoid(heads["ctcvr"]), y1 * y3, rtol=1e-5)
    towers = {name: tf.constant(tower(model.towers, name, X), tf.float32) for name in model.towers.names}
    with tf.GradientTape() as tape:
        tape.watch(towers)
        logit = model.funnel.logits(towers, model.tasks)["ctcvr"]
    np.testing.assert_allclose(tape.gradient(logit, towers["y2"]), np.zeros(8), atol=1e-6)


def test_esm2_with_a_certain_action_is_a_chain_of_three():
    model = esm2()
    output = model.towers.outputs[model.towers.names.index("y2")]
    kernel, _ = output.get_weights()
    output.set_weights([0 * kernel, np.array([60.0])])
    y1, _, y3, _ = steps(model)
    np.testing.assert_allclose(sigmoid(model(INPUTS)["ctcvr"]), y1 * y3, rtol=1e-5)


def test_esm2_takes_branches_from_the_stanza():
    tasks = ESM2.plan_tasks(
        tiny.tasks_of(
            {
                "ctr": "click",
                "rate": "cart | click",
                "with": "buy | click & cart",
                "without": "buy | click & !cart",
            }
        )
    )
    assert [t.expression for t in tasks][4:] == ["click & cart", "click & buy"]
    model = network(ESM2, tasks, tower_hidden_units=[4])
    learnt = set.union(*(reached(model, objective.name) for objective in model.objectives()))
    assert learnt == {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        ({"click": "click", "cart": "cart", "buy": "buy"}, "ESM2 needs a funnel"),
        ({"ctr": "click", "cvr": "buy | click", "all": "click & buy"}, "about three events"),
        ({"a": "click", "b": "cart", "c": "cart & buy"}, "which of .* is the click"),
        ({"a": "click", "b": "cart & buy"}, "which of .* is the click"),
    ],
)
def test_esm2_says_what_is_missing_of_its_funnel(expressions, message):
    with pytest.raises(ValueError, match=message):
        ESM2.plan_tasks(tiny.tasks_of(expressions))

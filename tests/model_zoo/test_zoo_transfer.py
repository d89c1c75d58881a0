"""Knowledge transfer and AITM: their equations in numpy, and exactly where each loss may reach."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import INPUTS, TASKS, X, assert_heads, ids, network, reached, sigmoid, softmax, stack, weights

from fuxi_mtl import AITM, APG_AITM, KnowledgeTransfer
from fuxi_mtl.layers import InformationTransfer
from fuxi_mtl.options import WeightingOptions
from fuxi_mtl.tasks import Task
from fuxi_mtl.weighting import make_weighting

THREE = (*TASKS, Task("cart", ("cart",)))
PRIVATE = {"type": "PLE", "num_shared_experts": 0, "num_specific_experts": 1, "expert_hidden_units": [4]}


# ---- knowledge transfer -------------------------------------------------------------------------


def linear(dense, x):
    kernel, bias = weights(dense)
    return x @ kernel + bias


def transfer(tasks=THREE, **options):
    return network(
        KnowledgeTransfer, tasks, **{"bottom": "shared_embedding", "tower_hidden_units": [4], **options}
    )


def own(model, name):
    """The tower of a task, its head included."""
    place = model.towers.names.index(name)
    return ids(model.stacks[place], model.towers.stacks[place], model.towers.outputs[place])


def hidden(model, name, *parts):
    return stack(model.stacks[model.towers.names.index(name)], np.concatenate(parts, axis=1))


def head(model, name, h):
    return linear(model.towers.outputs[model.towers.names.index(name)], h)[:, 0]


def test_towers_read_the_last_hidden_layers_of_their_sources_in_any_order():
    model = transfer(transfer={"click": ["cart"], "buy": ["click", "cart"]})
    assert model.order.index("cart") < model.order.index("click") < model.order.index("buy")
    cart = hidden(model, "cart", X)
    click = hidden(model, "click", X, cart)
    buy = hidden(model, "buy", X, click, cart)
    found = {"click": click, "buy": buy, "cart": cart}
    assert_heads(model, {name: head(model, name, h) for name, h in found.items()})
    assert list(model(INPUTS)) == ["click", "buy", "cart"]


def test_a_source_is_projected_behind_the_stop_gradient():
    model = transfer(TASKS, transfer_units=2)
    click = hidden(model, "click", X)
    buy = hidden(model, "buy", X, linear(model.projections[0], click))
    assert_heads(model, {"click": head(model, "click", click), "buy": head(model, "buy", buy)})
    assert reached(model, "buy") == own(model, "buy") | ids(model.projections[0])
    assert reached(model, "click") == own(model, "click")


def test_without_transfer_in_the_stanza_each_task_reads_the_one_before():
    assert transfer().edges == [("buy", "click"), ("cart", "buy")]


def test_without_sources_towers_are_towers():
    model = transfer(transfer={})
    assert_heads(model, {n: head(model, n, hidden(model, n, X)) for n in ("click", "buy", "cart")})


def test_a_loss_reaches_its_own_tower_and_the_bottom_and_no_source():
    model = transfer(bottom={"type": "ShareBottom", "bottom_hidden_units": [5]})
    for name in ("click", "buy", "cart"):
        assert reached(model, name) == ids(model.bottom) | own(model, name)


def test_without_the_stop_gradient_a_loss_reaches_all_sources():
    model = transfer(transfer_stop_gradient=False)
    assert reached(model, "cart") == {id(v) for v in model.trainable_variables} - ids(
        *(model.towers.outputs[model.towers.names.index(name)] for name in ("click", "buy"))
    )


def test_what_comes_through_the_source_alone_reaches_nothing_below_it():
    model = transfer(TASKS, bottom={"type": "ShareBottom", "bottom_hidden_units": [5]})
    kernel = model.stacks[1].hidden[0].kernel
    # The first five rows read the bottom, the others the source.
    kernel.assign(tf.concat([tf.zeros_like(kernel[:5]), kernel[5:]], axis=0))
    assert reached(model, "buy") == own(model, "buy")


def test_a_later_task_changes_nothing_of_an_earlier_one_over_a_private_bottom():
    models = [transfer(TASKS, bottom=PRIVATE) for _ in range(2)]
    models[1].set_weights(models[0].get_weights())
    before = models[0](INPUTS)["click"].numpy()
    labels = {name: tf.constant([1.0, 0, 1, 0, 0, 1, 0, 1]) for name in ("click", "buy")}
    for model, weight in zip(models, (0.0, 5.0), strict=True):
        options = WeightingOptions(loss_weight={"click": 1.0, "buy": weight})
        weighting = make_weighting(options, dict.fromkeys(labels, "binary"))
        model.compile(keras.optimizers.SGD(0.5), weighting, run_eagerly=True)
        for _ in range(2):
            model.train_step((INPUTS, labels))
    one, other = ({name: z.numpy() for name, z in model(INPUTS).items()} for model in models)
    assert (one["click"] != before).any()
    np.testing.assert_array_equal(one["click"], other["click"])
    assert (one["buy"] != other["buy"]).all()


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({"click": ["click"]}, "click -> click"),
        ({"click": ["buy"], "buy": ["click"]}, "(click -> buy -> click|buy -> click -> buy)"),
    ],
)
def test_a_cycle_of_sources_is_refused(edges, cycle):
    with pytest.raises(ValueError, match=f"^transfer goes round in a circle: {cycle}. A task reads earlier"):
        transfer(transfer=edges)


@pytest.mark.parametrize("edges", [{"ctr": ["click"]}, {"click": ["ctr"]}])
def test_a_source_that_is_no_task_is_named(edges):
    with pytest.raises(ValueError, match="transfer names 'ctr', which is no task. Tasks: click, buy, cart."):
        transfer(transfer=edges)


def test_a_tower_without_a_hidden_layer_has_nothing_to_hand_on():
    with pytest.raises(ValueError, match="tower_hidden_units is empty: KnowledgeTransfer hands on"):
        transfer(tower_hidden_units=[])


# ---- AITM ---------------------------------------------------------------------------------------


def aitm(labels=TASKS, **options):
    tasks = AITM.plan_tasks(labels, explicit=False)
    return network(AITM, tasks, **{"tower_hidden_units": [5, 4], **options})


def attention(layer, inputs):
    u = np.stack(inputs, axis=1)
    first, second, value = (
        m.kernel.numpy().astype(np.float64) for m in (layer.first, layer.second, layer.value)
    )
    shares = softmax(((u @ first) * (u @ second)).sum(axis=-1) / np.sqrt(layer.units))
    return (shares[:, :, None] * (u @ value)).sum(axis=1)


def test_a8_aitm_step_by_step():
    model = aitm(THREE)
    z = stack(model.stacks[0], X)
    expected = {"click": head(model, "click", z)}
    for place, name in ((1, "buy"), (2, "cart")):
        p, q = stack(model.messages[place - 1], z), stack(model.stacks[place], X)
        z = attention(model.transfer, [p, q])
        expected[name] = head(model, name, z)
    assert_heads(model, expected)


def test_aitm_of_one_step_is_a_tower():
    model = aitm(TASKS[:1])
    assert_heads(model, {"click": head(model, "click", stack(model.stacks[0], X))})
    assert [objective.name for objective in model.objectives()] == ["click"]


def test_a8_equal_inputs_share_the_attention_and_give_their_value():
    layer = InformationTransfer(4, stddev=0.5)
    p = tf.constant(np.random.default_rng(1).normal(size=(3, 4)), tf.float32)
    np.testing.assert_allclose(layer([p, p]), p.numpy() @ layer.value.kernel.numpy(), rtol=1e-5)


def test_the_maps_of_the_transfer_start_small_and_apart_and_have_no_bias():
    keras.utils.set_random_seed(1)
    model = AITM(tiny.FEATURES, AITM.plan_tasks(TASKS, explicit=False))
    model.build()
    kernels = [v.numpy() for v in model.transfer.trainable_variables]
    assert [k.shape for k in kernels] == [(32, 32)] * 3
    for kernel in kernels:
        assert kernel.std() == pytest.approx(0.01, rel=0.1)
    assert len({kernel.tobytes() for kernel in kernels}) == 3


def test_the_penalty_of_the_attention_is_its_own():
    model = aitm(net_regularizer=0, attention_regularizer=0.5)
    kernels = [v.numpy() for v in model.transfer.trainable_variables]
    model(INPUTS)
    # FuxiCTR's notation: half the number times the squares.
    assert float(sum(model.losses)) == pytest.approx(0.25 * sum((k**2).sum() for k in kernels), rel=1e-5)


def step_layers(model, place):
    """What only step `place` and the later ones have: its tower, message and maps."""
    if place == 0:
        return ids(model.stacks[0])
    return ids(model.stacks[place], model.messages[place - 1], model.transfer)


def aitm_head(model, place):
    return ids(model.towers.outputs[place])


def test_a_step_reaches_the_towers_of_all_steps_before_it():
    model = aitm(THREE)
    reach = set()
    for place, name in enumerate(("click", "buy", "cart")):
        reach |= step_layers(model, place)
        assert reached(model, name) == reach | aitm_head(model, place)


def test_with_the_stop_gradient_a_step_reaches_its_own_tower_only():
    model = aitm(THREE, transfer_stop_gradient=True)
    for place, name in enumerate(("click", "buy", "cart")):
        assert reached(model, name) == step_layers(model, place) | aitm_head(model, place)


def calibrator_of(model, y):
    """The calibrator at given probabilities, and its gradients on the logits."""
    objective = model.objectives()[-1]
    heads = {name: tf.constant(np.log(p / (1 - p)), tf.float32) for name, p in y.items()}
    labels = dict.fromkeys(y, tf.fill([len(next(iter(y.values())))], float("nan")))
    with tf.GradientTape() as tape:
        tape.watch(heads)
        loss, rows = objective.loss(heads, labels)
    assert rows == len(next(iter(y.values())))
    return float(loss), {
        name: g if g is None else g.numpy() for name, g in tape.gradient(loss, heads).items()
    }


Y = {"click": np.array([0.5, 0.3, 0.2]), "buy": np.array([0.1, 0.6, 0.4])}


def test_a8_the_calibrator_is_the_mean_of_what_is_above_the_step_before():
    loss, gradients = calibrator_of(aitm(), Y)
    assert loss == pytest.approx((0.3 + 0.2) / 3, rel=1e-5)
    above = np.array([0, 1, 1])
    np.testing.assert_allclose(gradients["buy"], above * Y["buy"] * (1 - Y["buy"]) / 3, rtol=1e-4)
    np.testing.assert_allclose(gradients["click"], -above * Y["click"] * (1 - Y["click"]) / 3, rtol=1e-4)
    twice, _ = calibrator_of(aitm(), {name: np.concatenate([p, p]) for name, p in Y.items()})
    assert twice == pytest.approx(loss, rel=1e-6)


def test_a_calibrator_that_stops_leaves_the_step_before_alone():
    _, gradients = calibrator_of(aitm(calibrator_stop_prev=True), Y)
    assert gradients["click"] is None
    assert (gradients["buy"][1:] > 0).all()


def test_the_calibrator_of_three_steps_is_the_sum_of_both():
    y = {"click": np.array([0.5]), "buy": np.array([0.6]), "cart": np.array([0.9])}
    assert calibrator_of(aitm(THREE), y)[0] == pytest.approx(0.1 + 0.3, rel=1e-4)
    ordered = {"click": np.array([0.9]), "buy": np.array([0.6]), "cart": np.array([0.6])}
    assert calibrator_of(aitm(THREE), ordered)[0] == 0


def test_the_calibrator_weighs_six_tenths_and_no_weighting_moves_it():
    *_, calibrator = aitm().objectives()
    assert (calibrator.name, calibrator.kind, calibrator.scale) == ("calibrator", "fixed", 0.6)
    assert aitm(calibrator_weight=0.25).objectives()[-1].scale == 0.25
    with pytest.raises(ValueError, match="calibrator_weight is -1; the least is 0."):
        aitm(calibrator_weight=-1)


def test_the_message_has_the_activation_of_the_last_layer_and_not_of_the_list():
    tasks, units = AITM.plan_tasks(TASKS, explicit=False), {"tower_hidden_units": (6, 5)}
    made = AITM(tiny.FEATURES, tasks, hidden_activations=["tanh", "relu", "sigmoid"], **units)
    assert [each.activation.__name__ for each in made.stacks[0].activations] == ["tanh", "relu"]
    assert [each.activation.__name__ for each in made.messages[0].activations] == ["relu"]
    with pytest.raises(ValueError, match="hidden_activations has 0 entries for 2 layers"):
        AITM(tiny.FEATURES, tasks, hidden_activations=[], **units)


def test_attention_in_half_precision_does_not_overflow():
    keras.utils.set_random_seed(0)
    exact = InformationTransfer(8)
    u = [400 * np.random.default_rng(seed).normal(size=(16, 8)).astype(np.float32) for seed in (1, 2)]
    expected = exact(u)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = InformationTransfer(8)
    finally:
        keras.config.set_dtype_policy("float32")
    half.build([(16, 8), (16, 8)])
    half.set_weights(exact.get_weights())
    found = half([tf.cast(each, tf.float16) for each in u])
    assert found.dtype == tf.float16
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=4)


def test_the_penalty_reaches_projections_and_messages():
    assert all(p.kernel.regularizer for p in transfer(transfer_units=3, net_regularizer=0.1).projections)
    sizes = {"bottom_hidden_units": (16,), "tower_hidden_units": (16,), "net_regularizer": 0.1}
    model = APG_AITM(tiny.FEATURES, APG_AITM.plan_tasks(TASKS, explicit=False), **sizes)
    assert all(message.kernel_regularizer for message in model.messages)


def test_the_official_constants_are_the_defaults():
    model = AITM(tiny.FEATURES, AITM.plan_tasks(TASKS, explicit=False))
    assert [dense.units for dense in model.stacks[0].hidden] == [128, 64, 32]
    assert (model.transfer.units, len(model.messages), model.messages[0].hidden[0].units) == (32, 1, 32)


def test_plain_labels_become_steps_and_predictions_need_not_be_multiplied():
    assert [task.expression for task in AITM.plan_tasks(THREE, explicit=False)] == [
        "click",
        "click & buy",
        "click & buy & cart",
    ]
    model = aitm()
    probabilities = model.probabilities(model(INPUTS))
    np.testing.assert_allclose(probabilities["buy"], sigmoid(model(INPUTS)["buy"]), rtol=1e-5)


@pytest.mark.parametrize(
    "expressions",
    [
        {"ctr": "click", "cvr": "buy | click"},
        {"click": "click", "buy": "buy"},
        {"ctcvr": "click & buy", "ctr": "click"},
        {"one": "click", "other": "click"},
    ],
)
def test_aitm_needs_steps_on_all_exposures(expressions):
    with pytest.raises(ValueError, match="AITM needs a chain of events on all exposures"):
        AITM.plan_tasks(tiny.tasks_of(expressions))


def test_aitm_needs_events():
    with pytest.raises(ValueError, match="is a regression"):
        AITM.plan_tasks((TASKS[0], Task("watch", ("watch",), kind="regression")), explicit=False)
    with pytest.raises(ValueError, match="tower_hidden_units is empty: AITM transfers"):
        aitm(tower_hidden_units=[])

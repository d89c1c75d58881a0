"""The APG models: their equations in numpy, where each loss may reach, and folded predictions."""

from pathlib import Path

import keras
import numpy as np
import pytest
import raw_rows
import tensorflow as tf
import tiny
from equations import (
    INPUTS,
    TASKS,
    X,
    assert_heads,
    blend,
    gate,
    ids,
    network,
    reached,
    sigmoid,
    softmax,
    weights,
)

from fuxi_mtl import APG_AITM, APG_AITM_V2, APG_MMOE, APG_SharedBottom
from fuxi_mtl.config import load_experiment
from fuxi_mtl.layers import InformationTransfer
from fuxi_mtl.layers.experts import recorded_gates
from fuxi_mtl.options import FeatureOptions
from fuxi_mtl.serving.export import served_module
from fuxi_mtl.tasks import Task
from fuxi_mtl.workflow.experiment import try_model

THREE = (*TASKS, Task("cart", ("cart",)))
SMALL = {"rank_k": 2, "overparam_p": 3, "hypernet_hidden_units": [4]}
APG = {"condition_features": ["b"], **SMALL}
MODELS = [APG_SharedBottom, APG_MMOE, APG_AITM, APG_AITM_V2]
Z = X[:, 1:2]
CONFIG = Path(__file__).parents[2] / "config"


def apg(cls, tasks=TASKS, **options):
    small = {"embedding_dim": 4, "apg": APG, "tower_hidden_units": [3]}
    has_bottoms = cls in (APG_SharedBottom, APG_AITM)
    small |= {"bottom_hidden_units" if has_bottoms else "expert_hidden_units": [4]}
    model = network(cls, cls.plan_tasks(tasks, explicit=False), **{**small, **options})
    for variable in model.trainable_variables:  # products of five numbers would drive tanh to its ends
        variable.assign(0.5 * variable)
    return model


def numbers(variable):
    return variable.numpy().astype(np.float64)


def generated(mlp, x, z=Z):
    """``tanh(x_i U S_i V + b_i)``, layer by layer and row by row."""
    for dense in mlp.hidden:
        (generator,) = dense.generators
        (hidden,) = generator.hidden.hidden
        kernel, bias = weights(hidden)
        h = np.maximum(z @ kernel + bias, 0)
        kernel, bias = weights(generator.output_layer)
        s, b = np.split(h @ kernel + bias, [dense.generation.rank_k**2], axis=1)
        u, v = (numbers(part.left) @ numbers(part.right) for part in (dense.shared["u"], dense.shared["v"]))
        s = s.reshape(-1, u.shape[1], u.shape[1])
        x = np.stack([np.tanh(x[i] @ u @ s[i] @ v + b[i]) for i in range(len(x))])
    return x


def logits(model, name, h):
    """What the tower of a task makes of its input."""
    place = [task.name for task in model.tasks].index(name)
    towers = model.towers[place] if isinstance(model.towers, list) else model.towers
    kernel, bias = weights(towers.outputs[towers.names.index(name)])
    return (generated(model.stacks[place], h) @ kernel + bias)[:, 0]


def own(model, name):
    """The generated tower of a task and its head."""
    place = [task.name for task in model.tasks].index(name)
    if isinstance(model.towers, list):
        return ids(model.stacks[place], model.towers[place])
    return ids(model.stacks[place], model.towers.outputs[place])


# ---- APG_SharedBottom and APG_MMOE --------------------------------------------------------------


def test_the_shared_bottom_and_the_towers_are_generated():
    model = apg(APG_SharedBottom, bottom_hidden_units=[5, 4])
    h = generated(model.bottom, X)
    assert_heads(model, {name: logits(model, name, h) for name in ("click", "buy")})
    for name in ("click", "buy"):
        assert reached(model, name) == ids(model.bottom) | own(model, name)


def mixtures(model, x=X):
    experts = np.stack([generated(expert, x) for expert in model.experts], axis=1)
    return {t.name: blend(gate(g, x), experts) for t, g in zip(model.tasks, model.gates, strict=True)}


def test_experts_and_towers_are_generated_under_plain_gates():
    model = apg(APG_MMOE, num_experts=2, gate_hidden_units=[3])
    assert_heads(model, {name: logits(model, name, f) for name, f in mixtures(model).items()})
    for place, name in enumerate(("click", "buy")):
        assert reached(model, name) == ids(*model.experts, model.gates[place]) | own(model, name)


def test_constant_generators_make_it_mmoe_with_the_matrices_usv():
    model = apg(APG_MMOE, num_experts=2, expert_hidden_units=[4])
    for stack in (*model.experts, *model.stacks):
        blocks = stack.hidden[0].generators[0].output_layer
        blocks.kernel.assign(tf.zeros_like(blocks.kernel))

    def plain(stack, x):
        (dense,) = stack.hidden
        s, bias = np.split(numbers(dense.generators[0].output_layer.bias), [4])
        u, v = (numbers(dense.shared[n].left) @ numbers(dense.shared[n].right) for n in "uv")
        return np.tanh(x @ (u @ s.reshape(2, 2) @ v) + bias)

    experts = np.stack([plain(expert, X) for expert in model.experts], axis=1)
    expected = {}
    for place, name in enumerate(("click", "buy")):
        kernel, bias = weights(model.towers.outputs[place])
        f = blend(gate(model.gates[place], X), experts)
        expected[name] = (plain(model.stacks[place], f) @ kernel + bias)[:, 0]
    assert_heads(model, expected)


def test_a_condition_outside_of_the_network_moves_outputs_and_no_gate():
    model = apg(APG_MMOE, apg={**APG, "condition_participate_bottom": False}, num_experts=2)
    shares, heads = [], []
    for z in (X[:, 1], X[:, 1] + 1):
        with recorded_gates() as record:
            heads.append(model({**INPUTS, "numeric": tf.stack([X[:, 0], z, X[:, 2]], axis=1)})["buy"].numpy())
        shares.append([share.numpy() for _, share in record])
    np.testing.assert_array_equal(shares[0], shares[1])
    assert np.abs(heads[0] - heads[1]).max() > 1e-3


def test_gradient_norms_are_taken_on_what_the_last_shared_kernels_are_made_of():
    model = apg(APG_MMOE, num_experts=1)
    assert {id(v) for v in model.shared_variables()} == {id(v) for v in model.experts[0].last_variables()}
    names = [variable.path.split("/")[-1] for variable in model.shared_variables()]
    assert names == ["kernel", "left", "right", "left", "right"]


# ---- APG_AITM -----------------------------------------------------------------------------------


def linear(dense, x):
    kernel, bias = weights(dense)
    return x @ kernel + bias


def attention(layer, *inputs):
    u = np.stack(inputs, axis=1)
    first, second, value = (linear(m, u) for m in (layer.first, layer.second, layer.value))
    shares = softmax((first * second).sum(axis=-1) / np.sqrt(u.shape[-1]))
    return (shares[:, :, None] * value).sum(axis=1)


def test_generated_steps_hand_on_what_linear_messages_say():
    model = apg(APG_AITM, THREE, bottom_hidden_units=[5, 4])
    z = generated(model.bottoms[0], X)
    expected = {"click": logits(model, "click", z)}
    for place, name in ((1, "buy"), (2, "cart")):
        z = attention(
            model.transfer, linear(model.messages[place - 1], z), generated(model.bottoms[place], X)
        )
        expected[name] = logits(model, name, z)
    assert_heads(model, expected)


def test_the_loss_of_a_step_reaches_all_bottoms_before_it_and_its_own_tower():
    model = apg(APG_AITM, THREE)
    for place, name in enumerate(("click", "buy", "cart")):
        below = ids(*model.bottoms[: place + 1], *model.messages[:place])
        assert reached(model, name) == below | own(model, name) | (ids(model.transfer) if place else set())


def test_the_attention_of_both_kinds_of_aitm_has_biases_here_alone():
    assert [v.path.split("/")[-1] for v in apg(APG_AITM).transfer.weights].count("bias") == 3
    assert not InformationTransfer(4).first.use_bias


def test_the_calibrator_is_off_unless_asked_for_and_then_that_of_aitm():
    assert [o.scale for o in apg(APG_AITM).objectives()] == [1, 1, 0]
    model = apg(APG_AITM, calibrator_weight=0.6)
    calibrator = model.objectives()[-1]
    assert (calibrator.name, calibrator.kind, calibrator.scale) == ("calibrator", "fixed", 0.6)
    heads = {name: tf.constant(z) for name, z in (("click", [-1.0, 2.0]), ("buy", [1.0, 0.5]))}
    loss, rows = calibrator.loss(heads, {"click": tf.zeros(2), "buy": tf.constant([np.nan, 0])})
    assert float(loss) == pytest.approx((sigmoid(1.0) - sigmoid(-1.0)) / 2, rel=1e-5)
    assert float(rows) == 2
    assert APG_AITM.objective_names(TASKS[:1]) == ("click",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bottom_hidden_units": []},
            "bottom_hidden_units is empty: APG_AITM transfers what",
        ),
        ({"calibrator_weight": -1.0}, "calibrator_weight is -1; the least is 0"),
    ],
)
def test_options_of_apg_aitm_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        apg(APG_AITM, **options)


def test_tasks_that_are_no_chain_are_refused_by_the_models_own_name():
    with pytest.raises(ValueError, match="APG_AITM needs a chain of events on all exposures"):
        APG_AITM.plan_tasks(tiny.tasks_of({"ctr": "click", "cvr": "buy | click"}))


# ---- APG_AITM_V2 --------------------------------------------------------------------------------


def cascade(**options):
    sizes = {"num_shared_experts": 1, "num_specific_experts": 1}
    return apg(APG_AITM_V2, THREE, **{**sizes, "transfer_hidden_units": [3], **options})


def extracted(model, place):
    experts = [generated(each, X) for each in (*model.specific[place], *model.shared)]
    return blend(gate(model.gates[place], X), np.stack(experts, axis=1))


def norm(layer, x):
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + layer.epsilon)
    return x * numbers(layer.gamma) + numbers(layer.beta)


def gated(layer, before, h, z):
    m = np.maximum(linear(layer.message, before), 0)
    seen = np.concatenate([h, m, z[:, None]], axis=1)
    for dense in layer.hidden.hidden:
        seen = np.tanh(linear(dense, seen))
    return norm(layer.norm, h + sigmoid(linear(layer.gate, seen)) * m)


@pytest.mark.parametrize("transfer", ["gated", "attention"])
def test_a_task_takes_over_what_the_task_before_has_extracted(transfer):
    model = cascade(transfer=transfer)
    expected, h, z = {}, None, None
    for place, name in enumerate(("click", "buy", "cart")):
        c = extracted(model, place)
        if place and transfer == "gated":
            c = gated(model.transfer, h, c, z)
        elif place:
            c = attention(model.transfer.attention, linear(model.transfer.message, h), c)
        h, z = c, logits(model, name, c)
        expected[name] = z
    assert_heads(model, expected)


def test_its_towers_may_be_plain():
    model = cascade(generated_towers=False)
    expected, h, z = {}, None, None
    for place, name in enumerate(("click", "buy", "cart")):
        c = extracted(model, place)
        h = gated(model.transfer, h, c, z) if place else c
        (tower,), (head,) = model.towers[place].stacks, model.towers[place].outputs
        hidden = h
        for dense in tower.hidden:
            hidden = np.tanh(linear(dense, hidden))
        expected[name] = z = linear(head, hidden)[:, 0]
    assert_heads(model, expected)
    assert model.stacks == []


def experts_of(model, place):
    return ids(*model.specific[place], model.gates[place])


def test_a_loss_leaves_the_task_before_alone():
    model = cascade()
    for place, name in enumerate(("click", "buy", "cart")):
        reach = ids(*model.shared) | experts_of(model, place) | own(model, name)
        assert reached(model, name) == reach | (ids(model.transfer) if place else set())


def test_without_the_stop_gradients_a_loss_reaches_what_it_reads():
    model = cascade(detach_prev_rep=False)
    found = reached(model, "buy")
    assert found >= experts_of(model, 0)
    assert not found & own(model, "click")
    model = cascade(detach_prev_logit=False)
    assert reached(model, "buy") >= own(model, "click") | experts_of(model, 0)


def test_no_normalisation_of_the_batch_lies_in_the_transfer_that_all_steps_share():
    """Each step would train on its own moments and predict with a mixture of all."""
    model = APG_AITM_V2(tiny.FEATURES, TASKS, batch_norm=True)
    model.build()
    normalised = [
        each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)
    ]
    assert normalised
    assert not [each for each in model.transfer._flatten_layers() if each in normalised]


def test_one_task_has_no_transfer_and_two_kinds_of_experts():
    model = apg(APG_AITM_V2, TASKS[:1])
    assert model.transfer is None
    assert model.gates[0].experts == ("click_0", "click_1", "shared_0", "shared_1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transfer": "gate"}, "transfer is 'gate'. Did you mean 'gated'. Choices: gated, attention"),
        ({"num_shared_experts": 0}, "num_shared_experts is 0; it lies from 1 to 10000"),
        ({"num_specific_experts": -1}, "num_specific_experts is -1; it lies from 0 to 10000"),
        ({"expert_hidden_units": []}, "expert_hidden_units is empty: APG_AITM_V2 transfers what"),
    ],
)
def test_options_of_the_second_version_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        apg(APG_AITM_V2, **options)


# ---- of all four --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", MODELS)
def test_a_condition_that_is_no_feature_is_refused_by_every_model(cls):
    with pytest.raises(ValueError, match="apg.condition_features is 'tab'. Choices: a, b, c"):
        apg(cls, apg={**SMALL, "condition_features": ["tab"]})


def test_a_wrong_condition_is_refused_before_data_are_read_with_what_there_is():
    experiment = load_experiment(CONFIG, "APG_MMOE_test", ["apg={condition_features: [categry]}"])
    message = (
        "APG_MMOE_test: apg.condition_features is 'categry'. Did you mean 'category'. Choices: user_id, "
    )
    with pytest.raises(ValueError, match=message):
        try_model(experiment)


def test_no_expert_is_refused():
    with pytest.raises(ValueError, match="num_experts is 0; it lies from 1 to 10000"):
        apg(APG_MMOE, num_experts=0)


@pytest.mark.parametrize("cls", MODELS)
def test_predictions_have_folded_products_that_follow_the_training(cls):
    tasks = tiny.named_plan(cls)
    products = {"condition_features": ["user"], "rank_k": 4, "overparam_p": 6}
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, apg=products))
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    inputs, labels, sample_weight = tiny.batch(tasks)
    before = None
    for _ in range(2):
        predicted = model.predict(inputs, verbose=0)
        plain = model.probabilities(model(inputs))
        for name, values in plain.items():
            np.testing.assert_allclose(predicted[name], values, atol=1e-5)
            assert before is None or np.abs(values - before[name]).max() > 1e-3
        before = plain
        model.train_step((inputs, labels, sample_weight))
    for name, values in model.probabilities(model(inputs)).items():
        np.testing.assert_allclose(model.predict_on_batch(inputs)[name], values, atol=1e-5)


@pytest.mark.parametrize("cls", [APG_MMOE, APG_AITM_V2])
def test_a_served_model_has_the_folded_products_and_not_what_they_are_made_of(cls, tmp_path):
    encoder = raw_rows.fitted(tmp_path, [FeatureOptions("user"), FeatureOptions("age", type="numeric")])
    model = raw_rows.model_for(encoder, cls.__name__)
    served, signatures = served_module(model, encoder)
    names = {variable.name.split("/")[-1].removesuffix(":0") for variable in served.network}
    assert "product" in names
    assert not names & {"left", "right"}
    rows = {"ids": tf.constant([[1], [2], [3]]), "numeric": tf.constant([[0.5], [-1.0], [2.0]])}
    scores = signatures["from_ids"](**rows)
    for name, values in model.probabilities(model(rows)).items():
        np.testing.assert_allclose(scores[f"{name}_pred"], values, atol=1e-5)

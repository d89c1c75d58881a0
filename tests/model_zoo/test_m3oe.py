"""M3oE: its equations in numpy row by row, and what is learnt on which batch."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import softmax

from fuxi_mtl import M3oE
from fuxi_mtl.dataset import Split
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.tasks import Task
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.bilevel import beside

import_zoo()
from fuxi_mtl_zoo._m3oe import NormedExperts  # noqa: E402

TASKS = tiny.PLAIN["two"]
DOMAINS = 7  # ids 1 to 7 of the feature item
SIZES = {
    "domain": "item",
    "embedding_dim": 4,
    "star_units": 5,
    "trunk_hidden_units": (6,),
    "num_experts": 3,
    "expert_hidden_units": (6, 4),
    "tower_hidden_units": (5,),
    "hidden_activations": "tanh",
}
INPUTS = tiny.inputs(24)
INPUTS["ids"][:2, 1] = [0, 8]  # padding and unknown


def model_of(tasks=TASKS, features=tiny.FEATURES, **options):
    keras.utils.set_random_seed(3)
    model = M3oE(features, tasks, **{**SIZES, **options})
    model.build()
    for variable in model.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return model


def array(variable):
    return np.asarray(variable).astype(np.float64)


def norm(x, gain, offset):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-3) * gain + offset


def stack(mlp, x):
    for dense, layer_norm in zip(mlp.hidden, mlp.norms, strict=True):
        x = x @ array(dense.kernel) + array(dense.bias)
        x = np.tanh(norm(x, array(layer_norm.gamma), array(layer_norm.beta)))
    return x


def layers(stacks, *place):
    """The parameters of one of many stacks, layer by layer."""
    shaped = [
        [
            array(each[i]).reshape(*stacks.shape, -1)[place]
            for each in (stacks.biases, stacks.gains, stacks.offsets)
        ]
        if i < len(stacks.gains)
        else [array(stacks.biases[i]).reshape(*stacks.shape, -1)[place]]
        for i in range(len(stacks.kernels))
    ]
    return [(array(kernel)[place], *rest) for kernel, rest in zip(stacks.kernels, shaped, strict=True)]


def one_of(stacks, x, *place):
    for kernel, bias, *gain_and_offset in layers(stacks, *place):
        x = x @ kernel + bias
        x = np.tanh(norm(x, *gain_and_offset)) if gain_and_offset else x
    return x


def by_the_equations(model, x, d):
    """The heads of one row of domain d, as the equations give them."""
    w_d, w_t, beta_d, beta_t = 1 / (1 + np.exp(-array(model.fusion.logits)))
    star = model.star
    u = x @ (array(star.kernels)[d] * array(star.shared_kernel))
    u = u + array(star.biases).reshape(DOMAINS, -1)[d] + array(star.shared_bias)
    z = stack(model.trunk, u) + stack(model.skip, x)
    shared, domain, task = (
        [one_of(group, z, i) for i in range(group.shape[0])]
        for group in (model.shared_experts, model.domain_experts, model.task_experts)
    )

    def balanced(beta, experts, own):
        others = sum(expert for i, expert in enumerate(experts) if i != own)
        return beta * experts[own] + (1 - beta) / (len(experts) - 1) * others

    logits = (z @ array(model.gates.kernel) + array(model.gates.bias)).reshape(2, DOMAINS, 3)
    heads = []
    for t in range(2):
        gate = softmax(logits[t, d])
        f = sum(g * expert for g, expert in zip(gate, shared, strict=True))
        f = f + w_d * balanced(beta_d, domain, d) + w_t * balanced(beta_t, task, t)
        heads.append(one_of(model.towers, f, d, t)[0])
    return np.array(heads)


def outputs(model, inputs=INPUTS):
    heads = model(tiny.tensors(inputs))
    return np.stack([np.asarray(heads[task.name]) for task in model.tasks], axis=1)


def test_every_row_of_a_known_domain_is_what_the_equations_give():
    model = model_of()
    x, found = array(model.embedding(tiny.tensors(INPUTS))), outputs(model)
    for row in range(2, 12):
        expected = by_the_equations(model, x[row], INPUTS["ids"][row, 1] - 1)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_the_numbers_start_where_the_stanza_says_and_not_at_the_sigmoid_of_that():
    numbers = model_of(fusion_start={"domain_weight": 0.1}).fusion.numbers()
    found = {name: float(value) for name, value in numbers.items()}
    expected = {"domain_weight": 0.1, "task_weight": 0.5, "domain_balance": 0.7, "task_balance": 0.7}
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_weights_domains_and_tasks_have_no_experts_of_their_own():
    model = model_of()
    model.fusion.logits.assign([-60.0, -60.0, 0.0, 0.0])
    before = outputs(model)
    for group in (model.domain_experts, model.task_experts):
        for variable in group.trainable_variables:
            variable.assign(0.5 - variable)
    np.testing.assert_allclose(outputs(model), before, atol=1e-6)


def test_with_a_balance_of_one_only_the_own_experts_count():
    model = model_of()
    model.fusion.logits.assign([1.0, 1.0, 60.0, 60.0])
    before = outputs(model)
    kernel = model.domain_experts.kernels[0].numpy()
    kernel[3] *= -1.0
    model.domain_experts.kernels[0].assign(kernel)
    changed = np.abs(outputs(model) - before).max(axis=1) > 1e-6
    own = INPUTS["ids"][:, 1] == 4
    assert own.any()
    np.testing.assert_array_equal(changed[2:], own[2:])
    assert changed[:2].all(), "a row of no known domain has a part of each"


def test_a_row_of_no_known_domain_takes_equal_parts_of_all():
    model = model_of()
    np.testing.assert_allclose(
        np.asarray(model.embed(tiny.tensors(INPUTS))["domain"])[:2], np.full((2, DOMAINS), 1 / DOMAINS)
    )
    # With the same kernels everywhere the mean of all domains is each of them.
    for variables, axis in ((model.star.kernels, 0), *((k, 0) for k in model.towers.kernels)):
        values = array(variables)
        variables.assign(np.broadcast_to(values.mean(axis=axis, keepdims=True), values.shape))
    for towers in (model.towers.biases, model.towers.gains, model.towers.offsets, [model.star.biases]):
        for variable in towers:
            variable.assign(tf.fill(variable.shape, 0.3))
    gates = model.gates.kernel.numpy().reshape(-1, 2, DOMAINS, 3)
    model.gates.kernel.assign(np.broadcast_to(gates[:, :, :1], gates.shape).reshape(model.gates.kernel.shape))
    model.gates.bias.assign(tf.zeros_like(model.gates.bias.value))
    model.fusion.logits.assign([-60.0, 0.0, 0.0, 0.0])
    x, known = model.embedding(tiny.tensors(INPUTS)), model.domain_shares(tiny.tensors(INPUTS))
    uniform = tf.fill(known.shape, 1 / DOMAINS)
    heads = [model.heads({"x": x, "domain": each}) for each in (known, uniform)]
    for task in TASKS:
        np.testing.assert_allclose(heads[0][task.name], heads[1][task.name], rtol=1e-5, atol=1e-6)


def test_one_domain_and_one_task_are_enough():
    features = FeatureMap("one", assign_columns([Feature("shop", "categorical", vocab_size=3)]))
    model = model_of([Task("click", ("click",))], features, domain="shop")
    heads = outputs(model, {"ids": np.array([[0], [1], [2]], np.int32), "numeric": np.zeros((3, 0), "f4")})
    assert heads.shape == (3, 1)
    assert np.isfinite(heads).all()


def test_gates_do_not_shape_what_they_see():
    model = model_of()
    model.fusion.logits.assign([-200.0, -200.0, 0.0, 0.0])
    first = model.shared_experts.kernels[0]  # what experts say no longer depends on z, and differs
    first.assign(tf.zeros(first.shape))
    inputs, labels, weight = tiny.batch(TASKS)
    with tf.GradientTape() as tape:
        heads = model(inputs)
        loss = tf.add_n([each.loss(heads, labels, weight)[0] for each in model.objectives()])
    seen, gates = tape.gradient(loss, [model.trunk.hidden[0].kernel.value, model.gates.kernel.value])
    assert not np.any(seen)
    assert np.any(gates)


def test_how_much_of_a_domain_a_row_is_has_no_gradient():
    model = model_of()
    inputs, labels, weight = tiny.batch(TASKS)
    with tf.GradientTape() as tape:
        x = model.embed(inputs)
        tape.watch(x)
        heads = model.heads(x)
        loss = tf.add_n([each.loss(heads, labels, weight)[0] for each in model.objectives()])
    gradient = tape.gradient(loss, x)
    assert gradient["domain"] is None, "surgery would compare it with what embeddings learn"
    assert np.any(gradient["x"])


# ---- two levels ---------------------------------------------------------------------------------


def compiled(rate, bilevel_rate, **options):
    model = model_of(**options)
    bilevel = None if bilevel_rate is None else keras.optimizers.SGD(bilevel_rate)
    model.compile(keras.optimizers.SGD(rate), bilevel_optimizer=bilevel, run_eagerly=True)
    return model


def state(model):
    return [v.numpy() for v in model.trainable_variables], model.fusion.logits.numpy()


def test_a_training_step_leaves_the_bilevel_variables_alone():
    model = compiled(0.1, None)
    weights, logits = state(model)
    model.train_step(tiny.batch(TASKS))
    after, logits_after = state(model)
    np.testing.assert_array_equal(logits, logits_after)
    assert any(np.any(a != b) for a, b in zip(weights, after, strict=True))


def test_a_validation_batch_moves_the_bilevel_variables_alone_and_down_its_own_gradient():
    model = compiled(0.0, 0.5)
    weights, logits = state(model)
    training, validation = tiny.batch(TASKS, seed=1), tiny.batch(TASKS, seed=2)
    with tf.GradientTape() as tape:
        tape.watch(model.fusion.logits.value)
        heads = model(validation[0])
        loss = tf.add_n([each.loss(heads, *validation[1:])[0] for each in model.objectives()])
    gradient = tape.gradient(loss, model.fusion.logits.value)
    assert np.all(np.abs(gradient) > 0)
    model.train_step((training, validation))
    after, logits_after = state(model)
    for before, now in zip(weights, after, strict=True):
        np.testing.assert_array_equal(before, now)
    np.testing.assert_allclose(logits_after, logits - 0.5 * np.asarray(gradient), rtol=1e-4, atol=1e-7)


def test_the_bilevel_optimizer_is_in_the_checkpoint(tmp_path):
    keras.utils.set_random_seed(1)
    models = []
    for _ in range(2):
        model = model_of()
        model.compile("adam", bilevel_optimizer=keras.optimizers.Adam(0.1), run_eagerly=True)
        models.append(model)
    pair = (tiny.batch(TASKS, seed=1), tiny.batch(TASKS, seed=2))
    models[0].train_step(pair)
    checkpoint.save(models[0], tmp_path / "checkpoint")
    checkpoint.restore(models[1], tmp_path / "checkpoint")
    for model in models:
        model.train_step(pair)
    first, second = (model.bilevel_optimizer.variables for model in models)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    np.testing.assert_array_equal(models[0].fusion.logits.numpy(), models[1].fusion.logits.numpy())


def test_a_validation_batch_has_as_many_rows_as_its_training_batch():
    """Several devices cut both in the same places."""
    inputs, events = tiny.inputs(5), tiny.events(5)
    columns = np.stack(list(events.values()), axis=1)
    split = Split("valid", inputs["ids"], inputs["numeric"], columns, None, tuple(events), None)
    options = SimpleNamespace(tasks=TASKS, training=TrainingOptions(seed=1))
    batches = tf.data.Dataset.from_tensor_slices(tiny.batch(TASKS, rows=10)).batch(8)
    pairs = list(beside(batches, split, options, batch_size=8))
    assert len(pairs) == 2
    for (training, validation), rows in zip(pairs, (8, 2), strict=True):
        assert {each.shape[0] for each in tf.nest.flatten([training, validation])} == {rows}
    first = pairs[0][1][0]["ids"].numpy()
    np.testing.assert_array_equal(first[5:], first[:3])
    assert sorted(map(tuple, first[:5])) == sorted(map(tuple, split.ids))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_bilevel_variables_learn_in_half_precision_too(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(0.1, 0.5, net_dropout=0.1)
        logits = model.fusion.logits.numpy()
        model.train_step((tiny.batch(TASKS, seed=1), tiny.batch(TASKS, seed=2)))
        heads = model(tiny.tensors(INPUTS))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {head.dtype for head in heads.values()} == {tf.float32}
    assert all(np.isfinite(head).all() for head in heads.values())
    moved = model.fusion.logits.numpy() - logits
    assert np.isfinite(moved).all()
    assert (moved != 0).all()


# ---- parts --------------------------------------------------------------------------------------


def test_stacked_experts_start_apart_each_as_wide_as_a_dense_layer():
    experts = NormedExperts(50, (30,))
    experts.build((None, 20))
    kernel = experts.kernels[0].numpy()
    assert kernel.shape == (50, 20, 30)
    assert len(np.unique(kernel[:, 0, 0])) == 50
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (20 + 30)), rtol=0.02)  # Glorot's, of one stack


def test_gates_are_penalised_and_what_starts_at_one_is_not():
    model = model_of(net_regularizer=0.1)
    assert model.gates.kernel.regularizer is not None
    assert model.star.shared_kernel.regularizer is not None
    assert model.star.kernels.regularizer is None


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "shop"}, "domain is 'shop', which is no categorical feature.*user, item"),
        ({"domain": "history"}, "domain is 'history', which is no categorical feature"),
        ({"trunk_hidden_units": ()}, "trunk_hidden_units is empty"),
        ({"expert_hidden_units": ()}, "expert_hidden_units is empty"),
        ({"fusion_start": {"domain": 0.5}}, "fusion_start: unknown key 'domain' .*domain_weight"),
        (
            {"fusion_start": {"task_weight": 1.0}},
            "fusion_start.task_weight is 1; it lies above 0 and below 1",
        ),
        ({"fusion_start": {"task_weight": "high"}}, "fusion_start.task_weight expects a number, not 'high'"),
        ({"fusion_start": {"task_weight": None}}, "fusion_start.task_weight expects a number, not null"),
        ({"star_units": 0}, "star_units is 0; it lies from 1 to 65536"),
        ({"num_experts": 0}, "num_experts is 0; it lies from 1 to 10000"),
        ({"trunk_hidden_units": (6, 0)}, r"trunk_hidden_units\[1\] is 0; it lies from 1 to 65536"),
        ({"expert_hidden_units": (0,)}, r"expert_hidden_units\[0\] is 0; it lies from 1 to 65536"),
        ({"tower_hidden_units": (-1,)}, r"tower_hidden_units\[0\] is -1; it lies from 1 to 65536"),
        ({"net_dropout": 1.0}, "net_dropout is 1; it lies from 0 to below 1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        M3oE(tiny.FEATURES, TASKS, **{**SIZES, **options})


def test_a_domain_without_values_is_refused():
    features = FeatureMap("none", assign_columns([Feature("shop", "categorical", vocab_size=2)]))
    with pytest.raises(ValueError, match="domain is 'shop', which has no value in its vocabulary"):
        M3oE(features, TASKS, domain="shop")

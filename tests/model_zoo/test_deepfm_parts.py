"""The bricks of DeepFM_MMoE by hand: wide weights, pairs, composed inputs, base rates."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.objectives.priors import check_priors, prior_logits, weighted_rate
from fuxi_mtl.options import ImbalanceOptions
from fuxi_mtl.options.blocks import Backbone, Mixture
from fuxi_mtl.options.values import block as read_block
from fuxi_mtl.registry import import_zoo

import_zoo()
from fuxi_mtl_zoo._composed_experts import ComposedExperts, make_towers  # noqa: E402
from fuxi_mtl_zoo._composer import InputComposer  # noqa: E402
from fuxi_mtl_zoo._factorization import FactorizationMachine, Linear  # noqa: E402

INPUTS = tiny.tensors(tiny.inputs(6))
NUMBERS = [0, 1, 2]  # the columns of price and vector


def maps(*features):
    return FeatureMap("x", assign_columns(list(features)))


# ---- wide ---------------------------------------------------------------------------------------


def test_the_wide_logit_is_a_weight_an_id_and_a_weight_a_number():
    linear = Linear(tiny.FEATURES)
    linear(INPUTS)
    (table,), ids = linear.embedding.blocks, INPUTS["ids"].numpy()
    table.rows.assign(np.arange(table.rows.shape[0], dtype=np.float32)[:, None])
    start = table.starts
    assert start == {"user": 0, "item": 12, "history": 21, "tags": 30}  # history has weights of its own
    linear.of_numbers.set_weights([np.array([[1.0], [10.0], [100.0]])])
    numeric = INPUTS["numeric"].numpy()
    expected = start["user"] + ids[:, 0] + start["item"] + ids[:, 1]
    history, tags = ids[:, 2:5], ids[:, 5:9]
    expected = expected + np.where(history > 0, start["history"] + history, 0).max(axis=1)
    weight = numeric[:, 3:]
    mean = (weight * (start["tags"] + tags)).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-9)
    expected = expected + mean + numeric[:, NUMBERS] @ [1, 10, 100]
    logit = linear(INPUTS)
    np.testing.assert_allclose(logit, expected, rtol=1e-5)
    assert (logit.dtype, logit.shape) == (tf.float32, (6,))


def test_a_wide_part_without_numbers_is_a_sum_of_weights():
    linear = Linear(maps(Feature("a", "categorical", vocab_size=3)))
    logit = linear({"ids": tf.constant([[1], [2]]), "numeric": tf.zeros((2, 0))})
    np.testing.assert_allclose(logit, linear.embedding.blocks[0].rows.numpy()[1:, 0])


# ---- pairs --------------------------------------------------------------------------------------


def pairs_by_hand(vectors):
    """The sum over all pairs of their products, by dimension: the definition, not the shortcut."""
    count = vectors.shape[1]
    return sum(vectors[:, i] * vectors[:, j] for i in range(count) for j in range(i + 1, count))


@pytest.mark.parametrize(("scale", "divisor"), [("mean", 4), ("sum", 1)])
def test_pairs_of_features_of_one_width(scale, divisor):
    features = maps(*(Feature(name, "categorical", vocab_size=5) for name in "abcd"))
    embedding = FeatureEmbedding(features, 3)
    embedding.blocks[0].rows.assign(np.random.default_rng(0).normal(size=(20, 3)))
    machine = FactorizationMachine(embedding, scale=scale)
    x = embedding({"ids": tf.constant([[1, 2, 3, 4], [4, 3, 2, 1]]), "numeric": tf.zeros((2, 0))})
    expected = pairs_by_hand(x.numpy().reshape(2, 4, 3)) / divisor
    np.testing.assert_allclose(machine(x), expected, rtol=1e-4, atol=1e-5)
    assert machine.count_params() == 0


@pytest.mark.parametrize("width", [None, 5])
def test_features_of_other_widths_are_projected_and_numbers_have_vectors(width):
    embedding = FeatureEmbedding(tiny.FEATURES, 4)
    x = embedding(INPUTS)
    machine = FactorizationMachine(embedding, width)
    machine(x)
    to = width or 4
    random = np.random.default_rng(1)
    machine.set_weights([random.normal(size=weight.shape) for weight in machine.get_weights()])
    kernels = {key: dense.kernel.numpy() for key, dense in machine.projections.items()}
    assert set(kernels) == ({"3", "4"} if width else {"3"})
    vectors = [embedding.fields(x)[w].numpy() @ kernels.get(str(w), np.eye(w)) for w in (4, 3)]
    numbers, of = x.numpy()[:, -3:], machine.of_numbers.numpy()
    vectors += [(numbers[:, :1] * of[0])[:, None], (numbers[:, 1:] @ of[1:])[:, None]]
    fields = np.concatenate(vectors, axis=1)
    assert fields.shape == (6, 6, to)
    np.testing.assert_allclose(machine(x), pairs_by_hand(fields) / 6, rtol=1e-3, atol=1e-4)


def test_numbers_alone_have_pairs_too():
    embedding = FeatureEmbedding(maps(Feature("p", "numeric"), Feature("q", "numeric")), 4)
    machine = FactorizationMachine(embedding, 2)
    machine(tf.zeros((1, 2)))
    machine.set_weights([np.array([[1.0, 2.0], [3.0, 4.0]])])
    np.testing.assert_allclose(machine(tf.constant([[2.0, 5.0]])), [[2 * 5 * 3 / 2, 2 * 5 * 8 / 2]])


def test_pairs_are_summed_in_float32_where_the_network_is_not():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        embedding = FeatureEmbedding(tiny.FEATURES, 4)
        x = embedding(INPUTS)
        assert x.dtype == tf.bfloat16
        assert FactorizationMachine(embedding)(x).dtype == tf.float32
        assert Linear(tiny.FEATURES)(INPUTS).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(policy)


# ---- the composer -------------------------------------------------------------------------------

PARTS = [tf.constant([[1.0, 2.0, 4.0], [0.0, 3.0, 6.0]]), tf.constant([[1.0, -1.0], [2.0, 5.0]])]
LINEAR = {"activations": "linear"}


def normed(x):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_parts_are_projected_normed_and_fused(fusion):
    keras.utils.set_random_seed(1)
    composer = InputComposer(4, fusion, [], "layernorm", 0.0, LINEAR)
    composer(PARTS)
    kernels = [dense.kernel.numpy() for dense in composer.projections]
    parts = [normed(part.numpy() @ kernel) for part, kernel in zip(PARTS, kernels, strict=True)]
    fused = np.concatenate(parts, axis=1) if fusion == "concat" else sum(parts)
    np.testing.assert_allclose(composer(PARTS), normed(fused), rtol=1e-3, atol=1e-4)
    assert composer.width == (8 if fusion == "concat" else 4)


def test_an_adapter_is_hidden_layers_and_a_linear_one():
    composer = InputComposer(None, "concat", [4, 3], "none", 0.0, {"activations": "relu"})
    composer(PARTS)
    one, two, out = (d.kernel.numpy() for d in (*composer.adapter.hidden, composer.out))
    hidden = np.maximum(np.maximum(np.concatenate(PARTS, axis=1) @ one, 0) @ two, 0)
    np.testing.assert_allclose(composer(PARTS), hidden @ out, rtol=1e-4, atol=1e-6)
    assert out.shape == (3, 3)


def test_parts_are_dropped_in_training_only():
    composer = InputComposer(None, "concat", [], "none", 0.9, LINEAR)
    np.testing.assert_array_equal(composer(PARTS), np.concatenate(PARTS, axis=1))
    assert (composer(PARTS, training=True).numpy() == 0).any()


def test_parts_of_different_widths_are_not_added():
    with pytest.raises(ValueError, match="mmoe.fusion sum adds parts of one width: give part_proj_dim"):
        read_block(Mixture, {"fusion": "sum", "part_proj_dim": None}, "mmoe")


@pytest.mark.parametrize(
    ("add_emb", "width"), [("none", 0), ("sum", 4 + 3), ("mean", 4 + 3), ("concat", 2 * 4 + 2 * 3 + 3)]
)
def test_embeddings_are_a_part_in_four_ways(add_emb, width):
    embedding = FeatureEmbedding(tiny.FEATURES, 4)
    x = embedding(INPUTS)
    options = Mixture(add_emb=add_emb, add_fm_vec=False)
    experts = ComposedExperts(["a"], embedding, options, {"dropout": 0.0})
    deep = tf.ones((6, 5))
    parts = experts.parts(deep, None, x)
    assert sum(part.shape[1] for part in parts) == 5 + width
    if add_emb in ("sum", "mean"):
        of_four = embedding.fields(x)[4].numpy()
        np.testing.assert_allclose(parts[1][:, :4], getattr(of_four, add_emb)(axis=1), rtol=1e-5)


def test_embeddings_of_no_feature_have_no_mean():
    embedding = FeatureEmbedding(maps(Feature("p", "numeric")), 4)
    with pytest.raises(ValueError, match="mmoe.add_emb mean needs a feature with ids. Use none or concat."):
        ComposedExperts(["a"], embedding, Mixture(), {"dropout": 0.0})


# ---- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"deep_hidden_dim": [3]},
            "backbone: unknown key 'deep_hidden_dim' .value .3... Did you mean 'deep_hidden_dims'",
        ),
        ({"return_logit_parts": True}, "backbone.return_logit_parts: the model's logit_parts always gives"),
        ({"fm_scale": "men"}, "backbone.fm_scale is 'men'. Did you mean 'mean'. Choices: mean, sum."),
        ({"deep_hidden_dims": []}, "backbone.deep_hidden_dims is empty"),
        ({"fm_projection_dim": 0}, "backbone.fm_projection_dim is 0; it lies from 1 to 65536"),
        ({"out_dim": 8}, "backbone.out_dim is 8, but the deep part ends in 64"),
        ({"use_legacy_pseudo_deepfm": True, "fm_enabled": False}, "needs fm_enabled: True"),
        ({"use_legacy_pseudo_deepfm": True, "per_head_add": {}}, "per_head_add has no effect with"),
        (
            {"per_head_add": {"cttr": {}}},
            "backbone.per_head_add names 'cttr', which is no head. Did you mean 'ctr'",
        ),
        (
            {"per_head_add": {"ctr": {"wide": True}}},
            "per_head_add.ctr: unknown key 'wide' .value true.. Did you mean 'use_wi",
        ),
        (
            {"fm_enabled": False, "per_head_add": {"ctr": {"use_fm": True}}},
            "ctr.use_fm needs fm_enabled: True",
        ),
    ],
)
def test_a_wrong_backbone_says_what_is_right(block, message):
    with pytest.raises(ValueError, match=message):
        read_block(Backbone, block, "backbone").added(["ctr", "cvr"])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"experts": 3}, "mmoe: unknown key 'experts'"),
        ({"log_gates": True}, "mmoe.log_gates: write log_health_metrics: True"),
        ({"gate_type": "linear"}, "mmoe.gate_type: gate_hidden_dims says it"),
        ({"input": "deep_h"}, "mmoe.input: the first part is always deep_h"),
        ({"gate_stabilize": 1}, "mmoe.gate_stabilize expects a mapping or null, not 1"),
        ({"add_emb": "max"}, "mmoe.add_emb is 'max'. Choices: none, sum, mean, concat."),
        ({"fusion": "add"}, "mmoe.fusion is 'add'. Choices: concat, sum."),
        ({"norm": "layer_norm"}, "mmoe.norm is 'layer_norm'. Did you mean 'layernorm'"),
        ({"part_proj_dim": 0}, "mmoe.part_proj_dim is 0; it lies from 1 to 65536"),
    ],
)
def test_a_wrong_mixture_says_what_is_right(block, message):
    with pytest.raises(ValueError, match=message):
        read_block(Mixture, block, "mmoe")


def test_each_head_may_have_a_tower_of_its_own():
    block = {"default": {"mlp_dims": [5], "dropout": 0.1}, "cvr": {"mlp_dims": [7, 3], "activation": "tanh"}}
    towers = make_towers(block, ["ctr", "cvr"], {"activations": "relu", "dropout": 0.0})
    assert [[dense.units for dense in stack.hidden] for stack in towers.stacks] == [[5], [7, 3]]
    assert [stack.dropout.rate for stack in towers.stacks] == [0.1, 0.1]
    assert towers.stacks[1].activations[0].activation.__name__ == "tanh"
    plain = make_towers(None, ["ctr"], {"dropout": 0.0})
    assert [dense.units for dense in plain.stacks[0].hidden] == [128]
    with pytest.raises(ValueError, match="heads has no option 'cvrr'. Did you mean 'cvr'"):
        make_towers({"cvrr": {}}, ["ctr", "cvr"], {})
    with pytest.raises(ValueError, match="heads.ctr: unknown key 'units'"):
        make_towers({"ctr": {"units": [3]}}, ["ctr"], {})


# ---- base rates ---------------------------------------------------------------------------------

CHAIN = tiny.tasks_of({"ctr": "click", "cvr": "buy | click", "ctcvr": "click & buy"})


def chain_labels(clicks, buys, rows):
    """Labels of a chain with so many clicks and conversions."""
    click = (np.arange(rows) < clicks).astype(np.float32)
    buy = (np.arange(rows) < buys).astype(np.float32)
    return {task.name: task.label({"click": click, "buy": buy}) for task in CHAIN}


def unweighted(name, rate):
    return 1.0


def test_weighted_rates_by_hand():
    assert weighted_rate(0.0389, 24.7) == pytest.approx(0.49993, abs=2e-5)
    assert weighted_rate(1 / 4801, 300) == pytest.approx(0.0588, abs=5e-5)
    assert weighted_rate(0.3, 1) == pytest.approx(0.3)


def test_heads_with_losses_of_their_own_start_at_their_rates():
    tasks = CHAIN[:2]
    labels = {name: y for name, y in chain_labels(40, 10, 1000).items() if name != "ctcvr"}
    found = prior_logits(tasks, tasks, labels, lambda name, rate: 3.0 if name == "ctr" else 1.0)
    assert found["ctr"] == pytest.approx(np.log(3 * 0.04 / 0.96))
    assert found["cvr"] == pytest.approx(np.log(0.25 / 0.75))


def test_a_funnel_starts_where_its_products_are_the_weighted_rates():
    labels = chain_labels(389, 2, 10000)
    imbalance = Imbalance(
        ImbalanceOptions(
            static_pos_weight={"ctr": 24.7, "ctcvr": 4800.0}, pos_weight_clip={"ctr": 30.0, "ctcvr": 300.0}
        )
    )
    found = prior_logits(CHAIN[:2], CHAIN, labels, imbalance.weight_at)
    sigmoid = {name: 1 / (1 + np.exp(-z)) for name, z in found.items()}
    assert found["ctr"] == pytest.approx(-0.0003, abs=5e-5)
    assert sigmoid["ctr"] * sigmoid["cvr"] == pytest.approx(weighted_rate(2e-4, 300))


def test_dynamic_weights_balance_the_classes_up_to_their_clip():
    balanced = Imbalance(ImbalanceOptions(pos_weight_dynamic=True))
    assert weighted_rate(0.02, balanced.weight_at("ctr", 0.02)) == pytest.approx(0.5)
    clipped = Imbalance(ImbalanceOptions(pos_weight_dynamic=True, pos_weight_clip={"ctr": 7.0}))
    assert clipped.weight_at("ctr", 0.02) == 7
    assert Imbalance().weight_at("ctr", 0.02) == 1


def test_what_has_one_class_or_no_label_has_no_start():
    labels = chain_labels(40, 0, 100)
    assert set(prior_logits(CHAIN[:2], CHAIN, labels, unweighted)) == {"ctr"}
    labels = {name: np.full(4, np.nan, np.float32) for name in labels}
    assert prior_logits(CHAIN[:2], CHAIN, labels, unweighted) == {}


def test_biases_are_set_by_name():
    towers = Towers(["a", "b"], [])
    towers.build((None, 3))
    towers.start_at({"b": -2.5})
    assert [float(output.bias[0]) for output in towers.outputs] == [0, -2.5]


def test_priors_are_a_word_or_rates():
    assert check_priors("auto", ["ctr"]) is None
    assert check_priors("none", ["ctr"]) == {}
    assert check_priors({"ctr": 0.07}, ["ctr"]) == {"ctr": 0.07}
    for wrong, message in [
        ("automatic", "bias_prior is 'automatic'. Use auto, none, or rates by head."),
        ({"crt": 0.1}, "bias_prior names 'crt', which is no head. Heads: ctr."),
        ({"ctr": 1.0}, "bias_prior of ctr is 1; a rate lies between 0 and 1."),
    ]:
        with pytest.raises(ValueError, match=message):
            check_priors(wrong, ["ctr"])

"""Interactions of features: the papers' equations, numbers of parameters, and where each is another."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.layers.interactions import (
    CrossNetwork,
    MaskedBlocks,
    TokenMixer,
    TwoStreams,
    make_interaction,
)
from fuxi_mtl.layers.interactions.cross import ExpertProducts
from fuxi_mtl.layers.interactions.mask import FieldNorm, MaskBlock, NumberVectors
from fuxi_mtl.layers.interactions.mixer import MixerBlock, TokenNetworks, mixed
from fuxi_mtl.layers.interactions.streams import Fusion, Selection
from fuxi_mtl.options import INTERACTIONS

TEN = {f"field_{i}": (8 * i, 8 * i + 8) for i in range(10)}  # ten fields of width 8
TWO = {"one": (0, 1), "two": (1, 2)}
SMALL = {
    "dcnv2": {
        "stacked_dnn_hidden_units": [6],
        "parallel_dnn_hidden_units": [6],
        "model_structure": "stacked",
    },
    "dcnv2 of experts": {"type": "dcnv2", "use_low_rank_mixture": True, "low_rank": 2, "num_experts": 3},
    "masknet": {"parallel_block_dim": 5, "dnn_hidden_units": [6]},
    "finalmlp": {
        "mlp1_hidden_units": [8],
        "mlp2_hidden_units": [4],
        "fusion_dim": 5,
        "fs1_context": ["field_3"],
    },
    "rankmixer": {"token_dim": 8},
}


def made(name, columns=TEN, numbers=(), mlp=None, **changes):
    keras.utils.set_random_seed(3)
    spec = {"type": name, **SMALL.get(name, {}), **changes}
    return make_interaction(spec, columns, numbers, mlp, name="interaction")


def rows(count=4, width=80, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, width)), tf.float32)


def numbers_of(layer):
    return sum(math.prod(variable.shape) for variable in layer.trainable_variables)


# ---- what holds for all of them -------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_a_row_alone_is_as_it_is_among_others_and_the_shape_is_known(name):
    layer = made(name)
    x = rows()
    found = layer(x)
    assert tuple(found.shape) == (4, layer.output_width) == layer.compute_output_shape((4, 80))
    assert found.dtype == tf.float32
    for i in range(4):
        np.testing.assert_allclose(layer(x[i : i + 1])[0], found[i], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_no_two_kernels_start_alike_not_even_inside_of_one_variable(name):
    layer = made(name, **({"num_cross_layers": 2} if "dcnv2" in name else {}))
    layer(rows())
    kernels = []
    for variable in layer.trainable_variables:
        value = variable.numpy()
        kernels += list(value) if value.ndim == 3 else [value] if value.ndim == 2 else []
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels) > 1


@pytest.mark.parametrize("name", SMALL)
def test_every_variable_has_a_gradient_and_kernels_alone_have_two_axes_and_a_penalty(name):
    layer = made(name, mlp={"penalty": 1e-3})
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(rows(16)) * rows(16, layer.output_width, 5))
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(total, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient.numpy()).max() > 0, variable.path
    gates = [variable for variable in layer.trainable_variables if "/gate_" in variable.path]
    kernels = [v for v in layer.trainable_variables if len(v.shape) > 1]
    unpenalised = [v for v in gates if name.startswith("dcnv2")]
    assert len(layer.losses) == len(kernels) - len(unpenalised)


def test_none_is_no_interaction_and_a_wrong_block_is_told():
    assert make_interaction(None, TEN, (), None) is None
    assert isinstance(make_interaction("DCNv2", TEN, (), None), CrossNetwork)
    with pytest.raises(ValueError, match="Did you mean 'masknet'"):
        make_interaction("masknett", TEN, (), None)
    with pytest.raises(ValueError, match="unknown key 'low_rnk'.*Did you mean 'low_rank'"):
        make_interaction({"type": "dcnv2", "low_rnk": 3}, TEN, (), None)
    with pytest.raises(ValueError, match="interaction.num_heads is 0; it lies from 1"):
        make_interaction({"type": "finalmlp", "num_heads": 0}, TEN, (), None)


def test_every_type_is_looked_at_here():
    assert {name.split()[0] for name in SMALL} == set(INTERACTIONS)


# ---- dcnv2 ----------------------------------------------------------------------------------------


def crosses(count=2, **options):
    return CrossNetwork(TWO, model_structure="crossnet_only", num_cross_layers=count, **options)


def set_full(layer, kernel, bias=0.0):
    layer.build()
    for product in layer.products:
        product.set_weights([np.asarray(kernel, np.float32), np.full(len(kernel), bias, np.float32)])


def test_crosses_of_the_paper_have_these_numbers():
    layer = crosses(2)
    set_full(layer, np.eye(2))
    np.testing.assert_allclose(layer(tf.constant([[1.0, 2.0]])), [[4, 18]], rtol=1e-6)
    one = crosses(1)
    set_full(one, np.eye(2))
    np.testing.assert_allclose(one(tf.constant([[1.0, 2.0]])), [[2, 6]], rtol=1e-6)
    for scale in (0.5, 3.0):  # degree two
        x = scale * np.array([1.0, 2.0])
        np.testing.assert_allclose(one(tf.constant([x], tf.float32))[0], x + x * x, rtol=1e-6)


def test_crosses_without_weights_are_the_input_and_those_of_nothing_are_nothing():
    layer = crosses(3)
    set_full(layer, np.zeros((2, 2)))
    np.testing.assert_array_equal(layer(tf.constant([[1.0, 2.0]])), [[1, 2]])
    layer = crosses(3)
    set_full(layer, np.ones((2, 2)), bias=3.0)
    np.testing.assert_array_equal(layer(tf.zeros((1, 2))), [[0, 0]])


@pytest.mark.parametrize(
    ("activation", "wide", "expected"),
    [
        ("tanh", [[1, 1]], [1.742015, 3.084030]),
        ("linear", [[1, 1]], [2.1, 3.8]),
        ("tanh", [[1, 1], [0, 0]], [1.421008, 2.442015]),
    ],
)
def test_mixtures_of_low_rank_have_these_numbers(activation, wide, expected):
    experts = len(wide)
    product = ExpertProducts(1, experts, activation)
    product.build((None, 2))
    narrow = np.array([[1.0] * experts, [0.0] * experts])
    values = [narrow, np.ones((experts, 1, 1)), np.array(wide, float), np.array([0.1, -0.1])]
    product.set_weights([value.astype(np.float32) for value in values])
    x = tf.constant([[1.0, 2.0]])
    found = x * product(x, tf.fill((1, experts), 1 / experts)) + x
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_mixtures_gate_each_expert_as_numpy_does():
    layer = made(
        "dcnv2", model_structure="crossnet_only", use_low_rank_mixture=True, low_rank=3, gates="shared"
    )
    x = rows()
    found = layer(x).numpy()
    (gate,) = [each.numpy() for each in layer.gates[0].weights]
    now = first = x.numpy().astype(np.float64)
    for product in layer.products:
        narrow, inner, wide, bias = (each.numpy().astype(np.float64) for each in product.weights)
        logits = now @ gate
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total = np.zeros_like(now)
        for i in range(4):
            v, u = narrow[:, 3 * i : 3 * i + 3], wide[3 * i : 3 * i + 3]
            expert = np.tanh(np.tanh(now @ v) @ inner[i]) @ u + bias
            total += shares[:, i : i + 1] * expert
        now = first * total + now
    np.testing.assert_allclose(found, now, rtol=1e-4, atol=1e-5)
    free = made(
        "dcnv2", use_low_rank_mixture=True, gate_activation="sigmoid", model_structure="crossnet_only"
    )
    assert len(free.gates) == 3
    np.testing.assert_allclose(free._shares(tf.constant([[0.0, 2.0]])), [[0.5, 0.880797]], rtol=1e-5)


def test_a_mixture_of_one_linear_expert_is_a_cross_of_low_rank_and_of_full_rank_a_full_one():
    x = rows(3, 2)
    random = np.random.default_rng(1)
    v, u = (random.normal(size=(2, 2)).astype(np.float32) for _ in range(2))
    mixture = crosses(1, use_low_rank_mixture=True, num_experts=1, low_rank=2, expert_activation="linear")
    mixture.build()
    mixture.products[0].set_weights(
        [v, np.eye(2, dtype=np.float32)[None], u, np.array([0.1, 0.2], np.float32)]
    )
    low = crosses(1, cross_kernel="low_rank", low_rank=2)
    low.build()
    low.products[0].set_weights([v, u, np.array([0.1, 0.2], np.float32)])
    full = crosses(1, cross_kernel="full")
    full.build()
    full.products[0].set_weights([v @ u, np.array([0.1, 0.2], np.float32)])
    np.testing.assert_allclose(mixture(x), low(x), rtol=1e-5)
    np.testing.assert_allclose(full(x), low(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 19_440),
        ({"cross_kernel": "low_rank", "low_rank": 32}, 15_600),
        ({"use_low_rank_mixture": True, "low_rank": 32, "gates": "shared"}, 74_288),
        ({"use_low_rank_mixture": True, "low_rank": 32}, 74_928),
        ({"model_structure": "parallel", "parallel_dnn_hidden_units": [6]}, 19_440 + 486),
        ({"model_structure": "stacked_parallel", "parallel_dnn_hidden_units": [6]}, 19_440 + 2 * 486),
    ],
)
def test_crosses_of_eighty_inputs_have_so_many_numbers(options, expected):
    layer = made("dcnv2", **{"model_structure": "crossnet_only", "stacked_dnn_hidden_units": [6], **options})
    layer(rows())
    assert numbers_of(layer) == expected


def test_crosses_grow_in_float32_under_half_precision():
    full, half = (
        CrossNetwork(TWO, model_structure="crossnet_only", num_cross_layers=2, dtype=policy)
        for policy in ("float32", "mixed_float16")
    )
    for layer in (full, half):
        set_full(layer, np.eye(2))
    x = tf.constant([[0.5, 90.0]])  # 90 (90 + 1) (90 + 1)^2 is more than float16 has
    assert half.compute_dtype == "float16"
    np.testing.assert_allclose(half.crossed(x), full.crossed(x), rtol=2e-3)


def test_a_structure_puts_the_mlp_beside_or_behind_the_crosses():
    x = rows()
    widths = {"parallel": 86, "stacked": 6, "stacked_parallel": 12, "crossnet_only": 80}
    for structure, width in widths.items():
        layer = made("dcnv2", model_structure=structure)
        found = layer(x)
        assert found.shape[1] == width
        crossed = layer.crossed(x)
        first = crossed if layer.stacked is None else layer.stacked(crossed)
        parts = [first] if layer.parallel is None else [first, layer.parallel(x)]
        np.testing.assert_allclose(found, tf.concat(parts, axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match="parallel_dnn_hidden_units is empty"):
        made("dcnv2", model_structure="parallel", parallel_dnn_hidden_units=[])


def test_wide_inputs_have_crosses_of_low_rank_unless_said():
    wide = {f"field_{i}": (64 * i, 64 * i + 64) for i in range(9)}
    layer = made("dcnv2", wide, model_structure="crossnet_only")
    layer.build()
    assert layer.products[0].narrow.units == 144
    full = made("dcnv2", wide, model_structure="crossnet_only", cross_kernel="full")
    assert isinstance(full.products[0], keras.layers.Dense)


def test_the_range_of_an_expert_is_that_of_its_own_fans():
    product = ExpertProducts(32, 4, "tanh")
    product.build((None, 80))
    deviation = math.sqrt(2 / (80 + 32))
    assert product.narrow.numpy().std() == pytest.approx(deviation, rel=0.02)  # .134, where .027 is public
    assert product.wide.numpy().std() == pytest.approx(deviation, rel=0.02)
    assert product.inner.numpy().std() == pytest.approx(math.sqrt(2 / 64), rel=0.05)


# ---- masknet --------------------------------------------------------------------------------------


def mask_block(mask, w=2):
    """A block of one field whose mask is that and whose kernel is the identity."""
    block = MaskBlock(w, w, 1.0, True, "relu", 0.0, None)
    block.build((None, w))
    for layer in (block.aggregation, block.projection):
        layer.set_weights([np.zeros((w, w), np.float32), np.zeros(w, np.float32)])
    block.projection.bias.assign(mask)
    block.hidden.set_weights([np.eye(w, dtype=np.float32)])
    return block


def test_masked_blocks_have_these_numbers():
    v = tf.constant([[1.0, 3.0]])
    norm = FieldNorm([2])
    normed = norm(v)
    np.testing.assert_allclose(normed, [[-0.999500, 0.999500]], atol=1e-6)
    np.testing.assert_allclose(mask_block([1.0, 1.0])(v, normed), [[0, 0.999500]], atol=1e-6)
    np.testing.assert_allclose(mask_block([2.0, 0.5])(v, normed), [[0, 0.999680]], atol=1e-6)
    np.testing.assert_allclose(tf.constant([2.0, 0.5]) * normed, [[-1.999001, 0.499750]], atol=1e-6)


def test_a_mask_of_ones_leaves_a_network_without_masks_and_masks_have_no_bounds():
    block = mask_block([1.0, 1.0])
    x = rows(5, 2)
    centred = x - tf.reduce_mean(x, axis=1, keepdims=True)
    normed = centred * tf.math.rsqrt(tf.reduce_mean(centred**2, axis=1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(block(x, x), tf.nn.relu(normed), atol=1e-6)
    layer = made("masknet")
    masks = layer.blocks[0].projection(layer.blocks[0].aggregation(100 * rows(64)))
    assert float(tf.reduce_min(masks)) < -1
    assert float(tf.reduce_max(masks)) > 2


def test_each_field_is_normalised_by_itself_with_a_gain_of_its_own():
    norm = FieldNorm([3, 3, 2])
    x = rows(4, 8)
    norm.build((None, 8))
    gain, offset = np.arange(1.0, 9.0), np.arange(8.0)
    norm.gain.assign(gain)
    norm.offset.assign(offset)
    parts = []
    for start, end in ((0, 3), (3, 6), (6, 8)):
        field = x.numpy()[:, start:end]
        parts.append((field - field.mean(1, keepdims=True)) / np.sqrt(field.var(1, keepdims=True) + 1e-3))
    np.testing.assert_allclose(norm(x), np.concatenate(parts, axis=1) * gain + offset, rtol=1e-4, atol=1e-5)
    fields = made("masknet")._fields
    x = rows(4)
    scaled = tf.concat([50 * x[:, :8], x[:, 8:]], axis=1)
    np.testing.assert_allclose(fields(scaled), fields(x), atol=0.02)  # but for epsilon


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model_type": "SerialMaskNet", "dnn_hidden_units": [64, 64]}, 31_936),
        ({"parallel_num_blocks": 3, "parallel_block_dim": 64, "dnn_hidden_units": []}, 54_784),
        ({"model_type": "SerialMaskNet", "dnn_hidden_units": [64], "emb_layernorm": False}, 18_208),
        (
            {
                "model_type": "SerialMaskNet",
                "dnn_hidden_units": [64],
                "reduction_ratio": 2,
                "net_layernorm": False,
            },
            160 + 80 * 160 + 160 + 160 * 80 + 80 + 80 * 64,
        ),
    ],
)
def test_masked_blocks_of_ten_fields_have_so_many_numbers(options, expected):
    layer = MaskedBlocks(TEN, **options)
    layer(rows())
    assert numbers_of(layer) == expected


def test_serial_blocks_read_the_block_before_and_masks_the_embeddings():
    layer = made("masknet", model_type="SerialMaskNet", dnn_hidden_units=[6, 5])
    x = rows()
    first, second = layer.blocks
    layer.build()
    np.testing.assert_allclose(layer(x), second(x, first(x, layer._fields(x))), rtol=1e-5)
    assert second.masked == 6
    parallel = made("masknet")
    parallel.build()
    found = tf.concat([block(x, parallel._fields(x)) for block in parallel.blocks], axis=1)
    np.testing.assert_allclose(parallel(x), parallel.stack(found), rtol=1e-5)


def test_gradients_reach_the_embeddings_through_the_mask_and_through_what_is_masked():
    block = made("masknet").blocks[0]
    v, h = tf.Variable(rows(3)), tf.Variable(rows(3, seed=1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block(v, h))
    for gradient in tape.gradient(total, [v, h]):
        assert np.abs(gradient).max() > 0


def test_a_number_is_a_field_and_a_vector_of_width_one_is_refused():
    columns = {"user": (0, 4), "item": (4, 7), "tag": (7, 11), "vector": (11, 13), "price": (13, 14)}
    layer = made("masknet", columns, ["vector", "price"])
    assert layer.vectors.width == 4
    assert [*layer.field_norm.runs] == [(4, 1), (3, 1), (4, 1), (2, 1), (4, 1)]
    layer.build()
    x = rows(3, 14).numpy()
    x[:, -1] = [0.0, 1.0, 2.0]
    fields = layer._fields(tf.constant(x)).numpy()[:, -4:]
    assert np.abs(fields[1] - fields[2]).max() > 1e-3  # a norm of x v alone is one of its sign
    assert layer.blocks[0].aggregation.kernel.shape[0] == 14  # masks see it as it is
    with pytest.raises(ValueError, match="'tag' has a vector of width 1"):
        made("masknet", {"user": (0, 4), "tag": (4, 5)})
    assert made("masknet", {"user": (0, 4), "tag": (4, 5)}, emb_layernorm=False).blocks[0].masked == 5
    with pytest.raises(ValueError, match="number_dim is missing"):
        made("masknet", {"price": (0, 1)}, ["price"])
    assert made("masknet", {"price": (0, 1)}, ["price"], number_dim=3).blocks[0].masked == 3
    with pytest.raises(ValueError, match="dnn_hidden_units is empty"):
        made("masknet", model_type="SerialMaskNet", dnn_hidden_units=[])


def test_the_vectors_of_numbers_are_lines():
    vectors = NumberVectors(2)
    vectors.build((None, 2))
    vectors.set_weights([np.array([[1, 2], [3, 4]], np.float32), np.array([0.5, 0, 0, 1], np.float32)])
    np.testing.assert_allclose(vectors(tf.constant([[2.0, -1.0]])), [[2.5, 4, -3, -3]])


# ---- finalmlp -------------------------------------------------------------------------------------


def fused(heads, units=1, weight=1.0):
    fusion = Fusion(heads, units)
    fusion.build((None, 2), (None, 2))
    fusion.pairs.assign(tf.fill(fusion.pairs.shape, weight))
    if units:
        fusion.linear.set_weights([np.full((4, units), 0.1, np.float32), np.zeros(units, np.float32)])
    return fusion(tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 1.0]])).numpy()[0]


def test_a_fusion_has_these_numbers():
    assert fused(1) == pytest.approx([12.7])
    assert fused(2) == pytest.approx([5.7])
    assert fused(1, units=3) == pytest.approx([12.7] * 3)
    assert fused(2, weight=0.0) == pytest.approx([0.7])  # the sum of two networks
    assert fused(2, units=None).tolist() == [1, 2, 3, 1, 3, 2]  # k = d: a weighted inner product
    assert fused(1, units=None).tolist() == [1, 2, 3, 1, 12]


def test_a_linear_layer_of_both_streams_and_their_products_is_any_fusion():
    one, two = rows(5, 8, 1), rows(5, 4, 2)
    fusion, parts = Fusion(2, 1), Fusion(2, None)
    fusion.build(one.shape, two.shape)
    parts.build(one.shape, two.shape)
    parts.pairs.assign(tf.reshape(fusion.pairs, parts.pairs.shape))
    weights = tf.concat([fusion.linear.kernel, tf.ones((2, 1))], axis=0)
    np.testing.assert_allclose(parts(one, two) @ weights, fusion(one, two), rtol=1e-4, atol=1e-5)


def test_streams_that_change_places_fuse_to_the_same_under_the_transposed_kernel():
    one, two = rows(5, 8, 1), rows(5, 4, 2)
    there, back = Fusion(2, None), Fusion(2, None)
    there.build(one.shape, two.shape)
    back.build(two.shape, one.shape)
    back.pairs.assign(tf.transpose(tf.convert_to_tensor(there.pairs), (0, 2, 1)))
    np.testing.assert_allclose(there(one, two)[:, -2:], back(two, one)[:, -2:], rtol=1e-4, atol=1e-5)


def test_a_gate_lies_from_zero_to_two_and_starts_near_one():
    gate = Selection(3, [4], 2, 8, None)
    gate.build()
    gate.factors.set_weights([np.zeros((4, 3), np.float32), np.zeros(3, np.float32)])
    np.testing.assert_array_equal(gate(tf.ones((5, 2))), np.ones((5, 3)))
    gate.factors.bias.assign([100.0, -100.0, 0.0])
    np.testing.assert_allclose(gate(tf.ones((1, 2))), [[2, 0, 1]], atol=1e-6)
    trained = Selection(3, [4], None, 8, None)
    trained.build()
    np.testing.assert_allclose(trained(None), np.ones((1, 3)), atol=0.4)
    assert numbers_of(trained) == 8 + (8 * 4 + 4) + (4 * 3 + 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"use_fs": False, "fusion_dim": 1}, 18_688 + 1_153),
        ({"fs1_context": ["field_0"], "fs2_context": ["field_4"], "fusion_dim": 1}, 18_688 + 1_153 + 11_552),
        ({"use_fs": False, "output": "streams"}, 18_688 + 1_024),
        ({"use_fs": False, "output": "streams", "num_heads": 1}, 18_688 + 4_096),
    ],
)
def test_two_streams_of_ten_fields_have_so_many_numbers(options, expected):
    layer = TwoStreams(TEN, mlp1_hidden_units=[64, 64], mlp2_hidden_units=[64, 64], **options)
    layer(rows())
    assert numbers_of(layer) == expected


def test_a_stream_sees_the_features_through_its_gate_and_has_options_of_its_own():
    layer = made(
        "finalmlp",
        mlp={"activations": "tanh", "dropout": 0.5},
        mlp2_hidden_activations="linear",
        mlp2_dropout=0,
    )
    x = rows()
    context = x[:, 24:32]
    layer.build()
    one = layer.streams[0](x * layer.gates[0](context))
    two = layer.streams[1](x * layer.gates[1](None))
    np.testing.assert_allclose(layer(x), layer.fusion(one, two), rtol=1e-5)
    assert float(tf.reduce_max(tf.abs(one))) <= 1
    assert layer.streams[0].dropout is not None
    assert layer.streams[1].dropout is None


def test_the_products_of_a_fusion_start_as_large_as_the_streams_say():
    fusion = Fusion(4, 1)
    fusion.build((None, 64), (None, 64))
    assert fusion.pairs.numpy().std() == pytest.approx(math.sqrt(2 / 1025), rel=0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fs1_context": ["feld_3"]}, "names 'feld_3', which is no input. Did you mean 'field_3'"),
        ({"mlp2_hidden_units": [5]}, "mlp2_hidden_units ends in 5, which num_heads 4 does not divide"),
        ({"mlp1_hidden_units": []}, "mlp1_hidden_units is empty"),
        ({"mlp1_hidden_activations": "rellu"}, "'rellu' is unknown"),
    ],
)
def test_streams_that_cannot_be_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        made("finalmlp", **options)


# ---- rankmixer ------------------------------------------------------------------------------------

X = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]


def test_mixed_tokens_have_these_numbers_and_mixing_twice_is_nothing():
    x = tf.constant([X])
    np.testing.assert_array_equal(mixed(x)[0], [[1, 2, 5, 6], [3, 4, 7, 8]])
    np.testing.assert_array_equal(mixed(mixed(x)), x)
    changed = mixed(x + tf.constant([[[1.0], [0.0]]]))[0] - mixed(x)[0]
    np.testing.assert_array_equal(changed, [[1, 1, 0, 0], [1, 1, 0, 0]])


def test_a_block_without_its_networks_has_these_numbers():
    block = MixerBlock(1.0, "post", 0.0, None, 4)
    block.build((None, 2, 4))
    for variable in block.networks.trainable_variables:
        variable.assign(tf.zeros(variable.shape))
    x = tf.constant([X])
    s = block.norms[0](mixed(x) + x)
    row = [-1.264848, -0.632424, 0.632424, 1.264848]
    np.testing.assert_allclose(s[0], [row, row], atol=1e-5)
    row = [-1.264279, -0.632140, 0.632140, 1.264279]
    np.testing.assert_allclose(block(x)[0], [row, row], atol=1e-5)
    before = MixerBlock(1.0, "pre", 0.0, None, 4)
    before.build((None, 2, 4))
    for variable in before.networks.trainable_variables:
        variable.assign(tf.zeros(variable.shape))
    np.testing.assert_allclose(before(x), mixed(before.norms[0](x)) + x, atol=1e-6)


def test_the_networks_of_tokens_are_their_own():
    networks = TokenNetworks(6, 0.0, None)
    x = rows(3, 8)
    x = tf.reshape(x, (3, 2, 4))
    found = networks(x)
    for t in range(2):
        kernel, bias = networks.inner.numpy()[t], networks.inner_bias.numpy().reshape(2, -1)[t]
        hidden = x.numpy()[:, t] @ kernel + bias
        hidden = np.array([[h * 0.5 * (1 + math.erf(h / math.sqrt(2))) for h in row] for row in hidden])
        expected = hidden @ networks.outer.numpy()[t] + networks.outer_bias.numpy().reshape(2, -1)[t]
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(networks(x)[:, 1])
    gradient = tape.gradient(total, networks.inner.value).numpy()
    assert not gradient[0].any()
    assert gradient[1].any()
    limit = math.sqrt(6 / (4 + 6))
    assert 0.8 * limit < np.abs(networks.inner.numpy()).max() <= limit


def test_mixers_of_four_tokens_have_so_many_numbers():
    layer = TokenMixer(TEN, num_tokens=4, token_dim=32, num_blocks=2, ffn_ratio=2)
    layer(rows())
    assert sum(map(numbers_of, layer.blocks)) == 33_792
    assert sum(map(numbers_of, layer.projections)) == 80 * 32 + 4 * 32
    shared = TokenMixer(TEN, num_tokens=4, token_dim=32, tokenizer="shared")
    shared(rows())
    assert sum(map(numbers_of, shared.projections)) == 20 * 32 + 32


def test_tokens_are_groups_of_features_or_pieces_of_the_input():
    x = rows(3, 7)
    columns = {"user": (0, 3), "item": (3, 5), "price": (5, 6), "age": (6, 7)}
    groups = {"who": ["user", "age"], "what": ["price", "item"]}
    layer = made("rankmixer", columns, token_groups=groups)
    layer.build()
    tokens = layer.tokens(x)
    who = tf.gather(x, [0, 1, 2, 6], axis=1)
    np.testing.assert_allclose(tokens[:, 0], layer.projections[0](who), rtol=1e-6)
    what = tf.gather(x, [5, 3, 4], axis=1)
    np.testing.assert_allclose(tokens[:, 1], layer.projections[1](what), rtol=1e-6)
    cut, shared = made("rankmixer", columns), made("rankmixer", columns, tokenizer="shared")
    cut.build()
    assert [projection.kernel.shape[0] for projection in cut.projections] == [2, 2, 2, 1]
    shared.build()
    last = shared.projections[0](tf.pad(x[:, 6:], ((0, 0), (0, 1))))
    np.testing.assert_allclose(shared.tokens(x)[:, 3], last, rtol=1e-6)
    np.testing.assert_allclose(
        layer(x), tf.reduce_mean(layer.blocks[1](layer.blocks[0](tokens)), axis=1), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"token_dim": 30}, "token_dim is 30, which 4 tokens cannot be mixed in.*The nearest is 32"),
        ({"token_groups": {"a": ["user"], "b": ["itm"]}}, "token_groups.b names 'itm'.*Did you mean 'item'"),
        ({"token_groups": {"a": ["user"], "b": ["user", "item"]}}, "'user' is in a, too"),
        ({"token_groups": {"a": ["user"], "b": []}}, "token_groups.b is empty"),
        ({"token_groups": {"a": ["user"], "b": ["item"]}}, "has no token for age"),
        ({"token_groups": {"a": ["user", "item", "age"]}}, "has one token"),
        ({"token_groups": {"a": ["user", "age"], "b": ["item"]}, "tokenizer": "shared"}, "all as wide"),
        ({"num_tokens": 8}, "num_tokens is 8, but the features have 5 columns"),
    ],
)
def test_tokens_that_cannot_be_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        made("rankmixer", {"user": (0, 2), "item": (2, 4), "age": (4, 5)}, ["age"], **options)


# ---- behind the embeddings ------------------------------------------------------------------------


def test_embeddings_hand_their_columns_on_and_stacks_have_the_options_of_the_model():
    spec = {"type": "dcnv2", "parallel_dnn_hidden_units": [5], "num_cross_layers": 1}
    mlp = {"activations": "tanh", "dropout": 0.5}
    embedding = FeatureEmbedding(tiny.FEATURES, 4, interaction=spec, mlp=mlp)
    found = embedding(tiny.tensors(tiny.inputs(6)))
    assert tuple(found.shape) == (6, 17 + 5) == embedding.compute_output_shape({"ids": (6, 9)})
    assert embedding.interaction.columns == embedding.column_ranges
    assert embedding.interaction.numbers == ("price", "vector")
    assert float(tf.reduce_max(tf.abs(found[:, 17:]))) <= 1
    counts, whole = embedding.learnt_parts(found)
    assert whole is found
    assert [part.shape[1] for part in counts] == [22]
    plain = FeatureEmbedding(tiny.FEATURES, 4, names=["user"], interaction=spec)
    assert plain.interaction is None


def test_dropout_inside_of_an_interaction_is_one_of_training():
    embedding = FeatureEmbedding(tiny.FEATURES, 4, interaction="masknet", mlp={"dropout": 0.5})
    inputs = embedding.keras_inputs()
    model = keras.Model(inputs, embedding(inputs))
    batch = tiny.tensors(tiny.inputs(6))
    np.testing.assert_array_equal(model(batch), model(batch))
    assert np.abs(model(batch, training=True) - model(batch, training=True)).max() > 0

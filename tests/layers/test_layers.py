"""The bricks: pooling, embeddings, penalties, stacks, gates and the wiring of PLE."""

import logging
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import (
    MLP,
    Experts,
    ExtractionLevels,
    FeatureEmbedding,
    Gate,
    GatedExperts,
    Towers,
    make_bottom,
    mix,
    regularizer,
    tables,
)
from fuxi_mtl.layers.experts import side_by_side, wide_product
from fuxi_mtl.layers.pooling import pool
from fuxi_mtl.layers.regularizers import penalty_gradient
from fuxi_mtl.layers.tables import check_memory, memory_of_machine


def maps(*features, folder=""):
    return FeatureMap("x", assign_columns(list(features)), folder=str(folder))


def embed(layer, ids, numeric=None):
    numeric = np.zeros((len(ids), 0)) if numeric is None else numeric
    return layer({"ids": tf.constant(ids, tf.int32), "numeric": tf.constant(numeric, tf.float32)}).numpy()


# ---- pooling ------------------------------------------------------------------------------------

VECTORS = tf.constant([[[1.0, -1.0], [3.0, -5.0], [100.0, 100.0]], [[7.0, 7.0]] * 3])
PRESENT = tf.constant([[True, True, False], [False, False, False]])


@pytest.mark.parametrize(("pooling", "expected"), [("mean", [2, -3]), ("sum", [4, -6]), ("max", [3, -1])])
def test_pooling_counts_true_lengths_and_an_empty_bag_is_zero(pooling, expected):
    assert pool(VECTORS, PRESENT, pooling).numpy().tolist() == [expected, [0, 0]]


@pytest.mark.parametrize(("pooling", "expected"), [("mean", [1.5, -2]), ("sum", [6, -8]), ("max", [3, -3])])
def test_pooling_weighs_the_members(pooling, expected):
    weights = tf.constant([[3.0, 1.0, 50.0], [1.0, 1.0, 1.0]])
    assert pool(VECTORS, PRESENT, pooling, weights).numpy().tolist() == [expected, [0, 0]]


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_padding_gets_exactly_no_gradient(pooling):
    with tf.GradientTape() as tape:
        tape.watch(VECTORS)
        total = tf.reduce_sum(pool(VECTORS, PRESENT, pooling))
    gradient = tape.gradient(total, VECTORS).numpy()
    assert (gradient[~PRESENT.numpy()] == 0).all()
    assert (gradient[0, :2] != 0).any()


def test_a_bag_whose_weights_are_all_zero_is_zero():
    assert pool(VECTORS, PRESENT, "mean", tf.zeros((2, 3))).numpy().tolist() == [[0, 0], [0, 0]]


# ---- embeddings ---------------------------------------------------------------------------------


def test_features_of_every_width_stand_side_by_side_and_numbers_follow():
    layer = FeatureEmbedding(tiny.FEATURES, embedding_dim=4)
    inputs = tiny.inputs(5)
    output = embed(layer, inputs["ids"], inputs["numeric"])
    assert output.shape == (5, 4 + 4 + 3 + 3 + 3)  # user and tags; item and history; the numbers
    np.testing.assert_array_equal(output[:, -3:], inputs["numeric"][:, :3])


def test_every_feature_reads_its_own_rows():
    layer = FeatureEmbedding(
        maps(Feature("a", "categorical", vocab_size=3), Feature("b", "categorical", vocab_size=4)), 2
    )
    (table,) = layer.trainable_variables
    table.assign(np.arange(14, dtype=np.float32).reshape(7, 2))
    assert embed(layer, [[2, 1], [1, 3]]).tolist() == [[4, 5, 8, 9], [2, 3, 12, 13]]


def test_a_shared_embedding_is_one_table():
    layer = FeatureEmbedding(
        maps(
            Feature("item", "categorical", vocab_size=4, embedding_dim=2),
            Feature("last", "categorical", vocab_size=4, share_embedding="item"),
            Feature("history", "sequence", vocab_size=4, max_len=2, share_embedding="last", pooling="sum"),
        ),
        embedding_dim=8,
    )
    (table,) = layer.trainable_variables
    assert table.shape == (4, 2)
    table.assign([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert embed(layer, [[1, 2, 3, 0]]).tolist() == [[1, 2, 3, 4, 5, 6]]


def test_tables_start_small_different_and_with_zero_padding():
    layer = FeatureEmbedding(maps(*(Feature(n, "categorical", vocab_size=50) for n in "ab")), 4)
    (table,) = layer.trainable_variables
    first, second = table.numpy()[:50], table.numpy()[50:]
    assert (first[0] == 0).all()
    assert (second[0] == 0).all()
    assert not np.allclose(first, second)
    assert 0.005 < first.std() < 0.02


def test_bags_of_every_kind_are_pooled_as_by_hand():
    kinds = [("mean", 3, False), ("max", 2, True), ("mean", 3, False), ("sum", 3, True), ("mean", 2, False)]
    names = [f"bag{number}" for number in range(len(kinds))]
    bags = [
        Feature(name, "sequence", vocab_size=6, max_len=length, pooling=pooling, weighted=weighted)
        for name, (pooling, length, weighted) in zip(names, kinds, strict=True)
    ]
    features = maps(bags[0], Feature("one", "categorical", vocab_size=4), *bags[1:])
    layer = FeatureEmbedding(features, 2)
    (table,) = layer.trainable_variables
    rows = np.random.default_rng(0).normal(size=table.shape).astype(np.float32)
    table.assign(rows)
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 4, (50, features.id_columns))
    numeric = rng.uniform(0.5, 2, (50, features.numeric_columns)).astype(np.float32)
    starts = dict(zip(["bag0", "one", *names[1:]], np.cumsum([0, 6, 4, 6, 6, 6]), strict=True))

    def by_hand(feature: Feature, row: int) -> np.ndarray:
        vectors, weights = [], []
        for number in range(feature.max_len):
            if ids[row, feature.start + number]:
                vectors.append(rows[starts[feature.name] + ids[row, feature.start + number]])
                weights.append(numeric[row, feature.weight_start + number] if feature.weighted else 1.0)
        weighted = [w * v for w, v in zip(weights, vectors, strict=True)]
        if not weighted:
            return np.zeros(2)
        if feature.pooling == "mean":
            return sum(weighted) / sum(weights)
        return sum(weighted) if feature.pooling == "sum" else np.max(weighted, axis=0)

    # Single ids first; bags of one kind stand together.
    order = ["bag0", "bag2", "bag1", "bag3", "bag4"]
    expected = [
        np.concatenate([rows[6 + ids[row, 3]], *(by_hand(features[name], row) for name in order)])
        for row in range(50)
    ]
    np.testing.assert_allclose(embed(layer, ids, numeric), expected, rtol=1e-5)


def test_a_step_gathers_once_from_each_table():
    layer = FeatureEmbedding(tiny.FEATURES, embedding_dim=4)
    specs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in tiny.tensors(tiny.inputs(3)).items()}
    graph = tf.function(layer, autograph=False).get_concrete_function(specs).graph
    lookups = [each for each in graph.get_operations() if each.type == "ResourceGather"]
    assert len(lookups) == len(layer.blocks) == 2


def test_a_table_larger_than_a_chunk_starts_different_in_every_chunk(monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", 16)
    layer = FeatureEmbedding(maps(Feature("a", "categorical", vocab_size=40)), 4)
    rows = layer.trainable_variables[0].numpy()
    assert (rows[0] == 0).all()
    assert len(np.unique(rows[1:], axis=0)) == 39


def test_a_composed_embedding_is_the_product_of_a_remainder_and_a_quotient():
    """Shi et al., KDD 2020: e(x) = remainders[x mod m] * quotients[x div m]; bags and shared rows too."""
    features = maps(
        Feature("plain", "categorical", vocab_size=5),
        Feature("ad", "categorical", vocab_size=12, num_remainder_buckets=4),
        Feature("seen", "sequence", vocab_size=12, max_len=2, share_embedding="ad", pooling="sum"),
        Feature("shop", "categorical", vocab_size=9, num_remainder_buckets=3),
    )
    layer = FeatureEmbedding(features, 2)
    (table,) = layer.trainable_variables
    # 11 ids are 4 remainders and 3 quotients, 8 ids are 3 and 3; each part has padding in front.
    assert table.shape == (5 + (5 + 4) + (4 + 4), 2)
    start = table.numpy()
    assert (start[[0, 5, 14]] == 0).all()  # one factor is enough: of two zeros an id 0 could never learn
    rows = np.random.default_rng(0).normal(size=table.shape).astype(np.float32)
    rows[[0, 5, 10, 14, 18]] = 0
    table.assign(rows)
    plain, ad_r, ad_q, shop_r, shop_q = rows[:5], rows[6:10], rows[11:14], rows[15:18], rows[19:22]
    ads, shops = np.arange(11), np.arange(11) % 8
    ad = np.concatenate([ad_r[ads % 4] * ad_q[ads // 4]])
    ids = np.stack([ads % 5, ads + 1, ads + 1, np.zeros(11, int), shops + 1], axis=1)
    expected = np.concatenate([plain[ads % 5], ad, shop_r[shops % 3] * shop_q[shops // 3], ad], axis=1)
    np.testing.assert_allclose(embed(layer, ids), expected, rtol=1e-6)
    assert len(np.unique(ad, axis=0)) == 11  # no two ids share both parts


def test_both_parts_of_a_composed_embedding_learn_and_padding_does_not():
    features = maps(
        Feature("ad", "sequence", vocab_size=1_000_000_002, max_len=3, num_remainder_buckets=31_623)
    )
    layer = FeatureEmbedding(features, 4)
    (table,) = layer.trainable_variables
    assert table.shape == (31_624 + 31_624, 4)  # 1,000,000,001 ids
    inputs = tiny.tensors({"ids": np.array([[1_000_000_001, 7, 0]], np.int32), "numeric": np.zeros((1, 0))})
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs))
    gradient = tape.gradient(total, table.value)
    moved = set(gradient.indices.numpy()[np.abs(gradient.values.numpy()).max(axis=1) > 0].tolist())
    last, seventh = 1_000_000_000, 6
    remainders = {1 + last % 31_623, 1 + seventh % 31_623}
    quotients = {31_624 + 1 + last // 31_623, 31_624 + 1 + seventh // 31_623}
    assert moved == remainders | quotients


def test_a_composed_embedding_starts_as_wide_as_a_plain_one():
    features = maps(
        Feature("a", "categorical", vocab_size=1002),
        Feature("b", "categorical", vocab_size=1002, num_remainder_buckets=40),
    )
    ids = np.repeat(np.arange(1, 1001)[:, None], 2, axis=1)
    plain, composed = np.split(embed(FeatureEmbedding(features, 16), ids), 2, axis=1)
    assert 0.5 < composed.std() / plain.std() < 2


def test_pretrained_rows_are_loaded_and_frozen_ones_are_not_trained(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.save(tmp_path / "rows.npy", rows)
    frozen = Feature(
        "a", "categorical", vocab_size=4, embedding_dim=2, pretrained="rows.npy", trainable=False
    )
    tuned = Feature("b", "categorical", vocab_size=4, embedding_dim=2, pretrained="rows.npy")
    layer = FeatureEmbedding(maps(frozen, tuned, folder=tmp_path), 16)
    assert embed(layer, [[3, 1]]).tolist() == [[6, 7, 2, 3]] or embed(layer, [[3, 1]]).tolist() == [
        [2, 3, 6, 7]
    ]
    assert [v.shape for v in layer.trainable_variables] == [(4, 2)]
    assert [v.shape for v in layer.non_trainable_variables] == [(4, 2)]
    assert (layer.trainable_variables[0].numpy()[0] == 0).all()  # padding


def test_pretrained_rows_of_another_width_are_an_error(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((4, 3), np.float32))
    feature = Feature("a", "categorical", vocab_size=4, pretrained="rows.npy")
    with pytest.raises(
        ValueError, match=r"feature 'a': pretrained rows in rows.npy have shape \(4, 3\), .* to 3"
    ):
        FeatureEmbedding(maps(feature, folder=tmp_path), 16)


def test_the_gradient_of_a_table_names_rows_of_the_batch_only():
    layer = FeatureEmbedding(tiny.FEATURES, embedding_dim=4)
    inputs = tiny.tensors(tiny.inputs(3))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs))
    for gradient in tape.gradient(total, [v.value for v in layer.trainable_variables]):
        assert isinstance(gradient, tf.IndexedSlices)
        assert gradient.indices.shape[0] <= 3 * 9


def test_tables_stay_float32_and_sparse_under_mixed_precision():
    layer = FeatureEmbedding(tiny.FEATURES, embedding_dim=4, dtype="mixed_float16")
    inputs = tiny.tensors(tiny.inputs(3))
    with tf.GradientTape() as tape:
        output = layer(inputs)
    assert output.dtype == tf.float16
    gradients = tape.gradient(output, [v.value for v in layer.trainable_variables])
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}
    assert all(isinstance(g, tf.IndexedSlices) and g.values.dtype == tf.float32 for g in gradients)


# ---- penalties ----------------------------------------------------------------------------------


def test_a_penalty_is_l1_plus_half_l2():
    weights = tf.constant([[1.0, -2.0]])
    assert regularizer("l1_l2(0.1,0.2)")(weights).numpy() == pytest.approx(0.1 * 3 + 0.1 * 5)
    assert penalty_gradient(weights, "l1_l2(0.1,0.2)").numpy().tolist() == [pytest.approx([0.3, -0.5])]
    assert regularizer(0) is None


# ---- stacks -------------------------------------------------------------------------------------


def test_a_stack_is_dense_layers_with_activations():
    stack = MLP([3, 2], ["relu", "linear"])
    x = tf.constant([[1.0, -2.0]])
    stack(x)
    kernels = [np.array([[1.0, -1, 2], [0, 1, 1]]), np.array([[1.0, 2], [3, 4], [5, 6]])]
    for dense, kernel in zip(stack.hidden, kernels, strict=True):
        dense.set_weights([kernel, np.ones(kernel.shape[1])])
    hidden = np.maximum(x.numpy() @ kernels[0] + 1, 0)
    np.testing.assert_allclose(stack(x).numpy(), hidden @ kernels[1] + 1)


def test_no_units_make_a_stack_the_identity():
    x = tf.constant([[1.0, 2.0]])
    stack = MLP([], "relu")
    assert stack(x) is x
    assert stack.last_variables() == []


def test_t4_dropout_and_norms_work_in_training_only():
    keras.utils.set_random_seed(0)
    stack = MLP([8], "linear", dropout=0.5, batch_norm=True)
    x = keras.random.normal((64, 4))
    stack(x)
    np.testing.assert_array_equal(stack(x).numpy(), stack(x).numpy())
    trained = stack(x, training=True).numpy()
    assert 0.3 < (trained == 0).mean() < 0.7
    assert not np.allclose(stack.norms[0].moving_mean.numpy(), 0)


@pytest.mark.parametrize("name", ["relu", "ReLU", "LeakyReLU", "PReLU", "Sigmoid", "gelu", "silu", "tanh"])
def test_activations_have_fuxictrs_spellings(name):
    assert np.isfinite(MLP([2], name)(tf.constant([[1.0, -1.0]])).numpy()).all()


def test_an_unknown_activation_names_the_known_ones():
    with pytest.raises(ValueError, match="hidden_activations: 'dice' is unknown. Known: relu, "):
        MLP([2], "dice")


def test_one_activation_a_layer_must_fit_the_layers():
    with pytest.raises(ValueError, match=r"hidden_activations has 2 entries for 3 layers of \[4, 4, 4\]"):
        MLP([4, 4, 4], ["relu", "tanh"])


def test_activations_of_deeper_stacks_leave_a_gate_without_layers_alone():
    assert MLP([], ["relu", "tanh"]).activations == []


def test_kernels_are_penalised_and_biases_are_not():
    stack = MLP([2], penalty="l2(0.5)")
    stack(tf.ones((1, 3)))
    stack.hidden[0].set_weights([np.full((3, 2), 2.0), np.full(2, 9.0)])
    assert sum(stack.losses).numpy() == pytest.approx(0.25 * 6 * 4)


def test_a_tower_ends_in_one_number_and_reads_its_own_input():
    towers = Towers(["a", "b"], [])
    heads = towers({"a": tf.constant([[1.0], [2.0]]), "b": tf.constant([[5.0], [6.0]])})
    towers.outputs[0].set_weights([np.array([[2.0]]), np.array([1.0])])
    towers.outputs[1].set_weights([np.array([[1.0]]), np.array([0.0])])
    heads = towers({"a": tf.constant([[1.0], [2.0]]), "b": tf.constant([[5.0], [6.0]])})
    assert {name: head.numpy().tolist() for name, head in heads.items()} == {"a": [3, 5], "b": [5, 6]}
    assert heads["a"].dtype == tf.float32


# ---- experts and gates --------------------------------------------------------------------------


def test_experts_of_equal_shape_start_different_with_the_spread_of_one_kernel():
    keras.utils.set_random_seed(0)
    experts = Experts(3, [400])
    assert experts(tf.ones((2, 200))).shape == (2, 3, 400)
    kernels = [stack.hidden[0].kernel.numpy() for stack in experts.stacks]
    assert len({kernel.tobytes() for kernel in kernels}) == 3
    for kernel in kernels:  # Glorot of (200, 400), not of a stacked (3, 200, 400)
        assert kernel.std() == pytest.approx(np.sqrt(2 / 600), rel=0.02)


def test_a_gate_sums_to_one_in_float32():
    gate = Gate(4, [5])
    shares = gate(keras.random.normal((7, 3)))
    np.testing.assert_allclose(tf.reduce_sum(shares, axis=1).numpy(), np.ones(7), rtol=1e-6)
    assert shares.dtype == tf.float32


def test_the_last_kernel_of_a_gate_is_penalised_like_its_hidden_ones():
    gate = Gate(2, penalty=0.5)
    gate(tf.ones((1, 3)))
    gate.logits.set_weights([np.full((3, 2), 2.0), np.zeros(2)])
    assert sum(gate.losses).numpy() == pytest.approx(0.25 * 6 * 4)


def test_a_mixture_weighs_the_experts_of_each_row():
    experts = tf.constant([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 0.0], [0.0, 10.0]]])
    first, second = mix(
        [tf.constant([[0.5, 0.5], [1.0, 0.0]]), tf.constant([[0.0, 1.0], [0.2, 0.8]])], experts
    )
    np.testing.assert_allclose(first, [[2, 3], [10, 0]])
    np.testing.assert_allclose(second, [[3, 4], [2, 8]])


@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "activations": "prelu"}])
def test_layers_side_by_side_are_the_layers_one_by_one(options):
    keras.utils.set_random_seed(0)
    x, other = tf.Variable(keras.random.normal((9, 5))), tf.Variable(keras.random.normal((9, 5)))
    layers = [MLP([7, 4], **options), Gate(3), MLP([6], **options), MLP([]), Gate(2, [4]), Gate(6)]
    for layer in layers:
        layer.build((None, 5))
        for variable in layer.trainable_variables:
            variable.assign(keras.random.normal(variable.shape))
    variables = [x, other, *(v.value for layer in layers for v in layer.trainable_variables)]

    def outputs_and_gradients(together):
        with tf.GradientTape() as tape:
            first, second = tf.identity(x), tf.identity(other)
            pairs = list(zip(layers, [first, second, first, first, second, first], strict=True))
            found = side_by_side(pairs[:2], [], pairs[2:]) if together else [f(each) for f, each in pairs]
            outputs = tf.nest.flatten(found)
            loss = tf.add_n([tf.reduce_sum(tf.sin(output)) for output in outputs])
        return outputs, tape.gradient(loss, variables)

    together, alone = outputs_and_gradients(True), outputs_and_gradients(False)
    for a, b in zip(tf.nest.flatten(together), tf.nest.flatten(alone), strict=True):
        # Terms of some 10 cancel: what rounding leaves is relative to the largest entry.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_a_wide_product_is_the_products_of_its_layers():
    first, second = keras.layers.Dense(2), keras.layers.Dense(1)
    for layer in (first, second):
        layer.build((None, 3))
    first.set_weights([np.array([[1, 0], [0, 1], [1, 1]]), np.array([10, 20])])
    second.set_weights([np.array([[1], [-1], [2]]), np.array([0.5])])
    a, b = wide_product([first, second], tf.constant([[1.0, 2, 3], [0, 0, 1]]))
    assert a.numpy().tolist() == [[14, 25], [11, 21]]
    assert b.numpy().tolist() == [[5.5], [2.5]]


def test_at_least_one_expert_is_needed():
    with pytest.raises(ValueError, match="num_experts is 0: at least one expert is needed"):
        Experts(0, [4])


# ---- bottoms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shared", "specific", "levels"), [(2, 1, 1), (2, 1, 3), (0, 2, 2), (2, 0, 2), (1, 1, 2)]
)
def test_ple_gates_see_own_and_shared_experts_and_the_shared_gate_sees_all(shared, specific, levels):
    bottom = ExtractionLevels(
        ["a", "b", "c"],
        {},
        num_layers=levels,
        num_shared_experts=shared,
        num_specific_experts=specific,
        expert_hidden_units=[4],
    )
    streams = bottom(tf.ones((2, 5)))
    assert set(streams) == {"a", "b", "c"}
    assert streams["a"].shape == (2, 4)
    for number, level in enumerate(bottom.levels):
        assert [gate.logits.units for gate in level.gates] == [shared + specific] * 3
        if number == levels - 1 or not shared:
            assert level.shared_gate is None
        else:  # c18: the shared gate sees every expert of the level
            assert level.shared_gate.logits.units == shared + 3 * specific


@pytest.mark.parametrize(
    "sizes",
    [{"num_layers": 0}, {"num_shared_experts": 0, "num_specific_experts": 0}, {"num_shared_experts": -1}],
)
def test_ple_needs_a_level_and_an_expert(sizes):
    with pytest.raises(ValueError, match="at least one level and one expert are needed"):
        ExtractionLevels(["a"], {}, **sizes)


def test_a_bottom_is_named_or_described():
    assert isinstance(make_bottom("MMoE", ["a"], {}), GatedExperts)
    bottom = make_bottom({"type": "MMoE", "num_experts": 2, "expert_hidden_units": [3]}, ["a", "b"], {})
    assert len(bottom.experts.stacks) == 2
    x = tf.ones((1, 4))
    assert make_bottom("shared_embedding", ["a"], {})(x)["a"] is x


@pytest.mark.parametrize("spec", ["mmo", {"type": "Deep"}, {}, {"type": ["MMoE"]}])
def test_an_unknown_bottom_names_the_known_ones(spec):
    with pytest.raises(ValueError, match="bottom.* Choices: shared_embedding, ShareBottom, MMoE, PLE."):
        make_bottom(spec, ["a"], {})


@pytest.mark.parametrize("spec", [["MMoE"], 4])
def test_a_bottom_is_a_name_or_a_block(spec):
    with pytest.raises(ValueError, match="bottom expects text or a mapping of names to values, not"):
        make_bottom(spec, ["a"], {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_experts": "four"}, "bottom.num_experts expects a whole number, not 'four'"),
        ({"expert_hidden_units": 64}, "bottom.expert_hidden_units expects a list of whole numbers, not"),
        ({"gate_stabilize": 1.2}, "bottom.gate_stabilize expects a mapping or null, not 1.2"),
    ],
)
def test_an_option_of_a_bottom_has_the_type_that_is_annotated(options, message):
    with pytest.raises(ValueError, match=message):
        make_bottom({"type": "MMoE", **options}, ["a"], {})


@pytest.mark.parametrize("width", [0, -4])
def test_embeddings_have_a_width(width):
    with pytest.raises(ValueError, match=f"embedding_dim is {width}; the least is 1"):
        FeatureEmbedding(tiny.FEATURES, width)


def test_dropping_every_unit_is_refused():
    with pytest.raises(ValueError, match="net_dropout is 1; it lies from 0 to below 1"):
        MLP([4], dropout=1.0)


def test_the_id_0_of_a_composed_column_of_ids_is_learnt_like_any_other():
    user = Feature("user", "categorical", vocab_size=10, num_remainder_buckets=3)
    bag = Feature("bag", "sequence", vocab_size=10, num_remainder_buckets=3, max_len=2)
    layer = FeatureEmbedding(FeatureMap("data", assign_columns([user, bag])), 4)
    (table,) = layer.blocks
    (first, _), (second, _) = (table.row_ranges["user", part] for part in ("remainders", "quotients"))
    with tf.GradientTape() as tape:
        tape.watch(table.rows.value)
        out = layer({"ids": tf.constant([[0, 0, 0]]), "numeric": tf.zeros([1, 0])})
        loss = tf.reduce_sum(out)
    np.testing.assert_array_equal(out, np.zeros((1, 8)))  # the product begins at zero, as a single row does
    gradient = tf.convert_to_tensor(tape.gradient(loss, table.rows.value)).numpy()
    rows = table.rows.numpy()
    np.testing.assert_allclose(gradient[first], rows[second])
    assert np.count_nonzero(gradient[first]) == 4
    (first, _), (second, _) = (table.row_ranges["bag", part] for part in ("remainders", "quotients"))
    assert not rows[[first, second]].any()  # in a bag 0 is padding


def test_an_unknown_option_of_a_bottom_gets_a_suggestion():
    with pytest.raises(
        ValueError, match="bottom: unknown key 'num_expert' .value 2. of MMoE. Did you mean 'num_experts'"
    ):
        make_bottom({"type": "MMoE", "num_expert": 2}, ["a"], {})
    with pytest.raises(ValueError, match="bottom: unknown key 'x' .* of shared_embedding. Keys: type."):
        make_bottom({"type": "shared_embedding", "x": 2}, ["a"], {})


def test_tables_beyond_the_memory_are_refused_before_they_are_made(monkeypatch, caplog):
    monkeypatch.setattr("fuxi_mtl.layers.tables.memory_of_machine", lambda: 6 * 2**30)
    user, item = (Feature(name, "categorical", vocab_size=2**28) for name in ("user", "item"))
    with pytest.raises(
        ValueError,
        match=r"tables of at least 536,870,912 rows take 7\.0 GiB, and this machine has 6\.0\. Feature 'item'"
        r" has 268,435,456 ids, 4\.0 GiB at embedding_dim 4: .* lower num_buckets or vocab_size",
    ):
        check_memory([(user, 3), (item, 4)], least=True)
    features = FeatureMap("data", assign_columns([user, item]))
    with pytest.raises(ValueError, match="tables of 536,870,912 rows take 8.0 GiB"):
        FeatureEmbedding(features, 4)
    with caplog.at_level(logging.INFO):
        check_memory([(user, 2), (replace(user, vocab_size=2**20), 1)])
        check_memory([(replace(user, vocab_size=2**27), 2), (replace(item, vocab_size=2**27 + 2**20), 1)])
        check_memory([(replace(user, vocab_size=2**20), 2)])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "Embeddings: tables of 269,484,032 rows take 2.0 GiB, the moments of Adam twice that again, and "
            "this machine has 6.0 GiB.",
        ),
        (
            "INFO",
            "Embeddings: tables of 269,484,032 rows take 1.5 GiB; the moments of Adam take twice that again.",
        ),
    ]
    monkeypatch.undo()
    assert memory_of_machine() > 2**28

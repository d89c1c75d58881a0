"""Generated layers (APG): their equations in numpy, what they cost, and folding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.layers import GeneratedMLP, folded
from fuxi_mtl.layers.folding import Foldable, ProductDense
from fuxi_mtl.layers.generated import GeneratedDense
from fuxi_mtl.options.blocks.generation import MODES, Generation
from fuxi_mtl.options.values import block as read_block

N, M, K, P, D, H, B = 6, 5, 3, 4, 2, 7, 8  # inputs, outputs, rank, inner width, condition, hidden, rows
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, N)).astype(np.float32)
Z = RANDOM.normal(size=(B, D)).astype(np.float32)


def options(**changes) -> Generation:
    return Generation(**{"rank_k": K, "overparam_p": P, "hypernet_hidden_units": (H,), **changes})


def layer(*conditions, penalty=None, **changes):
    """A built layer whose biases are not zero."""
    keras.utils.set_random_seed(3)
    made = GeneratedDense(M, options(**changes), penalty)
    made.build([(None, N), *((None, width) for width in conditions)])
    for variable in made.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, seed=len(variable.path)) * 0.5 + variable)
    return made


def numbers(variable):
    return variable.numpy().astype(np.float64)


def blocks(generator, z):
    """``reshape(A relu(W z + b) + a)`` for one condition."""
    for dense in generator.hidden.hidden:
        z = np.maximum(z @ numbers(dense.kernel) + numbers(dense.bias), 0)
    flat = z @ numbers(generator.output_layer.kernel) + numbers(generator.output_layer.bias)
    found = {}
    for name, (rows, columns) in generator.shapes.items():
        found[name], flat = flat[: rows * columns].reshape(rows, columns), flat[rows * columns :]
    return found


def shared(part):
    """A matrix of all rows, or the product that it is."""
    if isinstance(part, ProductDense):
        return numbers(part.left) @ numbers(part.right)
    return numbers(part.kernel)


def expected(dense, x, *conditions):
    """``y_i = x_i W_i + b_i`` row by row."""
    rows = []
    for i in range(len(x)):
        made = [blocks(g, z[i]) for g, z in zip(dense.generators, conditions or (x,), strict=True)]
        found = {name: np.mean([each[name] for each in made], axis=0) for name in made[0]}
        found |= {name: shared(part) for name, part in dense.shared.items()}
        w = found["w"] if "w" in found else found["u"] @ found["s"] @ found["v"]
        rows.append(x[i] @ w + (found["bias"][0] if "bias" in found else numbers(dense.bias)))
    return np.stack(rows)


# ---- equations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("generate_bias", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_each_row_is_multiplied_by_its_own_matrix(mode, generate_bias):
    dense = layer(D, mode=mode, generate_bias=generate_bias)
    assert (dense.bias is None) == generate_bias
    np.testing.assert_allclose(dense([X, Z]), expected(dense, X, Z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_condition_the_input_is_its_own(mode):
    dense = layer(mode=mode)
    np.testing.assert_allclose(dense([X]), expected(dense, X), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(dense([X]), layer(N, mode=mode)([X, X]))


def test_what_several_conditions_generate_is_averaged():
    dense, other = layer(D, 3), RANDOM.normal(size=(B, 3)).astype(np.float32)
    assert len(dense.generators) == 2
    np.testing.assert_allclose(dense([X, Z, other]), expected(dense, X, Z, other), rtol=1e-4, atol=1e-4)


def test_a9_the_identity_for_s_leaves_the_plain_layer_of_u_and_v():
    for mode in ("decomposed", "over_parameterized"):
        dense = layer(D, mode=mode, generate_bias=False)
        blocks = dense.generators[0].output_layer
        blocks.kernel.assign(tf.zeros_like(blocks.kernel))
        blocks.bias.assign(tf.reshape(tf.eye(K), [-1]))
        w = shared(dense.shared["u"]) @ shared(dense.shared["v"])
        np.testing.assert_allclose(dense([X, Z]), X @ w + numbers(dense.bias), rtol=1e-4, atol=1e-5)


def matrix_of(dense, z):
    """The effective matrix of one condition: what the unit rows become, less the bias."""
    same = np.tile(z, (N + 1, 1))
    found = dense([np.vstack([np.eye(N), np.zeros((1, N))]).astype(np.float32), same]).numpy()
    return found[:N] - found[N]


@pytest.mark.parametrize("mode", MODES)
def test_equal_conditions_have_equal_matrices_and_others_others(mode):
    dense = layer(D, mode=mode)
    first = matrix_of(dense, Z[0])
    np.testing.assert_allclose(
        X[1] @ first, (dense([X[1:2], Z[:1]]) - dense([0 * X[1:2], Z[:1]]))[0], atol=1e-4
    )
    assert np.abs(first - matrix_of(dense, Z[1])).max() > 1e-3
    assert np.linalg.matrix_rank(first, tol=1e-4) == (min(N, M) if mode == "basic" else K)


# ---- what it costs ------------------------------------------------------------------------------


def generated(mode):
    """Numbers that are generated for each row, the bias among them."""
    low = {"low_rank": N * K + K * K + K * M, "decomposed": K * K, "over_parameterized": K * K}
    return {"basic": N * M, **low}[mode] + M


def applied(mode):
    """Products of a row with its weights."""
    return N * M if mode == "basic" else N * K + K * K + K * M


@pytest.mark.parametrize(
    ("mode", "of_all_rows"),
    [
        ("basic", 0),
        ("low_rank", 0),
        ("decomposed", N * K + K * M),
        ("over_parameterized", (N + M) * P + 2 * P * K),
    ],
)
def test_parameters_are_those_of_the_generating_network_and_the_shared_matrices(mode, of_all_rows):
    hypernet = D * H + H + (H + 1) * generated(mode)
    assert layer(D, mode=mode).count_params() == hypernet + of_all_rows


def traced(dense):
    shapes = tf.TensorSpec((B, N)), tf.TensorSpec((B, D))
    return tf.function(lambda x, z: dense([x, z]), autograph=False).get_concrete_function(*shapes)


def products(function):
    """Scalar products in all matrix products of a graph."""
    found = [op for op in function.graph.get_operations() if op.type in ("MatMul", "BatchMatMulV2")]
    return sum(int(np.prod(op.outputs[0].shape)) * op.inputs[0].shape[-1] for op in found)


@pytest.mark.parametrize("mode", MODES)
def test_products_of_a_row_are_those_of_the_formula(mode):
    dense = layer(D, mode=mode)
    each_row = B * (D * H + H * generated(mode) + applied(mode))
    each_batch = (N + M) * P * K if mode == "over_parameterized" else 0
    assert products(traced(dense)) == each_row + each_batch
    with folded(dense):
        assert products(traced(dense)) == each_row


@pytest.mark.parametrize("mode", MODES)
def test_no_row_gets_a_whole_matrix_unless_the_mode_is_basic(mode):
    sizes = [
        int(np.prod(output.shape))
        for op in traced(layer(D, mode=mode)).graph.get_operations()
        for output in op.outputs
        if output.shape.rank and output.shape[0] == B
    ]
    assert (B * N * M in sizes) == (mode == "basic")


# ---- folding ------------------------------------------------------------------------------------


def test_folded_products_are_those_of_the_weights_at_the_time():
    dense = layer(D)
    for _ in range(2):
        plain = dense([X, Z]).numpy()
        with folded(dense):
            np.testing.assert_allclose(dense([X, Z]), plain, atol=1e-5)
            dense.shared["u"].left.assign(dense.shared["u"].left + 0.5)
            np.testing.assert_allclose(dense([X, Z]), plain, atol=1e-5)  # made before
        assert np.abs(dense([X, Z]) - plain).max() > 1e-3


def test_folded_matrices_are_no_weights_and_need_none_of_the_long_ones():
    dense = layer(D)
    assert not any("product" in weight.path for weight in dense.weights)
    with folded(dense):
        names = {variable.name for variable in traced(dense).graph.variables}
    assert {name.split("/")[-1].removesuffix(":0") for name in names} == {"kernel", "bias", "product"}
    assert any("left" in variable.name for variable in traced(dense).graph.variables)


def test_what_fails_inside_does_not_stay_folded():
    dense = layer(D)
    with pytest.raises(KeyError), folded(dense):
        raise KeyError
    assert not any(part.is_folded for part in dense.shared.values())


def test_a_foldable_layer_says_how_it_folds():
    with pytest.raises(NotImplementedError, match=r"Foldable must define fold\(\)"):
        Foldable().fold()


def test_a_product_starts_as_wide_as_a_single_matrix():
    keras.utils.set_random_seed(1)
    dense = ProductDense(40, 200)
    dense.build((None, 60))
    assert np.var(dense.left.numpy() @ dense.right.numpy()) == pytest.approx(2 / 100, rel=0.1)
    assert np.std(dense.left) == pytest.approx(np.std(dense.right), rel=0.05)


# ---- the start, gradients and options -----------------------------------------------------------


def test_s_starts_at_one_over_the_root_of_its_rank_and_outputs_as_wide_as_inputs():
    keras.utils.set_random_seed(2)
    dense = GeneratedDense(64, Generation(rank_k=32, overparam_p=64))
    dense.build([(None, 64), (None, 4)])
    made = dense.generators[0](np.zeros((1, 4), np.float32))
    assert np.std(made["s"]) == pytest.approx(32**-0.5, rel=0.1)
    assert not made["bias"].numpy().any()
    varied = dense.generators[0].output_layer.kernel.numpy()[:, : 32 * 32] * 32**0.5  # 32 hidden units
    assert varied.std() == pytest.approx(32**-0.5, rel=0.1)
    x = np.random.default_rng(1).normal(size=(500, 64)).astype(np.float32)
    assert 0.5 < np.std(dense([x, np.zeros((500, 4), np.float32)])) < 2  # of a plain layer: 1


def test_what_is_averaged_starts_as_wide_as_what_is_not():
    keras.utils.set_random_seed(2)
    dense = GeneratedDense(40, Generation(rank_k=32, overparam_p=33))
    dense.build([(None, 40), (None, 2), (None, 3)])
    pairs = zip(dense.generators, (2, 3), strict=True)
    s = [generator(np.zeros((1, width), np.float32))["s"] for generator, width in pairs]
    assert np.std(np.mean(s, axis=0)) == pytest.approx(32**-0.5, rel=0.1)


@pytest.mark.parametrize("stop", [False, True])
def test_the_gradient_reaches_the_condition_unless_it_is_stopped(stop):
    dense, x, z = layer(D, stop_condition_gradient=stop), tf.constant(X), tf.constant(Z)
    with tf.GradientTape() as tape:
        tape.watch([x, z])
        y = dense([x, z])
    of_x, of_z = tape.gradient(y, [x, z], unconnected_gradients="zero")
    assert (of_x.numpy() != 0).any()
    assert (of_z.numpy() != 0).any() != stop


@pytest.mark.parametrize("mode", MODES)
def test_the_penalty_is_of_all_kernels(mode):
    dense = layer(D, mode=mode, penalty=0.1)
    kernels = [v for v in dense.trainable_variables if "bias" not in v.path.split("/")[-1]]
    assert len(kernels) == {"basic": 2, "low_rank": 2, "decomposed": 4, "over_parameterized": 6}[mode]
    expected_sum = 0.05 * sum(float(np.sum(np.square(v))) for v in kernels)
    assert float(tf.add_n(dense.losses)) == pytest.approx(expected_sum, rel=1e-5)
    last = {v.path for v in dense.kernel_variables()}
    assert last <= {kernel.path for kernel in kernels}
    assert len(last) == {"basic": 1, "low_rank": 1, "decomposed": 3, "over_parameterized": 5}[mode]


def test_under_mixed_precision_the_product_is_of_the_compute_type():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        dense = layer(D)
        with folded(dense):
            y = dense([X, Z])
        assert y.dtype == dense([X, Z]).dtype == tf.bfloat16
        assert dense.shared["u"].product.dtype == tf.float32
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_stack_has_the_options_of_a_plain_one():
    keras.utils.set_random_seed(1)
    stack = GeneratedMLP((5, 4), options(), activations=["tanh", "linear"], dropout=0.5, batch_norm=True)
    stack.build([(None, N), (None, D)])
    h = np.tanh(expected(stack.hidden[0], X, Z) / np.sqrt(1 + stack.norms[0].epsilon))
    y = expected(stack.hidden[1], h, Z) / np.sqrt(1 + stack.norms[1].epsilon)
    np.testing.assert_allclose(stack([X, Z]), y, rtol=1e-4, atol=1e-4)
    assert (stack([X, Z], training=True).numpy() == 0).any()
    assert stack.width(N) == 4
    assert stack.last_variables() == stack.hidden[1].kernel_variables()


def test_a_stack_without_layers_is_the_identity():
    stack = GeneratedMLP((), options())
    np.testing.assert_array_equal(stack([X, Z]), X)
    assert stack.last_variables() == []


def test_a_rank_that_a_layer_cannot_have_is_refused():
    made = Generation(rank_k=16)
    with pytest.raises(ValueError, match="apg.rank_k is 16, which is more than the units of a layer, 5."):
        GeneratedDense(M, made)
    with pytest.raises(ValueError, match="apg.rank_k is 16, which is more than the inputs of a layer, 6."):
        GeneratedDense(20, made).build([(None, N)])
    GeneratedDense(M, Generation(mode="basic", rank_k=16)).build([(None, N)])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"mode": "lowrank"}, "apg.mode is 'lowrank'. Did you mean 'low_rank'. Choices: basic, low_rank, "),
        ({"rank": 4}, "apg: unknown key 'rank' .value 4.. Did you mean 'rank_k'"),
        ({"rank_k": 0}, "apg.rank_k is 0; it lies from 1 to 65536"),
        (
            {"overparam_p": 16},
            "apg.overparam_p is 16 and rank_k 16: products of no larger",
        ),
        ({"condition_mix": "sum"}, "apg.condition_mix is 'sum'. Choices: concat, mean"),
        ({"condition_features": "tab"}, "apg.condition_features expects a list of texts or null, not 'tab'"),
        (
            {"condition_features": []},
            "apg.condition_features is empty. Name columns, or",
        ),
        ({"new_condition_emb": True}, "apg.new_condition_emb has no effect without condition_features"),
        (
            {"condition_participate_bottom": False},
            "apg.condition_participate_bottom has no effect without condition_features",
        ),
        (
            {"condition_features": ["a"], "new_condition_emb": True, "condition_participate_bottom": False},
            "apg.new_condition_emb has no effect with condition_participate_bottom: False",
        ),
        (
            {"condition_features": ["a"], "new_condition_emb": True, "stop_condition_gradient": True},
            "apg.stop_condition_gradient leaves embeddings that only the condition reads untrained",
        ),
        (
            {
                "condition_features": ["a"],
                "condition_participate_bottom": False,
                "stop_condition_gradient": True,
            },
            "apg.stop_condition_gradient leaves embeddings that only the condition reads untrained",
        ),
        ([4], r"apg expects a mapping, not \[4\]"),
    ],
)
def test_a_block_that_cannot_be_is_refused(block, message):
    with pytest.raises(ValueError, match=message):
        read_block(Generation, block, "apg")

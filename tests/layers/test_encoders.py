"""Encoders of sequences: the numbers of the papers' equations, and what holds for all of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.layers import Dice, make_encoder
from fuxi_mtl.layers.sequences.base import SequenceEncoder, masked_softmax
from fuxi_mtl.layers.sequences.transformer import TransformerBlock
from fuxi_mtl.options import ENCODERS

VARIANTS = {
    "mean": {},
    "sum": {},
    "max": {},
    "din": {"hidden_units": [5, 3]},
    "din softmax": {"hidden_units": [5], "normalizer": "softmax", "activation": "prelu"},
    "din scaled_softmax": {"hidden_units": [5], "normalizer": "scaled_softmax"},
    "din sigmoid": {"hidden_units": [5], "normalizer": "sigmoid", "output_activation": "tanh"},
    "target_attention": {"heads": 2, "width": 6},
    "target_attention plain": {"heads": 2, "projected": False, "residual_query": True},
    "transformer": {"heads": 2},
    "transformer mean": {"heads": 2, "blocks": 2, "pooling": "mean", "causal": True},
    "transformer sum": {"heads": 2, "norm": "pre", "pooling": "sum"},
    "transformer concat": {"heads": 2, "pooling": "concat"},
}
every = pytest.mark.parametrize("variant", VARIANTS)
ZEROS_IF_EMPTY = [name for name in VARIANTS if "transformer" not in name]


def made(variant, seed=3):
    """An encoder, and rows with 3, 0, 5 and 1 events in 5 places, padding behind and before."""
    keras.utils.set_random_seed(seed)
    encoder = make_encoder({"type": variant.split()[0], **VARIANTS[variant]})
    rng = np.random.default_rng(seed)
    present = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)
    inputs = {
        "keys": rng.normal(size=(4, 5, 4)).astype(np.float32),
        "present": present,
        "query": rng.normal(size=(4, 4)).astype(np.float32),
    }
    encoder(tensors(inputs))
    for variable in encoder.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return encoder, inputs


def tensors(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}


def encoded(encoder, keys, present, query=None, training=False):
    inputs = {"keys": tf.constant([keys], tf.float32), "present": tf.constant([np.array(present, bool)])}
    if query is not None:
        inputs["query"] = tf.constant([query], tf.float32)
    return encoder(inputs, training=training).numpy()[0]


K, M, Q = [[1, 0], [0, 1], [2, 2]], [1, 1, 0], [1, 2]


@pytest.mark.parametrize(("kind", "expected"), [("sum", [1, 1]), ("mean", [0.5, 0.5]), ("max", [1, 1])])
def test_pooled_histories_are_those_of_their_events(kind, expected):
    assert encoded(make_encoder(kind), K, M) == pytest.approx(expected)


def test_the_largest_of_negative_numbers_is_negative():
    assert encoded(make_encoder("max"), [[-1, -2], [-3, -1], [0, 0]], M) == pytest.approx([-1, -1])


def test_a_doubled_event_counts_twice_in_the_sum_and_not_in_the_mean():
    twice = [[3, 4], [3, 4], [9, 9]]
    assert encoded(make_encoder("mean"), twice, M) == pytest.approx([3, 4])
    assert encoded(make_encoder("sum"), twice, M) == pytest.approx([6, 8])


def din(kernel=None, output=(1, 0.5), bias=0.1, **options):
    """DIN on vectors of width 2 with two hidden units, and these weights."""
    encoder = make_encoder({"type": "din", "hidden_units": [2], "activation": "sigmoid", **options})
    encoded(encoder, K, M, Q)
    columns = np.tile([[0.1, -0.1]], (8, 1)) if kernel is None else kernel
    encoder.compare.kernel.assign(columns)
    encoder.rest[-1].kernel.assign(np.reshape(output, (2, 1)))
    encoder.rest[-1].bias.assign([bias])
    return encoder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.934094, 0.944987]),
        ({"normalizer": "softmax"}, [0.497277, 0.502723]),
        ({"normalizer": "scaled_softmax"}, [0.498074, 0.501926]),
        ({"activation": "relu"}, [0.8, 0.9]),
    ],
)
def test_din_gives_the_numbers_of_its_equation(options, expected):
    assert encoded(din(**options), K, M, Q) == pytest.approx(expected, abs=2e-6)


def test_din_whose_scores_are_all_one_is_the_sum_and_whose_shares_are_equal_is_the_mean():
    assert encoded(din(output=(0, 0), bias=1), K, M, Q) == pytest.approx([1, 1])
    assert encoded(din(output=(0, 0), normalizer="softmax"), K, M, Q) == pytest.approx([0.5, 0.5])


def test_a_history_twice_over_doubles_din_and_leaves_its_shares():
    twice, present = K[:2] * 2, [1] * 4
    assert encoded(din(), twice, present, Q) == pytest.approx([1.868188, 1.889974], abs=4e-6)
    assert encoded(din(normalizer="softmax"), twice, present, Q) == pytest.approx(
        [0.497277, 0.502723], abs=2e-6
    )


@pytest.mark.parametrize("width", [4, 6])
def test_the_first_layer_of_din_is_that_of_all_four_parts_side_by_side(width):
    rng = np.random.default_rng(0)
    encoder = make_encoder({"type": "din", "hidden_units": [7], "activation": "tanh"})
    keys, query = rng.normal(size=(3, 5, width)), rng.normal(size=(3, 4))
    inputs = {"keys": keys, "query": query, "present": np.ones((3, 5), bool)}
    given = {name: tf.constant(x if name == "present" else np.float32(x)) for name, x in inputs.items()}
    found = encoder(given).numpy()
    wide = np.broadcast_to(query[:, None], (3, 5, 4))
    same = keys[..., :4]
    parts = np.concatenate([wide, keys, wide - same, wide * same], axis=-1)
    (kernel, bias), (last, end) = (
        [variable.numpy() for variable in dense.weights] for dense in (encoder.compare, encoder.rest[-1])
    )
    scores = np.tanh(parts @ kernel + bias) @ last + end
    assert found == pytest.approx((scores * keys).sum(axis=1), abs=1e-5)


def test_din_test_of_fuxictr_has_1217_parameters_in_its_attention():
    encoder = make_encoder("din")
    encoded(encoder, np.ones((2, 4)), [1, 1], np.ones(4))
    assert encoder.count_params() - 2 * 64 == 1217  # without the running statistics
    assert sum(int(np.prod(v.shape)) for v in encoder.trainable_variables) == 1217


def test_dice_gives_the_numbers_of_its_equation():
    dice, x = Dice(), tf.constant([[-1.0], [0.0], [2.0]])
    assert dice(tf.constant([[-1.0], [2.0]])).numpy().ravel() == pytest.approx(
        [-0.268941, 1.761594], abs=1e-6
    )
    assert dice(x, training=True).numpy().ravel() == pytest.approx([-0.255585, 0, 1.583764], abs=1e-6)
    dice.alpha.assign([0.25])
    assert dice(x, training=True).numpy().ravel() == pytest.approx([-0.441689, 0, 1.687823], abs=1e-6)


def test_dice_takes_its_statistics_over_rows_that_count():
    padded, plain = Dice(), Dice()
    x = tf.constant([[-1.0], [0.0], [2.0], [50.0]])
    counts = tf.constant([True, True, True, False])
    first = padded(x, counts, training=True).numpy()[:3]
    assert first == pytest.approx(plain(x[:3], training=True).numpy())
    assert padded.mean.numpy() == pytest.approx(0.01 / 3)
    assert padded.variance.numpy() == pytest.approx(0.99 + 0.01 * 14 / 9)


def test_dice_without_a_row_that_counts_keeps_its_statistics():
    dice = Dice()
    found = dice(tf.constant([[-1.0], [2.0]]), tf.constant([False, False]), training=True).numpy().ravel()
    assert found == pytest.approx([-0.268941, 1.761594], abs=1e-6)
    assert (dice.mean.numpy(), dice.variance.numpy()) == (0, 1)


def test_target_attention_with_identity_maps_gives_the_numbers_of_its_equation():
    encoder = make_encoder({"type": "target_attention", "heads": 2, "projected": False})
    keys = [[1, 0, 1, 0], [0, 2, 0, 1], [1, 1, 1, 1]]
    found = encoded(encoder, keys, M, [1, 0, 0, 1])
    assert found == pytest.approx([0.669762, 0.660477, 0.330238, 0.669762], abs=1e-6)
    projected = make_encoder({"type": "target_attention", "heads": 2, "width": 4})
    encoded(projected, keys, M, [1, 0, 0, 1])
    for variable in projected.weights:
        variable.assign(np.eye(4))
    assert encoded(projected, keys, M, [1, 0, 0, 1]) == pytest.approx(found, abs=1e-6)


def test_target_attention_is_that_of_projected_events():
    keras.utils.set_random_seed(1)
    encoder = make_encoder({"type": "target_attention", "heads": 2, "width": 6, "output_width": 3})
    rng = np.random.default_rng(1)
    keys, query = rng.normal(size=(5, 4)), rng.normal(size=7)
    found = encoded(encoder, keys, [1] * 5, query)
    of_query, of_key, of_value, of_output = (variable.numpy() for variable in encoder.weights)
    heads = []
    for columns in (slice(0, 3), slice(3, 6)):
        scores = (keys @ of_key[:, columns]) @ (query @ of_query[:, columns]) / 3**0.5
        shares = np.exp(scores) / np.exp(scores).sum()
        heads.append(shares @ (keys @ of_value[:, columns]))
    assert found == pytest.approx(np.concatenate(heads) @ of_output, abs=1e-5)
    encoder.of_query.assign(np.zeros((7, 6)))
    mean = keys.mean(axis=0) @ of_value @ of_output
    assert encoded(encoder, keys, [1] * 5, query) == pytest.approx(mean, abs=1e-5)


def test_target_attention_of_16_columns_has_4096_parameters():
    encoder = make_encoder("target_attention")
    encoded(encoder, np.ones((2, 16)), [1, 1], np.ones(16))
    assert encoder.count_params() == 4096


def biased(bias, **options):
    """Attention of identity maps with a number of each head added to each score."""
    encoder = make_encoder({"type": "target_attention", "heads": 2, "time_bias": True, **options})
    inputs = {
        "keys": [[[1.0, 0, 1, 0], [0, 2, 0, 1], [1, 1, 1, 1]]],
        "query": [[1.0, 0, 0, 1]],
        "bias": [bias],
    }
    given = {name: tf.constant(value) for name, value in inputs.items()}
    return encoder({**given, "present": tf.constant([[True, True, False]])}).numpy()[0]


def test_a_bias_of_times_is_added_to_the_scores_of_each_head():
    plain = [0.669762, 0.660477, 0.330238, 0.669762]
    nothing, alike = np.zeros((3, 2), np.float32), np.tile(np.float32([[3, -2]]), (3, 1))
    for bias in (nothing, alike):  # what all events have changes no share
        assert biased(bias, projected=False) == pytest.approx(plain, abs=2e-6)
    first = np.float32([[40, -40], [0, 0], [90, 90]])
    assert biased(first, projected=False) == pytest.approx([1, 0, 0, 1], abs=1e-5)
    scores = np.array([1, 0]) / np.sqrt(2) + [0.3, -0.2]
    shares = np.exp(scores) / np.exp(scores).sum()
    found = biased(np.float32([[0.3, 0], [-0.2, 0], [7, 7]]), projected=False)
    assert found[:2] == pytest.approx([shares[0], 2 * shares[1]], abs=1e-6)


def test_a_bias_that_is_to_be_read_must_be_there():
    encoder = make_encoder({"type": "target_attention", "time_bias": True})
    with pytest.raises(ValueError, match="TargetAttention reads a bias of each event, and there is none"):
        encoded(encoder, np.ones((2, 4)), [1, 1], np.ones(4))


def test_rows_side_by_side_are_those_of_the_events_by_how_new_they_are():
    encoder, inputs = made("transformer concat")
    found = encoder(tensors(inputs)).numpy().reshape(4, 6, 4)
    whole = make_encoder({"type": "transformer", "heads": 2, "pooling": "sum"})
    whole(tensors(inputs))
    whole.set_weights(encoder.get_weights())
    assert found.sum(axis=1) == pytest.approx(whole(tensors(inputs)).numpy(), abs=1e-5)
    assert (found[0, :2] == 0).all()  # three events and the target
    assert (found[1, :5] == 0).all()
    moved = {name: np.roll(inputs[name], 2, axis=1) if name != "query" else inputs[name] for name in inputs}
    for row in (0, 1):
        assert encoder(tensors(moved)).numpy().reshape(4, 6, 4)[row] == pytest.approx(found[row], abs=1e-5)
    target = make_encoder({"type": "transformer", "heads": 2})
    target(tensors(inputs))
    target.set_weights(encoder.get_weights())
    assert found[:, -1] == pytest.approx(target(tensors(inputs)).numpy(), abs=1e-5)


def test_rows_side_by_side_need_a_number_of_places():
    with pytest.raises(ValueError, match="pooling: concat needs histories of a known number of places"):
        make_encoder({"type": "transformer", "pooling": "concat"}).width_at(None, 4, 4)


def block(norm, width=2, heads=1):
    """A block whose attention has identity maps and whose feed-forward network is 0."""
    made = TransformerBlock(width, heads, width, 0.0, norm)
    made.build()
    for dense in (made.query, made.key, made.value, made.output_map):
        dense.kernel.assign(np.eye(width))
    made.outer.kernel.assign(np.zeros((width, width)))
    return made


@pytest.mark.parametrize(
    ("norm", "expected"), [("post", [0.999499, -0.999499]), ("pre", [1.885423, -0.885423])]
)
def test_a_transformer_block_gives_the_numbers_of_its_equation(norm, expected):
    x, allowed = tf.constant([[[1.0, 0.0], [0.0, 1.0]]]), tf.ones((1, 1, 1, 2), tf.bool)
    found = block(norm)(x, allowed).numpy()[0]
    assert found == pytest.approx(np.array([expected, expected[::-1]]), abs=2e-6)
    assert block(norm)(x, allowed, last=True).numpy()[0] == pytest.approx(found[1:], abs=1e-6)


def test_a_transformer_block_of_zeros_is_the_identity_where_rows_are_normalised_before():
    made = block("pre")
    made.output_map.kernel.assign(np.zeros((2, 2)))
    x = tf.constant([[[1.0, 5.0], [2.0, 1.0]]])
    assert made(x, tf.ones((1, 1, 1, 2), tf.bool)).numpy() == pytest.approx(x.numpy())


def test_a_transformer_block_of_32_columns_has_6464_parameters():
    encoder = make_encoder("transformer")
    encoded(encoder, np.ones((2, 32)), [1, 1], np.ones(32))
    assert encoder.count_params() == 6464


def test_order_means_nothing_to_a_transformer_without_positions_unless_it_is_causal():
    encoder, inputs = made("transformer")
    turned = {**inputs, "keys": inputs["keys"][:, ::-1], "present": inputs["present"][:, ::-1]}
    assert encoder(tensors(turned)).numpy() == pytest.approx(encoder(tensors(inputs)).numpy(), abs=1e-5)
    encoder, inputs = made("transformer mean")
    turned = {**inputs, "keys": inputs["keys"][:, ::-1]}
    assert abs(encoder(tensors(turned)) - encoder(tensors(inputs))).numpy()[2].max() > 1e-3


@every
def test_what_lies_at_padding_changes_no_bit_and_gets_no_gradient(variant):
    for training in (False, True):
        (encoder, inputs), (other, _) = made(variant), made(variant)
        for filling in (np.nan, np.inf, 1e30):
            odd = {**inputs, "keys": np.where(inputs["present"][..., None], inputs["keys"], filling)}
            keys = tf.constant(odd["keys"], tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(keys)
                x = other({**tensors(odd), "keys": keys}, training=training)
                loss = tf.reduce_sum(tf.square(x))
            same = encoder(tensors(inputs), training=training)
            assert x.numpy().tobytes() == same.numpy().tobytes()
            gradient = tape.gradient(loss, keys).numpy()
            assert (gradient[~inputs["present"]] == 0).all()
            assert np.isfinite(gradient).all()
            assert (gradient[inputs["present"]] != 0).any()


@every
def test_more_padding_changes_nothing(variant):
    for training in (False, True):
        (encoder, inputs), (other, _) = made(variant), made(variant)
        longer = {
            "keys": np.pad(inputs["keys"], ((0, 0), (2, 5), (0, 0)), constant_values=7),
            "present": np.pad(inputs["present"], ((0, 0), (2, 5))),
            "query": inputs["query"],
        }
        expected = encoder(tensors(inputs), training=training).numpy()
        found = other(tensors(longer), training=training).numpy()
        if "concat" in variant:  # more columns, of zeros
            assert (found[:, : -expected.shape[1]] == 0).all()
            found = found[:, -expected.shape[1] :]
        assert found == pytest.approx(expected, abs=1e-6)
        for one, another in zip(encoder.non_trainable_variables, other.non_trainable_variables, strict=True):
            assert one.numpy() == pytest.approx(another.numpy(), abs=1e-6)


@pytest.mark.parametrize("variant", ZEROS_IF_EMPTY)
def test_a_history_without_events_is_zeros_and_trains_nothing(variant):
    encoder, inputs = made(variant)
    inputs["present"][:] = False
    keys, query = tf.constant(inputs["keys"]), tf.constant(inputs["query"])
    with tf.GradientTape() as tape:
        tape.watch([keys, query])
        x = encoder({"keys": keys, "query": query, "present": tf.constant(inputs["present"])})
        loss = tf.reduce_sum(x * x + x)
    assert (x.numpy() == 0).all()
    for gradient in tape.gradient(loss, [keys, query, *encoder.trainable_variables]):
        assert gradient is None or (gradient.numpy() == 0).all()


@pytest.mark.parametrize("variant", ["mean", "din", "target_attention"])
def test_a_history_without_events_may_be_a_trained_vector(variant):
    encoder = make_encoder({"type": variant, "empty": "learned"})
    _, inputs = made(variant)
    encoder(tensors(inputs))
    encoder.instead.assign([1.0, 2.0, 3.0, 4.0])
    assert encoder(tensors(inputs)).numpy()[1] == pytest.approx([1, 2, 3, 4])
    assert abs(encoder(tensors(inputs)).numpy()[0] - [1, 2, 3, 4]).max() > 0.1


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "transformer" in name])
def test_a_transformer_reads_the_target_where_there_are_no_events(variant):
    encoder, inputs = made(variant)
    alone = {"keys": tf.zeros((1, 1, 4)), "present": tf.zeros((1, 1), tf.bool)}
    found = encoder({**alone, "query": inputs["query"][1:2]}).numpy()
    whole = encoder(tensors(inputs)).numpy()[1:2]
    if "concat" in variant:
        assert (whole[:, :-4] == 0).all()
        assert (found[:, :4] == 0).all()
        found, whole = found[:, -4:], whole[:, -4:]
    assert whole == pytest.approx(found, abs=1e-5)
    assert abs(found).max() > 0.01


@every
def test_the_order_of_events_means_nothing_but_to_a_causal_encoder(variant):
    encoder, inputs = made(variant)
    assert encoder.ordered == (variant in ("transformer mean", "transformer concat"))
    if encoder.ordered:
        return
    order = [3, 1, 4, 0, 2]
    turned = {**inputs, "keys": inputs["keys"][:, order], "present": inputs["present"][:, order]}
    assert encoder(tensors(turned)).numpy() == pytest.approx(encoder(tensors(inputs)).numpy(), abs=1e-5)


@every
def test_an_encoder_is_made_again_of_its_configuration(variant):
    encoder, inputs = made(variant)
    again = type(encoder).from_config(encoder.get_config())
    again(tensors(inputs))
    again.set_weights(encoder.get_weights())
    assert again(tensors(inputs)).numpy().tobytes() == encoder(tensors(inputs)).numpy().tobytes()
    width = 6 * 4 if "concat" in variant else 4
    assert again.compute_output_shape({name: value.shape for name, value in inputs.items()}) == (4, width)


@every
def test_scores_are_float32_under_mixed_precision(variant):
    encoder, inputs = made(variant)
    half = type(encoder).from_config({**encoder.get_config(), "dtype": "mixed_bfloat16"})
    half(tensors(inputs))
    half.set_weights(encoder.get_weights())
    x = half(tensors(inputs))
    assert x.dtype == tf.bfloat16
    assert (x == tf.cast(encoder(tensors(inputs)), tf.bfloat16)).numpy().all()


def test_shares_are_finite_for_scores_of_any_size():
    scores = tf.constant([[1e30, -1e30, 0.0], [5.0, 5.0, 1e30], [0.0, 0.0, 0.0]])
    present = tf.constant([[True, True, True], [True, True, False], [False, False, False]])
    found = masked_softmax(scores, present).numpy()
    assert found == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]))


def test_dropout_is_for_training_only():
    for variant in ("din", "target_attention", "transformer"):
        encoder = make_encoder({"type": variant, "dropout": 0.5})
        _, inputs = made(variant)
        plain = [encoder(tensors(inputs)).numpy() for _ in range(2)]
        assert plain[0].tobytes() == plain[1].tobytes()
        assert abs(encoder(tensors(inputs), training=True) - plain[0]).numpy().max() > 1e-3


def test_the_query_can_be_left_alone():
    encoder, inputs = (
        din(stop_query_gradient=True),
        tensors({"keys": np.float32([K]), "query": np.float32([Q])}),
    )
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        x = encoder({**inputs, "present": tf.constant([[True, True, False]])})
    gradients = tape.gradient(x, inputs)
    assert gradients["query"] is None
    assert (gradients["keys"].numpy()[:, :2] != 0).all()


@pytest.mark.parametrize(
    ("spec", "width", "query", "told"),
    [
        ("din", 4, None, "reads a history for a target, and there is none"),
        ("din", 4, 6, "width 6 cannot be compared with events of width 4"),
        ({"type": "target_attention", "heads": 3}, 4, 4, "no multiple of heads 3"),
        ({"type": "target_attention", "projected": False}, 8, 4, "give them one width"),
        ({"type": "target_attention", "projected": False, "output_width": 2}, 4, 4, "has no effect"),
        ({"type": "target_attention", "residual_query": True, "output_width": 2}, 4, 4, "leave output_width"),
        ("transformer", 4, 3, "is 3 wide"),
        ({"type": "transformer", "heads": 3}, 4, 4, "cannot be split among 3 heads"),
        ("lstm", 4, 4, "lstm"),
        ({"type": "din", "heads": 3}, 4, 4, "heads"),
        ({"type": "din", "hidden_units": [0]}, 4, 4, "it lies from 1"),
    ],
)
def test_an_encoder_says_what_does_not_fit(spec, width, query, told):
    with pytest.raises(ValueError, match=told):
        encoded(make_encoder(spec), np.ones((2, width)), [1, 1], None if query is None else np.ones(query))


def test_an_encoder_must_encode():
    with pytest.raises(NotImplementedError, match="must define encode"):
        encoded(SequenceEncoder(), K, M)


def test_all_encoders_are_tried():
    assert {name.split()[0] for name in VARIANTS} == set(ENCODERS)

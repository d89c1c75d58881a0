"""Stabilised gates, and the blocks of nested options."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESMM, MMoE
from fuxi_mtl.layers import Gate, GatedExperts, make_bottom
from fuxi_mtl.layers.checks import check_choice, check_range
from fuxi_mtl.layers.stabilizing import enabled_stabilize, gate_penalty
from fuxi_mtl.options.blocks import GateStabilize
from fuxi_mtl.options.values import block as read_block

# One gate and two rows: each row prefers another expert, two experts are preferred by none.
GATE = tf.constant([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]])
ENTROPY, DIVERGENCE = 0.940448, 0.192745
QUIET = {"temperature": 1.0, "noise_std": 0.0, "entropy_reg_weight": 0.0, "load_balance_kl_weight": 0.0}


def built_gate(experts=4, **options):
    keras.utils.set_random_seed(3)
    gate = Gate(experts, stabilize=GateStabilize(**{**QUIET, **options}))
    gate.build((None, 5))
    return gate


def test_s5_the_penalty_of_two_rows_by_hand():
    assert float(gate_penalty(GateStabilize(), [GATE])) == pytest.approx(-7.4770e-4, rel=1e-4)
    only_entropy = GateStabilize(entropy_reg_weight=1.0, load_balance_kl_weight=0.0)
    only_balance = GateStabilize(entropy_reg_weight=0.0, load_balance_kl_weight=1.0)
    assert float(gate_penalty(only_entropy, [GATE])) == pytest.approx(-ENTROPY, rel=1e-5)
    assert float(gate_penalty(only_balance, [GATE])) == pytest.approx(DIVERGENCE, rel=1e-5)


def test_the_penalty_is_a_mean_over_tasks():
    uniform = tf.fill((2, 4), 0.25)
    expected = 1e-3 * (DIVERGENCE + 0) / 2 - 1e-3 * (ENTROPY + np.log(4)) / 2
    assert float(gate_penalty(GateStabilize(), [GATE, uniform])) == pytest.approx(expected, rel=1e-4)


def test_uniform_gates_have_the_lowest_penalty():
    uniform = tf.fill((3, 4), 0.25)
    assert float(gate_penalty(GateStabilize(), [uniform])) == pytest.approx(-1e-3 * np.log(4), rel=1e-5)
    one_hot = tf.one_hot([0, 0, 0], 4)
    assert float(gate_penalty(GateStabilize(), [one_hot])) == pytest.approx(1e-3 * np.log(4), rel=1e-5)


def test_minimising_the_penalty_spreads_a_gate():
    """The sign: plus the entropy, as one document prints it, would make gates choose one expert."""
    logits = tf.Variable([[2.0, 0.0, -1.0]])
    for options in ({"load_balance_kl_weight": 0.0}, {"entropy_reg_weight": 0.0}):
        with tf.GradientTape() as tape:
            penalty = gate_penalty(GateStabilize(**options), [tf.nn.softmax(logits)])
        gradient = tape.gradient(penalty, logits).numpy()[0]
        assert gradient[0] > 0 > gradient[2]


def test_the_temperature_divides_the_logits_in_training_and_afterwards():
    plain, warm = Gate(4), built_gate(temperature=2.0)
    plain.build((None, 5))
    plain.set_weights(warm.get_weights())
    x = keras.random.normal((6, 5))
    logits = plain.logits(x).numpy() / 2
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(warm(x), expected, rtol=1e-5)
    np.testing.assert_allclose(warm(x, training=True), expected, rtol=1e-5)
    np.testing.assert_allclose(built_gate(temperature=1e6)(x), np.full((6, 4), 0.25), rtol=1e-4)


def test_noise_comes_in_training_only_and_before_the_temperature():
    x = tf.zeros((4000, 5))  # logits of 0: the log of two shares differs by the noise alone
    for temperature in (1.0, 4.0):
        gate = built_gate(2, noise_std=0.5, temperature=temperature)
        shares = gate(x, training=True).numpy()
        difference = np.log(shares[:, 0] / shares[:, 1])
        assert difference.std() == pytest.approx(0.5 * np.sqrt(2) / temperature, rel=0.05)
        assert difference.mean() == pytest.approx(0, abs=0.05)
        np.testing.assert_allclose(gate(x), np.full((4000, 2), 0.5), rtol=1e-6)


def one_step(model):
    """The heads, losses and gradients of one training pass."""
    keras.utils.set_random_seed(1)
    with tf.GradientTape() as tape:
        heads = model(tiny.batch(model.tasks)[0], training=True)
        total = tf.add_n([tf.reduce_sum(tf.sin(head)) for head in heads.values()] + model.losses)
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    return [*heads.values(), total, *map(tf.convert_to_tensor, gradients)]


def small(cls, tasks, **changes):
    keras.utils.set_random_seed(1)
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, net_dropout=0.3, **changes))
    model.build()
    return model


@pytest.mark.parametrize("block", [{"enabled": False, "temperature": 3.0}, QUIET])
def test_a_block_that_asks_for_nothing_changes_no_bit(block):
    tasks = tiny.PLAIN["two"]
    plain, off = small(MMoE, tasks), small(MMoE, tasks, gate_stabilize=block)
    for one, other in zip(one_step(plain), one_step(off), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(plain.variables) == len(off.variables)


def test_the_penalty_is_added_once_and_in_training_only():
    block = {**QUIET, "entropy_reg_weight": 0.5, "load_balance_kl_weight": 0.25}
    model = small(MMoE, tiny.PLAIN["two"], gate_stabilize=block)
    inputs = tiny.batch(model.tasks)[0]
    model(inputs)
    assert model.losses == []
    for _ in range(2):  # what one call adds is gone with the next
        model(inputs, training=True)
    (found,) = model.losses
    shares = [gate(model.embed(inputs)) for gate in model.bottom.gates]
    assert float(found) == pytest.approx(float(gate_penalty(GateStabilize(**block), shares)), rel=1e-5)


def test_every_mmoe_bottom_may_be_stabilised():
    model = small(
        ESMM,
        tiny.tasks_of(tiny.NAMED["chain"]),
        bottom={"type": "MMoE", "num_experts": 2, "expert_hidden_units": [4], "gate_stabilize": {}},
    )
    model.compile("adam", run_eagerly=True)
    before = float(model.train_step(tiny.batch(model.tasks))["loss"])
    assert np.isfinite(before)
    assert all(gate.temperature == 1.2 and gate.noise is not None for gate in model.bottom.gates)
    assert len(model.losses) == 1


def test_shares_stay_float32_where_the_network_is_not():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        bottom = GatedExperts(["a"], {}, num_experts=2, expert_hidden_units=[3], gate_stabilize={})
        bottom(tf.ones((4, 5)), training=True)
        assert bottom.losses[0].dtype == tf.float32
        assert bottom.gates[0](tf.ones((4, 5)), training=True).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"temprature": 2}, "gate_stabilize: unknown key 'temprature' .value 2.. Did you mean 'temperature'"),
        ({"temperature": 0}, "gate_stabilize.temperature is 0; it must be above 0"),
        ({"eps": 0.0}, "gate_stabilize.eps is 0; it must be above 0"),
        ({"noise_std": -1}, "gate_stabilize.noise_std is -1; the least is 0"),
        ({"temperature": "warm"}, "gate_stabilize.temperature expects a number, not 'warm'"),
        ({"temperature": True}, "gate_stabilize.temperature expects a number, not true"),
        ({"enabled": 1}, "gate_stabilize.enabled expects true or false, not 1"),
        ([1], r"gate_stabilize expects a mapping or null, not \[1\]"),
    ],
)
def test_a_wrong_block_says_what_is_right(block, message):
    with pytest.raises(ValueError, match=message):
        make_bottom({"type": "MMoE", "gate_stabilize": block}, ["a"], {})


def test_no_block_asks_for_nothing():
    assert enabled_stabilize(None) is None


@dataclass(frozen=True)
class Example:
    widths: Sequence[int] = ()
    width: int | None = None
    name: str = "x"


def test_a_block_of_lists_and_nulls():
    assert read_block(Example, None, "example") == Example()
    assert read_block(Example, {"widths": [1, 2], "width": None}, "example") == Example([1, 2])
    with pytest.raises(ValueError, match=r"example.widths\[0\] expects a whole number, not 1.5"):
        read_block(Example, {"widths": [1.5]}, "example")
    with pytest.raises(ValueError, match="example.width expects a whole number or null, not 'wide'"):
        read_block(Example, {"width": "wide"}, "example")


def test_choices_and_ranges_say_what_may_be():
    check_choice("example.name", "sum", ("sum", "mean"))
    with pytest.raises(ValueError, match="example.name is 'men'. Did you mean 'mean'. Choices: sum, mean."):
        check_choice("example.name", "men", ("sum", "mean"))
    check_range("example.rate", 1, 0, 1)
    with pytest.raises(ValueError, match="example.rate is 2; it lies from 0 to 1"):
        check_range("example.rate", 2, 0, 1)

"""Which precision is chosen, by what, and that a training keeps it."""

import keras
import pytest
import tensorflow as tf

from fuxi_mtl.training import precision
from fuxi_mtl.training.precision import BATCHES, PAYS, Precision, best_precision, fastest, use_precision

pytestmark = pytest.mark.usefixtures("float32_afterwards")


@pytest.fixture
def gains(monkeypatch):
    """Pretends that products were timed; returns the sides that were asked for."""
    asked = []

    def pretend(*values):
        def found(inner, outer):
            asked.append((inner, outer))
            return dict(zip(BATCHES, values, strict=True))

        monkeypatch.setattr(precision, "_gains", found)
        return asked

    return pretend


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), "float32"),
     (None, "float32")],
)  # fmt: skip
def test_on_a_gpu_its_compute_capability_decides(monkeypatch, gains, capability, expected):
    asked = gains(9, 9)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU0"])
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert best_precision([(8, 8)], 4096).policy == expected
    assert asked == []


def test_on_a_cpu_the_widest_product_of_the_model_decides(gains):
    asked = gains(1, 2)
    chosen = best_precision([(16, 8), (312, 128), (64, 1), (4, 100, 200)], 4096)
    assert asked == [(312, 128)]
    assert chosen == Precision("mixed_bfloat16", chosen.why, {"256": 1, "4096": 2})
    assert "by 312 x 128" in chosen.why
    assert "2.00 times with 4,096 rows" in chosen.why


def test_wider_products_are_timed_no_longer(gains):
    asked = gains(1, 2)
    best_precision([(10_000, 300), (4096, 4096)], 4096)
    assert asked == [(512, 512)]


@pytest.mark.parametrize(
    ("batch", "small", "large", "expected"),
    [(256, PAYS + 0.01, 0.5, "mixed_bfloat16"), (64, PAYS - 0.01, 9, "float32"),
     (1024, 1, 1.22, "mixed_bfloat16"), (1024, 1, 1.2, "float32"),
     (4096, 0.5, PAYS + 0.01, "mixed_bfloat16"), (100_000, 9, PAYS - 0.01, "float32")],
)  # fmt: skip
def test_the_gain_at_a_batch_lies_between_and_must_be_enough(gains, batch, small, large, expected):
    # 1024 is in the middle of 256 and 4096 in logarithms: the root of 1.22 is 1.105, that of 1.2 1.095.
    gains(small, large)
    assert best_precision([(8, 8)], batch).policy == expected


def test_a_model_without_a_matrix_stays_as_it_is():
    assert best_precision([], 4096).policy == "float32"


def test_products_are_really_timed_and_the_figures_kept():
    chosen = best_precision([(32, 16)], 4096)
    assert list(chosen.gains) == ["256", "4096"]
    assert all(gain > 0 for gain in chosen.gains.values())
    assert best_precision([(32, 16)], 4096) == chosen  # one choice for all seeds of a process


def test_calls_are_timed_in_turns_without_their_first_and_at_least_once():
    clock, said = [0.0], []

    def call(name, *takes):
        takes = list(takes)

        def run():
            said.append(name)
            clock[0] += takes.pop(0)

        return run

    calls = [call("a", 100, 3, 2, 9), call("b", 100, 5, 7, 9)]
    assert fastest(calls, 10, lambda: clock[0]) == [2, 5]
    assert "".join(said) == "ababab"
    assert fastest([call("a", 100, 3)], 0, lambda: clock[0]) == [3]


def test_auto_is_float32_until_a_model_is_known():
    assert use_precision("auto") == "float32"
    assert use_precision("mixed_bfloat16") == keras.config.dtype_policy().name == "mixed_bfloat16"


def test_float16_on_a_cpu_is_a_warning(caplog):
    use_precision("mixed_float16")
    assert "hundreds of times slower" in caplog.text

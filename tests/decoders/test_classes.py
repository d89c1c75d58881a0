"""The softmax decoder against golden numbers and its definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.decoders import make_decoder
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.tasks import Task

FEATURES = FeatureMap.of("t", [Feature("price", "numeric")], ["act"])
RAW = tf.constant([[2.0, 0.0, -1.0]] * 3)
CHANCES = [0.843795, 0.114195, 0.042010]


def made(classes=("a", "b", "c"), **options):
    task = Task("act", ("act",), kind="classes", decoder_options=tuple(options.items()))
    return make_decoder(task, replace(FEATURES, label_classes={"act": tuple(classes)} if classes else {}))


def test_softmax_has_the_golden_errors_chances_and_gradients():
    decoder = made()
    with tf.GradientTape() as tape:
        tape.watch(RAW)
        error = decoder.error(RAW, tf.constant([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(error, [0.169846, 2.169846, 3.169846], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(error, RAW), np.tile(CHANCES, (3, 1)) - np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.stack(decoder.parts(RAW))[:, 0], CHANCES, rtol=1e-5)


def test_a_shift_of_all_raw_numbers_changes_nothing_and_large_ones_are_finite():
    decoder, labels = made(), tf.constant([0.0, 1.0, 2.0])
    np.testing.assert_allclose(decoder.error(RAW + 50.0, labels), decoder.error(RAW, labels), rtol=1e-5)
    assert np.isfinite(decoder.error(80 * RAW, labels)).all()


def test_two_classes_are_the_sigmoid_of_the_difference():
    raw, labels = tf.constant([[0.3, 1.1], [2.0, -1.0]]), tf.constant([0.0, 1.0])
    bce = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=raw[:, 1] - raw[:, 0])
    np.testing.assert_allclose(made(("n", "y")).error(raw, labels), bce, rtol=1e-6)


def test_smoothing_gives_all_classes_a_share_and_weights_multiply_rows():
    labels, logs = [0, 1, 2], -np.log(CHANCES)
    smoothed = made(label_smoothing=0.1).error(RAW, tf.constant(labels, tf.float32))
    np.testing.assert_allclose(smoothed, 0.9 * logs[labels] + 0.1 * logs.mean(), rtol=1e-4)
    weighted = made(class_weights=[1.0, 2.0, 0.5]).error(RAW, tf.constant(labels, tf.float32))
    np.testing.assert_allclose(weighted, logs * [1, 2, 0.5], rtol=1e-4)


def test_heads_start_at_the_frequencies_of_one_row_at_least():
    start = made().fit(np.array([0.0, 0, 0, 1]), np.zeros((4, 0)))
    np.testing.assert_allclose(start, [math.log(0.75), math.log(0.25), math.log(0.25)])


@pytest.mark.parametrize(("classes", "served"), [(("a", "b", "c"), [0, 2]), (("1", "2", "5"), [1, 5])])
def test_the_value_is_the_class_where_it_is_a_number_else_its_place(classes, served):
    value = made(classes).value(tf.constant([[2.0, 0, -1], [0, 0, 0.5]]), {})
    assert value.numpy().tolist() == served


def test_numbers_of_classes_give_an_expected_value():
    decoder = made(values=[0.0, 1.0, 5.0])
    assert decoder.part_names == ("pred_a", "pred_b", "pred_c", "value")
    np.testing.assert_allclose(decoder.parts(RAW)[-1], [CHANCES[1] + 5 * CHANCES[2]] * 3, rtol=1e-5)


def test_lists_of_another_length_and_unknown_classes_are_refused():
    with pytest.raises(ValueError, match="class_weights has 2 numbers, and there are 3 classes: a, b, c"):
        made(class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="values has 1 numbers"):
        made(values=[1.0])
    with pytest.raises(ValueError, match="its classes are learnt from data that these features do not know"):
        made(None)


def test_declared_classes_are_those_where_no_data_say_them():
    task = Task("act", ("act",), kind="classes", decoder_options=(("classes", (0.0, 1.5, "x")),))
    assert make_decoder(task, FEATURES).classes == ("0", "1.5", "x")


def test_vector_scaling_finds_the_factors_and_shifts_that_spoilt_the_raw_numbers():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(20_000, 3)) * 2
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    slopes, shifts = np.array([0.5, 2.0, 1.0]), np.array([0.3, -0.4, 0.1])
    raw = ((true - shifts) / slopes).astype(np.float32)
    decoder = made(scaling="vector")
    decoder.fit(labels.astype(float), np.zeros((len(labels), 0)))
    plain = made().parts(tf.constant(raw[:5]))
    np.testing.assert_allclose(np.stack(decoder.parts(tf.constant(raw[:5]))), np.stack(plain), rtol=1e-5)
    decoder.settle(raw, labels.astype(float))
    np.testing.assert_allclose(decoder.slopes, slopes, rtol=0.08)
    moved = np.asarray(decoder.shifts) - np.mean(decoder.shifts)  # a shift of all changes nothing
    np.testing.assert_allclose(moved, shifts - shifts.mean(), atol=0.08)
    wanted = tf.nn.softmax(tf.constant(true[:200], tf.float32)).numpy()
    found = np.stack(decoder.parts(tf.constant(raw[:200])), axis=1)
    assert np.abs(found - wanted).max() < 0.04
    np.testing.assert_array_equal(decoder.value(tf.constant(raw[:200]), {}), found.argmax(axis=1))


def test_a_class_that_is_told_apart_without_a_mistake_leaves_scaling_finite():
    decoder = made(scaling="vector")
    raw = np.repeat(5 * np.eye(3), 4, axis=0)
    decoder.settle(raw, np.repeat(np.arange(3.0), 4))
    assert np.isfinite(decoder.slopes).all()
    before = np.asarray(decoder.slopes)
    decoder.settle(raw[:0], np.zeros(0))
    np.testing.assert_array_equal(decoder.slopes, before)

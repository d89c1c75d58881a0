"""What every weighting, surgery, error, pooling, calibration and optimizer must do."""

from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.cli.listing import listing
from fuxi_mtl.evaluation.calibration import Calibration, Unweighted
from fuxi_mtl.options import (
    BOTTOMS,
    CALIBRATIONS,
    ERRORS,
    INTERACTIONS,
    OPTIMIZERS,
    POOLINGS,
    ROW_OPTIMIZERS,
    SECTIONS,
    SURGERIES,
    WEIGHTINGS,
    Family,
)
from fuxi_mtl.options.signature import signature_of
from fuxi_mtl.registry import import_zoo

import_zoo()
ROOT = Path(__file__).parent.parent
OBJECTIVES = {"ctr": "binary", "risk": "fixed", "watch": "regression"}


def members(*families):
    return [
        pytest.param(family, member, id=f"{family.key}-{member.name}")
        for family in families
        for member in family.members
        if member.target is not None
    ]


def every(*families):
    return pytest.mark.parametrize(("family", "member"), members(*families))


@every(*Family.known)
def test_a_member_has_a_sentence_of_its_class_and_the_options_of_its_signature(family, member):
    assert member.summary.endswith(".")
    if isinstance(member.target, str) and member.module.startswith("fuxi_mtl") and family.has_options:
        live = signature_of(member.load())
        assert member.summary == live.summary
        assert member.options == live.options
        assert list(member.options) == list(live.options)
        assert family.given is None or len(live.given) <= len(family.given) + 1  # pos_weight of cross-entropy
    for option in member.options.values():
        assert option.option.doc.endswith(".")
        assert option.option.problem(option.default) is None
        assert not option.option.choices or option.default in option.option.choices


def test_no_option_that_stands_flat_in_a_stanza_is_a_key_of_something_else():
    taken = {name for section in SECTIONS.values() for name in section.__dataclass_fields__}
    for family in Family.known:
        assert family.in_block or not taken & family.keys().keys()


def test_the_listing_shows_every_member_with_its_sentence_and_options():
    shown = listing(str(ROOT / "config"))
    for family in Family.known:
        assert f"\n{family.plural.capitalize()} ({family.key})\n" in shown
        for member in family.members:
            assert member.summary.replace("``", "") in shown
            assert all(key in shown for key in member.options)


@every(WEIGHTINGS)
def test_a_weighting_is_made_and_its_state_is_saved_and_restored(family, member, tmp_path):
    constant = {"ctr": 0.3, "watch": 1.0}
    make = partial(member.make, {}, objectives=OBJECTIVES, epoch_steps=1, seed=3, constant_losses=constant)
    old, new = make(), make()

    for weighting in (old, new):
        weighting.begin([(2,)])

    def told(weighting, loss):
        if weighting.needs_gradients:
            gradients = tf.constant([[loss, 0.1], [1.0, 0.0], [0.15, 0.1]])
            weighting.learn_gradients([gradients], tf.constant([True] * 3))
        losses = {"ctr": loss, "risk": -1.0, "watch": 0.15}
        weighting.update(losses, {"ctr": 3.0, "risk": 1.0, "watch": 1.0})
        return [float(weight) for weight in weighting.weights().values()]

    for loss in (0.7, 0.2, 0.1):
        before = told(old, loss)
    assert before[1] == 1  # what is fixed keeps its weight
    path = tf.train.Checkpoint(weighting=old).write(str(tmp_path / "weighting"))
    tf.train.Checkpoint(weighting=new).read(path).assert_consumed()
    assert [float(weight) for weight in new.weights().values()] == before
    assert (before == [1, 1, 1]) == (member.name == "EQ")
    assert told(new, 0.3) == told(old, 0.3)


@every(SURGERIES)
def test_a_surgery_is_made_and_keeps_nothing_from_step_to_step(family, member):
    make = partial(member.make, {}, names=("ctr", "ctcvr", "watch"), seed=3)
    gradients = np.random.default_rng(0).normal(size=(3, 5))
    gram, names = gradients @ gradients.T, ("ctr", "ctcvr", "watch")
    method = make()
    found = [method(gram, names, step) for step in (0, 7)]
    assert [each.shape for each in found] == [(3,), (3,)]
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(make()(gram, names, 7), found[1])


@every(*ERRORS.values())
def test_an_error_is_one_number_a_row_with_a_gradient(family, member):
    error, y = member.make({}), tf.constant([0.0, 1.0, 1.0])
    predictions = tf.constant([-2.0, 0.5, 30.0])
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        found = error(predictions, y)
    gradient = tape.gradient(found, predictions).numpy()
    assert found.shape == (3,)
    assert found.dtype == tf.float32
    assert (found.numpy() >= 0).all()
    assert np.isfinite(gradient).all()
    assert gradient[1] < 0  # towards the label


@every(BOTTOMS)
def test_a_bottom_gives_each_head_a_row_of_its_own(family, member):
    bottom = member.make({}, names=("ctr", "cvr"), mlp={})
    found = bottom(tf.ones((3, 5)))
    assert list(found) == ["ctr", "cvr"]
    assert all(each.shape[0] == 3 and len(each.shape) == 2 for each in found.values())
    trained = {id(variable) for variable in bottom.trainable_variables}
    for variables in (bottom.shared_variables(), bottom.own_variables("cvr")):
        assert {id(variable) for variable in variables} <= trained


@every(INTERACTIONS)
def test_an_interaction_gives_a_vector_of_a_known_width_that_hears_of_every_column(family, member):
    columns = {"user": (0, 3), "item": (3, 6), "tag": (6, 9)}
    interaction = member.load()(columns, (), {"activations": "tanh"}, name="interaction")
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 9)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = interaction(x)
        total = tf.reduce_sum(found * tf.range(1.0, found.shape[1] + 1))
    assert found.shape == (4, interaction.output_width)
    assert (tape.gradient(total, x).numpy() != 0).all()


@every(POOLINGS)
def test_a_pooling_of_equal_members_is_that_member_in_size_and_of_none_is_zero(family, member):
    vectors = tf.ones((2, 3, 4)) * 2.0
    present = tf.constant([[True, True, False], [False, False, False]])
    pooled = member.make({})(vectors, tf.cast(present, tf.float32), present).numpy()
    assert pooled.shape == (2, 4)
    np.testing.assert_array_equal(pooled[1], np.zeros(4))
    assert (pooled[0] == pooled[0, 0]).all()
    assert pooled[0, 0] > 0


@every(CALIBRATIONS)
def test_a_calibration_fits_and_comes_back_from_json(family, member):
    kind = member.load()
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 400)
    y = (rng.random(400) < p**2).astype(float)
    made = kind(2.0) if kind is Unweighted else kind.fit(p, y)
    stored = Calibration(member.name, {"ctr": made})
    assert Calibration.of(stored.plain()) == stored
    logits = np.log(p / (1 - p))
    calibrated = made(tf.constant(logits, tf.float32)).numpy()
    assert ((calibrated > 0) & (calibrated < 1)).all()
    # All of them draw predictions that are too high towards the truth.
    assert abs(calibrated.mean() - y.mean()) < abs(p.mean() - y.mean())


@every(OPTIMIZERS, ROW_OPTIMIZERS)
def test_an_optimizer_moves_a_table_downhill_and_comes_back_from_its_configuration(family, member):
    optimizer = member.load()(learning_rate=0.1)
    table = keras.Variable(np.ones((3, 2), np.float32))
    optimizer.build([table])
    optimizer.apply([tf.ones((3, 2))], [table]) if family is OPTIMIZERS else optimizer.apply(
        [tf.IndexedSlices(tf.ones((3, 2)), tf.constant([0, 1, 2]), tf.constant([3, 2]))], [table]
    )
    assert (table.numpy() < 1).all()
    again = type(optimizer).from_config(optimizer.get_config())
    assert float(again.learning_rate) == pytest.approx(0.1)

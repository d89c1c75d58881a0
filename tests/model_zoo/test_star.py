"""STAR: its equations row by row, what a domain may and may not change, and domains without rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import tower, weights

from fuxi_mtl import STAR, ShareBottom
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import StarDense
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.tasks import Task
from fuxi_mtl.training.decoding import fit_decoders

import_zoo()
from fuxi_mtl_zoo._star import PartitionedNorm  # noqa: E402

TASKS = tiny.PLAIN["two"]
DOMAINS = 7  # ids 1 to 7 of the feature item
SIZES = {
    "domain": "item",
    "embedding_dim": 4,
    "star_hidden_units": (6, 5),
    "tower_hidden_units": (3,),
    "auxiliary_hidden_units": (4,),
    "hidden_activations": "tanh",
}
INPUTS = tiny.inputs(24)
INPUTS["ids"][:2, 1] = [0, 8]  # padding and unknown


def model_of(tasks=TASKS, **options):
    keras.utils.set_random_seed(3)
    model = STAR(tiny.FEATURES, tasks, **{**SIZES, **options})
    model.build()
    for place, variable in enumerate([*model.trainable_variables, *model.norm.non_trainable_variables]):
        noise = keras.random.normal(variable.shape, stddev=0.3, seed=place)
        variable.assign(variable + (tf.abs(noise) if "variance" in variable.path else noise))
    return model


def array(variable):
    return np.asarray(variable).astype(np.float64)


def of_domain(variable, d, shape=(-1,)):
    return array(variable).reshape(DOMAINS, *shape)[d]


def layer(star, x, d):
    """One star layer; d is None for no known domain."""
    kernel, bias = array(star.shared_kernel), array(star.shared_bias)
    if d is not None:
        kernel, bias = kernel * array(star.kernels)[d], bias + of_domain(star.biases, d)
    return x @ kernel + bias


def normed(norm, x, d):
    """One row by the running statistics."""
    mean, variance, gain, offset = map(array, (norm.mean, norm.variance, norm.gain, norm.offset))
    if d is not None:
        mean, variance = of_domain(norm.means, d), of_domain(norm.variances, d)
        gain, offset = gain * of_domain(norm.gains, d), offset + of_domain(norm.offsets, d)
    return (x - mean) / np.sqrt(variance + 1e-3) * gain + offset


def outputs(model, inputs=INPUTS, **call):
    heads = model(tiny.tensors(inputs), **call)
    return np.stack([np.asarray(heads[task.name]) for task in model.tasks], axis=1)


@pytest.mark.parametrize("star_towers", [False, True])
def test_every_row_is_what_the_equations_give_and_an_unknown_domain_has_the_shared_part_alone(star_towers):
    model = model_of(star_towers=star_towers)
    x, found = array(model.embedding(tiny.tensors(INPUTS))), outputs(model)
    for row, item in enumerate(INPUTS["ids"][:, 1]):
        d = item - 1 if 1 <= item <= DOMAINS else None
        h = normed(model.norm, x[row], d)
        for star in model.bottom.hidden:
            h = np.tanh(layer(star, h, d))
        for i, task in enumerate(TASKS):
            auxiliary = tower(model.auxiliary, f"{task.name}_auxiliary", x[row : row + 1])[0]
            if star_towers:
                y = h
                for star in model.towers.stacks[i].hidden:
                    y = np.tanh(layer(star, y, d))
                main = layer(model.towers.outputs[i], y, d)[0]
            else:
                main = tower(model.towers, task.name, h[None])[0]
            assert found[row, i] == pytest.approx(main + auxiliary, abs=2e-5)


def test_a_star_layer_gives_its_golden_number():
    star = StarDense(1, domains=1)
    star.build((None, 2))
    for variable, value in (
        (star.shared_kernel, [[1], [1]]),
        (star.kernels, [[[0.5], [2]]]),
        (star.shared_bias, [0.1]),
        (star.biases, [0.2]),
    ):
        variable.assign(value)
    x = tf.constant([[1.0, 2.0]])
    assert star(x, tf.constant([[1.0]])).numpy() == pytest.approx(4.8)
    assert star(x, tf.constant([[0.0, 1.0]])).numpy() == pytest.approx(3.1)  # unknown: 1 + 2 + .1


# ---- normalisation ------------------------------------------------------------------------------

ROWS = np.array([[1, 10], [3, 14], [100, 0], [104, 0]], np.float32)


def norm_of(domains=2):
    norm = PartitionedNorm(domains)
    norm.build((None, 2))
    return norm


def shares(*places, count=3):
    return tf.one_hot(places, count)


def test_rows_are_normalised_over_those_of_their_domain():
    norm = norm_of()
    norm.gains.assign([1, 2, 1, 1])
    norm.offsets.assign([0, 0, 0.5, 0])
    expected = [[-0.999500, -1.999750], [0.999500, 1.999750], [-0.499875, 0], [1.499875, 0]]
    found = norm(tf.constant(ROWS), shares(0, 0, 1, 1), training=True)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(norm.means, [2, 12, 102, 0], rtol=1e-5)
    np.testing.assert_allclose(norm.variances, [1, 4, 4, 0], rtol=1e-6)
    np.testing.assert_allclose(norm.mean, ROWS.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.variance, ROWS.var(axis=0), rtol=1e-5)


def test_running_statistics_are_means_of_the_first_batches_and_follow_the_later_ones():
    norm, others = norm_of(), ROWS + 8
    norm(tf.constant(ROWS), shares(0, 0, 1, 1), training=True)
    norm(tf.constant(others[:2]), shares(0, 0), training=True)
    np.testing.assert_allclose(norm.means, [6, 16, 102, 0], rtol=1e-5)
    norm.batches.assign([500, 1])
    norm(tf.constant(ROWS), shares(0, 0, 1, 1), training=True)
    np.testing.assert_allclose(norm.means, [6 - 0.01 * 4, 16 - 0.01 * 4, 102, 0], rtol=1e-5)


def test_a_domain_with_less_than_two_rows_takes_its_running_statistics_and_leaves_them():
    norm = norm_of(domains=3)
    norm.means.assign([0, 0, 5, 6, 7, 8])
    norm.variances.assign([1, 1, 4, 9, 1, 1])
    before = [norm.means.numpy(), norm.variances.numpy()]
    found = norm(tf.constant(ROWS[:3]), shares(0, 0, 1, count=4), training=True)
    np.testing.assert_allclose(found[2], (ROWS[2] - [5, 6]) / np.sqrt([4.001, 9.001]), rtol=1e-5)
    for variable, old in zip((norm.means, norm.variances), before, strict=True):
        assert (variable.numpy()[2:] == old[2:]).all()  # one row, and none at all
        assert (variable.numpy()[:2] != old[:2]).any()
    norm(tf.zeros((0, 2)), shares(count=4), training=True)
    assert all(np.isfinite(variable).all() for variable in norm.variables)


def test_a_row_of_no_known_domain_is_normalised_over_all_rows():
    norm, x = norm_of(), tf.constant(ROWS)
    for variable in (norm.gains, norm.offsets):
        variable.assign([7.0] * 4)
    found = norm(x, shares(0, 0, 1, 2), training=True)
    expected = (ROWS[3] - ROWS.mean(axis=0)) / np.sqrt(ROWS.var(axis=0) + 1e-3)
    np.testing.assert_allclose(found[3], expected, rtol=1e-5)


def test_statistics_are_those_of_float32_under_half_precision():
    half = PartitionedNorm(2, dtype="mixed_bfloat16")
    found = half(tf.constant(ROWS), shares(0, 0, 1, 1), training=True)
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32)[:, 0], [-0.9995, 0.9995, -1, 1], atol=4e-3)


# ---- domains ------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_no_row_of_another_domain_changes_a_row(training):
    changed = {name: values.copy() for name, values in INPUTS.items()}
    items = INPUTS["ids"][:, 1]
    domain = np.bincount(items).argmax()
    others, own = items != domain, items == domain
    changed["numeric"][others] += 1.5
    found = [outputs(model_of(), inputs, training=training) for inputs in (INPUTS, changed)]
    np.testing.assert_allclose(found[1][own], found[0][own], atol=1e-5)
    assert (np.abs(found[1] - found[0])[others] > 1e-3).all(axis=1).any()


@pytest.mark.parametrize(("item", "own"), [(3, 2), (8, None)])
def test_rows_of_a_domain_move_what_is_shared_and_its_own_and_no_others(item, own):
    model, inputs = model_of(), tiny.inputs(8)
    inputs["ids"][:, 1] = item
    by_id = {id(each.variable): each for each in model.variables_by_id()}
    with tf.GradientTape() as tape:
        heads = model(tiny.tensors(inputs), training=True)
        total = tf.add_n([tf.reduce_sum(tf.square(head)) for head in heads.values()])
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        dense = np.zeros(1) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        if id(variable) not in by_id:
            assert (dense != 0).any(), variable.path
            continue
        parts = dense.reshape(by_id[id(variable)].shape_of(DOMAINS))
        moved = [d for d in range(DOMAINS) if (parts[d] != 0).any()]
        assert moved == ([] if own is None else [own]), variable.path


def test_at_the_start_all_domains_are_one_network():
    keras.utils.set_random_seed(3)
    model = STAR(tiny.FEATURES, TASKS, **SIZES)
    model.build()
    for d in range(DOMAINS):
        star = model.bottom.hidden[0]
        assert (array(star.kernels)[d] == 1).all()
        assert (of_domain(star.biases, d) == 0).all()
    one = StarDense(4, domains=1)
    x = tf.constant(ROWS)
    found = one(x, tf.ones((4, 1))).numpy()
    kernel, bias = (variable.numpy() for variable in (one.shared_kernel, one.bias))
    np.testing.assert_allclose(found, ROWS @ kernel + bias, rtol=1e-6)


def test_a_value_starts_where_its_labels_are_with_the_auxiliary_network_and_without():
    task = Task("watch", ("watch",), kind="regression", decoder="poisson")
    for options in ({}, {"star_towers": True}):
        model = model_of((TASKS[0], task), **options)
        fit_decoders(model, {"click": np.ones(4), "watch": np.full(4, np.e)}, np.zeros((4, 3)))
        assert float(model.towers.outputs[1].bias.numpy()[0]) == pytest.approx(1)
        assert float(weights(model.auxiliary.outputs[1])[1][0]) != pytest.approx(1)


def test_the_paper_has_its_parameters():
    numbers = [Feature(f"n{i}", "numeric") for i in range(60)]
    features = FeatureMap("shop", assign_columns([Feature("tab", "categorical", vocab_size=5), *numbers]))
    options = {"star_hidden_units": (64, 32), "tower_hidden_units": (), "star_towers": True}
    model = STAR(features, TASKS[:1], domain="tab", embedding_dim=4, **options)
    model.build()
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    auxiliary = (64 + 1) * 32 + 32 + 1
    assert trained == 25_604 + auxiliary + 5 * 4
    assert model.count_params() - trained == 4 * (2 * 64 + 1)  # running statistics, and of how many batches


def test_a_domain_that_is_no_feature_is_named_as_elsewhere():
    with pytest.raises(ValueError, match="domain is 'shop', which is no categorical feature of the data"):
        STAR(tiny.FEATURES, TASKS, domain="shop")


def test_towers_of_other_models_are_made_as_they_were():
    model = ShareBottom(tiny.FEATURES, TASKS, embedding_dim=4)
    model.build()
    assert [dense.name for dense in model.towers.outputs] == ["click_head", "buy_head"]
    assert {dense.kernel.dtype for dense in model.towers.outputs} == {"float32"}

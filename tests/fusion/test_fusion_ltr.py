"""Personal weights: the losses by hand, the network, and learning."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny import FEATURES

from fuxi_mtl.fusion import Fusion, Gains
from fuxi_mtl.fusion.learning import cut_into_lists, learn
from fuxi_mtl.fusion.personal import PersonalFusion
from fuxi_mtl.fusion.ranking_losses import LOSSES, lambdarank, listnet, pairwise
from fuxi_mtl.options import LtrOptions

GRADES = np.array([[2.0, 0, 1, 9], [1, 1, 1, 9]], np.float32)
SCORES = np.array([[0.3, 0.9, -0.4, 50], [0.1, 0.8, 0.2, -3]], np.float32)
THERE = np.array([[True, True, True, False]] * 2)


def _inputs(rows, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.zeros((rows, FEATURES.id_columns), np.int32)
    ids[:, 0] = rng.integers(1, 12, rows)  # user
    return ids, rng.normal(size=(rows, FEATURES.numeric_columns)).astype(np.float32)


def _softplus(x):
    return np.log1p(np.exp(x))


def test_the_pairwise_loss_is_the_mean_over_ordered_pairs():
    s = SCORES[0]
    pairs = [(0, 1), (0, 2), (2, 1)]  # grades 2 > 1 > 0
    expected = np.mean([_softplus(s[j] - s[i]) for i, j in pairs])
    np.testing.assert_allclose(pairwise(GRADES, SCORES, THERE), [expected, 0], rtol=1e-5)


def test_lambdarank_weighs_each_pair_by_the_ndcg_that_its_swap_would_change():
    grades, s = GRADES[0, :3], SCORES[0, :3]
    discount = lambda place: 1 / np.log2(1 + place)  # noqa: E731
    place = np.array([2, 1, 3])  # of scores .3, .9, -.4
    best = 2 * discount(1) + 1 * discount(2)
    expected = sum(
        abs((grades[i] - grades[j]) * (discount(place[i]) - discount(place[j])))
        / best
        * _softplus(s[j] - s[i])
        for i, j in [(0, 1), (0, 2), (2, 1)]
    )
    np.testing.assert_allclose(lambdarank(GRADES, SCORES, THERE), [expected, 0], rtol=1e-5)


def test_lambdaranks_weight_is_the_change_of_the_reported_ndcg():
    grades, scores = np.array([0.0, 3.0, 1.0]), np.array([3.0, 2.0, 1.0])
    ndcg = Gains(grades, np.zeros(3))
    swapped = ndcg(np.array([2.0, 3.0, 1.0])) - ndcg(scores)
    only = np.array([[True, True, False]])
    # Two rows of three: the swap of the first two, measured against the best order of the two.
    pair = lambdarank(grades[None].astype(np.float32), scores[None].astype(np.float32), only).numpy()[0]
    best_of_three = 3 + 1 / np.log2(3)
    assert pair / _softplus(1.0) * 3 / best_of_three == pytest.approx(swapped, rel=1e-5)


def test_listnet_is_the_cross_entropy_of_who_comes_first():
    grades, s = GRADES[0, :3], SCORES[0, :3]
    wanted, found = np.exp(grades) / np.exp(grades).sum(), np.exp(s) / np.exp(s).sum()
    np.testing.assert_allclose(
        listnet(GRADES, SCORES, THERE), [-(wanted * np.log(found)).sum(), 0], rtol=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_request_of_one_grade_and_its_padding_have_no_gradient(name):
    scores = tf.Variable(SCORES)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(LOSSES[name](tf.constant(GRADES), scores, tf.constant(THERE)))
    gradient = tape.gradient(loss, scores).numpy()
    assert (gradient[1] == 0).all()
    assert gradient[0, 3] == 0
    assert (gradient[0, :3] != 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_constant_for_a_whole_request_changes_nothing(name):
    moved = SCORES + np.array([[5.0], [-2.0]], np.float32)
    np.testing.assert_allclose(
        LOSSES[name](GRADES, moved, THERE), LOSSES[name](GRADES, SCORES, THERE), rtol=1e-4
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_right_order_loses_less_than_the_wrong_one(name):
    right, wrong = GRADES[:1], -GRADES[:1]
    assert LOSSES[name](right, right, THERE[:1]) < LOSSES[name](right, wrong, THERE[:1])


@pytest.mark.parametrize("weights", ["softplus", "softmax"])
@pytest.mark.parametrize("features", [[], ["user", "price"]])
def test_constant_weights_are_the_sum_of_logarithms(weights, features):
    network = PersonalFusion(FEATURES, ["ctr", "cvr"], LtrOptions(weights=weights, features=features))
    ids, numeric = _inputs(5)
    scores = {name: np.linspace(0.1, 0.9, 5).astype(np.float32) ** k for k, name in enumerate(("cvr", "ctr"))}
    expected = Fusion("sum", {"ctr": 0.5, "cvr": 0.5})(scores)
    np.testing.assert_allclose(network.score_rows(ids, numeric, scores), expected, rtol=1e-5)
    given = np.array([0.3, -1.2], np.float32)  # any other constant
    network.set_weights([*network.get_weights()[:-1], given] if features else [given])
    z = np.exp(given) / np.exp(given).sum() if weights == "softmax" else _softplus(given)
    expected = Fusion("sum", {"ctr": float(z[0]), "cvr": float(z[1])})(scores)
    np.testing.assert_allclose(network.score_rows(ids, numeric, scores), expected, rtol=1e-5)


def test_requests_are_cut_into_lists_that_hold_every_row_once():
    codes = np.array([3, 0, 3, 3, 0, 3, 3])
    lists = cut_into_lists(codes, 2, np.random.default_rng(0))
    assert lists.shape == (4, 2)  # five rows in three lists, two in one
    assert sorted(lists[lists >= 0]) == list(range(7))
    assert all(len(set(codes[each[each >= 0]])) == 1 for each in lists)
    short = cut_into_lists(np.array([1, 1, 2]), 100, np.random.default_rng(0))
    assert short.shape == (2, 2)


def _preferences(rows=800):
    """Requests of ten rows: users below 6 go by the first score, the others by the second."""
    rng = np.random.default_rng(3)
    ids, numeric = _inputs(rows)
    ids[:, 0] = np.arange(rows) // 10 % 11 + 1
    a, b = rng.uniform(0.05, 0.95, (2, rows)).astype(np.float32)
    wanted = np.where(ids[:, 0] < 6, a, b)
    return ids, numeric, {"a": a, "b": b}, (wanted > rng.random(rows)).astype(float), np.arange(rows) // 10


@pytest.mark.parametrize("loss", LOSSES)
def test_personal_weights_learn_who_wants_what(loss):
    ids, numeric, scores, grades, groups = _preferences()
    options = LtrOptions(
        loss=loss,
        features=["user"],
        hidden_units=[8],
        learning_rate=0.1,
        epochs=4,
        batch_requests=8,
        list_size=20,
    )
    tf.keras.utils.set_random_seed(1)
    network = PersonalFusion(FEATURES, ["a", "b"], options)
    story = learn(network, ids, numeric, scores, grades, groups, options)
    assert story["ndcg"][story["best_epoch"]] == max(story["ndcg"])
    found = network({"ids": tf.constant(ids), "numeric": tf.constant(numeric)}).numpy()
    first, second = (found[mask].mean(axis=0) for mask in (ids[:, 0] < 6, ids[:, 0] >= 6))
    assert first[0] / first[1] > second[0] / second[1]


def test_there_must_be_a_request_to_learn_from_and_one_to_choose_by():
    ids, numeric = _inputs(4)
    network = PersonalFusion(FEATURES, ["a"], LtrOptions())
    scores, groups = {"a": np.full(4, 0.5, np.float32)}, np.array([0, 0, 1, 1])
    with pytest.raises(
        ValueError, match="1 validation requests have rows of two grades; ltr needs at least 2"
    ):
        learn(network, ids, numeric, scores, np.array([0.0, 1, 1, 1]), groups, LtrOptions())


def test_a_network_is_the_same_out_of_its_file(tmp_path):
    options = LtrOptions(features=["user", "history", "tags", "vector"])
    networks = [PersonalFusion(FEATURES, ["a", "b"], options) for _ in range(2)]
    networks[0].set_weights([each + 0.1 for each in networks[0].get_weights()])
    networks[0].save(tmp_path / "network.npz")
    networks[1].load(tmp_path / "network.npz")
    for ours, theirs in zip(*(each.get_weights() for each in networks), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_network_of_another_size_or_no_file_is_an_error(tmp_path):
    PersonalFusion(FEATURES, ["a", "b"], LtrOptions()).save(tmp_path / "network.npz")
    network = PersonalFusion(FEATURES, ["a", "b", "c"], LtrOptions())
    for path in (tmp_path / "network.npz", Path("nowhere.npz")):
        with pytest.raises(ValueError, match=r"cannot be read .*: fuse the run again"):
            network.load(path)

"""Product, sum and rank fusion against a few lines by hand."""

import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.fusion import Fusion, ranks
from fuxi_mtl.fusion.graph import graph_ranks, graph_score

TWO = {"ctr": np.array([0.9, 0.4]), "cvr": np.array([0.1, 0.4])}
ONES = {"ctr": 1.0, "cvr": 1.0}


def _random(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.01, 0.99, rows).astype(np.float32) for name in ("ctr", "cvr", "like")}


def test_a_product_pushes_down_what_one_task_thinks_little_of():
    np.testing.assert_allclose(Fusion("product", ONES)(TWO), [0.09, 0.16])


def test_the_sum_of_the_same_scores_orders_them_the_other_way_round():
    np.testing.assert_allclose(Fusion("sum", ONES, transform="identity")(TWO), [1.0, 0.8])


def test_weights_are_exponents_of_a_product():
    np.testing.assert_allclose(
        Fusion("product", {"ctr": 2.0, "cvr": 0.5})(TWO), [0.81 * 0.1**0.5, 0.16 * 0.4**0.5]
    )


def test_a_weight_of_zero_leaves_a_score_out():
    np.testing.assert_allclose(Fusion("product", {"ctr": 1.0, "cvr": 0.0})(TWO), TWO["ctr"])


def test_a_product_may_be_of_one_plus_alpha_s():
    fused = Fusion("product", {"ctr": 2.0, "cvr": 1.0}, alpha=3.0)(TWO)
    np.testing.assert_allclose(fused, [3.7**2 * 1.3, 2.2**2 * 2.2])


def test_a_score_of_zero_has_a_finite_logarithm():
    np.testing.assert_allclose(Fusion("sum", {"a": 1.0})({"a": np.array([0.0, 1.0])}), [np.log(1e-12), 0])


def test_only_the_sum_of_logarithms_orders_as_the_product():
    weights = {"ctr": 0.2, "cvr": 0.5, "like": 1.3}
    scores = _random()
    product = np.argsort(Fusion("product", weights)(scores))
    assert (np.argsort(Fusion("sum", weights)(scores)) == product).all()
    for transform in ("sqrt", "identity", "power", "logit"):
        fused = Fusion("sum", weights, transform=transform, power=0.3)(scores)
        assert (np.argsort(fused) != product).any(), transform


@pytest.mark.parametrize("transform", ["log", "sqrt", "identity", "power", "logit"])
def test_a_single_score_keeps_its_order_under_any_transform(transform):
    s = np.sort(_random()["ctr"])
    assert (np.diff(Fusion("sum", {"ctr": 2.0}, transform=transform)({"ctr": s})) > 0).all()


def test_transforms_are_what_they_are_called():
    s = np.array([0.25, 0.5])
    expected = {"sqrt": s**0.5, "power": s**3, "logit": np.log(s / (1 - s)), "log": np.log(s), "identity": s}
    for transform, values in expected.items():
        found = Fusion("sum", {"a": 2.0}, transform=transform, power=3.0)({"a": s})
        np.testing.assert_allclose(found, 2 * values, err_msg=transform)


def test_ranks_are_within_a_request_and_the_highest_is_first():
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.2])
    assert ranks(scores, np.array([7, 3, 7, 3, 7])).tolist() == [3, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("ties", "expected"),
    [("min", [2, 1, 2, 4]), ("average", [2.5, 1, 2.5, 4]), ("dense", [2, 1, 2, 3])],
)
def test_equal_scores_have_equal_ranks(ties, expected):
    scores = np.array([0.5, 0.9, 0.5, 0.1], np.float32)
    assert ranks(scores, ties=ties).tolist() == expected
    assert graph_ranks(tf.constant(scores), ties).numpy().tolist() == expected


def test_rows_without_a_request_are_requests_of_their_own():
    assert ranks(np.array([0.1, 0.2, 0.3]), np.array([np.nan, np.nan, 1.0])).tolist() == [1, 1, 1]


def test_ties_that_nobody_knows_are_an_error():
    with pytest.raises(ValueError, match="ties is 'max'. It can be: min, average, dense"):
        ranks(np.zeros(2), ties="max")


def test_rank_fusion_adds_reciprocal_ranks():
    np.testing.assert_allclose(Fusion("rank", {"ctr": 1.0, "cvr": 2.0})(TWO), [1 + 2 / 2, 1 / 2 + 2])
    rrf = Fusion("rank", ONES, rank_constant=60.0)(TWO)
    np.testing.assert_allclose(rrf, [1 / 61 + 1 / 62] * 2)


def test_rank_fusion_sees_only_the_order_of_each_score():
    scores, groups = _random(), np.arange(50) % 7
    fusion = Fusion("rank", {"ctr": 0.3, "cvr": 1.0, "like": 2.0})
    grown = {"ctr": np.exp(scores["ctr"]), "cvr": scores["cvr"] ** 9, "like": np.log(scores["like"])}
    np.testing.assert_array_equal(fusion(scores, groups), fusion(grown, groups))


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("product", {"ctr": 0.5, "cvr": 2.0}),
        Fusion("product", ONES, alpha=10.0),
        *(
            Fusion("sum", {"cvr": 1.0, "ctr": 0.3}, transform=t)
            for t in ("log", "sqrt", "identity", "power", "logit")
        ),
        *(Fusion("rank", ONES, rank_constant=60.0, ties=ties) for ties in ("min", "average", "dense")),
    ],
)
def test_the_graph_computes_the_same(fusion):
    scores = {name: np.append(s, [0.0, 1.0, s[0]]).astype(np.float32) for name, s in _random().items()}
    graph = graph_score(fusion, {name: tf.constant(s) for name, s in scores.items()})
    assert graph.dtype == tf.float64
    np.testing.assert_allclose(graph, fusion(scores), rtol=1e-12)


def test_a_product_of_small_scores_under_large_weights_keeps_its_order_in_the_graph():
    scores = {"ctr": np.float32([1e-5, 2e-5, 1e-5]), "cvr": np.float32([1e-7, 1e-7, 2e-7])}
    graph = graph_score(Fusion("product", {"ctr": 3.0, "cvr": 4.0}), scores)
    # 1e-43 times 1, 2^3 and 2^4: float32 ends at 1e-38.
    np.testing.assert_allclose(graph / graph[0], [1, 8, 16], rtol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "scores", "message"),
    [
        (Fusion("product", ONES), {"ctr": [0.1]}, "no score of 'cvr'. Scores: ctr"),
        (
            Fusion("product", ONES),
            {"ctr": [0.1], "cvr": [-0.5]},
            "product needs scores from 0 up; .*'cvr' is -0.5",
        ),
        (
            Fusion("sum", ONES, "sqrt"),
            {"ctr": [-1], "cvr": [0.5]},
            "sqrt needs scores from 0 up; .*'ctr' is -1",
        ),
        (
            Fusion("sum", ONES, "logit"),
            {"ctr": [0.1], "cvr": [2.0]},
            "logit needs probabilities; .*'cvr' is 2",
        ),
        (Fusion("rank", ONES), {"ctr": [0.1], "cvr": [np.nan]}, "a score of 'cvr' is not a finite number"),
    ],
)
def test_scores_that_a_formula_cannot_take_are_an_error(fusion, scores, message):
    with pytest.raises(ValueError, match=message):
        fusion({name: np.array(values) for name, values in scores.items()})


def test_a_sum_of_values_takes_those_of_regressions():
    np.testing.assert_allclose(Fusion("sum", {"watch": 2.0}, "identity")({"watch": np.array([-3.0])}), [-6])


def test_a_fusion_is_the_same_out_of_json():
    fusion = Fusion("rank", {"ctr": 0.25, "cvr": 0.75}, rank_constant=60.0, ties="average")
    assert Fusion.of(fusion.plain()) == fusion


@pytest.mark.parametrize(
    "plain", [None, {"method": "sum"}, {"method": "sum", "weights": {"a": None}}, {"x": 1}]
)
def test_what_is_no_fusion_is_not_read_as_one(plain):
    with pytest.raises(ValueError, match="this is no fusion"):
        Fusion.of(plain)


def test_a_fusion_without_weights_is_none():
    with pytest.raises(ValueError, match=r"this is no fusion \(weights are \{\}\)"):
        Fusion.of({"method": "sum", "weights": {}})

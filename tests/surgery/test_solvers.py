"""Coefficients from inner products: golden numbers, properties, and where each method has no answer."""

from itertools import permutations

import numpy as np
import pytest

from fuxi_mtl.options import SURGERIES, SurgeryOptions
from fuxi_mtl.surgery import make_surgery, solvers

J2 = np.array([[-4.0, 1, 1], [6, 1, 1]])
J3 = np.array([[1.0, 0, 0], [-0.5, 1, 0], [0.2, -0.6, 0.4]])
J4 = np.array([[1.0, 0, 0], [0, 1, 0], [0.06, 0.06, 0.01]])
GUARDED = ("upgrad", "dualproj", "nash", "config", "imtl_g", "aligned", "gradvac", "metabalance")
STATELESS = ("mgda", "cagrad", *GUARDED[:6])
METHODS = ("mgda", "pe_ltr", "pcgrad", "cagrad", *GUARDED)
# What holds up to the scale of the gradients, and how the coefficients scale with them.
OWN = {"nash": {"nash_scale": "raw"}, "pe_ltr": {"pe_ltr_weights": "current"}}


def made(method, count, own=None, **options):
    kinds = dict.fromkeys("abcdefg"[:count], "binary")
    own = OWN.get(method, {}) if own is None else own
    return make_surgery(SurgeryOptions(surgery=method, **options), kinds, seed=3, own=own)


def solved(method, gradients, own=None, **options):
    """Coefficients of a first step on the gradients of objectives that all have rows."""
    rows = np.asarray(gradients, float)
    surgery = made(method, len(rows), own, **options)
    state = {name: variable.numpy() for name, variable in surgery.state.items()}
    given, before = np.ones(len(rows), bool), np.ones(len(rows))
    return surgery.coefficients(rows @ rows.T, given, 0, before, state)[0]


def random_gradients(count, seed, most=5, spread=1.0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        rows = rng.normal(size=(rng.integers(2, most), 8))
        yield rows * rng.lognormal(sigma=spread, size=(len(rows), 1))


@pytest.mark.parametrize(
    ("method", "own", "gradients", "expected"),
    [
        ("upgrad", {}, J2, [2.2222222, 1.5789474]),
        ("upgrad", {}, J3, [1.3692308, 2.2666667, 2.6300366]),
        ("dualproj", {}, J2, [1.2222222, 1]),
        ("dualproj", {}, J3, [1, 1, 1]),
        ("nash", {"nash_scale": "raw"}, J2, [0.5914612, 0.4070715]),
        ("nash", {"nash_scale": "raw"}, J3, [2**0.5, 2 * 2**0.5, 2.5 * 2**0.5]),
        ("nash", {"nash_scale": "raw"}, J4, [0.8171225, 0.8171225, 6.7780704]),
        ("nash", {"nash_scale": "raw"}, [[1, 0], [-1, 1e-3]], [1414.2140, 1414.2133]),
        ("config", {}, J2, [1.2264832, 0.8441236]),
        ("config", {}, J3, [0.4382477, 1.1621290, 1.5084465]),
        ("config", {}, J4, [3.2508154, 3.2508154, -51.6876034]),
        ("imtl_g", {}, J2, [1.1846606, 0.8153394]),
        ("imtl_g", {}, J3, [0.4229070, 1.1214491, 1.4556439]),
        ("imtl_g", {}, J4, [3.3519761, 3.3519761, -53.2960477]),
        ("aligned", {}, J2, [1.1181438, 0.8165221]),
        ("aligned", {}, J3, [0.5019842, 0.9263300, 1.1307044]),
        ("aligned", {"aligned_scale": "rmse"}, J3, [1.4512124, 2.6779759, 3.2688126]),
        ("gradvac", {"gradvac_target": 0.0}, J2, [2.2222222, 1.5789474]),
        ("gradvac", {"gradvac_target": 0.2}, J2, [2.3825973, 1.6549145]),
        ("metabalance", {}, J2, [1, 0.7817730]),
        ("metabalance", {}, J3, [1, 0.9260990, 1.2354143]),
        ("metabalance", {}, J4, [1, 1, 7.3]),  # 8.4928803 without the cap: .7 x 10 + .3
        ("metabalance", {"metabalance_cap": 100.0}, J4, [1, 1, 8.4928803]),
        ("mgda", {}, J2, [1.2, 0.8]),
        ("mgda", {}, J3, np.array([0.1319648, 0.3695015, 0.4985337]) * 3),
        ("mgda", {}, J4, [0, 0, 3]),
        ("cagrad", {"cagrad_strength": 0.4}, J2, [1.3265986, 1]),
        ("cagrad", {"cagrad_strength": 0.5}, J2, [1.4082483, 1]),
        ("cagrad", {"cagrad_strength": 0.4}, J3, [1, 1.5555216, 1.8517994]),
        ("cagrad", {"cagrad_strength": 0.5}, J3, [1, 1.6936531, 2.0655743]),
    ],
)
def test_coefficients_are_the_golden_ones(method, own, gradients, expected):
    tolerance = 1e-4 if method == "cagrad" else 2e-6
    np.testing.assert_allclose(solved(method, gradients, own), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        (
            [[1, 1], [1, 1]],
            {"aligned": (1, 1), "upgrad": (1, 1), "dualproj": (1, 1), "config": (1, 1), "nash": (0.5, 0.5)},
        ),
        (
            [[1, 0], [3, 0]],
            {
                "imtl_g": (0.5, 1.5),
                "aligned": (0.4, 1.2),
                "upgrad": (1, 1),
                "dualproj": (1, 1),
                "config": (2, 2 / 3),
                "nash": (0.707107, 0.235702),
            },
        ),
        (
            [[1, 0], [0, 2]],
            {
                "imtl_g": (4 / 3, 2 / 3),
                "aligned": (1, 0.5),
                "upgrad": (1, 1),
                "dualproj": (1, 1),
                "config": (1.5, 0.75),
                "nash": (1, 0.5),
            },
        ),
        # Opposite gradients: a cone of one line, or nothing to find and all count with one.
        (
            [[1, 0], [-2, 0]],
            {
                "upgrad": (3, 1.5),
                "dualproj": (2, 1),
                "aligned": (-0.2, 0.4),
                "config": (1, 1),
                "imtl_g": (1, 1),
            },
        ),
    ],
)
def test_two_gradients_in_one_plane(gradients, expected):
    for method, coefficients in expected.items():
        np.testing.assert_allclose(solved(method, gradients), coefficients, atol=1e-6, err_msg=method)


@pytest.mark.parametrize("method", METHODS)
def test_an_objective_without_a_gradient_keeps_one_and_the_others_are_solved_without_it(method):
    rows = np.vstack([J2, np.zeros((1, 3))])
    found = solved(method, rows)
    np.testing.assert_allclose(found[:2], solved(method, J2), rtol=1e-6)
    assert found[2] == 1


@pytest.mark.parametrize("method", METHODS)
def test_nothing_breaks_on_one_gradient_none_nan_or_gradients_in_one_line(method):
    np.testing.assert_array_equal(solved(method, [[1, 2], [0, 0]]), [1, 1])
    np.testing.assert_array_equal(solved(method, np.zeros((3, 4))), [1, 1, 1])
    np.testing.assert_array_equal(solved(method, [[np.nan, 1], [1, 1]]), [1, 1])
    for rows in ([[1, 0], [-1, 0], [2, 0]], [[1e-12, 0], [0, 1e-12]], [[1e9, 0], [-1e9, 1]], [[1, 1]] * 3):
        assert np.isfinite(solved(method, rows)).all()


@pytest.mark.parametrize("method", METHODS)
def test_three_equal_gradients_are_the_plain_sum(method):
    reach = 1.4 if method == "cagrad" else 1
    raw = {"nash_scale": "sum"} if method == "nash" else None
    np.testing.assert_allclose(solved(method, [[1.0, 2]] * 3, raw).sum(), 3 * reach, rtol=1e-6)


@pytest.mark.parametrize("method", STATELESS)
def test_coefficients_go_with_their_objectives_and_have_the_degree_of_the_method(method):
    degree = {"nash": -1}.get(method, 0)  # in the gradients; -1/2 in the inner products
    for rows in random_gradients(15, seed=1):
        found = solved(method, rows)
        for order in list(permutations(range(len(rows))))[:3]:
            np.testing.assert_allclose(
                solved(method, rows[list(order)]), found[list(order)], rtol=1e-3, atol=1e-4
            )
        np.testing.assert_allclose(solved(method, 7 * rows), found * 7.0**degree, rtol=1e-3, atol=1e-4)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
        np.testing.assert_allclose(solved(method, rows @ rotation), found, rtol=1e-3, atol=1e-4)


def share_opposing(method, rows):
    direction = solved(method, rows) @ rows
    return (rows @ direction).min() < -1e-6 * np.square(rows).sum()


def test_what_promises_to_oppose_no_gradient_never_does_and_the_others_sometimes():
    """Shares of three gradients: sum .425, MetaBalance .188, CAGrad .053, PCGrad .033, Aligned .025."""
    rng, opposing = np.random.default_rng(5), dict.fromkeys(METHODS, 0)
    for _ in range(200):
        rows = rng.normal(size=(3, 8)) * rng.lognormal(size=(3, 1))
        for method in METHODS:
            opposing[method] += share_opposing(method, rows)
    assert {method for method, count in opposing.items() if count == 0} >= {
        "mgda",
        "upgrad",
        "dualproj",
        "nash",
        "config",
    }
    assert all(opposing[method] for method in ("metabalance", "cagrad", "pcgrad", "aligned"))
    assert opposing["metabalance"] > opposing["aligned"]


def test_projections_fulfil_their_optimality_conditions():
    for rows in random_gradients(60, seed=2):
        gram, u = rows @ rows.T, np.ones(len(rows))
        v = solvers.dual_cone_coefficients(gram, u)
        size = np.trace(gram)
        assert (v >= u).all()
        assert (gram @ v >= -1e-9 * size).all()
        assert abs((v - u) * (gram @ v)).max() <= 1e-8 * size


def test_the_bargain_holds_for_gradients_of_any_length():
    for rows in random_gradients(200, seed=3, most=7, spread=2.0):
        gram = rows @ rows.T
        a = solvers.bargained_coefficients(gram)
        assert (a > 0).all()
        np.testing.assert_allclose(a * (gram @ a), 1, atol=1e-7)
        assert a @ gram @ a == pytest.approx(len(rows), rel=1e-6)
        scaled = np.diag(np.arange(1.0, 1 + len(rows))) @ rows
        np.testing.assert_allclose(
            solvers.bargained_coefficients(scaled @ scaled.T) @ scaled, a @ rows, rtol=1e-4, atol=1e-7
        )


def test_the_bargain_of_opposite_gradients_is_finite():
    a = solvers.bargained_coefficients(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert np.isfinite(a).all()
    assert (a > 0).all()


def test_nash_has_the_length_of_the_plain_sum_unless_raw():
    direction = solved("nash", J3, {"nash_scale": "sum"}) @ J3
    assert np.linalg.norm(direction) == pytest.approx(np.linalg.norm(J3.sum(axis=0)))
    raw = solved("nash", J3, {"nash_scale": "raw"}) @ J3
    np.testing.assert_allclose(direction / np.linalg.norm(direction), raw / np.linalg.norm(raw), rtol=1e-6)
    assert np.linalg.norm(raw) == pytest.approx(3**0.5)


def test_two_gradients_have_one_bisector_and_upgrad_is_pcgrad():
    for rows in random_gradients(20, seed=4, most=3):
        directions = [solved(method, rows) @ rows for method in ("imtl_g", "config", "nash")]
        for direction in directions:
            np.testing.assert_allclose(
                direction / np.linalg.norm(direction),
                directions[0] / np.linalg.norm(directions[0]),
                atol=1e-6,
            )
        np.testing.assert_allclose(solved("upgrad", rows), solved("pcgrad", rows), rtol=1e-6)


def test_equal_cosines_equal_projections_and_equal_principal_lengths():
    for rows in random_gradients(20, seed=6):
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        along = solvers.equal_cosine_coefficients(rows @ rows.T, np.ones(len(rows))) @ rows
        cosines = units @ along / np.linalg.norm(along)
        np.testing.assert_allclose(cosines, cosines[0], rtol=1e-6)
        assert cosines[0] > 0
        assert np.linalg.norm(along) == pytest.approx((rows @ along).sum() / np.linalg.norm(along), rel=1e-6)
        projections = units @ (solvers.equal_projection_coefficients(rows @ rows.T) @ rows)
        np.testing.assert_allclose(projections, projections[0], rtol=1e-6)
        assert projections[0] > 0
        mixing = [solvers.aligned_coefficients(rows @ rows.T, each, rank=1e-12) for each in np.eye(len(rows))]
        lengths = np.linalg.svd(np.array(mixing) @ rows, compute_uv=False)
        np.testing.assert_allclose(lengths, np.linalg.svd(rows, compute_uv=False)[-1], rtol=1e-5)


def test_upgrad_goes_with_the_length_of_each_gradient():
    """``d(diag(c) J)`` is linear in c: only the k-th projection is longer."""
    one, two = np.array([1.0, 2, 3]), np.array([0.5, 1, 5])

    def direction(c):
        return solved("upgrad", c[:, None] * J3) @ (c[:, None] * J3)

    np.testing.assert_allclose(direction(one + two), direction(one) + direction(two), rtol=1e-6)


def test_gradvac_reaches_its_target_and_follows_the_cosines_of_every_step():
    surgery = made("gradvac", 2, {"gradvac_beta": 0.25})
    state = {name: variable.numpy() for name, variable in surgery.state.items()}
    cosine = J2[0] @ J2[1] / (np.linalg.norm(J2[0]) * np.linalg.norm(J2[1]))
    for step in range(3):
        before = state["cosines"][0, 1]
        surgery.coefficients(J2 @ J2.T, np.ones(2, bool), step, np.ones(2), state)
        assert state["cosines"][0, 1] == pytest.approx(0.75 * before + 0.25 * cosine)
    kept = solvers.vaccinated_coefficients(J2 @ J2.T, np.array([[1.0, 0.2], [-0.99, 1.0]])) - [0, 1]
    turned = kept @ J2
    assert turned @ J2[1] / np.linalg.norm(turned) / np.linalg.norm(J2[1]) == pytest.approx(0.2)


def test_metabalance_follows_running_means_of_lengths():
    surgery = made(
        "metabalance", 2, {"metabalance_decay": 0.5, "metabalance_relax": 1.0, "metabalance_target": "b"}
    )
    state = {name: variable.numpy() for name, variable in surgery.state.items()}
    given, ones = np.ones(2, bool), np.ones(2)
    surgery.coefficients(np.diag([4.0, 1.0]), given, 0, ones, state)
    found = surgery.coefficients(np.diag([16.0, 9.0]), given, 1, ones, state)[0]
    np.testing.assert_allclose(found, [(0.25 + 1.5) / (0.5 + 2), 1])


def test_inner_products_are_smoothed_over_steps_pair_by_pair():
    surgery = made("upgrad", 3, surgery_smoothing=0.9)
    state = {name: variable.numpy() for name, variable in surgery.state.items()}
    first, second = J3 @ J3.T, np.diag([1.0, 2.0, 3.0])
    surgery.coefficients(first, np.array([True, True, False]), 0, np.ones(3), state)
    found = surgery.coefficients(second, np.ones(3, bool), 1, np.ones(3), state)[0]
    expected = second.copy()
    expected[:2, :2] = 0.9 * first[:2, :2] + 0.1 * second[:2, :2]
    np.testing.assert_allclose(state["smoothed"], expected)
    np.testing.assert_allclose(found, solvers.unconflicting_coefficients(expected, np.ones(3)))


def test_a_preference_scales_gradients_before_they_are_projected():
    found = solved("upgrad", J2, surgery_preference={"b": 2.0})
    np.testing.assert_allclose(found, [1 + 2 * 22 / 18, 2 + 22 / 38])
    found = solved("dualproj", J2, surgery_preference={"a": 3.0})
    np.testing.assert_allclose(found, [3, 22 * 3 / 38])
    cosines = np.array([2.0, 1.0])
    direction = solved("config", J2, surgery_preference={"a": 2.0}) @ J2
    along = J2 @ direction / np.linalg.norm(J2, axis=1)
    np.testing.assert_allclose(along / along[1], cosines / cosines[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "preference", "message"),
    [
        ("nash", {"a": 2.0}, "surgery_preference is for upgrad, dualproj, config, aligned; surgery is nash"),
        ("upgrad", {"z": 2.0}, "surgery_preference names 'z', which is no objective. Objectives: a, b."),
        ("upgrad", {"a": 0.0}, "surgery_preference of 'a' is 0.0; it is a number above 0."),
    ],
)
def test_a_preference_that_means_nothing_is_refused(method, preference, message):
    with pytest.raises(ValueError, match=message):
        made(method, 2, surgery_preference=preference)


@pytest.mark.parametrize(
    ("method", "own", "message"),
    [
        ("nash", {"nash_scale": "mean"}, "nash_scale is 'mean'. Choices: sum, raw."),
        ("aligned", {"aligned_scale": "max"}, "aligned_scale is 'max'. Choices: min, median, rmse."),
        ("metabalance", {"metabalance_target": "z"}, "metabalance_target names 'z', which is no objective"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(method, own, message):
    with pytest.raises(ValueError, match=message):
        made(method, 2, own)


def test_the_log_has_the_least_cosine_and_the_share_of_steps_without_an_answer():
    surgery, given = made("config", 3), np.ones(3, bool)
    assert surgery.watched[-2:] == ("surgery_least_cosine", "surgery_fallback")
    rows = np.array([[1.0, 0], [0, 1], [-1, -1]])  # they add up to zero: no direction has equal cosines
    found, least, was_found = surgery.coefficients(rows @ rows.T, given, 0, np.ones(3))
    assert (found.tolist(), was_found) == ([1, 1, 1], False)
    assert least == pytest.approx(-(0.5**0.5))


def test_every_surgery_stands_in_these_tests():
    elsewhere = {"moco", "graddrop"}  # test_tracking, test_elementwise
    assert {*METHODS, *elsewhere, "none"} == set(SURGERIES)

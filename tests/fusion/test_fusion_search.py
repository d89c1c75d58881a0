"""NDCG, the cross-entropy method, optuna and simulated live trials."""

import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest

from fuxi_mtl import metrics
from fuxi_mtl.fusion import (
    Fusion,
    FusionObjective,
    Gains,
    Rows,
    Traffic,
    cross_entropy_method,
    fused_tasks,
    graded_label,
    report,
    search,
)
from fuxi_mtl.options import FusionOptions, SearchOptions
from fuxi_mtl.tasks import Task, parse_task

CTR, LIKE = parse_task("ctr", "click"), parse_task("like", "like")
CVR = parse_task("cvr", "buy | click")
WATCH = Task("watch", ("watch",), kind="regression")
QUICK = SearchOptions(rounds=6, samples=20, elites=4, trials=5)


def _ndcg(gains, scores, at=None):
    """Of one request without ties, from the definition."""
    order, best = np.argsort(-scores), np.sort(gains)[::-1]
    discount = 1 / np.log2(np.arange(len(gains)) + 2)
    discount[len(gains) if at is None else at :] = 0
    return (gains[order] * discount).sum() / (best * discount).sum()


def _rows(rows=600, seed=0):
    """Two scores that know half of two labels each; requests of ten rows."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    click = (rng.random(rows) < 1 / (1 + np.exp(1 - a))).astype(np.float32)
    like = (rng.random(rows) < 1 / (1 + np.exp(2 - b))).astype(np.float32)
    scores = {
        "ctr": (1 / (1 + np.exp(-a))).astype(np.float32),
        "like": (1 / (1 + np.exp(-b))).astype(np.float32),
    }
    return Rows(scores, {"ctr": click, "like": like}, np.arange(rows) // 10)


# ---- NDCG and labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [None, 2])
def test_ndcg_is_the_mean_over_requests_whose_order_matters(at):
    rng = np.random.default_rng(1)
    gains, scores, groups = rng.integers(0, 3, 40).astype(float), rng.random(40), np.arange(40) % 5
    gains[groups == 2] = 1  # any order is the best
    expected = [_ndcg(gains[groups == g], scores[groups == g], at) for g in (0, 1, 3, 4)]
    assert Gains(gains, groups, at)(scores) == pytest.approx(np.mean(expected))


def test_equal_scores_have_the_ndcg_that_chance_would_give_them():
    gains, groups = np.array([1.0, 0, 0]), np.zeros(3)
    orders = [_ndcg(gains, -np.array(p, float)) for p in ([0, 1, 2], [1, 0, 2], [2, 0, 1])]
    assert Gains(gains, groups)(np.ones(3)) == pytest.approx(np.mean(orders))


def test_ndcg_leaves_out_rows_without_a_label_and_is_nan_without_any_request():
    assert Gains(np.array([1.0, np.nan, 0.0]), np.zeros(3))(np.array([3.0, 9.0, 1.0])) == 1
    assert np.isnan(Gains(np.ones(3), np.zeros(3))(np.arange(3.0)))
    assert np.isnan(Gains(np.array([1.0, 0]), np.zeros(2))(np.array([np.nan, 1])))


def test_the_graded_label_is_the_sum_of_what_happened():
    labels = {"ctr": np.array([0, 1, 1, np.nan]), "cvr": np.array([np.nan, 0, 1, np.nan])}
    found = graded_label(labels, {"ctr": 1.0, "cvr": 5.0}, [CTR, CVR])
    np.testing.assert_array_equal(found, [0, 1, 6, np.nan])


# ---- what is aimed at -----------------------------------------------------------------------------


@pytest.mark.parametrize("weight", ["exposures", "clicks"])
def test_the_objective_is_a_weighted_sum_of_the_targets_measures(weight):
    rows = _rows()
    options = FusionOptions(objective={"ctr_gAUC": 2.0, "like_AUC": 0.5, "like_NDCG": 1.0})
    scores = rows.scores["ctr"]
    gauc = metrics.gauc(rows.labels["ctr"], scores, rows.groups, weight).value
    auc, ndcg = metrics.auc(rows.labels["like"], scores), Gains(rows.labels["like"], rows.groups)(scores)
    assert FusionObjective(rows, options, [CTR, LIKE], weight)(scores) == pytest.approx(
        2 * gauc + 0.5 * auc + ndcg
    )


def test_the_objective_is_every_gauc_unless_said_and_auc_without_groups():
    rows = _rows()
    assert list(FusionObjective(rows, FusionOptions(), [CTR, LIKE, WATCH]).coefficients) == [
        "ctr_gAUC",
        "like_gAUC",
    ]
    ungrouped = Rows(rows.scores, rows.labels, None)
    assert list(FusionObjective(ungrouped, FusionOptions(), [CTR, LIKE]).coefficients) == [
        "ctr_AUC",
        "like_AUC",
    ]


def test_gauc_without_groups_is_an_error():
    rows = _rows()
    with pytest.raises(ValueError, match="gAUC needs group_id, and the run has stored no groups"):
        FusionObjective(
            Rows(rows.scores, rows.labels, None), FusionOptions(objective={"ctr_gAUC": 1.0}), [CTR]
        )


def test_a_gauc_of_groups_of_one_class_is_not_defined():
    rows = Rows({"ctr": np.ones(2)}, {"ctr": np.array([0.0, 1.0])}, np.arange(2))
    assert np.isnan(FusionObjective(rows, FusionOptions(), [CTR])(np.ones(2)))


# ---- the cross-entropy method ---------------------------------------------------------------------


def _quadratic(z):
    return -((z - np.array([1.0, -0.5, 2.0])) ** 2).sum(axis=1)


def test_the_cross_entropy_method_finds_the_top_of_a_quadratic():
    found = cross_entropy_method(_quadratic, np.zeros(3), np.ones(3))
    np.testing.assert_allclose(found.mean, [1, -0.5, 2], atol=0.05)
    assert found.value == pytest.approx(0, abs=0.01)
    assert found.history.shape == (30, 3)


def test_minimising_is_maximising_the_negative():
    up = cross_entropy_method(_quadratic, np.zeros(3), np.ones(3), rounds=5)
    down = cross_entropy_method(lambda z: -_quadratic(z), np.zeros(3), np.ones(3), rounds=5, maximise=False)
    np.testing.assert_array_equal(up.mean, down.mean)
    assert down.value == -up.value


def test_the_same_seed_finds_the_same_and_another_one_something_else():
    first, again, other = (
        cross_entropy_method(_quadratic, np.zeros(3), np.ones(3), rounds=3, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.mean, again.mean)
    assert (first.mean != other.mean).all()


def test_where_all_samples_are_elites_the_mean_moves_to_theirs():
    seen = []
    found = cross_entropy_method(
        lambda z: seen.append(z) or np.zeros(len(z)),
        np.ones(2),
        np.ones(2),
        rounds=1,
        samples=8,
        elites=8,
        smoothing=0.7,
    )
    np.testing.assert_allclose(found.mean, 0.3 + 0.7 * seen[0].mean(axis=0))
    np.testing.assert_allclose(found.deviation, 0.3 + 0.7 * seen[0].std(axis=0))


def test_what_cannot_be_measured_is_never_among_the_elites():
    found = cross_entropy_method(
        lambda z: np.where(z[:, 0] > 0, np.nan, z[:, 0]),
        np.zeros(1),
        np.ones(1),
        rounds=8,
        least_deviation=(0.01, 0.01),
    )
    assert -0.1 < found.mean[0] < 0.05
    nothing = cross_entropy_method(lambda z: np.full(len(z), np.nan), np.ones(1), np.ones(1), rounds=2)
    assert nothing.mean == nothing.best == 1
    assert np.isnan(nothing.value)


def test_the_deviation_stays_above_its_floor():
    found = cross_entropy_method(_quadratic, np.zeros(3), np.ones(3), rounds=40, least_deviation=(0.3, 0.2))
    np.testing.assert_allclose(found.deviation, 0.2, rtol=0.5)
    assert (found.deviation >= 0.2).all()


@pytest.mark.parametrize("elites", [0, 9])
def test_as_many_elites_as_samples_at_most(elites):
    with pytest.raises(ValueError, match=f"elites is {elites}; it lies from 1 to samples, 8"):
        cross_entropy_method(_quadratic, np.zeros(3), np.ones(3), samples=8, elites=elites)


# ---- searches -------------------------------------------------------------------------------------


def test_weights_by_hand_are_taken_as_they_are():
    found = search(FusionOptions(weights={"like": 3.0, "ctr": 1.0}), _rows(), [CTR, LIKE])
    assert found.fusion == Fusion("product", {"like": 3.0, "ctr": 1.0})
    assert not found.story


def test_a_search_is_at_least_as_good_as_equal_weights_and_leans_to_what_counts():
    rows = _rows()
    options = FusionOptions(objective={"ctr_gAUC": 5.0, "like_gAUC": 1.0}, search=QUICK)
    found = search(options, rows, [CTR, LIKE])
    assert found.story["objective"] >= found.story["equal_weights"]
    assert found.story["objective"] == pytest.approx(
        FusionObjective(rows, options, [CTR, LIKE])(found.fusion(rows.scores)), abs=1e-12
    )
    assert sum(found.fusion.weights.values()) == pytest.approx(1)
    assert found.fusion.weights["ctr"] > found.fusion.weights["like"]


def test_an_objective_that_is_not_defined_is_an_error():
    rows = _rows(20)
    rows.labels["like"][:] = 0
    with pytest.raises(ValueError, match="like_gAUC is not defined on the validation rows. Leave it out"):
        search(FusionOptions(search=QUICK), rows, [CTR, LIKE])


def test_the_scores_are_those_that_the_formula_can_take():
    assert fused_tasks(FusionOptions(), [CTR, WATCH]) == ["ctr"]
    assert fused_tasks(FusionOptions(method="rank"), [CTR, WATCH]) == ["ctr", "watch"]
    assert fused_tasks(FusionOptions(method="sum", transform="identity"), [CTR, WATCH]) == ["ctr", "watch"]
    assert fused_tasks(FusionOptions(scores=["like"]), [CTR, LIKE]) == ["like"]
    assert fused_tasks(FusionOptions(weights={"like": 1.0}), [CTR, LIKE]) == ["like"]


def test_without_optuna_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ValueError,
        match="optuna, which is not installed: pip install 'fuxi-mtl.optuna.', or use weights: cem",
    ):
        search(FusionOptions(weights="optuna", search=QUICK), _rows(50), [CTR, LIKE])


def test_optuna_tries_as_many_weights_as_asked_and_its_best_is_taken(monkeypatch):
    create, studies = optuna.create_study, []
    monkeypatch.setattr(
        optuna, "create_study", lambda **given: studies.append(create(**given)) or studies[-1]
    )
    options = FusionOptions(weights="optuna", search=replace(QUICK, trials=30))
    rows = _rows(100)
    found, again = (search(options, rows, [CTR, LIKE]) for _ in range(2))
    assert [len(study.trials) for study in studies] == [30, 30]
    assert found.story["objective"] == pytest.approx(max(trial.value for trial in studies[0].trials))
    assert found.story["objective"] > min(trial.value for trial in studies[0].trials)
    assert again.fusion.weights == found.fusion.weights


# ---- simulated live trials ------------------------------------------------------------------------


def _traffic(rows, **options):
    fusion = Fusion("sum", {"ctr": 0.5, "like": 0.5})
    grades = rows.labels["ctr"] + 4 * rows.labels["like"]
    terms = fusion.terms(rows.scores)
    return Traffic(fusion, terms, grades, rows.groups, SearchOptions(top=2, **options)), terms, grades


def test_all_traffic_earns_the_grades_of_the_first_rows():
    rows = _rows(100)
    traffic, terms, grades = _traffic(rows)
    total = terms @ [0.2, 0.8]
    best = [grades[g * 10 + np.argsort(-total[g * 10 : g * 10 + 10])[:2]].sum() for g in range(10)]
    assert traffic.everywhere(np.array([0.2, 0.8])) == pytest.approx(np.mean(best))


def test_rows_of_equal_score_share_the_places_that_are_left():
    grades = np.array([3.0, 1.0, 2.0, 0.0])
    terms = np.array([[5.0], [1.0], [1.0], [1.0]])
    options = SearchOptions(top=2)
    traffic = Traffic(Fusion("sum", {"ctr": 1.0}), terms, grades, np.zeros(4), options)
    # The first place is that of the first row; one of three shares the second.
    assert traffic.everywhere(np.ones(1)) == pytest.approx(3 + (1 + 2 + 0) / 3)
    assert traffic.everywhere(np.zeros(1)) == pytest.approx(grades.mean() * 2)


def test_groups_of_traffic_share_out_all_requests():
    rows = _rows(100)
    traffic, _, _ = _traffic(rows)
    same = np.tile([0.2, 0.8], (5, 1))
    earned = traffic(same)
    assert earned.mean() == pytest.approx(traffic.everywhere(same[0]))  # two requests each
    assert len(np.unique(earned)) > 1


def test_a_groups_metric_has_the_noise_that_was_asked_for():
    rows = _rows(100)
    still, noisy = (_traffic(rows, noise=noise)[0] for noise in (0.0, 3.0))
    weights = np.tile([0.5, 0.5], (10, 1))
    apart = noisy(weights) - still(weights)
    assert 1 < apart.std() < 6


def test_more_groups_than_requests_leave_some_without_a_metric():
    traffic, _, _ = _traffic(_rows(30))
    assert np.isnan(traffic(np.tile([0.5, 0.5], (4, 1)))).sum() == 1


def test_an_online_search_earns_more_than_equal_weights():
    rows = _rows(3000)
    options = FusionOptions(
        method="sum",
        weights="online",
        label={"ctr": 1.0, "like": 8.0},
        search=SearchOptions(rounds=8, samples=20, elites=4),
    )
    found = search(options, rows, [CTR, LIKE])
    assert found.story["business"][-1] > found.story["business_at_start"]
    assert len(found.story["business"]) == 8
    assert found.fusion.weights["like"] > 0.5


def test_an_online_search_needs_values():
    with pytest.raises(ValueError, match="weights: online needs label"):
        search(FusionOptions(weights="online"), _rows(50), [CTR, LIKE])


# ---- the report -----------------------------------------------------------------------------------


def test_every_single_score_and_fusion_is_reported_on_test_rows_against_the_best_single_score():
    valid, test = _rows(seed=1), _rows(seed=2)
    options = FusionOptions(objective={"ctr_gAUC": 1.0, "like_NDCG": 1.0, "ctr_AUC": 1.0})
    objectives = [FusionObjective(rows, options, [CTR, LIKE]) for rows in (valid, test)]
    fusion = Fusion("product", {"ctr": 0.5, "like": 0.5})
    singles = {name: (valid.scores[name], test.scores[name]) for name in ("ctr", "like")}
    fused = {"product": (fusion(valid.scores), fusion(test.scores))}
    table = report("toy", 3, *objectives, singles, fused, test.groups, resamples=200)
    assert [row.expid for row in table.rows] == ["ctr", "like", "product"]
    assert table.columns == ("ctr_gAUC", "like_NDCG", "ctr_AUC", "objective")
    best = max(singles, key=lambda name: objectives[0](singles[name][0]))
    assert table.baseline == best
    product = table.rows[2]
    for column, value in objectives[1].values(fused["product"][1]).items():
        assert product.cells[column].by_seed == {3: value}
    difference = product.differences["objective"]
    assert difference.value == pytest.approx(
        objectives[1](fused["product"][1]) - objectives[1](singles[best][1])
    )
    assert difference.low < difference.value < difference.high
    assert not next(row for row in table.rows if row.expid == best).differences


def test_the_interval_of_ndcg_is_that_of_resampled_requests():
    rows = _rows(seed=4)
    options = FusionOptions(objective={"like_NDCG": 1.0})
    objective = FusionObjective(rows, options, [CTR, LIKE])
    singles = {name: (rows.scores[name],) * 2 for name in ("like", "ctr")}
    table = report("toy", 0, objective, objective, singles, {}, rows.groups, resamples=2000)
    gains = Gains(rows.labels["like"], rows.groups)
    apart = gains.by_request(rows.scores["ctr"]) - gains.by_request(rows.scores["like"])
    found = table.rows[1].differences["like_NDCG"]
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(apart.std() / len(apart) ** 0.5, rel=0.15)


def test_what_is_not_defined_on_test_rows_has_no_value():
    rows = _rows(60)
    empty = Rows(rows.scores, {"ctr": np.zeros(60), "like": rows.labels["like"]}, rows.groups)
    options = FusionOptions(objective={"ctr_gAUC": 1.0, "like_gAUC": 1.0})
    objectives = [FusionObjective(each, options, [CTR, LIKE]) for each in (rows, empty)]
    singles = {name: (rows.scores[name],) * 2 for name in ("ctr", "like")}
    table = report("toy", 0, *objectives, singles, {}, rows.groups, resamples=20)
    assert not table.rows[0].cells["ctr_gAUC"].by_seed
    assert table.best["ctr_gAUC"] == frozenset()

"""A search among preferences: which are tried, what the front is, and which run is chosen."""

import json
import math
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from synthetic_runs import write_run

from fuxi_mtl.comparison import compare, read_run, stored_runs
from fuxi_mtl.comparison.pareto import (
    FILE,
    chosen,
    evenly_spread,
    fronts_among,
    gains,
    hypervolume,
    make_front,
    non_dominated,
    preferences_of,
    read_front,
    stanza_of,
    traded_metrics,
)
from fuxi_mtl.comparison.pareto.preferences import name_of
from fuxi_mtl.options import ParetoOptions
from fuxi_mtl.report import fronts, render

TWO = ("ctr", "cvr")


# ---- preferences ---------------------------------------------------------------------------------


def test_five_preferences_of_two_are_a_fifth_apart():
    shares = [each["ctr"] for each in evenly_spread(TWO, 5)]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9])


@pytest.mark.parametrize(("objectives", "count"), [(2, 7), (3, 10), (4, 4), (6, 21)])
def test_spread_preferences_are_distinct_add_up_to_one_and_leave_nobody_out(objectives, count):
    names = [f"task{k}" for k in range(objectives)]
    points = np.array([list(each.values()) for each in evenly_spread(names, count)])
    assert len(np.unique(points.round(9), axis=0)) == count
    np.testing.assert_allclose(points.sum(axis=1), 1)
    assert points.min() > 0
    # Whatever order the objectives have, the set of preferences is the same.
    assert {tuple(row) for row in points[:, ::-1].round(9)} == {tuple(row) for row in points.round(9)}


def test_weights_that_are_spread_add_up_to_their_number_and_bounds_to_the_total():
    weights = preferences_of(ParetoOptions(vectors=3), TWO)
    expected = [(1 / 3, 5 / 3), (1, 1), (5 / 3, 1 / 3)]
    np.testing.assert_allclose([list(each.values()) for each in weights], expected, atol=1e-4)
    bounds = preferences_of(ParetoOptions(by="bounds", vectors=10, total=1.0), ("a", "b", "c"))
    sums = [sum(each.values()) for each in bounds]
    assert max(sums) <= 1
    assert min(sums) > 0.999


@pytest.mark.parametrize(("objectives", "count"), [(2, 5), (3, 6), (6, 6)])
def test_without_a_number_there_are_at_least_five(objectives, count):
    assert len(preferences_of(ParetoOptions(), [f"task{k}" for k in range(objectives)])) == count


def test_preferences_are_given_by_name_and_bounds_may_be_left_out():
    given = ParetoOptions(by="bounds", vectors=[{"ctr": 0.5}, {"cvr": 0.2, "ctr": 0.1}])
    assert preferences_of(given, TWO) == [{"ctr": 0.5, "cvr": 0.0}, {"ctr": 0.1, "cvr": 0.2}]


def test_a_preference_is_keys_of_a_stanza_and_a_name():
    preference = {"ctr": 0.2, "cvr": 1.8}
    assert stanza_of("weights", preference) == {"loss_weight": preference}
    assert stanza_of("bounds", preference) == {"surgery": "pe_ltr", "pe_ltr_bounds": preference}
    assert name_of("MMoE", "weights", preference) == "MMoE_weights_0.2_1.8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": 1}, "vectors is 1; a search needs at least 2"),
        ({"vectors": [{"ctr": 1, "cvr": 1}]}, "vectors has 1 preferences; a search needs at least 2"),
        ({"vectors": [{"ctr": 1}, {"cvr": 1}]}, "{'ctr': 1} has no weight for 'cvr'. Objectives: ctr, cvr"),
        ({"vectors": [{"buy": 1}]}, "a preference names 'buy', which is no objective. Objectives: ctr, cvr"),
        (
            {"vectors": [{"ctr": 1, "cvr": 2}, {"ctr": 1.00001, "cvr": 2}]},
            "{'ctr': 1.00001, 'cvr': 2.0} is given twice (to 4 digits)",
        ),
    ],
)
def test_preferences_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        preferences_of(ParetoOptions(**options), TWO)


def test_a_number_that_cannot_be_spread_names_numbers_that_can():
    with pytest.raises(
        ValueError,
        match="5 preferences .* over 3 objectives. Numbers that can: 3, 6, 10",
    ):
        evenly_spread(("a", "b", "c"), 5)


def test_one_objective_has_nothing_to_trade():
    with pytest.raises(ValueError, match="needs two objectives, but there is only ctr"):
        preferences_of(ParetoOptions(), ("ctr",))


# ---- the front -----------------------------------------------------------------------------------


def test_a_point_is_off_the_front_if_another_is_nowhere_worse_and_somewhere_better():
    points = np.array([(1, 3), (2, 2), (3, 1), (2, 1), (1, 1), (2, 2)], float)
    assert non_dominated(points).tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize(
    ("points", "reference", "expected"),
    [
        ([(2, 3)], (0, 0), 6),
        ([(1, 3), (2, 2), (3, 1)], (0, 0), 6),  # a staircase of 3 + 2 + 1 squares
        ([(1, 3), (2, 2), (3, 1)], (1, 1), 1),
        ([(2, 2), (1, 1)], (0, 0), 4),
        ([(-1, 5)], (0, 0), 0),
        ([(1, 1, 1)], (0, 0, 0), 1),
        ([(2, 1, 1), (1, 2, 1), (1, 1, 2)], (0, 0, 0), 4),  # a cube and a cube on each of three sides
        ([(2, 2, 1), (1, 1, 2)], (0, 0, 0), 5),
    ],
)
def test_hypervolumes_worked_out_by_hand(points, reference, expected):
    assert hypervolume(np.array(points, float), np.array(reference, float)) == pytest.approx(expected)


def test_hypervolume_is_that_of_inclusion_and_exclusion():
    rng = np.random.default_rng(0)
    for size in (2, 3, 4):
        points = rng.random((5, size))
        expected = sum(
            (-1) ** (count + 1) * np.prod(np.min(chosen_, axis=0))
            for count in range(1, 6)
            for chosen_ in combinations(points, count)
        )
        assert hypervolume(points, np.zeros(size)) == pytest.approx(expected)


def test_rules_choose_as_they_say():
    points = np.array([(0.0, 10.0), (0.45, 4.5), (0.9, 4.4), (1.0, 0.0)])
    np.testing.assert_allclose(gains(points)[1], (0.45, 0.45))
    assert chosen(points, "fairness") == 1
    assert chosen(points, "least_misery") == 1
    assert chosen(points, "weighted") == 2
    assert chosen(points, "weighted", np.array([0.0, 1.0])) == 0
    assert chosen(np.array([(0.0, 1.0), (0.9, 0.2), (1.0, 0.0)]), "least_misery") == 1


def test_of_equals_the_better_sum_is_chosen():
    assert chosen(np.array([(0, 0, 1.0), (1.0, 1.0, 0), (0.2, 0.2, 0.2), (0.6, 0.6, 0.6)]), "fairness") == 3


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="choose is 'best'. Rules: fairness, least_misery, weighted"):
        chosen(np.eye(2), "best")


# ---- from runs -----------------------------------------------------------------------------------

# ctr is better at 3, cvr at 1; 2 lies between, and 4 is beaten by 2 (logloss: smaller is better).
VALID = {1: (0.70, 0.30), 2: (0.75, 0.33), 3: (0.80, 0.40), 4: (0.74, 0.34)}
PREFERENCES = {f"M_weights_{n}": {"ctr": n / 2, "cvr": 2 - n / 2} for n in VALID}
OPTIONS = ParetoOptions(metrics=["ctr_AUC", "cvr_logloss"])


@pytest.fixture
def runs(tmp_path):
    found = []
    for name, (auc, loss) in zip(PREFERENCES, VALID.values(), strict=True):
        for seed, shift in ((1, -0.01), (2, 0.01)):
            folder = write_run(tmp_path, name, seed)
            content = json.loads((folder / "metrics.json").read_text())
            content["valid"] = {"ctr_AUC": auc + shift, "cvr_logloss": loss, "cvr_PCOC": 1.0, "cvr_AUC": None}
            content["test"] = {"ctr_AUC": auc - 0.1, "cvr_logloss": loss + 0.1}
            (folder / "metrics.json").write_text(json.dumps(content))
            found.append(read_run(folder))
    return found


def test_the_front_of_runs_is_made_of_means_over_seeds_on_validation(runs):
    front = make_front("M", OPTIONS, PREFERENCES, runs)
    assert [point.on_front for point in front.points] == [True, True, True, False]
    assert front.points[0].valid == pytest.approx({"ctr_AUC": 0.70, "cvr_logloss": 0.30})
    assert front.points[0].by_seed["ctr_AUC"] == pytest.approx([0.69, 0.71])
    # An AUC without skill, and the worst of the losses.
    assert front.reference == {"ctr_AUC": 0.5, "cvr_logloss": 0.40}
    assert front.hypervolume == pytest.approx(0.20 * 0.10 + (0.25 - 0.20) * 0.07)
    # Gains 0, .5, 1 and 1, .7, 0: the one between is the fairest. It alone is reported on test.
    assert front.chosen == "M_weights_2"
    tests = {point.expid: point.test for point in front.points}
    assert tests.pop("M_weights_2") == pytest.approx({"ctr_AUC": 0.65, "cvr_logloss": 0.43})
    assert set(map(len, tests.values())) == {0}


def test_reference_rule_and_importance_are_those_of_the_stanza(runs):
    options = replace(OPTIONS, reference={"ctr_AUC": 0.6, "cvr_logloss": 0.5})
    assert make_front("M", options, PREFERENCES, runs).hypervolume == pytest.approx(
        0.10 * 0.20 + 0.05 * 0.17 + 0.05 * 0.1
    )
    options = replace(OPTIONS, choose="weighted", importance={"ctr_AUC": 1.0})
    assert make_front("M", options, PREFERENCES, runs).chosen == "M_weights_3"


def test_unless_said_the_first_metric_of_each_task_is_traded_off(runs):
    assert list(traded_metrics(ParetoOptions(), runs[0])) == ["ctr_AUC", "cvr_logloss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["ctr_AUC", "cvr_KS"]}, "pareto names 'cvr_KS', which is not measured"),
        (
            {"reference": {"cvr_AUC": 0.5}},
            "'cvr_AUC', which is not traded off: ctr_AUC, cvr_logloss are",
        ),
        ({"metrics": ["ctr_AUC", "cvr_AUC"]}, "cvr_AUC is undefined on validation"),
    ],
)
def test_metrics_that_cannot_be_traded_are_refused(runs, options, message):
    with pytest.raises(ValueError, match=message):
        make_front("M", ParetoOptions(**options), PREFERENCES, runs)


def test_a_front_needs_validation_rows(runs):
    with pytest.raises(ValueError, match="has no validation metrics; a front is made of them."):
        traded_metrics(ParetoOptions(), replace(runs[0], metrics={"valid": {}, "test": {}}))


def test_a_front_is_read_as_it_was_written_and_found_beside_its_runs(runs, tmp_path):
    front = make_front("M", OPTIONS, PREFERENCES, runs)
    (tmp_path / "toy" / "M").mkdir()
    (tmp_path / "toy" / "M" / FILE).write_text(json.dumps(front.plain()))
    assert read_front(tmp_path / "toy" / "M" / FILE) == front
    assert fronts_among(compare(stored_runs(tmp_path), resamples=0)) == [front]
    # Without one of its points it would be another front.
    assert fronts_among(compare(runs[2:], resamples=0)) == []


def test_a_damaged_front_is_named(tmp_path):
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ValueError, match="pareto.json cannot be read .*: run the search again"):
        read_front(tmp_path / FILE)


def test_the_terminal_shows_preferences_front_hypervolume_and_choice(runs):
    text = fronts.terminal(make_front("M", OPTIONS, PREFERENCES, runs))
    lines = [line.split() for line in text.splitlines()]
    assert ["2", "1", "1", "2", "0.7500", "0.3300", "chosen"] in lines
    assert ["4", "2", "0", "2", "0.7400", "0.3400", "no"] in lines
    assert "above the reference ctr_AUC 0.5, cvr_logloss 0.4." in text
    assert "Chosen by fairness: M_weights_2. On test: ctr_AUC 0.65, cvr_logloss 0.43." in text


def test_one_seed_and_no_test_split_are_said(runs):
    single = [replace(run, metrics={**run.metrics, "test": {}}) for run in runs if run.seed == 1]
    text = fronts.terminal(make_front("M", OPTIONS, PREFERENCES, single))
    assert "One seed: what differs by less than a rerun does is no trade-off." in text
    assert "There is no test split." in text


def test_a_page_shows_the_picture_and_the_table_of_the_front(runs):
    front = make_front("M", OPTIONS, PREFERENCES, runs)
    page = render(compare(runs, resamples=0), "html", fronts=[front])
    assert "M on toy, preferences by weights, validation" in page
    assert "cvr_logloss (smaller is better)" in page
    assert page.count("<svg") > render(compare(runs, resamples=0), "html").count("<svg")
    assert "beaten" in page


def test_three_metrics_are_a_panel_for_each_pair(runs):
    three = [
        replace(run, metrics={**run.metrics, "valid": {**run.metrics["valid"], "cvr_AUC": 0.6}})
        for run in runs
    ]
    options = replace(OPTIONS, metrics=["ctr_AUC", "cvr_logloss", "cvr_AUC"])
    front = make_front("M", options, PREFERENCES, three)
    assert sum("ctr_AUC (larger" in panel.title for panel in fronts.picture(front).panels) == 2
    assert math.isfinite(front.hypervolume)

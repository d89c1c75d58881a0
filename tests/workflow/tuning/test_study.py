"""A study: what is asked and told, by one process or several, and what comes of it; nothing is trained."""

import math
import os
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra optuna is not installed")

from fuxi_mtl.files import held
from fuxi_mtl.workflow.tuning.outcome import Retrained, expected_maximum, outcome_of
from fuxi_mtl.workflow.tuning.plan import Plan
from fuxi_mtl.workflow.tuning.space import make_space
from fuxi_mtl.workflow.tuning.study import Study
from fuxi_mtl.workflow.tuning.trial import Objective, OverError, PrunedError, Watch

RANGE = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "num_experts": [2, 4]}
GRID = {"num_experts": [2, 4], "net_dropout": [0, 0.1]}


def study(folder, space, plan, directions=("max",), identity="the same") -> Study:
    return Study(folder, make_space(space, "tune"), directions, plan, {"stanza": {"epochs": identity}})


def tried(of: Study, score=float, most: int = 99) -> list[dict]:
    """Tries until there is nothing left, and tells a score that depends on the number alone."""
    found: list[dict] = []
    while len(found) < most:
        with of.next() as trial:
            if trial is None:
                return found
            found.append({key: value.value for key, value in trial.values.items()})
            given = score(trial.number)
            of.tell(trial, list(given) if isinstance(given, tuple) else [given])
    return found


def outcome(of: Study, names=("AUC",), direction="max", seeds=(1,), choose="fairness"):
    base = SimpleNamespace(expid="MMoE_toy", options=SimpleNamespace(dataset_id="toy"))
    return outcome_of(of, base, [Objective(name, direction) for name in names], seeds, choose)


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_search_that_stopped_goes_on_as_if_it_had_not(storage, tmp_path):
    plan = Plan(5, "tpe", storage=storage)
    whole = tried(study(tmp_path / "whole", RANGE, plan))
    first = tried(study(tmp_path / "parts", RANGE, plan), most=2)
    rest = tried(study(tmp_path / "parts", RANGE, plan))
    assert [*first, *rest] == whole
    assert len(whole) == 5
    assert len({each["learning_rate"] for each in whole}) == 5
    if storage == "sqlite":
        with pytest.raises(ValueError, match=r"study.db is there: give its storage, or another folder"):
            study(tmp_path / "parts", RANGE, Plan(5))


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    study(tmp_path, RANGE, Plan(5))
    with pytest.raises(
        ValueError, match=r"another search: they differ in epochs \('the same' there, 3 here\)"
    ):
        study(tmp_path, RANGE, Plan(5), identity=3)
    searched = [{"space": {"varied": {"net_dropout": {"low": 0, "high": high}}}} for high in (0.2, 0.5)]
    Study(tmp_path / "space", make_space(RANGE, "tune"), ["max"], Plan(5), searched[0])
    with pytest.raises(ValueError, match=r"they differ in net_dropout.high \(0.2 there, 0.5 here\)"):
        Study(tmp_path / "space", make_space(RANGE, "tune"), ["max"], Plan(5), searched[1])


def test_processes_share_the_points_of_a_grid_and_the_number_of_trials(tmp_path):
    one, other = (study(tmp_path, GRID, Plan(sampler="grid")) for _ in range(2))
    with one.next() as first, other.next() as second:
        assert first.values != second.values
        one.tell(first, [1.0])
        other.tell(second, [2.0])
    assert len(tried(one)) + len(tried(other)) == 2
    points = {tuple(each.params.items()) for each in one.trials}
    assert len(points) == len(one.trials) == 4
    sampled = study(tmp_path / "sampled", RANGE, Plan(3, "random"))
    with sampled.next(), study(tmp_path / "sampled", RANGE, Plan(3, "random")).next():
        assert len(tried(sampled)) == 1


def test_what_a_killed_process_had_begun_is_tried_again_and_what_runs_elsewhere_is_not(tmp_path):
    of = study(tmp_path, GRID, Plan(sampler="grid"))
    with of.next() as killed:  # nobody tells what became of it
        lost = killed.values
    with of.next() as running:
        assert running.values != lost
        again = tried(study(tmp_path, GRID, Plan(sampler="grid")))
        assert {key: value.value for key, value in lost.items()} in again
        assert len(again) == 3
        assert {key: value.value for key, value in running.values.items()} not in again
        of.put_back(running)
    assert len(tried(of)) == 1
    assert len(of.trials) == 4, "what was put back is no trial"


def test_locks_of_the_journal_point_at_it_so_that_optuna_frees_what_a_killed_process_held(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    links = []
    link = os.symlink

    def linked(target, place):
        link(target, place)
        links.append(Path(place).resolve(strict=True) == tmp_path / "tune" / "study.journal")

    monkeypatch.setattr(os, "symlink", linked)
    study(Path("tune"), RANGE, Plan(1))
    assert links
    assert all(links)


def test_values_that_were_tried_take_their_result(tmp_path):
    of = study(tmp_path, {"num_experts": [2, 4]}, Plan(8, "random"))
    assert len(tried(of)) == 2
    found = outcome(of)
    assert (len(found.attempts), found.count("complete")) == (8, 2)
    assert all(
        each.scores == found.attempts[each.same_as].scores
        for each in found.attempts
        if each.same_as is not None
    )
    assert "8 trials (2 complete, 6 the same as an earlier one)." in found.lines()[0]


def test_failed_and_pruned_trials_are_counted_and_said(tmp_path):
    of = study(tmp_path, GRID, Plan(sampler="grid", pruner="median"))
    with of.next() as trial:
        of.fail(trial, ValueError("no room"))
    with of.next() as trial:
        of.prune(trial)
    with pytest.raises(ValueError, match=r"no trial in .* is complete: ValueError: no room"):
        outcome(of)
    tried(of)
    lines = outcome(of).lines()
    assert "4 trials (2 complete, 1 pruned, 1 failed)." in lines[0]
    assert "Failed: trial 0: ValueError: no room" in lines
    assert any(line.endswith("the best of 3 looked at.") for line in lines), "the pruned one was, too"
    again = Retrained("", "", {"AUC": [0.70, 0.71, 0.72]}, {}, [2, 3, 4])  # the standard deviation is 0.01
    assert replace(outcome(of), retrained=again).luck("AUC") == pytest.approx(
        0.0084628, rel=1e-4
    )  # Harter's of 3


def test_a_trial_below_the_median_is_not_worth_going_on(tmp_path):
    of = study(tmp_path, RANGE, Plan(6, "random", "median"))
    for value in (0.5, 0.6, 0.7, 0.8, 0.9, 0.4):
        with of.next() as trial:
            goes_on = trial.report(value, 0)
            of.tell(trial, [value])
    assert not goes_on


def test_several_objectives_give_a_front_and_a_rule_chooses(tmp_path):
    points = {0: (0.9, 0.1), 1: (0.6, 0.6), 2: (0.5, 0.5), 3: (0.1, 0.9)}
    of = study(tmp_path, GRID, Plan(sampler="grid"), directions=("max", "max"))
    tried(of, points.__getitem__)
    found = outcome(of, ("ctr_AUC", "cvr_AUC"))
    assert (sorted(found.front), found.winner) == ([0, 1, 3], 1)
    assert "On the front (+)" in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("plan", "objectives", "message"),
    [
        (Plan(sampler="tpi"), ["AUC"], r"sampler is 'tpi'. Did you mean 'tpe'\? Known: tpe, random, grid"),
        (Plan(pruner="medan"), ["AUC"], r"pruner is 'medan'. Did you mean 'median'"),
        (Plan(storage="mysql"), ["AUC"], r"storage is 'mysql'"),
        (Plan(choose="luck"), ["AUC"], r"choose is 'luck'"),
        (Plan(0), ["AUC"], r"trials is 0; it must be 1 or more"),
        (Plan(minutes=0), ["AUC"], r"minutes is 0; it must be above 0"),
        (Plan(minutes=math.nan), ["AUC"], r"minutes is nan; it must be above 0"),
        (Plan(retrain=-1), ["AUC"], r"retrain is -1; it must be 0 or more"),
        (
            Plan(pruner="median"),
            ["AUC", "logloss"],
            r"needs one order of trials, and 2 objectives \(AUC, logloss\)",
        ),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(plan, objectives, message):
    with pytest.raises(ValueError, match=message):
        plan.check(objectives)


def test_the_largest_of_many_normal_numbers_is_as_large_as_known():
    # Harter, Biometrika 48 (1961), table 1.
    known = {1: 0.0, 2: 0.56419, 3: 0.84628, 10: 1.53875, 40: 2.16078, 100: 2.50759}
    assert {n: round(expected_maximum(n), 5) for n in known} == known


def test_the_report_says_how_much_of_the_best_score_is_luck(tmp_path):
    of = study(tmp_path, GRID, Plan(sampler="grid"))
    noise = np.random.default_rng(0).normal(0.7, 0.01, (4, 2))
    while True:
        with of.next() as trial:
            if trial is None:
                break
            values = noise[trial.number]
            trial.note(by_seed={"1": [values[0]], "2": [values[1]]}, seconds=1.0)
            of.tell(trial, [values.mean()])
    found = outcome(of, seeds=(1, 2))
    pooled = math.sqrt(np.mean(noise.var(axis=1, ddof=1)) / 2)
    assert found.spread("AUC") == pytest.approx(pooled)
    assert found.luck("AUC") == pytest.approx(pooled * 1.02938, rel=1e-4)  # of four
    valid, test = [0.70, 0.71, 0.72], [0.69, 0.70, 0.71]
    again = Retrained("MMoE_tuned", "", {"AUC": valid}, {"AUC": test}, [3, 4, 5])
    found = type(found)(**{**vars(found), "retrained": again})
    assert found.spread("AUC") == pytest.approx(statistics.stdev(valid) / math.sqrt(2))
    text = "\n".join(found.lines())
    assert "with seeds 3, 4, 5: 0.710000 ± 0.010000 on validation" in text
    assert "On test rows, which chose nothing: 0.700000 ± 0.010000" in text
    found.store()
    once = Retrained("MMoE_tuned", "", {"AUC": valid[:1]}, {"AUC": test[:1]}, [3])
    of_one_seed = [replace(each, by_seed={}) for each in found.attempts]
    text = "\n".join(replace(found, attempts=of_one_seed, retrained=once).lines())
    assert "One seed a trial and fewer than two anew" in text
    assert '"retrained"' in (tmp_path / "tuning.json").read_text()
    with held(tmp_path / "trials" / "0", wait=False):
        pass  # the lock of a trial is free behind it


def test_each_evaluation_is_reported_as_the_mean_with_finished_seeds_and_may_end_the_training():
    seen = []

    def report(value, step):
        seen.append((value, step))
        return value > 0.6

    def watch(direction="max", until=None) -> Watch:
        found = Watch(report, [0.8], direction, until)
        found.set_model(SimpleNamespace(stop_training=False))
        return found

    of = watch()
    of.on_epoch_end(0, {"monitor": 0.5})
    of.on_epoch_end(1, {"monitor": -math.inf})  # undefined
    of.on_epoch_end(2, {"monitor": 0.4})
    assert seen == [(pytest.approx(0.65), 1_000_000), (pytest.approx(0.65), 1_000_002)]
    with pytest.raises(PrunedError):
        watch().on_epoch_end(0, {"monitor": 0.3})
    of = watch("min", until=0.0)
    with pytest.raises(OverError):
        of.on_epoch_end(0, {"monitor": 0.7})
    of.model.stop_training = True  # what ends by itself is no loss of time
    of.on_epoch_end(1, {"monitor": 0.7})
    assert seen[-1] == (pytest.approx(0.75), 1_000_001)

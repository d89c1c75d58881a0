"""A search from a program: what is varied is a stanza or a model with its data, and what is refused."""

import pytest
from interface_world import ROOT, small_model

import fuxi_mtl as fm
from fuxi_mtl.config import load_experiment
from fuxi_mtl.interface.tuning import _of
from fuxi_mtl.workflow.tuning.space import make_space
from fuxi_mtl.workflow.tuning.trial import Objective, objectives_of

SPACE = make_space({"model": ["MMoE", "ShareBottom"], "num_experts": [3], "epochs": 2}, "tune")


def last(each):
    return each.extremes[-1]


def test_a_stanza_is_varied_as_the_command_does(monkeypatch):
    monkeypatch.chdir(ROOT)
    origin = _of(fm.experiment("MMoE_test", config="config", batch_size=32), None, None, {}, SPACE)
    made = origin.make(SPACE.values(last))
    other = load_experiment("config", "MMoE_test", ["model=ShareBottom", "epochs=2", "batch_size=32"])
    assert made.resolved() == other.resolved()
    left = "num_experts is left out: the model is ShareBottom now, which does not have it."
    assert any(note.endswith(left) for note in made.notes)
    assert any(note.endswith(left) for note in other.notes)


def test_one_objective_is_what_trials_watch_and_several_are_measured_and_have_a_better_end(monkeypatch):
    monkeypatch.chdir(ROOT)
    stanza = fm.experiment("MMoE_test", config="config", metrics=["AUC", "logloss", "PCOC"])
    origin = _of(stanza, None, None, {}, SPACE)  # it watches AUC, whose monitor_mode is max
    made = origin.make(SPACE.judged_by(["logloss"], "objectives").values(last))
    assert objectives_of(made, ["logloss"]) == (Objective("logloss", "min"),)
    assert objectives_of(made, ["auc", "click_logloss"]) == (
        Objective("AUC", "max"),
        Objective("click_logloss", "min"),
    )
    for names, message in (
        (["AUC", "click_AUK"], "there is no metric 'click_AUK' to be an objective. Did you mean 'click_AUC'"),
        (["AUC", "click_PCOC"], "the objective click_PCOC is no better when it is larger or smaller"),
        (["AUC", "auc"], "objectives are AUC, auc: name each once"),
    ):
        with pytest.raises(ValueError, match=message):
            objectives_of(made, names)


def test_a_model_is_varied_with_the_options_that_it_has(data):
    model = small_model(data)
    first = _of(model, data, None, {"batch_size": 32}, SPACE).make(
        SPACE.values(lambda each: each.extremes[0])
    )
    assert (first.expid, first.training.batch_size, first.training.epochs) == ("MMoE", 32, 2)
    assert first.model_options["num_experts"] == 3
    assert first.model_options["expert_hidden_units"] == [4]


def test_what_cannot_be_searched_is_told_at_once(data):
    model, stanza = small_model(data), fm.experiment("MMoE_test", config=ROOT / "config")
    with pytest.raises(ValueError, match="tune: space is missing"):
        fm.tune(model, data)
    with pytest.raises(ValueError, match="tune: minutes is 0; it must be above 0"):
        fm.tune(model, data, {"epochs": [1]}, minutes=0)
    with pytest.raises(ValueError, match=r"^objectives: monitor names the unknown metric 'AUK'"):
        fm.tune(model, data, {"epochs": [1]}, objectives="AUK")
    with pytest.raises(ValueError, match="tune: model is the class MMoE"):
        fm.tune(fm.MMoE, data, {"epochs": [1]})
    with pytest.raises(
        ValueError, match=r"tune: min_categr_count is an option of the data: give it to Dataset"
    ):
        fm.tune(model, data, {"min_categr_count": [1, 2]})
    with pytest.raises(ValueError, match=r"tune: unknown key 'epoch'.*Did you mean 'epochs'"):
        fm.tune(model, data, {"epoch": [1, 2]})
    with pytest.raises(ValueError, match=r"tune: epochs belongs into the stanza: fm.experiment"):
        fm.tune(stanza, space={"num_experts": [1]}, epochs=2)
    with pytest.raises(ValueError, match=r"tune: data belongs into the stanza"):
        fm.tune(stanza, data, {"num_experts": [1]})

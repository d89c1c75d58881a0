"""The block fusion: what it means, and every mistake with its message."""

import re

import pytest
import yaml

from fuxi_mtl.config import ConfigError, load_experiment, load_resolved
from fuxi_mtl.options import FusionOptions, LtrOptions, SearchOptions

CHAIN = "model: Chain\ntasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion}\n"


@pytest.fixture
def load(write):
    """Loads the chain with a block fusion."""

    def load(block: str, stanza: str = "", base: str = "", grouped: bool = True, model: str = CHAIN):
        stanza = model + ("group_id: request\n" if grouped else "") + stanza + block
        text = "".join(f"  {line}\n" for line in stanza.splitlines())
        folder = write(model_config=f"Base:\n  seed: 1\n{base}Test:\n  dataset_id: tiny\n{text}")
        return load_experiment(folder, "Test")

    return load


def test_without_a_block_there_is_no_fusion(load):
    assert load("").fusion.fusion is None


def test_a_block_is_read_and_comes_back_from_the_resolved_stanza(load, tmp_path):
    experiment = load(
        "fusion: {method: rank, scores: [ctr, ctcvr], weights: online, rank_constant: 60,"
        " label: {ctr: 1, ctcvr: 5},"
        " objective: {ctr_gAUC: 1, label_NDCG: 2.5}, search: {top: 3, noise: 0.1}, ltr: {features: [user]}}"
    )
    expected = FusionOptions(
        method="rank",
        scores=["ctr", "ctcvr"],
        weights="online",
        rank_constant=60.0,
        label={"ctr": 1.0, "ctcvr": 5.0},
        objective={"ctr_gAUC": 1.0, "label_NDCG": 2.5},
        search=SearchOptions(top=3, noise=0.1),
        ltr=LtrOptions(features=["user"]),
    )
    assert experiment.fusion.fusion == expected
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    assert load_resolved(file, "Test").fusion == experiment.fusion


def test_what_base_says_to_other_tasks_is_left_out(load):
    assert load("", base="  fusion: {scores: [like]}\n").fusion.fusion is None
    assert load("", base="  fusion: {scores: [ctr]}\n").fusion.fusion == FusionOptions(scores=["ctr"])


MISTAKES = {
    "{weights: cma}": "weights is 'cma'. Did you mean 'cem'? Choices: equal, cem, optuna, online, or",
    "{weights: {ctr: -1}}": "weights.ctr is -1; the least is 0.",
    "{weights: {ctr: 0}}": "weights is {'ctr': 0.0}; give numbers from 0 up",
    "{label: {}}": "label is {}; give numbers from 0 up",
    "{objective: {ctr_gAUC: 0}}": "objective is {'ctr_gAUC': 0.0}; at least one weight is not 0.",
    "{ndcg_at: 0}": "ndcg_at is 0; the least is 1.",
    "{rank_constant: -1}": "rank_constant is -1; the least is 0.",
    "{alpha: 0}": "alpha is 0; it must be above 0.",
    "{search: {elites: 65}}": "search.elites is 65; there are 64 samples.",
    "{search: {smoothing: 1.5}}": "search.smoothing is 1.5; it lies above 0 and up to 1.",
    "{search: {least_deviation: [1]}}": "search.least_deviation is [1.0]; give two numbers from 0 up.",
    "{search: {rounds: 0}}": "search.rounds is 0; the least is 1.",
    "{ltr: {held_out: 1}}": "ltr.held_out is 1; it lies above 0 and below 1.",
    "{ltr: {hidden_units: [0]}}": "ltr.hidden_units[0] is 0; it lies from 1 to 65536.",
    "{ltr: {learning_rate: 0}}": "ltr.learning_rate is 0; it must be above 0.",
    "{ltr: {list_size: 1}}": "ltr.list_size is 1; the least is 2.",
    "{ltr: {features: [usr]}}": "ltr.features: 'usr' is no input. Did you mean 'user'? Inputs: ",
    "{scores: [ctrr]}": "scores: no task is called 'ctrr'. Did you mean 'ctr'? Tasks: ctr, cvr, ctcvr.",
    "{weights: {ctt: 1}}": "weights: no task is called 'ctt'.",
    "{label: {like: 1}}": "label: no task is called 'like'.",
    "{scores: []}": "scores is empty; leave it out for all.",
    "{scores: [ctr], weights: {ctr: 1, cvr: 1}}": "weights are for ctr, cvr, but scores are ctr.",
    "{objective: {ctr_auc: 1}}": "objective: 'ctr_auc' is no measure. Did you mean 'ctr_AUC'? Measures:",
    "{objective: {label_NDCG: 1}}": "objective: label_NDCG needs label, the value of each task's label.",
    "{method: ltr}": "method: ltr needs label, the value of each task's label, such as {click: 1}.",
    "{weights: online}": "weights: online needs label",
    "{method: ltr, label: {ctr: 1}, weights: equal}": "weights is equal, but method: ltr learns its own.",
}


@pytest.mark.parametrize("block", MISTAKES)
def test_a_mistake_says_what_works(load, block):
    with pytest.raises(ConfigError, match=re.escape(f"fusion.{MISTAKES[block]}")):
        load(f"fusion: {block}")


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("{method: rank}", "method: rank"),
        ("{objective: {ctr_gAUC: 1}}", "ctr_gAUC"),
        ("{weights: online, label: {ctr: 1}}", "weights: online"),
    ],
)
def test_requests_need_their_column(load, block, what):
    with pytest.raises(ConfigError, match=f"fusion.{what} needs group_id, the column of the requests"):
        load(f"fusion: {block}", grouped=False)


def test_scores_must_be_stored(load):
    with pytest.raises(ConfigError, match="fusion works on stored scores. Leave save_predictions at true"):
        load("fusion: {}", "save_predictions: false\n")


def test_a_misspelt_key_and_method_are_errors(load):
    with pytest.raises(ConfigError, match="unknown key 'wieghts' .*Did you mean 'weights'"):
        load("fusion: {wieghts: cem}")
    with pytest.raises(ConfigError, match="fusion.method is 'products'. Did you mean 'product'"):
        load("fusion: {method: products}")


WATCH = "model: ShareBottom\ntask: [binary_classification, regression]\n"


def test_a_regression_is_joined_by_rank_or_as_it_is(load):
    with pytest.raises(
        ConfigError, match="scores: 'conversion' is a regression. Use method: rank, or sum with"
    ):
        load("fusion: {scores: [click, conversion]}", model=WATCH)
    for block in ("{method: rank}", "{method: sum, transform: identity}"):
        load(f"fusion: {block}", model=WATCH)
    load("fusion: {}", model=WATCH)  # the click alone
    with pytest.raises(ConfigError, match="label: 'conversion' is a regression; labels are of binary tasks"):
        load("fusion: {label: {conversion: 1}}", model=WATCH)


def test_a_fusion_needs_something_to_be_measured_on(load):
    model = "model: ShareBottom\ntask: [regression, regression]\nmonitor: MAE\n"
    with pytest.raises(
        ConfigError, match="objective: a fusion is measured on binary tasks, and there are none"
    ):
        load("fusion: {method: rank}", model=model)
    with pytest.raises(ConfigError, match="'click' is a regression"):
        load("fusion: {}", model=model)

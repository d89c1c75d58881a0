"""Options of the checks of conversion models, and every mistake with its message."""

import pytest
import yaml

from fuxi_mtl.config import ConfigError, load_experiment, load_resolved
from fuxi_mtl.options import ConversionOptions

PAIRED = "tasks: {ctr: click, cvr: conversion | click}\n"


def checks_of(experiment):
    return experiment.evaluation.conversion_checks


def test_without_a_word_nothing_is_checked(write):
    assert checks_of(load_experiment(write(PAIRED), "MMoE_test")) == []
    assert checks_of(load_experiment(write(PAIRED + "conversion_checks: false"), "MMoE_test")) == []


def test_true_stands_for_all_checks_and_a_list_for_itself(write):
    experiment = load_experiment(write(PAIRED + "conversion_checks: true"), "MMoE_test")
    assert checks_of(experiment) == ["ieb", "pip", "balance", "effect"]
    experiment = load_experiment(write(PAIRED + "conversion_checks: [pip, ieb]"), "MMoE_test")
    assert checks_of(experiment) == ["pip", "ieb"]


def test_a_stored_stanza_is_the_same_experiment(write, tmp_path):
    given = "conversion_checks: [ieb]\nconversion_settings: {matches: [2], caliper: null, clip: 0.05}\n"
    experiment = load_experiment(write(PAIRED + given), "MMoE_test")
    settings = ConversionOptions(matches=[2], caliper=None, clip=0.05)
    assert experiment.evaluation.conversion_settings == settings
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    assert load_resolved(file, "MMoE_test") == experiment


def test_what_base_asks_for_is_left_out_where_no_task_can_have_it(write):
    base = "Base: {conversion_checks: true}\nMMoE_test: {model: MMoE, dataset_id: tiny}\n"
    assert checks_of(load_experiment(write(model_config=base), "MMoE_test")) == []


@pytest.mark.parametrize(
    ("stanza", "message"),
    [
        (
            "conversion_checks: true",
            "conversion_checks compares clicked with unclicked exposures: it needs a task such as "
            "'cvr: conversion | click' and one of its condition, 'ctr: click'. "
            "Tasks: click: click, conversion: conversion.",
        ),
        (
            PAIRED + "conversion_checks: [ieb, psm]",
            "conversion_checks[1] is 'psm'. Choices: ieb, pip, balance, effect.",
        ),
        (
            PAIRED + "conversion_checks: [balanc]",
            "conversion_checks[0] is 'balanc'. Did you mean 'balance'? Choices: ieb, pip, balance, effect.",
        ),
        (
            "conversion_settings: {matches: []}",
            "conversion_settings.matches is []; give numbers of rows from 1 up.",
        ),
        (
            "conversion_settings: {matches: [0, 3]}",
            "conversion_settings.matches[0] is 0; the least is 1.",
        ),
        (
            "conversion_settings: {caliper: -1}",
            "conversion_settings.caliper is -1; the least is 0.",
        ),
        ("conversion_settings: {resamples: -1}", "conversion_settings.resamples is -1; the least is 0."),
        (
            "conversion_settings: {clip: 0}",
            "conversion_settings.clip is 0; it lies above 0 and below 0.5.",
        ),
        ("conversion_settings: {indicators: -1}", "conversion_settings.indicators is -1; the least is 0."),
    ],
)
def test_a_mistake_has_its_own_message(write, stanza, message):
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(stanza), "MMoE_test")
    assert str(caught.value).endswith(f"(MMoE_test): {message}")

"""Settings: presets, splits, and what is refused."""

import re

import pytest

from fuxi_mtl.simulation import PRESETS, make_settings, read_settings, split_rows


def test_settings_are_defaults_then_the_preset_then_what_is_given():
    settings = read_settings("funnel", "ali_ccp", ["rows=5e5", "selection=1"])
    assert (settings.rows, settings.selection) == (500_000, 1.0)
    assert (settings.click_rate, settings.conversion_rate) == (0.039, 0.005)
    assert settings.drift == 0


def test_every_preset_is_accepted():
    for name in PRESETS:
        make_settings("funnel", name)


@pytest.mark.parametrize(
    ("generator", "preset", "text", "message"),
    [
        (
            "funel",
            "default",
            "",
            "unknown generator 'funel'. Did you mean 'funnel'? Known: funnel, regression.",
        ),
        (
            "funnel",
            "ali_cpp",
            "",
            "unknown preset 'ali_cpp'. Did you mean 'ali_ccp'? Known: default, ali_ccp.",
        ),
        (
            "regression",
            "ali_ccp",
            "",
            "preset 'ali_ccp' is one of the generator 'funnel', not of 'regression'.",
        ),
        (
            "funnel",
            "default",
            "selektion=1",
            "unknown setting 'selektion' of the generator 'funnel'. Did you mean",
        ),
        ("regression", "default", "selection=1", "unknown setting 'selection' of the generator 'regression'"),
        ("funnel", "default", "rows", "--set rows: write key=value, such as rows=1000000."),
        ("funnel", "default", "rows=many", "--set rows=many: 'many' is no number."),
        ("funnel", "default", "rows=10.5", "--set rows=10.5: rows is a whole number."),
        ("funnel", "default", "rows=99", "rows is 99; the least is 100."),
        ("funnel", "default", "users=10", "users is 10; the least is 50."),
        ("funnel", "default", "items=10", "items is 10; the least is 20."),
        ("funnel", "default", "seed=-1", "seed is -1; it lies from 0 to 4294967295."),
        ("funnel", "default", "click_rate=0", "click_rate is 0; it lies above 0 and below 1."),
        ("funnel", "default", "conversion_rate=1.5", "conversion_rate is 1.5; it lies above 0 and below 1."),
        ("funnel", "default", "selection=nan", "selection expects a number, not nan."),
        ("funnel", "default", "task_correlation=1.1", "task_correlation is 1.1; it lies from -1 to 1."),
        ("funnel", "default", "noise=1", "noise is 1; it lies from 0 to below 1."),
        ("regression", "default", "noise=-1", "noise is -1; the least is 0."),
        ("funnel", "default", "click_signal=-1", "click_signal is -1; the least is 0."),
        ("regression", "default", "dimensions=1", "dimensions is 1; the least is 2."),
        ("funnel", "default", "test_share=0.95", "valid_share 0.1 and test_share 0.95 leave no rows"),
    ],
)
def test_a_mistake_is_named(generator, preset, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_settings(generator, preset, [text] if text else [])


def test_splits_are_whole_requests_in_order_of_time():
    settings = make_settings(given={"rows": 1005, "valid_share": 0.1, "test_share": 0.25})
    assert split_rows(settings) == {"train": (0, 655), "valid": (655, 755), "test": (755, 1005)}
    alone = make_settings("regression", given={"rows": 105, "valid_share": 0, "test_share": 0.1})
    assert split_rows(alone) == {"train": (0, 95), "test": (95, 105)}

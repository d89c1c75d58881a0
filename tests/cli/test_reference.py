"""Options, models and metrics as the command line lists them, and the page docs/options.md."""

import re
import shlex
from pathlib import Path

import pytest

from fuxi_mtl import registry
from fuxi_mtl.cli import commands, reference
from fuxi_mtl.cli.listing import listed
from fuxi_mtl.cli.parser import make_parser
from fuxi_mtl.options import SECTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _declared():
    with registry.declared(registry.zoo_folder()) as known:
        assert known
        yield


def test_the_page_of_options_says_what_the_declarations_say():
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    command = "python -m fuxi_mtl list options --format markdown > docs/options.md"
    assert page == reference.markdown().rstrip("\n") + "\n", f"docs/options.md is old: {command}"


def test_the_page_of_metrics_says_what_the_registry_says():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    command = "python -m fuxi_mtl list metrics --format markdown > docs/metrics.md"
    assert page == reference.metrics_page(), f"docs/metrics.md is old: {command}"


def test_every_option_has_a_sentence():
    entries = [each for section in reference.sections().values() for each in section]
    entries += [each for name in registry.names() for each in reference.options_of(name)]
    lacking = {each.path for each in entries if not each.doc.endswith((".", "?"))}
    assert not lacking


def test_every_key_of_a_stanza_is_listed_with_type_default_bounds_and_example():
    text = listed(["options"], "config")
    for section in SECTIONS.values():
        for name in section.__dataclass_fields__:
            assert f"\n  {name.removesuffix('_')}: " in text
    assert (
        "  batch_size: a whole number or text; one of auto or from 1; default auto\n      Rows in a" in text
    )
    assert "  fusion.search.smoothing: a number; above 0 and up to 1; default 0.7\n" in text
    assert "  feature_cols.pooling: text or null; one of mean, sum, max; default null\n" in text
    assert "  tasks: a mapping of names to texts or null; default null\n" in text
    assert "e.g. {ctr: click, cvr: conversion | click}" in text
    assert "loss_weight: GN\n  gradnorm_alpha: a number; from 0; default 1.5\n" in text


def test_one_option_is_found_by_its_key_its_path_and_others_name():
    by_key = reference.one_option("early_stop_patience")
    assert by_key.startswith("training\n  early_stop_patience: a whole number; from 1; default 2\n")
    assert by_key == reference.one_option("patience")
    assert "FuxiCTR: patience" in by_key
    assert reference.one_option("rounds") == reference.one_option("fusion.search.rounds")
    assert "MMoE, MoE\n  num_experts: " in reference.one_option("num_experts")


def test_a_model_is_listed_with_its_paper_and_its_options():
    text = listed(["MMoE"], "config")
    assert text.startswith("MMoE: Multi-gate mixture of experts.\n\nPaper: Ma et al. ")
    own, _, shared = text.partition("Options that models share")
    assert "  gate_stabilize.temperature: a number; above 0; default 1.2\n" in own
    assert "  tower_hidden_units: a list of whole numbers; from 1 to 65536; default [64]\n" in shared


def test_metrics_are_listed_with_what_they_measure_and_which_way_is_better():
    text = " ".join(listed(["metrics"], "config").split())
    assert "RMSE Root of the mean squared error. Regression; smaller is better." in text
    assert "PCOC" in text
    assert "1.0 is best" in text


@pytest.mark.parametrize(
    ("what", "style", "message"),
    [
        (["option"], "terminal", "there is no list of 'option'. Did you mean 'options'?"),
        (["options", "patiense"], "terminal", "no option is called 'patiense'. "),
        (["options", "a", "b"], "terminal", "only options takes a second word, the key"),
        (["metrics", "AUC"], "terminal", "only options takes a second word, the key"),
        (["MMoE"], "markdown", "--format markdown is for `list options` and"),
    ],
)
def test_what_is_not_there_is_said(what, style, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(what, "config", style)


def test_every_command_has_an_example_that_it_takes(capsys):
    parser = make_parser(commands.COMMANDS)
    for name in commands.COMMANDS:
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        example = capsys.readouterr().out.partition("example:\n  python -m fuxi_mtl ")[2]
        assert parser.parse_args(shlex.split(example)).command.__name__ == f"_{name}"


def test_every_width_and_number_of_layers_has_an_upper_bound():
    unbounded = set()
    for name in registry.names():
        for key, parameter in registry.options(name).items():
            sized = key.endswith(("_units", "_dim", "_dims")) or key.startswith("num_")
            if sized and parameter.option.most is None:
                unbounded.add(f"{name}.{key}")
    assert not unbounded

"""Every mistake has its own message, which says where it is, what came and what would work."""

import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import options
from fuxi_mtl.config import ConfigError, load_experiment
from fuxi_mtl.metrics import METRICS

MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text(encoding="utf-8"))
OWNERS = {
    "dataset": options.DatasetOptions,
    "diagnostics": options.DiagnosticsOptions,
    "experiment": options.ExperimentOptions,
    "feature": options.FeatureOptions,
    "label": options.LabelOptions,
    "training": options.TrainingOptions,
}


def spelled_out(says: str) -> str:
    """Fills in the keys, so that a new option does not touch the table."""
    names = {owner: [field.name for field in fields(each)] for owner, each in OWNERS.items()}
    for owner, keys in {**names, "metric": list(METRICS)}.items():
        says = says.replace(f"<{owner}>", ", ".join(keys))
    return says


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["mistake"])
def test_a_mistake_has_its_own_message(write, mistake):
    parts = {key: text for key, text in mistake.items() if key not in ("mistake", "says", "set", "expid")}
    for key in {"features", "labels"} & parts.keys():
        parts[key] = textwrap.indent(parts[key], "  ")
    folder = write(**parts)
    with pytest.raises(ConfigError) as caught:
        load_experiment(folder, mistake.get("expid", "MMoE_test"), mistake.get("set", ()))
    assert str(caught.value) == spelled_out(mistake["says"])


def test_no_two_mistakes_are_called_the_same():
    names = [mistake["mistake"] for mistake in MISTAKES]
    assert len(set(names)) == len(names)


def test_a_key_like_no_other_is_answered_with_all_keys_by_owner(write):
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("zzz: 8"), "MMoE_test")
    lines = str(caught.value).splitlines()
    assert lines[0] == "config/model_config.yaml, line 6 (MMoE_test): unknown key 'zzz' (value 8)."
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "  Keys of MMoE",
        "  Keys of experiment",
        "  Keys of weighting",
        "  Keys of optimizer",
        "  Keys of training",
        "  Keys of evaluation",
        "  Keys of diagnostics",
        "  Keys of imbalance",
        "  Keys of surgery",
        "  Keys of fusion",
        "  Keys of pareto",
        "  Keys of dataset",
    ]


def test_a_long_value_is_cut_in_the_message(write):
    with pytest.raises(ConfigError, match=r"batch_size expects a whole number, not 10{76}\.\.\.\.$"):
        load_experiment(write(f"batch_size: 1{'0' * 400}"), "MMoE_test")


@pytest.mark.parametrize("owner", OWNERS.values())
def test_every_option_says_what_it_is_for(owner):
    assert all(field.metadata["option"].doc.endswith((".", "?")) for field in fields(owner))

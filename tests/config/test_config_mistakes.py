"""Every mistake has its own message, which says where it is, what came and what would work."""

import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import options
from fuxi_mtl.config import ConfigError, load_experiment, load_experiments
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.tasks import KINDS, Task

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
    members = {family.what: list(family) for family in options.Family.known}
    metrics = {
        f"{kind} metric": [
            name for name, metric in METRICS.items() if metric.fits(Task("t", ("t",), kind=kind))
        ]
        for kind in KINDS
    }
    for owner, keys in {**names, **members, **metrics, "metric": list(METRICS)}.items():
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
    with pytest.raises(ConfigError, match=r"eval_batch_size expects a whole number, not 10{76}\.\.\.\.$"):
        load_experiment(write(f"eval_batch_size: 1{'0' * 400}"), "MMoE_test")


@pytest.mark.parametrize("owner", OWNERS.values())
def test_every_option_says_what_it_is_for(owner):
    assert all(field.metadata["option"].doc.endswith((".", "?")) for field in fields(owner))


def told(folder, *expids, overrides=()):
    with pytest.raises(ConfigError) as caught:
        load_experiments(folder, expids or ["MMoE_test"], overrides)
    return str(caught.value).splitlines()


def test_all_mistakes_of_a_stanza_are_told_at_once_by_line(write):
    stanza = """\
batchsize: 64
epochs: ten
optimizer: adamm
num_experts: two
net_dropout: high
fusion: {wieghts: cem, search: {rounds: 0}}
loss_weight: {click: 1}
metrics: [AUCC, logloss]
lr_scheduler: {type: step}
surgery_normalize: 3
"""
    lines = told(write(stanza, "test_size: 2.5\nsplit_col: day"), overrides=["verbos=1"])
    assert lines[0] == "14 mistakes:"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "  --set verbos=1",
        "  config/dataset_config.yaml, line 4 (tiny)",
        "  config/dataset_config.yaml, line 5 (tiny)",
        *(f"  config/model_config.yaml, line {line} (MMoE_test)" for line in (6, 7, 8, 9, 10, 11, 11)),
        *(f"  config/model_config.yaml, line {line} (MMoE_test)" for line in (12, 13, 14, 15)),
    ]


@pytest.mark.parametrize(
    ("stanza", "dataset", "only"),
    [
        ("dataset_id: tinny\nbatch_size: 8", "", "no dataset is called 'tinny'"),
        ("model: MMoEE\nnum_experts: 8\nmonitor: AUC", "", "no model is called 'MMoEE'"),
        ("loss_weight: GNN\ngradnorm_alpha: 1.5", "", "no weighting is called 'GNN'"),
        ("metrics: [AUCC]\nmonitor: AUCC", "", "unknown metric 'AUCC'"),
        ("tasks: {ctr: clik}\nmonitor: ctr_AUC", "", "task 'ctr' names 'clik'"),
        ("lambda_cvr_aux: -1\nloss_weight: [1, 1, 1]", "", "lambda_cvr_aux is -1"),
        ("loss: mse", "", "loss 'mse' does not fit task 'click'"),
        ("", "rebuild_dataset: false", "vocab_size must say how many"),
        ("", "valid_size: many", "valid_size expects a number"),
        ("epochs: ten\nmonitor: click_AUC", "", "epochs expects a whole number"),
    ],
)
def test_what_follows_from_a_mistake_is_not_told(write, stanza, dataset, only):
    base = "MMoE_test:\n" + ("" if "model:" in stanza else "  model: MMoE\n")
    base += "" if "dataset_id:" in stanza else "  dataset_id: tiny\n"
    lines = told(write(stanza, dataset, model_config=base))
    assert len(lines) == 1
    assert only in lines[0]


def test_mistakes_of_several_experiments_are_told_at_once_and_those_of_base_once(write):
    text = (
        "Base: {epochs: ten}\n"
        "One: {model: MMoE, dataset_id: tiny, num_expert: 2}\n"
        "Two: {model: Chain, dataset_id: tiny, batch_size: 0}\n"
    )
    lines = told(write(model_config=text), "One", "Two", "Three")
    assert lines[0] == "4 mistakes:"
    assert "no expid is called 'Three'" in lines[1]
    assert [line.partition(", line ")[2][:1] for line in lines[2:]] == ["1", "2", "3"]


def test_a_misspelt_option_of_the_model_is_told_beside_an_unknown_weighting(write):
    lines = told(
        write(
            "loss_weight: GNN\nexpert_hiden_units: [4]",
            model_config="MMoE_test:\n  model: MMoE\n  dataset_id: tiny\n",
        )
    )
    assert len(lines) == 3
    assert "no weighting is called 'GNN'" in lines[1]
    assert "unknown key 'expert_hiden_units'" in lines[2]
    assert "Did you mean 'expert_hidden_units'?" in lines[2]


def test_wrong_choices_of_all_families_are_told_at_once(write):
    lines = told(write("loss_weight: UWW\nsurgery: pcgradd\noptimizer: adamm\nadamm_option: 1"))
    assert lines[0] == "3 mistakes:"
    found = "\n".join(lines)
    for meant in ("'UW'", "'pcgrad'", "'adam'"):
        assert f"Did you mean {meant}?" in found


@pytest.mark.parametrize(
    ("stanza", "line", "says"),
    [
        ("surgery: gradvac\nsurgery_preference: {click: 2}", 7, "surgery_preference is for upgrad"),
        ("surgery: upgrad\nsurgery_preference: {clik: 2}", 7, "surgery_preference names 'clik'"),
        ("surgery_mode: representation\nsurgery: moco", 7, "surgery: moco cannot be of surgery_mode repr"),
        ("tasks: {ctr: click}\nsurgery: upgrad", 7, "there is only ctr. Use surgery: none."),
    ],
)
def test_a_surgery_that_does_not_fit_is_told_at_its_line_before_data_are_read(write, stanza, line, says):
    lines = told(write(stanza))
    assert len(lines) == 1
    assert lines[0].startswith(f"config/model_config.yaml, line {line} (MMoE_test): ")
    assert says in lines[0]

"""What a search may vary: reading, checking, what goes with what, and the grid. Nothing here is trained."""

import re
from functools import partial
from pathlib import Path

import pytest
import yaml

from fuxi_mtl.config import ConfigError, check_stanzas
from fuxi_mtl.options.values import plain
from fuxi_mtl.registry import declared, zoo_folder
from fuxi_mtl.workflow.tuning.space import make_space, read_space, stanza_of

ROOT = Path(__file__).parents[3]
MODELS = {
    "MMoE_toy": {"model": "MMoE", "dataset_id": "toy", "num_experts": 2, "loss_weight": "EQ"},
    "TBD_toy": {"model": "MMoE", "dataset_id": "TBD"},
}
DATA = {
    "toy": {
        "train_data": "train.csv",
        "valid_size": 0.1,
        "feature_cols": [{"name": "item", "type": "categorical"}],
        "label_col": [{"name": "click"}, {"name": "buy"}],
    }
}
SPACE = """\
learning_rate: {low: 1.e-4, high: 1e-2, log: true}
net_dropout: {low: 0, high: 0.5, step: 0.25}
embedding_dim: {low: 4, high: 8, step: 2}
model: [MMoE, ShareBottom]
num_experts: [2, 4]
loss_weight: [EQ, GN]
gradnorm_alpha: [0.5, 1.5]
min_categr_count: [1, 5]
expert_hidden_units: [[8], [8, 4]]
gate_stabilize.temperature: [1.0, 2.0]
epochs: 3
"""


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "model_config.yaml").write_text(yaml.safe_dump(MODELS))
    (folder / "dataset_config.yaml").write_text(yaml.safe_dump(DATA))
    with declared(zoo_folder()):
        yield folder


def read(config, text: str):
    file = config / "space.yaml"
    file.write_text(text)
    return read_space(file)


def checked(config, text: str, overrides=()) -> None:
    space = read(config, text)
    folder, expid = stanza_of(space, config, "MMoE_toy")
    space.check(partial(check_stanzas, folder, [expid], overrides), overrides)


def first(each):
    return each.extremes[0]


def last(each):
    return each.extremes[-1]


def test_lists_are_choices_low_and_high_a_range_and_all_else_is_fixed(config):
    checked(config, SPACE)
    space = read(config, SPACE)
    known = {each.key: each for each in space.dimensions}
    assert {key: plain(entry) for key, entry in space.fixed.items()} == {"epochs": 3}
    assert list(known)[:2] == ["model", "loss_weight"], "what decides about other keys comes first"
    assert known["embedding_dim"].points == [4, 6, 8]
    assert known["net_dropout"].points == [0, 0.25, 0.5]
    assert (known["learning_rate"].low, known["learning_rate"].log) == (1e-4, True)
    assert [plain(each) for each in known["expert_hidden_units"].choices] == [[8], [8, 4]]


def test_whole_bounds_of_an_option_that_takes_fractions_are_no_whole_numbers(config):
    [dropout] = read(config, "net_dropout: {low: 0, high: 1}").dimensions
    [experts] = read(config, "num_experts: {low: 1, high: 3}").dimensions
    assert (dropout.whole, dropout.step) == (False, None)
    assert (experts.whole, experts.points) == (True, [1, 2, 3])


def test_options_of_a_model_or_weighting_are_tried_with_that_alone(config):
    space = read(config, SPACE)
    of_first, of_last = space.values(first), space.values(last)
    assert of_first["model"].value == "MMoE"
    assert {"num_experts", "gate_stabilize.temperature"} <= of_first.keys()
    assert "gradnorm_alpha" not in of_first  # EQ
    assert not {"num_experts", "expert_hidden_units", "gate_stabilize.temperature"} & of_last.keys()
    assert of_last["gradnorm_alpha"].value == 1.5


def test_a_grid_has_every_point_once(config):
    text = "loss_weight: [EQ, GN]\ngradnorm_alpha: [0.5, 1.5]\nnet_dropout: {low: 0, high: 0.2, step: 0.1}\n"
    points = read(config, text).grid()
    assert len(points) == 3 * (1 + 2)
    assert {each["net_dropout"] for each in points} == {0, 0.1, 0.2}
    assert sum("gradnorm_alpha" in each for each in points) == 6
    with pytest.raises(
        ConfigError, match=r"learning_rate: a grid has a list of values, or a range with a step"
    ):
        read(config, "learning_rate: {low: 0.1, high: 1}").grid()
    with pytest.raises(ConfigError, match="more than 10,000 points"):
        read(config, "seed_of: {low: 1, high: 20000}").grid()


WRONG = [
    ("num_expert: [2, 4]", r"space.yaml, line 1: unknown key 'num_expert'.*Did you mean 'num_experts'"),
    ("net_dropout: [0.1, 1.5]", r"line 1: net_dropout is 1.5"),
    ("epochs: 2\nnet_dropout: {low: 0, high: 2}", r"line 2: net_dropout is 2"),
    (
        "expert_hidden_units: [64, 32]",
        r"expert_hidden_units expects a list of whole numbers, not 64. Write \[64\]",
    ),
    ("loss_weight: [EQ, GNN]", r"no weighting is called 'GNN'. Did you mean 'GN'"),
    ("min_categr_count: [0]", r"min_categr_count is 0"),
    ("gate_stabilize.temprature: [1]", r"unknown key 'temprature'.*Did you mean 'temperature'"),
    ("net_dropout: {low: 0, hihg: 1}", r"unknown key 'hihg'. Did you mean 'high'"),
    ("net_dropout: {low: 0.3}", r"net_dropout: a range needs high"),
    ("net_dropout: {low: 0.3, high: 0.1}", r"low is 0.3 and high 0.1; low must be below high"),
    ("learning_rate: {low: 0, high: 1, log: true}", r"low is 0; log: true needs a number above 0"),
    ("learning_rate: {low: 1, high: 2, log: true, step: 1}", r"log and step exclude each other"),
    ("learning_rate: {low: 1, high: 2, step: -1}", r"step is -1; it must be above 0"),
    ("expert_hidden_units: [16]", r"a list is choices. Write \[\[16\]\] for this one alone"),
    ("net_dropout: []", r"net_dropout: there is nothing to choose from"),
    ("epochs: 3", r"nothing is varied"),
    ("seed: [1, 2]", r"seed: a search among seeds finds the luckiest"),
    ("model: [ShareBottom]\nnum_experts: [2]", r"num_experts is tried with none of the choices of model"),
    (
        "tuner_space: {epochs: [1]}\nbase_expdi: MMoE_toy",
        r"unknown key 'base_expdi'. Did you mean 'base_expid'",
    ),
    ("tuner_space: 3", r"tuner_space: write keys with their values below it"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text.partition("\n")[0] for text, _ in WRONG])
def test_what_is_wrong_is_told_with_its_place_before_the_first_trial(config, text, message):
    with pytest.raises(ConfigError, match=message):
        checked(config, text)


def test_a_single_objective_is_the_monitor_and_told_by_its_place(config):
    space = read(config, "epochs: [1, 2]")
    folder, expid = stanza_of(space, config, "MMoE_toy")
    judge = partial(check_stanzas, folder, [expid], ())
    asked = space.judged_by(["logloss"], "--objective logloss")
    asked.check(judge)
    assert plain(asked.values(first)["monitor"]) == "logloss"
    assert space.judged_by(["AUC", "logloss"], "--objective AUC logloss") is space, "of a front none is"
    with pytest.raises(
        ConfigError, match=r"^--objective AUK: monitor names the unknown metric 'AUK'. Did you"
    ):
        space.judged_by(["AUK"], "--objective AUK").check(judge)
    varied = read(config, "epochs: [1, 2]\nmonitor: [AUC, logloss]")
    assert varied.judged_by(["AUC", "logloss"], "") is varied, "which weights are kept"
    with pytest.raises(
        ConfigError, match=r"line 2: monitor: trials judged by different numbers have no order"
    ):
        varied.judged_by([], "")
    with pytest.raises(ConfigError, match=r"line 2: monitor is fixed here, and --objective AUC names one"):
        read(config, "epochs: [1, 2]\nmonitor: logloss").judged_by(["AUC"], "--objective AUC")


def test_what_only_some_combinations_get_wrong_is_left_to_the_trials(config):
    # logloss falls, AUC grows: two of four combinations contradict themselves.
    checked(config, "monitor: [AUC, logloss]\nmonitor_mode: [max, min]\n")


def test_what_is_varied_cannot_be_set_too(config):
    with pytest.raises(ConfigError, match=r"--set net_dropout=0: .*space.yaml varies net_dropout"):
        checked(config, "net_dropout: [0, 0.1]", ["net_dropout=0"])


def test_a_tuner_file_of_fuxictr_is_read_as_it_is(config):
    text = (
        f"base_config: {config}\nbase_expid: TBD_toy\ndataset_id: toy\n"
        "tuner_space:\n  expert_hidden_units: [[64, 32]]\n  learning_rate: [1e-3, 1.e-4]\n  epochs: 5\n"
    )
    space = read(config, text)
    folder, expid = stanza_of(space, None, None)
    space.check(partial(check_stanzas, folder, [expid], ()))
    assert space.grid() == [
        {"expert_hidden_units": "[64, 32]", "learning_rate": rate} for rate in ("0.001", "0.0001")
    ]
    assert plain(space.fixed["dataset_id"]) == "toy"
    with pytest.raises(
        ConfigError, match=r"base_expid is 'TBD_toy', and the command says 'MMoE_toy': say one"
    ):
        stanza_of(space, None, "MMoE_toy")


def test_the_spaces_of_the_guide_fit_the_stanza_that_they_are_for(config, monkeypatch):
    monkeypatch.chdir(ROOT)
    ours, theirs = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "tuning.md").read_text(), re.DOTALL)
    for text, of in ((ours, ("config", "MMoE_test")), (theirs, (None, None))):
        space = read(config, text)
        folder, expid = stanza_of(space, *of)
        space.check(partial(check_stanzas, folder, [expid], ()))
    assert len(space.grid()) == 2


def test_stanzas_in_line_need_no_folder(config):
    content = {
        "base_expid": "Inline",
        "dataset_id": "toy",
        "model_config": {"Base": {"epochs": 2}, "Inline": {"model": "MMoE", "dataset_id": "TBD"}},
        "dataset_config": DATA,
        "tuner_space": {"num_experts": [2, 3]},
    }
    space = read(config, yaml.safe_dump(content))
    folder, expid = stanza_of(space, None, None)
    assert (expid, folder.bases.keys(), folder.datasets.keys()) == ("Inline", {space.source}, {"toy"})
    space.check(partial(check_stanzas, folder, [expid], ()))
    with pytest.raises(ConfigError, match="which stanza is varied"):
        stanza_of(make_space({"num_experts": [2, 3]}, "tune"), config, None)

"""Options about rare positives: flat or in blocks, and every mistake with its message."""

import re
from pathlib import Path

import pytest
import yaml

from fuxi_mtl.config import ConfigError, load_experiment, load_resolved
from fuxi_mtl.options import AuxFocalOptions, ClipScheduleOptions, ImbalanceOptions

CHAIN = "model: Chain\ntasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion}\n"
# As the ranking model's own file groups them.
BLOCKS = """\
esmm:
  lambda_ctr: 1.0
  lambda_ctcvr: 1.0
  lambda_cvr_aux: 0.1
loss:
  pos_weight_dynamic: false
  static_pos_weight:
    ctr: 24.7
    ctcvr: 4800
  pos_weight_clip:
    ctr: 30
    ctcvr: 300
  pos_weight_clip_schedule:
    enabled: true
    target: "ctcvr"
    type: "piecewise"
    milestones: [0, 8000]
    values: [300, 30]
  aux_focal:
    enabled: true
    warmup_steps: 8000
    target_head: "ctcvr"
    lambda: 0.05
    gamma: 1.0
    use_alpha: false
    alpha: 0.25
    detach_p_for_weight: true
    compute_fp32: true
    log_components: true
sampling:
  negative_sampling: "none"
  neg_keep_prob_train: 0.4
"""
EXPECTED = ImbalanceOptions(
    static_pos_weight={"ctr": 24.7, "ctcvr": 4800.0},
    pos_weight_clip={"ctr": 30.0, "ctcvr": 300.0},
    pos_weight_clip_schedule=ClipScheduleOptions(
        enabled=True, target="ctcvr", type="piecewise", milestones=[0, 8000], values=[300.0, 30.0]
    ),
    aux_focal=AuxFocalOptions(enabled=True, warmup_steps=8000, lambda_=0.05),
    lambda_cvr_aux=0.1,
    neg_keep_prob_train=0.4,
)


@pytest.fixture
def load(write):
    """Loads the chain with further lines."""

    def load(stanza: str = "", *overrides: str, base: str = ""):
        text = "".join(f"  {line}\n" for line in (CHAIN + stanza).splitlines())
        base = "".join(f"  {line}\n" for line in base.splitlines())
        folder = write(model_config=f"Base:\n  seed: 1\n{base}Test:\n  dataset_id: tiny\n{text}")
        return load_experiment(folder, "Test", overrides)

    return load


def flat(blocks: str) -> str:
    """The same keys without the blocks around them."""
    return "".join(line[2:] + "\n" for line in blocks.splitlines() if line.startswith("  "))


@pytest.mark.parametrize("stanza", [BLOCKS, flat(BLOCKS)], ids=["blocks", "flat"])
def test_blocks_and_flat_keys_say_the_same(load, tmp_path, stanza):
    experiment = load(stanza)
    assert experiment.imbalance == EXPECTED
    stored = tmp_path / "config.yaml"
    stored.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    assert "lambda: 0.05" in stored.read_text()
    assert load_resolved(stored, "Test") == experiment


def test_defaults_are_those_of_the_documents_and_change_nothing(load):
    options = load().imbalance
    assert options == ImbalanceOptions()
    focal = options.aux_focal
    assert (focal.enabled, focal.warmup_steps, focal.lambda_, focal.gamma) == (False, 2000, 0.1, 1)
    assert focal.detach_p_for_weight
    assert focal.compute_fp32
    assert not focal.use_alpha


def test_an_override_reaches_into_a_block_by_either_name(load):
    changed = load(BLOCKS, "aux_focal.lambda=0.2", "loss.aux_focal.gamma=2", "esmm.lambda_ctr=3").imbalance
    assert (changed.aux_focal.lambda_, changed.aux_focal.gamma, changed.lambda_ctr) == (0.2, 2, 3)
    assert changed.aux_focal.warmup_steps == 8000
    assert load("", "loss={static_pos_weight: {ctr: 2}}").imbalance.static_pos_weight == {"ctr": 2}


def test_a_loss_by_name_stays_what_it_is(load):
    experiment = load("loss: {static_pos_weight: {ctr: 2}}", base="loss: binary_crossentropy")
    assert experiment.options.loss == "binary_crossentropy"
    assert experiment.imbalance.static_pos_weight == {"ctr": 2}


def test_the_auxiliary_loss_is_an_objective_that_can_be_weighed(load):
    weights = load("lambda_cvr_aux: 0.1\nloss_weight: [1, 2, 3]").weighting.loss_weight
    assert weights == [1, 2, 3]
    with pytest.raises(ConfigError, match=r"no entry for 'cvr_aux'. Given: ctr, ctcvr"):
        load("lambda_cvr_aux: 0.1\nloss_weight: {ctr: 1, ctcvr: 1}")


def test_what_base_says_for_other_tasks_is_left_out(load):
    base = "static_pos_weight: {click: 3}\naux_focal: {enabled: true, target_head: like}\nlambda_cvr_aux: 0.1"
    options = load("", base=base).imbalance
    assert options == ImbalanceOptions(lambda_cvr_aux=0.1)


ONE_OF = "Tasks with one: ctr, ctcvr."
MISTAKES = [
    ("static_pos_weight: {ctr: 0}", "static_pos_weight.ctr is 0; it must be above 0."),
    ("pos_weight_clip: {ctr: -1}", "pos_weight_clip.ctr is -1; it must be above 0."),
    ("lambda_ctcvr: -0.5", "lambda_ctcvr is -0.5; the least is 0."),
    ("aux_focal: {gamma: -1}", "aux_focal.gamma is -1; the least is 0."),
    ("aux_focal: {lambda: -1}", "aux_focal.lambda is -1; the least is 0."),
    ("aux_focal: {alpha: 1.5}", "aux_focal.alpha is 1.5; it lies from 0 to 1."),
    (
        "aux_focal: {enabled: true, lamda: 0.1}",
        "aux_focal: unknown key 'lamda' (value 0.1). Did you mean 'lambda'? Keys: enabled, warmup_steps, "
        "target_head, lambda, gamma, use_alpha, alpha, detach_p_for_weight, compute_fp32, log_components.",
    ),
    ("aux_focal: {gamma: big}", "aux_focal.gamma expects a number, not 'big'."),
    ("aux_focal: true", "aux_focal expects a mapping, not true."),
    (
        "aux_focal: {enabled: true, target_head: cvr}",
        f"aux_focal is for 'cvr', which has no binary loss of its own. Did you mean 'ctcvr'? {ONE_OF}",
    ),
    (
        "static_pos_weight: {like: 3}",
        f"static_pos_weight is for 'like', which has no binary loss of its own. {ONE_OF}",
    ),
    (
        "lambda_ctr: 2\ntasks: {click: click, ctcvr: click & conversion}",
        "lambda_ctr is for 'ctr', which has no binary loss of its own. Did you mean 'ctcvr'? "
        "Tasks with one: click, ctcvr.",
    ),
    (
        "lambda_cvr_aux: 1\ntasks: {ctr: click, ctcvr: click & conversion}",
        "lambda_cvr_aux needs a task cvr such as 'conversion | click'; there is none.",
    ),
    (
        "lambda_cvr_aux: 1\nmodel: MMoE",
        "lambda_cvr_aux: the task cvr has a loss of its own already; use loss_weight.",
    ),
    (
        "pos_weight_dynamic: true\nstatic_pos_weight: {ctr: 2}",
        "pos_weight_dynamic and static_pos_weight exclude each other. Remove one.",
    ),
    ("pos_weight_clip: {ctr: 3}", "pos_weight_clip: the positives of 'ctr' have no weight to clip."),
    (
        "pos_weight_clip_schedule: {enabled: true, milestones: [0], values: [3]}",
        "pos_weight_clip_schedule: no positives have a weight to clip.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, milestones: [0, 5], values: [3]}",
        "pos_weight_clip_schedule: 2 milestones and 1 values; give one value from each milestone on.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, milestones: [5, 2], values: [3, 4]}",
        "pos_weight_clip_schedule: milestones are [5, 2]; the first is 0 and each is above the one before.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, milestones: [0], values: [-3]}",
        "pos_weight_clip_schedule.values[0] is -3; it must be above 0.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, type: linear, end_step: 9, start_value: 4}",
        "pos_weight_clip_schedule: a clip is 0; it must be above 0.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, type: linear, start_step: 9, end_step: 9, start_value: 4, "
        "end_value: 2}",
        "pos_weight_clip_schedule: start_step is 9, end_step 9: they grow from 0 up.",
    ),
    (
        "pos_weight_clip_schedule: {enabled: true, type: cosine}",
        "pos_weight_clip_schedule.type is 'cosine'. Choices: piecewise, linear.",
    ),
    (
        "static_pos_weight: {ctr: 2}\npos_weight_clip_schedule: {enabled: true, target: cvr, "
        "milestones: [0], values: [1]}",
        "pos_weight_clip_schedule is for 'cvr', which has no binary loss of its own. Did you mean 'ctcvr'? "
        f"{ONE_OF}",
    ),
    ("neg_keep_prob_train: 0", "neg_keep_prob_train is 0; it lies above 0 and up to 1."),
    (
        "sampling: {negative_sampling: plain}",
        "negative_sampling plain leaves nothing out: neg_keep_prob_train is 1.",
    ),
    (
        "negative_sampling: reweighted\nneg_keep_prob_train: 0.5\nmodel: ShareBottom\ntasks: {a: click}\n"
        "task: regression\nmetrics: [MAE]\nmonitor: MAE",
        "negative_sampling needs a binary task; there is none.",
    ),
    (
        "calibration: beta",
        "calibration is 'beta'. Choices: none, closed_form, platt, isotonic. "
        "One of your own comes with --models and its file.",
    ),
    (
        "calibration: closed_form\npos_weight_dynamic: true",
        "calibration closed_form: pos_weight_dynamic has no weight that could be undone. "
        "Use platt or isotonic.",
    ),
    (
        "calibration: closed_form\nnegative_sampling: plain\nneg_keep_prob_train: 0.5\nmodel: ShareBottom\n"
        "tasks: {a: click, b: conversion}",
        "calibration closed_form: negative_sampling plain has one for a single task or a funnel from one "
        "event. Use platt or isotonic.",
    ),
    ("auc_primary: {ctr: 1}", "auc_primary has an effect only with monitor: auc_primary."),
    (
        "monitor: auc_primary\nauc_primary: {like: 1}",
        "auc_primary names the task 'like'. Known: ctr, cvr, ctcvr. Give coefficients by task, such as "
        "auc_primary: {ctr: 1.0}.",
    ),
    (
        "monitor: auc_primary\ntasks: {click: click, ctcvr: click & conversion}",
        "auc_primary names the task 'ctr'. Did you mean 'ctcvr'? Known: click, ctcvr. Give coefficients by "
        "task, such as auc_primary: {click: 1.0}.",
    ),
    (
        "monitor: auc_primary\nmetrics: [logloss]",
        "monitor names the unknown metric 'ctcvr_AUC'. Known: ctr_logloss, cvr_logloss, ctcvr_logloss, "
        "logloss.",
    ),
    (
        "loss: {eps: 1.e-6}",
        "loss.eps: Losses are computed on logits: nothing is cut off. Leave it out.",
    ),
    ("loss: {w_ctr: 1}", "loss.w_ctr: Write loss_weight: {ctr: ..., cvr: ...}."),
    ("esmm: {version: v2}", "esmm.version: pCTCVR is always pCTR pCVR, their v2. Leave it out."),
    (
        "esmm: {lambda_cvraux: 1}",
        "esmm has no key 'lambda_cvraux' (value 1). Did you mean 'lambda_cvr_aux'? "
        "Keys of esmm: lambda_ctr, lambda_ctcvr, lambda_cvr_aux.",
    ),
]


@pytest.mark.parametrize(("stanza", "message"), MISTAKES, ids=[m[:60] for _, m in MISTAKES])
def test_a_mistake_has_its_own_message(load, stanza, message):
    lines = stanza.splitlines()
    given = [line.partition(":")[0] for line in lines]
    kept = "".join(f"{line}\n" for line in CHAIN.splitlines() if line.partition(":")[0] not in given)
    text = "".join(f"  {line}\n" for line in (kept + stanza).splitlines())
    Path("config/model_config.yaml").write_text(f"Test:\n  dataset_id: tiny\n{text}")
    with pytest.raises(ConfigError) as caught:
        load_experiment("config", "Test")
    assert re.fullmatch(r"config/model_config.yaml, line \d+ \(Test\): (.*)", str(caught.value))[1] == message


@pytest.fixture(autouse=True)
def _folder(write):
    write()


def test_auc_primary_is_spelled_out_as_weights_of_metrics(load, tmp_path):
    experiment = load("monitor: auc_primary")
    assert experiment.training.monitor == {"ctcvr_AUC": 1.0, "ctr_AUC": 0.2, "cvr_AUC": 0.2}
    stored = tmp_path / "config.yaml"
    stored.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    assert load_resolved(stored, "Test") == experiment
    given = load("monitor: auc_primary\nauc_primary: {ctcvr: 1, ctr: 0.5}").training
    assert given.monitor == {"ctcvr_AUC": 1, "ctr_AUC": 0.5}
    assert load("monitor: AUC", base="auc_primary: {ctr: 1}").training.monitor == "AUC"
    changed = load("monitor: auc_primary\nauc_primary: {ctr: 1}", "monitor=ctr_AUC").training
    assert changed.monitor == "ctr_AUC"


def test_a_key_in_a_block_and_beside_it_is_given_twice(load):
    with pytest.raises(
        ConfigError, match=r"aux_focal is given twice: in loss, and beside it in config/model_config"
    ):
        load("aux_focal: {enabled: true}\nloss: {aux_focal: {gamma: 2}}")

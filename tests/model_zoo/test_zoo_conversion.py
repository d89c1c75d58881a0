"""Conversion models: where each loss may reach, what they reduce to, and whose turn it is."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import BUY, CLICK, INPUTS, TASKS, X, ids, network, own_tower, reached, sigmoid, tower

from fuxi_mtl import (
    DRJL,
    ESCM2_DR,
    ESCM2_IPS,
    ESMM,
    MTL_EIB,
    MTL_IMP,
    HeuristicDR,
    MultiDR,
    MultiIPW,
    NaiveCVR,
    NaiveIPW,
)
from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.weighting import Equal

ALL = [NaiveCVR, MTL_IMP, NaiveIPW, MultiIPW, MultiDR, DRJL, HeuristicDR, MTL_EIB, ESCM2_IPS, ESCM2_DR]
FROZEN = [NaiveIPW, DRJL]
IMP = "cvr_imputation"


def conversion(cls, **options):
    options = {"bottom": "shared_embedding", "tower_hidden_units": [4]} | options
    return network(cls, cls.plan_tasks(TASKS, explicit=False), **options)


def labels_of(model):
    return {task.name: tf.constant(task.label({"click": CLICK, "buy": BUY})) for task in model.tasks}


def compiled(model, **options):
    weighting = Equal({o.name: o.kind for o in model.objectives()})
    model.compile(keras.optimizers.SGD(0.1), weighting, run_eagerly=True, **options)
    return model


def step(model):
    return {name: float(value) for name, value in model.train_step((INPUTS, labels_of(model))).items()}


# ---- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls not in [*FROZEN, MTL_IMP]])
def test_the_heads_are_two_towers_and_their_product(cls):
    model = conversion(cls)
    ctr, cvr = (sigmoid(tower(model.towers, name, X)) for name in ("ctr", "cvr"))
    found = model.probabilities(model(INPUTS))
    assert list(found) == ["ctr", "cvr", "ctcvr"]
    for name, p in (("ctr", ctr), ("cvr", cvr), ("ctcvr", ctr * cvr)):
        np.testing.assert_allclose(found[name], p, rtol=2e-5)


def test_mtl_imp_gives_one_number_for_two_heads_and_never_multiplies_it():
    model = conversion(MTL_IMP)
    heads = model(INPUTS)
    np.testing.assert_allclose(heads["ctcvr"], tower(model.towers, "cvr", X), rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(heads["ctcvr"], heads["cvr"])
    objective = model.objectives()[1]
    loss, rows = objective.loss(heads, labels_of(model))
    p, y = sigmoid(heads["cvr"]), CLICK * BUY
    assert float(loss) == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), rel=1e-5)
    assert rows == 8


# ---- where each loss may reach ------------------------------------------------------------------

ROUTES = [
    (NaiveCVR, {}, {"ctr": "ctr", "cvr": "cvr"}),
    (MTL_IMP, {}, {"ctr": "ctr", "ctcvr": "cvr"}),
    (NaiveIPW, {}, {"cvr_ips": "cvr"}),
    (MultiIPW, {}, {"ctr": "ctr", "cvr_ips": "cvr"}),
    (
        MultiIPW,
        {"ipw": {"propensity_stop_gradient": False, "eps_clip": 1e-6}},
        {"ctr": "ctr", "cvr_ips": "ctr cvr"},
    ),
    (MultiDR, {}, {"ctr": "ctr", "cvr_dr": f"cvr {IMP}", IMP: IMP}),
    (MultiDR, {"dr_grad": "stop"}, {"ctr": "ctr", "cvr_dr": "cvr", IMP: IMP}),
    (MultiDR, {"dr_grad": "alternate"}, {"ctr": "ctr", "cvr_dr": "cvr", IMP: IMP}),
    (MultiDR, {"imputation": "label"}, {"ctr": "ctr", "cvr_dr": "cvr", IMP: IMP}),
    (HeuristicDR, {}, {"ctr": "ctr", "cvr_dr": "cvr"}),
    (MTL_EIB, {}, {"ctr": "ctr", "cvr_eib": f"cvr {IMP}", IMP: IMP}),
    (MTL_EIB, {"imputation": "label"}, {"ctr": "ctr", "cvr_eib": "cvr", IMP: IMP}),
    (ESCM2_IPS, {}, {"ctr": "ctr", "cvr_ips": "cvr", "ctcvr": "ctr cvr"}),
    (ESCM2_DR, {}, {"ctr": "ctr", "cvr_dr": f"cvr {IMP}", IMP: IMP, "ctcvr": "ctr cvr"}),
]


@pytest.mark.parametrize(("cls", "options", "routes"), ROUTES)
def test_a1_each_loss_reaches_its_towers_and_no_other(cls, options, routes):
    model = conversion(cls, **options)
    assert cls.objective_names(model.tasks) == tuple(routes)
    for name, towers in routes.items():
        expected = set.union(*(own_tower(model, each) for each in towers.split()))
        assert reached(model, name) == expected, name


def test_a1_the_two_players_of_drjl_share_nothing():
    model = conversion(DRJL)
    assert reached(model, "cvr_dr") == ids(model.towers)
    assert reached(model, IMP) == ids(model.imputation_tower)


@pytest.mark.parametrize("cls", [MultiIPW, MultiDR, MTL_EIB, ESCM2_IPS, ESCM2_DR])
def test_a1_every_loss_reaches_what_is_shared(cls):
    model = conversion(cls, bottom={"type": "ShareBottom", "bottom_hidden_units": [4]})
    for objective in model.objectives():
        assert ids(model.bottom) <= reached(model, objective.name)
    assert model.shared_variables()


# ---- reductions ---------------------------------------------------------------------------------


def copy_towers(source, target):
    """Gives towers of one name the same weights."""
    for name in target.towers.names:
        pairs = zip(target.towers.own_variables(name), source.towers.own_variables(name), strict=True)
        for mine, theirs in pairs:
            mine.assign(theirs)


def assert_same_step(one, other, names):
    copy_towers(one, other)
    losses = [step(compiled(model))["loss"] for model in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for name in names:
        for mine, theirs in zip(
            one.towers.own_variables(name), other.towers.own_variables(name), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("cls", "part"), [(ESCM2_IPS, MultiIPW), (ESCM2_DR, MultiDR)])
def test_c5_without_the_joint_loss_escm2_is_its_part(cls, part):
    whole, part = conversion(cls, lambda_c=0.7, lambda_g=0.0), conversion(part, lambda_c=0.7)
    assert_same_step(whole, part, whole.towers.names)


@pytest.mark.parametrize("cls", [ESCM2_IPS, ESCM2_DR])
def test_c5_without_the_risk_escm2_is_esmm(cls):
    assert_same_step(conversion(cls, lambda_c=0.0), conversion(ESMM), ["ctr", "cvr"])


def test_naive_ipw_under_a_constant_propensity_is_a_multiple_of_the_clicked_mean():
    model = conversion(NaiveIPW, ipw={"eps_clip": 0.5})
    model.propensity.towers.outputs[0].kernel.assign(np.zeros((64, 1)))
    model.propensity.towers.outputs[0].bias.assign([np.log(3.0)])
    heads, labels = model(INPUTS), labels_of(model)
    np.testing.assert_allclose(sigmoid(heads["ctr"]), np.full(8, 0.75), rtol=1e-5)
    loss, _ = model.objectives()[0].loss(heads, labels)
    cvr = sigmoid(heads["cvr"])
    errors = -(BUY * np.log(cvr) + (1 - BUY) * np.log(1 - cvr))[CLICK == 1]
    assert float(loss) == pytest.approx(errors.mean() * CLICK.mean() / 0.75, rel=1e-5)


# ---- alternating steps --------------------------------------------------------------------------


def moved(model):
    """Ids of the variables that a step changes."""
    before = [variable.numpy() for variable in model.trainable_variables]
    step(model)
    pairs = zip(model.trainable_variables, before, strict=True)
    return {id(variable) for variable, old in pairs if (variable.numpy() != old).any()}


@pytest.mark.parametrize("bottom", ["shared_embedding", "MMoE", "PLE"])
def test_an_alternating_imputation_has_every_other_step_and_nobody_is_left_out(bottom):
    sizes = {"shared_embedding": {}, "MMoE": {"num_experts": 2}, "PLE": {"num_specific_experts": 1}}[bottom]
    units = {} if bottom == "shared_embedding" else {"expert_hidden_units": [4]}
    cls = MultiDR if bottom == "PLE" else ESCM2_DR
    model = compiled(conversion(cls, dr_grad="alternate", bottom={"type": bottom, **sizes, **units}))
    own = {id(v) for v in [*model.towers.own_variables(IMP), *model.bottom.own_variables(IMP)]}
    assert own >= own_tower(model, IMP)
    assert moved(model) == own
    assert moved(model) == {id(v) for v in model.trainable_variables} - own


def test_drjl_moves_the_imputation_model_and_the_conversion_model_in_turn():
    model = compiled(conversion(DRJL))
    assert moved(model) == ids(model.imputation_tower)
    assert moved(model) == ids(model.towers)


# ---- the propensity -----------------------------------------------------------------------------


@pytest.mark.parametrize("cls", FROZEN)
def test_a_frozen_propensity_is_fitted_beforehand_and_never_moves_again(cls):
    keras.utils.set_random_seed(0)
    tasks = cls.plan_tasks(tiny.PLAIN["two"], False)
    model = cls(tiny.FEATURES, tasks, **tiny.options_of(cls, propensity_learning_rate=0.05))
    model.build()
    batch = tiny.batch(tasks, rows=32)
    frozen = {id(variable) for variable in model.propensity.weights}
    assert frozen
    assert not frozen & {id(v) for v in model.trainable_variables}
    columns = {name: label.numpy() for name, label in batch[1].items()}
    clicked = columns["ctr"] == 1
    model.prepare(columns, lambda epochs: tf.data.Dataset.from_tensors(batch).repeat(60 * epochs))
    p = sigmoid(model(batch[0])["ctr"])
    assert p[clicked].min() > p[columns["ctr"] == 0].max()
    assert float(model.ipw.click_rate) == pytest.approx(np.nanmean(columns["ctr"]))
    before = [variable.numpy() for variable in model.propensity.weights]
    compiled(model)
    for _ in range(2):
        model.train_step(batch)
    for variable, old in zip(model.propensity.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    assert not frozen & {id(table) for table in model.tables()}


def test_a_clip_above_the_click_rate_is_warned_of(caplog):
    labels = {
        "ctr": np.array([1, 0, 0, 0, np.nan], np.float32),
        "cvr": np.array([0, np.nan, np.nan, np.nan, np.nan], np.float32),
    }
    for eps, warns in ((0.3, True), (0.2, False)):
        caplog.clear()
        model = conversion(MultiIPW, ipw={"eps_clip": eps})
        with caplog.at_level(logging.WARNING):
            model.prepare(labels, None)
        assert ("ipw.eps_clip is 0.3, above the click rate 0.25" in caplog.text) == warns
        assert float(model.ipw.click_rate) == 0.25
    unknown = conversion(MultiIPW)
    unknown.prepare({"ctr": np.full(3, np.nan, np.float32)}, None)
    assert float(unknown.ipw.click_rate) == 1
    conversion(NaiveCVR).prepare(labels, None)  # has no weights to tell


def test_the_weights_are_watched_in_training():
    model = compiled(conversion(ESCM2_DR, ipw={"eps_clip": 0.999}))
    logs = step(model)
    assert logs["watched_ipw_clipped_share"] > 0.5
    assert logs["watched_ipw_weight_max"] == pytest.approx(1 / 0.999)
    assert float(model.ipw.batches) == 1
    assert logs["weight_cvr_dr"] == pytest.approx(0.1)


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expressions", "explicit"),
    [
        ({"click": "click", "buy": "buy"}, True),
        ({"click": "click", "cart": "cart", "buy": "buy"}, False),
        ({"ctr": "click", "ctavr": "click & cart", "cvr": "buy | click", "ctcvr": "click & buy"}, True),
        ({"ctr": "click", "cvr": "buy | !click", "ctcvr": "click & buy"}, True),
    ],
)
def test_a_conversion_model_has_one_click_and_one_conversion(expressions, explicit):
    with pytest.raises(ValueError, match="MultiIPW: the tasks are .*Write tasks: {ctr: click"):
        MultiIPW.plan_tasks(tiny.tasks_of(expressions), explicit)


def test_the_joint_task_is_added_where_it_is_missing():
    tasks = MultiIPW.plan_tasks(tiny.tasks_of({"a": "click", "b": "buy | click"}), True)
    assert [task.name for task in tasks] == ["a", "b", "click_and_buy"]
    assert MultiIPW.objective_names(tasks) == ("a", "b_ips")
    assert [task.name for task in ESCM2_DR.supervised_tasks(tasks)] == ["a", "click_and_buy"]


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (MultiDR, {"dr_grad": "stopped"}, "dr_grad is 'stopped'. Did you mean 'stop'?"),
        (MTL_EIB, {"imputation": "errors"}, "imputation is 'errors'. Did you mean 'error'?"),
        (ESCM2_IPS, {"lambda_c": -1}, "lambda_c is -1"),
        (ESCM2_DR, {"lambda_g": -1}, "lambda_g is -1"),
        (HeuristicDR, {"eta": 2}, "eta is 2; it lies from 0 to 1"),
        (NaiveIPW, {"propensity_epochs": 0}, "propensity_epochs is 0"),
        (DRJL, {"propensity_learning_rate": 0.0}, "propensity_learning_rate is 0"),
        (MultiIPW, {"ipw": {"epsclip": 0.1}}, "Did you mean 'eps_clip'?"),
    ],
)
def test_an_option_that_cannot_be_is_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        conversion(cls, **options)


def test_a_conversion_model_says_what_it_learns_from():
    with pytest.raises(NotImplementedError, match=r"ConversionModel must define learns_from\(chain\)"):
        ConversionModel.objective_names(tiny.tasks_of(tiny.NAMED["chain"]))

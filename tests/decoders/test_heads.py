"""Decoders under the models of the zoo, from the stanza to the SavedModel."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ShareBottom, registry
from fuxi_mtl.dataset import Split
from fuxi_mtl.decoders import DECODERS
from fuxi_mtl.options import SURGERIES, WEIGHTINGS, SurgeryOptions, WeightingOptions
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.tasks import Task
from fuxi_mtl.training.decoding import check_labels, fit_decoders, settle_decoders
from fuxi_mtl.weighting import make_weighting

import_zoo()
CLICK, WATCH = tiny.PLAIN["regression"]
ACT = Task("act", ("watch",), kind="classes", decoder_options=(("classes", ("a", "b", "c", "d")),))
OPTIONS = {"d2q": {"by": "price", "groups": 3}, "cread": {"thresholds": 4}, "tpm": {"depth": 2}}
NARROW = {"DeepFM_MMoE", "APG_AITM_V2"}


def watch(kind):
    return replace(WATCH, decoder=kind, decoder_options=tuple(OPTIONS.get(kind, {}).items()))


def serves_numbers(name):
    try:
        return registry.model(name).plan_tasks(tiny.PLAIN["regression"], False) == tiny.PLAIN["regression"]
    except ValueError:
        return False


def built(name, kind):
    keras.utils.set_random_seed(1)
    model = registry.model(name)(tiny.FEATURES, (CLICK, watch(kind)), **tiny.options_of(registry.model(name)))
    model.build()
    labels = {name: np.abs(y) for name, y in tiny.batch((CLICK, watch(kind)))[1].items()}
    fit_decoders(model, {"watch": np.asarray(labels["watch"])}, tiny.inputs()["numeric"])
    return model


def batch_of(kind):
    inputs, labels, weight = tiny.batch((CLICK, watch(kind)))
    return inputs, {**labels, "watch": tf.abs(labels["watch"])}, weight


@pytest.mark.parametrize("name", [name for name in registry.names() if serves_numbers(name)])
def test_every_model_that_predicts_numbers_takes_a_head_of_several(name):
    if name in NARROW:
        with pytest.raises(
            ValueError, match="head of 'watch' ends in 3 numbers, but .*Decoders of one number: log1p"
        ):
            built(name, "ziln")
        return
    model, (inputs, labels, weight) = built(name, "ziln"), batch_of("ziln")
    heads = model(inputs)
    assert heads["click"].shape == (32,)
    assert heads["watch"].shape == (32, 3)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    logs = model.train_step((inputs, labels, weight))
    assert np.isfinite(float(logs["loss"]))
    found = model.probabilities(model(inputs), inputs)
    assert list(found) == ["click", "watch", "watch_prob"]
    assert all(each.shape == (32,) and np.isfinite(each).all() for each in found.values())


def of_classes(name, **options):
    keras.utils.set_random_seed(1)
    cls = registry.model(name)
    model = cls(tiny.FEATURES, (CLICK, ACT), **tiny.options_of(cls), **options)
    model.build()
    return model


def batch_of_classes(seed=0):
    inputs, labels, weight = tiny.batch((CLICK, WATCH), seed=seed)
    watch = labels["watch"]
    act = tf.where(tf.math.is_nan(watch), watch, tf.clip_by_value(tf.floor(2 + watch), 0.0, 3.0))
    return inputs, {"click": labels["click"], "act": act}, weight


@pytest.mark.parametrize("name", registry.names())
def test_every_model_takes_a_task_of_classes_or_refuses_it_by_name(name):
    cls = registry.model(name)
    if not serves_numbers(name) or name in NARROW:
        refusal = (
            "task 'act' .watch. is one of several classes|head of 'act' ends in 4 numbers|: the tasks are"
        )
        with pytest.raises(ValueError, match=refusal):
            of_classes(name) if name in NARROW else cls.plan_tasks((CLICK, ACT), False)
        return
    model, batch = of_classes(name), batch_of_classes()
    assert model.objectives()[1].loss(model(batch[0]), *batch[1:])[0] > 0
    found = model.probabilities(model(batch[0]), batch[0])
    assert list(found) == ["click", "act", *(f"act_pred_{each}" for each in "abcd")]
    chances = np.stack([found[f"act_pred_{each}"] for each in "abcd"], axis=1)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found["act"], chances.argmax(axis=1))
    assert chances.dtype == np.float32


@pytest.mark.parametrize("choice", ["UW", "GN", "NISE", "pcgrad", "aligned_mtl"])
def test_weightings_and_surgeries_see_one_objective_of_classes_in_half_precision(choice):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, batch = of_classes("ShareBottom"), batch_of_classes()
    finally:
        keras.config.set_dtype_policy("float32")
    kinds = {objective.name: objective.kind for objective in model.objectives()}
    assert kinds == {"click": "binary", "act": "binary"}
    loss_weight = choice if choice in WEIGHTINGS else "EQ"
    surgery = make_surgery(SurgeryOptions(surgery=choice), kinds) if choice in SURGERIES else None
    weighting = make_weighting(WeightingOptions(loss_weight=loss_weight), kinds, 2)
    model.compile(keras.optimizers.Adam(0.01), weighting, surgery=surgery, run_eagerly=True)
    before = [variable.numpy() for variable in model.trainable_variables]
    logs = [model.train_step(batch) for _ in range(2)][-1]
    assert all(np.isfinite(float(each)) for each in logs.values())
    pairs = zip(model.trainable_variables, before, strict=True)
    assert all((variable.numpy() != old).any() for variable, old in pairs)
    assert {head.dtype for head in model(batch[0]).values()} == {tf.float32}


def test_training_learns_classes_and_names_what_metrics_see():
    model, (inputs, labels, weight) = of_classes("MMoE"), batch_of_classes()
    model.compile(keras.optimizers.Adam(0.02))
    data = tf.data.Dataset.from_tensors((inputs, labels, weight)).repeat()
    model.fit(data, steps_per_epoch=100, verbose=0)
    predicted = model.predict(inputs, verbose=0)
    chances = model.parts(predicted)["act"].chances
    known = ~np.isnan(labels["act"])
    assert chances.shape == (32, 4)
    assert np.mean(chances.argmax(axis=1)[known] == labels["act"].numpy()[known]) > 0.9
    assert list(model.scalars(predicted)) == ["click"]


@pytest.mark.parametrize("kind", [name for name in DECODERS if name != "softmax"])
def test_training_with_any_decoder_lowers_its_error(kind):
    model, (inputs, labels, weight) = built("ShareBottom", kind), batch_of(kind)
    model.compile(keras.optimizers.Adam(0.02))
    data = tf.data.Dataset.from_tensors((inputs, labels, weight)).repeat()
    before, after = (
        model.fit(data, steps_per_epoch=steps, verbose=0).history["loss_watch"][0] for steps in (1, 60)
    )
    assert after < before
    predicted = model.predict(inputs, verbose=0)
    assert set(predicted) == set(model.served_columns.values())
    assert np.isfinite(predicted["watch"]).all()


@pytest.mark.parametrize(
    ("kind", "ends"),
    [("ziln", ["mu", "sigma", "least_sigma", "wide", "clipped"]), ("tweedie", ["raw", "clipped"])],
)
def test_what_goes_wrong_in_silence_is_watched_over_the_rows_of_the_task(kind, ends):
    model, (inputs, labels, weight) = built("ShareBottom", kind), batch_of(kind)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.train_step((inputs, labels, weight))
    assert [name for name in logs if name.startswith("watched_watch_")] == [
        f"watched_watch_{e}" for e in ends
    ]
    raw, known = model(inputs)["watch"].numpy(), ~np.isnan(labels["watch"].numpy())
    if kind == "tweedie":
        expected = {"raw": raw[known].mean(), "clipped": 0}
    else:
        sigma = np.log1p(np.exp(raw[known, 2]))
        expected = {"mu": raw[known, 1].mean(), "sigma": sigma.mean(), "wide": (sigma > 2).mean()}
    for end, value in expected.items():
        assert float(logs[f"watched_watch_{end}"]) == pytest.approx(value, rel=1e-4)


def test_the_mean_probability_of_each_class_is_watched():
    model, batch = of_classes("ShareBottom"), batch_of_classes()
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.train_step(batch)
    known = ~np.isnan(batch[1]["act"].numpy())
    chances = tf.nn.softmax(model(batch[0])["act"]).numpy()[known].mean(axis=0)
    found = [float(logs[f"watched_act_mean_{each}"]) for each in "abcd"]
    np.testing.assert_allclose(found, chances, rtol=1e-4)


def test_values_that_cannot_be_put_right_are_said(caplog):
    model = built("ShareBottom", "log1p")
    with caplog.at_level("WARNING"):
        assert settle_decoders(model, None, 8) == []
    assert "watch: there are no validation rows to put its values right on" in caplog.text


@pytest.mark.parametrize("taken", ["watch_prob", "watch_q10"])
def test_a_task_or_product_may_not_have_the_name_of_what_a_decoder_serves(taken):
    """Its predictions would be the decoder's, and measured as its own."""
    kind = "ziln" if taken == "watch_prob" else "quantile"
    tasks = (CLICK, watch(kind), Task(taken, ("buy",)))
    with pytest.raises(ValueError, match=f"'{taken}' is what the decoder of 'watch' serves beside its value"):
        ShareBottom(tiny.FEATURES, tasks, **tiny.options_of(ShareBottom))
    model = ShareBottom(tiny.FEATURES, tasks[:2], **tiny.options_of(ShareBottom))
    with pytest.raises(ValueError, match=f"'{taken}' is what the decoder"):
        model.expect([Task(taken, ("click", "watch"), kind="regression", product=("click", "watch"))])


def test_a_product_with_a_quantile_is_no_expectation():
    served = replace(WATCH, decoder="d2q", decoder_options=(("by", "price"), ("serve", "quantile")))
    model = ShareBottom(tiny.FEATURES, (CLICK, served), **tiny.options_of(ShareBottom))
    product = Task("seen", ("click", "watch"), kind="regression", product=("click", "watch"))
    with pytest.raises(
        ValueError, match="'watch' serves a quantile from 0 to 1, so the product is no expect"
    ):
        model.expect([product])


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (
            replace(ACT, decoder="tweedie", decoder_options=()),
            "Give the label kind: regression, or another .*softmax",
        ),
        (
            replace(watch("ziln"), decoder="softmax", decoder_options=()),
            "Give the label kind: classes, or .*ziln",
        ),
    ],
)
def test_a_decoder_of_numbers_takes_no_classes_and_the_other_way_round(task, told):
    with pytest.raises(ValueError, match=told):
        ShareBottom(tiny.FEATURES, (CLICK, task), **tiny.options_of(ShareBottom))


@pytest.mark.parametrize("kind", ["log1p", "poisson", "ziln"])
def test_a_label_that_training_would_refuse_is_refused_in_other_rows_before_it_begins(kind):
    model = built("ShareBottom", kind)
    rows = np.array([[0.0, 2.0], [1.0, -2.5], [1.0, np.nan]], np.float32)
    split = Split("valid", np.zeros((3, 1), np.int32), rows, rows, None, ("click", "watch"))
    check_labels(model, [None, replace(split, events=rows[::2])])
    with pytest.raises(
        ValueError, match=r"a label of a row of valid is -2\.5, and it takes numbers from 0 up"
    ):
        check_labels(model, [None, split])

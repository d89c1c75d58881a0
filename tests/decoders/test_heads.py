"""Decoders under the models of the zoo, from the stanza to the SavedModel."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import registry
from fuxi_mtl.decoders import DECODERS
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.training.decoding import fit_decoders, settle_decoders

import_zoo()
CLICK, WATCH = tiny.PLAIN["regression"]
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


@pytest.mark.parametrize("kind", DECODERS)
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


def test_values_that_cannot_be_put_right_are_said(caplog):
    model = built("ShareBottom", "log1p")
    with caplog.at_level("WARNING"):
        assert settle_decoders(model, None, 8) == []
    assert "watch: there are no validation rows to put its values right on" in caplog.text

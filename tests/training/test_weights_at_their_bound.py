"""Weights that have run away are told at an evaluation."""

import logging
from types import SimpleNamespace

import keras
import pytest

from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.training.callbacks import Evaluation
from fuxi_mtl.weighting import Equal, Uncertainty


@pytest.mark.parametrize("kind", [Uncertainty, Equal])
def test_a_weight_near_its_bound_is_a_warning(caplog, kind):
    scores = Scores(values={"AUC": 0.5}, undefined={})
    evaluation = Evaluation(
        lambda: scores,
        SimpleNamespace(observe=lambda *_: None),
        lambda: None,
        "AUC",
        "max",
        steps=1,
        steps_per_epoch=1,
        total_steps=1,
    )
    weighting = kind({"click": "binary"})
    evaluation.set_model(
        SimpleNamespace(weighting=weighting, tasks=(), outputs=(), optimizer=keras.optimizers.SGD(0.1))
    )
    evaluation.on_epoch_begin(0)
    with caplog.at_level(logging.WARNING):
        evaluation.on_epoch_end(0, {"loss": 1.0, "loss_click": 0.0, "weight_click": 20_000.0})
    told = "The weight of click is near its bound, 2.2e+04: its loss is all but 0. Is its label constant?"
    assert (told in caplog.text) == (kind is Uncertainty)

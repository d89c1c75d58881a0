"""Weights that have run away are told at an evaluation."""

import logging
from types import SimpleNamespace

import keras
import pytest

from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.training.callbacks import Evaluation
from fuxi_mtl.weighting import Equal, ExcessRisk, Uncertainty

BOUND = "The weight of click is near its bound, 2.2e+04: its loss is all but 0. Is its label constant?"
STARVED = (
    "The weight of click is 0.005: it is all but untrained. A smaller excess_step or a longer excess_warmup "
    "keeps weights closer together."
)


@pytest.mark.parametrize(
    ("kind", "weight", "expected"),
    [
        (Uncertainty, 20_000.0, [BOUND]),
        (Equal, 20_000.0, []),
        (ExcessRisk, 0.005, [STARVED]),
        (ExcessRisk, 0.02, []),
        (Equal, 0.005, []),
    ],
)
def test_a_weight_near_its_bound_is_a_warning(caplog, kind, weight, expected):
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
        evaluation.on_epoch_end(0, {"loss": 1.0, "loss_click": 0.0, "weight_click": weight})
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == expected

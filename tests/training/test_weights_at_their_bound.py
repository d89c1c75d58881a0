"""Weights that have run away are told at an evaluation."""

import logging
from types import SimpleNamespace

import keras
import pytest

from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.training.callbacks import Evaluation
from fuxi_mtl.weighting import (
    Equal,
    ExcessRisk,
    FastAdaptive,
    RandomWeights,
    SmoothTchebycheff,
    Uncertainty,
)

BOUND = "The weight of click is near its bound, 2.2e+04: its loss is all but 0. Is its label constant?"
STARVED = (
    "The weight of click is 0.005: it is all but untrained. A smaller excess_step or a longer excess_warmup "
    "keeps weights closer together."
)


NEGATIVE = "The loss of click is -70, and weighting {} compares losses by ratios or logarithms"


def warnings_of(caplog, kind, *logs) -> list[str]:
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
    with caplog.at_level(logging.WARNING):
        for epoch, each in enumerate(logs):
            evaluation.on_epoch_begin(epoch)
            evaluation.on_epoch_end(epoch, {"loss": 1.0, **each})
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


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
    assert warnings_of(caplog, kind, {"loss_click": 0.0, "weight_click": weight}) == expected


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Uncertainty, True),
        (SmoothTchebycheff, True),
        (FastAdaptive, True),
        (Equal, False),
        (RandomWeights, False),
    ],
)
def test_a_loss_below_zero_is_told_once_where_the_weighting_makes_nothing_of_it(caplog, kind, told):
    """That of poisson is exp(z) - y z; the bound is then no sign of a constant label."""
    logs = [{"loss_click": loss, "weight_click": 20_000.0} for loss in (0.3, -70.0, -71.0)]
    found = [text for text in warnings_of(caplog, kind, *logs[1:]) if "bound" not in text]
    assert [text.startswith(NEGATIVE.format(kind.__name__)) for text in found] == [True] * told
    assert not any("constant" in text for text in warnings_of(caplog, kind, logs[1]))

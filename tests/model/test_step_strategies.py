"""Strategies of a training step: which are chosen, who excludes whom, and one more beside them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import M3oE, ShareBottom
from fuxi_mtl.model import step_strategies
from fuxi_mtl.model.step_strategies import (
    AlternatingStep,
    BilevelStep,
    GradientNorms,
    PlainStep,
    StepStrategy,
    SurgeryStep,
    strategies_of,
)
from fuxi_mtl.options import SurgeryOptions
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.weighting import GradNorm

TASKS = tiny.PLAIN["two"]
KINDS = {"click": "binary", "buy": "binary"}


class Alternating(ShareBottom):
    def alternating_steps(self):
        return [(("click",), self.trainable_variables), (("buy",), self.trainable_variables)]


class Counting(StepStrategy):
    """A sixth strategy: counts steps, and the positives that they saw."""

    watched = ("positives",)

    @classmethod
    def is_wanted(cls, model):
        return True

    def move(self, step, own):
        step.watched["positives"] = own

    def take(self, data):
        _, labels, _ = data
        return data, tf.reduce_sum(labels["click"])


def make(cls=ShareBottom, **compile_options):
    keras.utils.set_random_seed(3)
    model = cls(tiny.FEATURES, TASKS, **tiny.options_of(cls if cls is M3oE else ShareBottom))
    model.compile(**compile_options)
    return model


def surgery():
    return make_surgery(SurgeryOptions(surgery="mgda"), KINDS)


CHOICES = [
    (ShareBottom, {}, [PlainStep]),
    (ShareBottom, {"weighting": GradNorm(KINDS)}, [GradientNorms, PlainStep]),
    (ShareBottom, {"surgery": surgery()}, [SurgeryStep]),
    (ShareBottom, {"weighting": GradNorm(KINDS), "surgery": surgery()}, [GradientNorms, SurgeryStep]),
    (Alternating, {}, [AlternatingStep]),
    (M3oE, {}, [PlainStep]),
    (M3oE, {"bilevel_optimizer": keras.optimizers.SGD(0.1)}, [PlainStep, BilevelStep]),
]


@pytest.mark.parametrize(("cls", "options", "expected"), CHOICES)
def test_a_compiled_model_has_the_strategies_that_it_asks_for(cls, options, expected):
    assert [type(each) for each in make(cls, **options).strategies] == expected


def test_surgery_has_nothing_to_combine_where_objectives_take_turns():
    with pytest.raises(ValueError, match="Alternating minimises its objectives in turns.*Use surgery: none"):
        make(Alternating, surgery=surgery())


def test_a_sixth_strategy_is_a_class_and_a_line_of_the_table(monkeypatch):
    batch = tiny.batch(TASKS)
    alone = make(run_eagerly=True)
    alone.train_step(batch)
    monkeypatch.setattr(step_strategies, "STRATEGIES", (*step_strategies.STRATEGIES, Counting))
    model = make(run_eagerly=True)
    logs = model.train_step(batch)
    assert float(logs["watched_positives"]) == float(tf.reduce_sum(batch[1]["click"]))
    for one, other in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_strategy_says_which_models_want_it():
    with pytest.raises(NotImplementedError, match="Silent must say which models want it"):
        type("Silent", (StepStrategy,), {}).is_wanted(make())
    assert strategies_of(make())

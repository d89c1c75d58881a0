"""Products of predictions: what they predict, and which are no expectation."""

import numpy as np
import pytest

from fuxi_mtl.config.expected import expected_task
from fuxi_mtl.tasks import parse_task

NAN = np.nan


def columns(**lists):
    return {name: np.array(values, np.float32) for name, values in lists.items()}


CHAIN = (
    parse_task("ctr", "click"),
    parse_task("cvr", "buy | click"),
    parse_task("spend", "spend | buy", kind="regression", metrics=("MAE",)),
    parse_task("act", "act | click", kind="classes"),
)


def test_a_product_of_predictions_is_a_value_on_all_exposures_with_the_product_of_labels():
    task = expected_task("value", "ctr * cvr*spend", CHAIN)
    assert (task.event, task.given, task.kind) == (("click", "buy", "spend"), (), "regression")
    assert task.metrics == ("MAE",)
    assert task.expression == "ctr * cvr * spend"
    label = task.label(columns(click=[0, 1, 1, 1, NAN], buy=[0, 0, 1, 1, NAN], spend=[NAN, NAN, 7, NAN, NAN]))
    np.testing.assert_array_equal(label, np.array([0, 0, 7, NAN, NAN], np.float32))


def test_a_product_may_be_of_events_alone_or_keep_the_condition_of_its_first_factor():
    both = expected_task("both", "ctr * cvr", CHAIN)
    assert (both.event, both.kind) == (("click", "buy"), "binary")
    clicked = expected_task("clicked", "cvr * spend", CHAIN)
    assert (clicked.event, clicked.given) == (("buy", "spend"), ("click",))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ctr * cvrr", "no task is called 'cvrr'. Did you mean 'cvr'. Tasks: ctr, cvr, spend, act"),
        ("ctr", "cannot read 'ctr'. Write two or more tasks"),
        ("ctr * ctr", "cannot read"),
        ("ctr *", "cannot read"),
        ("spend * ctr", "'spend' is no probability, so it can only be the last factor"),
        ("cvr * ctr", "it is not given 'buy', so the product is no expectation"),
        ("ctr * spend", "it is given 'buy', which no factor before it predicts"),
        ("ctr * act", "'act' is one of several classes, which is no number"),
    ],
)
def test_what_is_no_expectation_is_refused_with_its_reason(expression, message):
    with pytest.raises(ValueError, match=message.replace("*", ".")):
        expected_task("value", expression, CHAIN)


def test_a_product_has_a_name_of_its_own():
    with pytest.raises(ValueError, match="expected 'ctr': there is a task of that name"):
        expected_task("ctr", "cvr * spend", CHAIN)

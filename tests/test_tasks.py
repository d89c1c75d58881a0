"""Tasks: the expression gives the label, the rows that count and what requires what."""

import numpy as np
import pytest

from fuxi_mtl.tasks import Task, conversion_tasks, event_of, parse_task, required_events

NAN = np.nan


def columns(**lists):
    return {name: np.array(values, np.float32) for name, values in lists.items()}


def test_a_plain_event_is_its_column():
    task = parse_task("ctr", "click")
    assert task == Task("ctr", ("click",))
    np.testing.assert_array_equal(task.label(columns(click=[1, 0, NAN])), np.array([1, 0, NAN], np.float32))


def test_a_joint_event_is_the_product_and_zero_as_soon_as_one_part_is():
    task = parse_task("ctcvr", "click & conversion")
    label = task.label(columns(click=[1, 1, 0, 0, NAN, NAN, 1], conversion=[1, 0, 1, NAN, 0, 1, NAN]))
    np.testing.assert_array_equal(label, np.array([1, 0, 0, 0, 0, NAN, NAN], np.float32))
    assert label.dtype == np.float32


def test_a_conditional_event_is_defined_where_its_condition_is_known_to_hold():
    task = parse_task("cvr", "conversion | click")
    label = task.label(columns(click=[1, 1, 0, NAN, 1], conversion=[1, 0, 1, 1, NAN]))
    np.testing.assert_array_equal(label, np.array([1, 0, NAN, NAN, NAN], np.float32))


def test_a_negative_condition_wants_the_event_not_to_happen():
    task = parse_task("other", "buy | click & !cart")
    label = task.label(columns(click=[1, 1, 0, 1], cart=[0, 1, 0, NAN], buy=[1, 1, 1, 1]))
    np.testing.assert_array_equal(label, np.array([1, NAN, NAN, NAN], np.float32))
    assert task.given == ("click", "!cart")


def test_labels_are_new_arrays():
    given = columns(click=[1, 0])
    parse_task("ctr", "click").label(given)[0] = 7
    assert given["click"][0] == 1


def test_spaces_do_not_matter_and_repetitions_are_one():
    assert parse_task("x", " a&a &b|!  c ") == Task("x", ("a", "b"), ("!c",))


def test_an_expression_reads_back_as_itself():
    for expression in ("click", "click & buy", "buy | click", "buy | click & !cart"):
        assert parse_task("x", expression).expression == expression


def test_columns_are_all_label_columns_that_a_task_reads():
    assert parse_task("x", "buy | click & !cart").columns == ("buy", "click", "cart")
    assert event_of("!cart") == event_of("cart") == "cart"


@pytest.mark.parametrize(
    "expression", ["", "&", "click &", "click |", "| click", "a | b | c", "a b", "a | !", "1st", "click+buy"]
)
def test_an_unreadable_expression_shows_itself_and_what_works(expression):
    with pytest.raises(ValueError, match="'cvr': cannot read") as error:
        parse_task("cvr", expression)
    assert repr(expression) in str(error.value)
    assert "conversion | click" in str(error.value)


def test_a_task_predicts_what_happens():
    with pytest.raises(ValueError, match="predicts an event that does not happen"):
        parse_task("x", "!click")


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b"])
def test_a_task_name_is_a_name(name):
    with pytest.raises(ValueError, match="is not a name: use letters"):
        Task(name, ("click",))


def test_a_kind_is_one_of_two():
    with pytest.raises(ValueError, match="'x' has kind 'multiclass'. Kinds: binary, regression"):
        Task("x", ("click",), kind="multiclass")


def test_a_regression_is_about_one_column():
    with pytest.raises(ValueError, match="a joint event is binary"):
        Task("x", ("click", "watch"), kind="regression")


@pytest.mark.parametrize("expression", ["click | click", "click & buy | !buy"])
def test_an_event_stands_on_one_side_of_the_bar(expression):
    with pytest.raises(ValueError, match="on both sides of"):
        parse_task("x", expression)


def test_a_condition_does_not_contradict_itself():
    with pytest.raises(ValueError, match="both 'cart' and '!cart'"):
        parse_task("x", "buy | cart & !cart")


def test_a_conditional_event_requires_its_condition():
    tasks = [parse_task("ctr", "click"), parse_task("cvr", "buy | click"), parse_task("j", "click & buy")]
    assert required_events(tasks) == {"buy": ("click",)}


def test_branches_require_only_what_they_have_in_common():
    tasks = [parse_task("a", "buy | click & cart"), parse_task("b", "buy | click & !cart")]
    assert required_events(tasks) == {"buy": ("click",)}
    assert required_events([parse_task("a", "buy | cart"), parse_task("b", "buy | !cart")]) == {}


def test_a_number_under_a_condition_requires_nothing():
    assert required_events([Task("watch", ("watch",), ("click",), kind="regression")]) == {}


def test_two_labels_become_ctr_cvr_and_ctcvr_in_one_place():
    tasks = conversion_tasks(Task("a", ("tap",), metrics=("KS",)), Task("b", ("buy",), metrics=("AUC",)))
    assert {task.name: task.expression for task in tasks} == {
        "ctr": "tap",
        "cvr": "buy | tap",
        "ctcvr": "tap & buy",
    }
    assert [task.metrics for task in tasks] == [("KS",), ("AUC",), ("AUC",)]

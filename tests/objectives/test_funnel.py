"""Funnels against the enumeration of every outcome of every event, in plain probabilities."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of, with_joint_tasks
from fuxi_mtl.tasks import Task

CHAIN = {"a": "click", "b": "cart | click", "c": "buy | click & cart"}
ESM2 = {"y1": "click", "y2": "cart | click", "y3": "buy | click & cart", "y4": "buy | click & !cart"}
# A root with two independent children, and a step under a failure.
TREE = {"a": "click", "b": "like | click", "c": "buy | click", "d": "leave | !click", "e": "refund | buy"}


def outcomes(towers: tuple[Task, ...], probability: dict[str, float]):
    """Every assignment of the events with its probability: a tower says P(event) where its condition
    holds; where none of its towers applies the event does not happen."""
    events = list(dict.fromkeys(tower.event[0] for tower in towers))
    for values in itertools.product([False, True], repeat=len(events)):
        happened = dict(zip(events, values, strict=True))
        p = 1.0
        for event in events:
            rate = 0.0
            for tower in towers:
                if tower.event[0] == event and holds(tower.given, happened):
                    rate = probability[tower.name]
            p *= rate if happened[event] else 1 - rate
        yield happened, p


def holds(literals, happened) -> bool:
    return all(happened[literal.lstrip("!")] != literal.startswith("!") for literal in literals)


def enumerated(towers, probability, task) -> float:
    both = sum(p for o, p in outcomes(towers, probability) if holds((*task.event, *task.given), o))
    return both / sum(p for o, p in outcomes(towers, probability) if holds(task.given, o))


def funnel_probability(towers, probability, task) -> float:
    logits = {name: tf.constant([np.log(p / (1 - p))], tf.float32) for name, p in probability.items()}
    return tf.sigmoid(Funnel(towers).logits(logits, [task])[task.name]).numpy()[0]


@pytest.mark.parametrize(
    ("towers", "expression"),
    [
        (CHAIN, "click"),
        (CHAIN, "cart"),
        (CHAIN, "buy"),
        (CHAIN, "cart & click"),
        (CHAIN, "click & cart & buy"),
        (CHAIN, "buy | click"),
        (CHAIN, "buy | cart"),
        (CHAIN, "cart & buy | click"),
        (ESM2, "click"),
        (ESM2, "click & cart"),
        (ESM2, "buy | click"),
        (ESM2, "click & buy"),
        (ESM2, "click & cart & buy"),
        (ESM2, "buy | cart"),
        (ESM2, "buy | click & !cart"),
        (TREE, "like & buy"),
        (TREE, "like & buy | click"),
        (TREE, "buy | like"),
        (TREE, "leave"),
        (TREE, "refund"),
        (TREE, "refund | click"),
        (TREE, "like & refund"),
        (TREE, "buy | click & !like"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_funnel_gives_the_probability_of_the_enumeration(towers, expression, seed):
    towers = tiny.tasks_of(towers)
    random = np.random.default_rng(seed)
    probability = {tower.name: random.uniform(0.05, 0.95) for tower in towers}
    task = tiny.tasks_of({"asked": expression})[0]
    expected = enumerated(towers, probability, task)
    assert funnel_probability(towers, probability, task) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("towers", "expression"),
    [
        (CHAIN, "cart | buy"),
        (CHAIN, "cart | !buy"),
        (ESM2, "cart | buy"),
        (ESM2, "click | !cart"),
        (TREE, "click | !like"),
    ],
)
def test_a_condition_that_comes_later_is_an_error_unless_it_settles_the_event(towers, expression):
    # cart | buy is certain in the chain; with ESM2's branches it would need Bayes' rule.
    towers = tiny.tasks_of(towers)
    task = tiny.tasks_of({"asked": expression})[0]
    with pytest.raises(ValueError, match=r"task 'asked' .* is (certain|given .*, which comes later)"):
        funnel_probability(towers, {tower.name: 0.5 for tower in towers}, task)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("click | cart", "certain"),
        ("click | buy", "certain"),
        ("buy | !cart", "impossible"),
        ("buy | !click", "impossible"),
    ],
)
def test_certain_and_impossible_tasks_are_errors_that_show_the_funnel(expression, kind):
    task = tiny.tasks_of({"asked": expression})[0]
    with pytest.raises(
        ValueError, match=f"task 'asked' .* is {kind} in the funnel of click, cart . click, buy"
    ):
        funnel_probability(tiny.tasks_of(CHAIN), {"a": 0.5, "b": 0.5, "c": 0.5}, task)


def test_an_event_without_a_tower_is_an_error_that_says_what_is_missing():
    towers = tiny.tasks_of({"ctr": "click", "cvr": "buy | click & cart"})
    with pytest.raises(
        ValueError, match="'asked' .* does not follow from the towers of click, .* missing step"
    ):
        funnel_probability(towers, {"ctr": 0.5, "cvr": 0.5}, tiny.tasks_of({"asked": "click & buy"})[0])


def test_events_that_require_each_other_are_an_error():
    with pytest.raises(ValueError, match="'cart' needs itself"):
        Funnel(tiny.tasks_of({"a": "cart | buy", "b": "buy | cart"}))


def test_two_towers_that_may_both_apply_are_an_error():
    with pytest.raises(ValueError, match=r"'buy \| click' and 'buy \| cart' may both apply"):
        Funnel(tiny.tasks_of({"a": "click", "b": "cart", "c": "buy | click", "d": "buy | cart"}))


def test_a_tower_asked_for_is_the_towers_own_logit():
    towers = tiny.tasks_of({"ctr": "click", "cvr": "buy | click"})
    z = {"ctr": tf.constant([-3.0]), "cvr": tf.constant([-5.0])}
    heads = Funnel(towers).logits(z, towers)
    assert heads["ctr"] is z["ctr"]
    assert heads["cvr"] is z["cvr"]


# ---- which towers, which objectives -------------------------------------------------------------


def expressions(tasks):
    return [task.expression for task in tasks]


def test_single_events_are_towers_and_joint_ones_follow():
    towers = towers_of(tiny.tasks_of(tiny.NAMED["chain"]))
    assert [tower.name for tower in towers] == ["ctr", "cvr"]


def test_an_event_that_occurs_only_jointly_gets_a_tower():
    towers = towers_of(tiny.tasks_of({"ctr": "click", "ctcvr": "click & buy"}))
    assert expressions(towers) == ["click", "buy | click"]
    assert towers[1].name == "buy_given_click"


def test_branches_replace_what_follows_from_them():
    tasks = tiny.tasks_of(
        {"ctr": "click", "r": "cart | click", "cvr": "buy | click", **dict(list(ESM2.items())[2:])}
    )
    assert [tower.name for tower in towers_of(tasks)] == ["ctr", "r", "y3", "y4"]


def test_entire_space_tasks_have_no_condition():
    assert [task.name for task in entire_space(tiny.tasks_of(tiny.NAMED["funnel"]))] == [
        "ctr",
        "ctavr",
        "ctcvr",
    ]


def test_a_conditional_event_brings_its_joint_event():
    tasks = with_joint_tasks(tiny.tasks_of({"ctr": "click", "cvr": "buy | click"}))
    assert expressions(tasks) == ["click", "buy | click", "click & buy"]
    assert tasks[2].name == "click_and_buy"


def test_joint_events_that_are_there_are_not_repeated():
    tasks = tiny.tasks_of(tiny.NAMED["chain"])
    assert with_joint_tasks(tasks) == tasks
    whole = tiny.tasks_of({"ctr": "click", "cvr": "buy | click", "conversion": "buy"})
    assert with_joint_tasks(whole) == whole


def test_every_step_of_a_chain_has_its_joint_event():
    assert expressions(with_joint_tasks(tiny.tasks_of(CHAIN)))[3:] == ["click & cart", "click & cart & buy"]


def test_both_branches_learn_from_one_joint_event():
    # The purchase after a cart alone would teach nothing about purchases without one.
    assert expressions(with_joint_tasks(tiny.tasks_of(ESM2)))[4:] == ["click & cart", "click & buy"]


def test_a_joint_event_under_a_condition_brings_all_of_it():
    tasks = with_joint_tasks(tiny.tasks_of({"ctr": "click", "both": "cart & buy | click"}))
    assert expressions(tasks)[2:] == ["click & cart & buy"]


def test_a_number_has_no_place_in_a_product_of_probabilities():
    with pytest.raises(ValueError, match=r"task 'watch' \(watch\) is a regression: an entire-space model"):
        check_binary([Task("watch", ("watch",), kind="regression")])

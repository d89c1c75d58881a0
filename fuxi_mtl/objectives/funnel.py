"""Entire-space models as a funnel: towers for conditional events, and every other probability from them.

A tower gives the logit of one event under a condition: ``click``, ``conversion | click``. Whatever a
task asks for follows by the chain rule, in logit space::

    P(click & conversion) = P(click) P(conversion | click)                          logit_and
    P(buy | click) = P(cart | click) P(buy | cart) + P(no cart | click) P(buy | no cart)   mix_logit

An event cannot happen where a condition that all its towers share has failed. A task may be given what
comes before its event; "carts, given a purchase" is another question, and an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import tensorflow as tf

from fuxi_mtl.objectives.losses import logit_and, mix_logit
from fuxi_mtl.tasks import Task, event_of, required_events

_KIND = {"regression": "a regression", "classes": "one of several classes"}
Logit: TypeAlias = "tf.Tensor | bool"  # True and False: the event is certain, or impossible


@dataclass(frozen=True)
class Funnel:
    """The towers of an entire-space model.

    Attributes:
        towers: One task of a single event each, the conditions of one event excluding each other.

    Raises:
        ValueError: Two towers of one event may both apply, or an event needs itself.
    """

    towers: tuple[Task, ...]

    def __post_init__(self):
        for i, tower in enumerate(self.towers):
            for other in self.towers[:i]:
                apart = any(_negated(literal) in other.given for literal in tower.given)
                if tower.event == other.event and not apart:
                    raise ValueError(
                        f"the towers '{other.expression}' and '{tower.expression}' may both apply. "
                        "Branches exclude each other, as in 'buy | click & cart' and 'buy | click & !cart'."
                    )
            if tower.event[0] in self._earlier(tower.event):
                raise ValueError(f"event {tower.event[0]!r} needs itself in the funnel of {self}.")

    def logits(self, towers: Mapping[str, tf.Tensor], tasks: Sequence[Task]) -> dict[str, tf.Tensor]:
        """The logit of every task.

        Args:
            towers: The towers' logits ``(batch,)``, by name.
            tasks: What is asked for.

        Raises:
            ValueError: A task is certain, impossible, or not determined by the towers.
        """
        heads: dict[str, tf.Tensor] = {}
        for task in tasks:
            logit = self._logit(towers, task, frozenset(task.event), self._implied(task.given))
            if isinstance(logit, bool):
                raise ValueError(
                    f"task {task.name!r} ({task.expression}) is {'certain' if logit else 'impossible'} "
                    f"in the funnel of {self}."
                )
            heads[task.name] = logit
        return heads

    def _logit(
        self, towers: Mapping[str, tf.Tensor], task: Task, wanted: frozenset[str], known: frozenset[str]
    ) -> Logit:
        """Logit of all of `wanted` under the literals `known`, splitting on one tower after another."""
        if any(self._impossible(event, known) for event in wanted):
            return False
        wanted = wanted - known
        if not wanted:
            return True
        tower = self._next_tower(wanted, known)
        if tower is None:
            raise ValueError(
                f"task {task.name!r} ({task.expression}) does not follow from the towers of {self}. "
                "Give the missing step, such as 'conversion | click'."
            )
        event, z = tower.event[0], towers[tower.name]
        if event in self._earlier(map(event_of, task.given)):
            raise ValueError(
                f"task {task.name!r} ({task.expression}) is given {' & '.join(task.given)}, which comes "
                f"later than {event!r} in the funnel of {self}."
            )
        return _either(
            z,
            self._logit(towers, task, wanted, known | {event}),
            self._logit(towers, task, wanted, known | {f"!{event}"}),
        )

    def _impossible(self, event: str, known: frozenset[str]) -> bool:
        """Whether the event, or one that must come before it, is known not to happen."""
        return any(_negated(literal) in known for literal in self._implied([event]))

    def _implied(self, literals: Iterable[str]) -> frozenset[str]:
        """The literals, and the conditions without which they cannot hold."""
        waiting, implied = set(literals), set()
        while waiting:
            literal = waiting.pop()
            implied.add(literal)
            conditions = [set(tower.given) for tower in self._of(literal)]
            shared = set.intersection(*conditions) if conditions else set()
            waiting |= shared - implied
        return frozenset(implied)

    def _earlier(self, events: Iterable[str]) -> frozenset[str]:
        """The events that the conditions of some events speak of, and theirs in turn."""
        waiting = set(events)
        earlier: set[str] = set()
        while waiting:
            towers = self._of(waiting.pop())
            conditions = {event_of(literal) for tower in towers for literal in tower.given}
            waiting |= conditions - earlier
            earlier |= conditions
        return frozenset(earlier)

    def _next_tower(self, wanted: frozenset[str], known: frozenset[str]) -> Task | None:
        """A tower that applies now: of a wanted event, or else of one that comes before it."""
        settled = {event_of(literal) for literal in known}
        for events in (wanted, self._earlier(wanted) - settled):
            for tower in self.towers:
                if tower.event[0] in events and set(tower.given) <= known:
                    return tower
        return None

    def _of(self, event: str) -> list[Task]:
        return [tower for tower in self.towers if tower.event[0] == event]

    def __str__(self) -> str:
        return ", ".join(tower.expression for tower in self.towers)


def _negated(literal: str) -> str:
    return literal[1:] if literal.startswith("!") else f"!{literal}"


def _either(z: tf.Tensor, if_so: Logit, if_not: Logit) -> Logit:
    """Logit of ``p a + (1-p) b`` where a may be certain, and either may be impossible."""
    if if_so is True:
        return z  # nothing else was wanted, so the other branch is impossible
    if if_so is False and if_not is False:
        return False
    if if_not is False:
        return logit_and(z, if_so)
    if if_so is False:
        return logit_and(-z, if_not)
    return mix_logit(z, if_so, if_not)


def towers_of(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The towers that some tasks describe.

    A task of one event is a tower unless a task of the same event has more conditions: with
    ``buy | click & cart`` and ``buy | click & !cart``, ``buy | click`` follows from them. An event
    that only occurs jointly gets a tower of its own, under the events written before it.
    """
    singles = [task for task in tasks if len(task.event) == 1]
    towers = [
        task
        for task in singles
        if not any(o.event == task.event and set(o.given) > set(task.given) for o in singles)
    ]
    for task in tasks:
        for position, event in enumerate(task.event):
            if not any(tower.event == (event,) for tower in towers):
                before = task.event[:position]
                name = f"{event}_given_{'_and_'.join(before)}" if before else event
                towers.append(Task(name, (event,), before))
    return tuple(towers)


def entire_space(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks that are defined on every exposure: those an entire-space model learns from."""
    return tuple(task for task in tasks if not task.given)


def with_joint_tasks(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Adds, for each conditional event that no joint task covers, the joint event on all exposures.

    ``ctr: click`` and ``cvr: conversion | click`` learn nothing about conversions from exposures
    without ``click & conversion``.
    """
    required = required_events(tasks)
    planned = list(tasks)
    for task in tasks:
        if not task.given:
            continue
        # What both branches of an event need: buy | click & cart and buy | click & !cart need the click.
        needed = tuple(literal for literal in task.given if not literal.startswith("!"))
        if len(task.event) == 1:
            needed = required.get(task.event[0], ())
        joint = needed + task.event
        covered = (set(task.event) <= set(other.event) <= set(joint) for other in entire_space(planned))
        if not any(covered):
            planned.append(Task("_and_".join(joint), joint))
    return tuple(planned)


def check_binary(tasks: Sequence[Task]) -> None:
    """An entire-space model multiplies probabilities.

    Raises:
        ValueError: A task is a regression.
    """
    for task in tasks:
        if task.kind != "binary":
            raise ValueError(
                f"task {task.name!r} ({task.expression}) is {_KIND[task.kind]}: an entire-space model "
                "multiplies probabilities, so all of its tasks are binary."
            )


def split_values(tasks: Sequence[Task]) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """The events of an entire-space model, and the values at the end of its chain.

    ``spend: spend | buy`` is learnt where the purchase happened; ``expected: ctr * cvr * spend`` serves what
    that is on every exposure.

    Raises:
        ValueError: A task is of classes, or a value is not given one of the events.
    """
    events = tuple(task for task in tasks if task.kind == "binary")
    values = tuple(task for task in tasks if task.kind == "regression")
    known = {column for task in events for column in task.columns}
    check_binary([task for task in tasks if task.kind not in ("binary", "regression")])
    for task in values:
        if not task.given or not {*map(event_of, task.given)} <= known:
            raise ValueError(
                f"task {task.name!r} ({task.expression}) is a regression: an entire-space model multiplies "
                "probabilities, so its tasks are binary, but for values given one of its events: "
                f"'{task.event[0]} | {next(iter(sorted(known)), 'buy')}'."
            )
    return events, values


def as_steps(tasks: Sequence[Task], explicit: bool, model: str) -> tuple[Task, ...]:
    """The steps of a chain on all exposures: plain labels become them in order, tasks are them already.

    Args:
        tasks: From ``tasks`` in the stanza, or one for each label.
        explicit: Whether the stanza has ``tasks``.
        model: Who asks, for the error.

    Raises:
        ValueError: A task is a regression, has a condition, or is no step of the task before.
    """
    check_binary(tasks)
    if not explicit and all(len(task.event) == 1 and not task.given for task in tasks):
        events = [task.event[0] for task in tasks]
        return tuple(replace(task, event=tuple(events[: place + 1])) for place, task in enumerate(tasks))
    for before, task in zip([None, *tasks], tasks, strict=False):
        if task.given or (before is not None and not set(before.event) < set(task.event)):
            shown = ", ".join(each.expression for each in tasks)
            raise ValueError(
                f"{model} needs a chain of events on all exposures, each a step of the one before, but the "
                f"tasks are {shown}. Write tasks: {{ctr: click, ctcvr: click & conversion}}."
            )
    return tuple(tasks)

"""Entire-space models as a funnel: towers for conditional events, and every other probability from them.

A tower gives the logit of one event under a condition: ``click``, ``conversion | click``. Whatever a
task asks for follows by the chain rule, in logit space::

    P(click & conversion) = P(click) P(conversion | click)                          logit_and
    P(buy | click) = P(cart | click) P(buy | cart) + P(no cart | click) P(buy | no cart)   mix_logit

An event cannot happen where a condition that all its towers share has failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.losses import logit_and, logit_or, mix_logit
from fuxi_mtl.tasks import Task, event_of, required_events

Logit = tf.Tensor | bool  # True and False: the event is certain, or impossible


@dataclass(frozen=True)
class Funnel:
    """The towers of an entire-space model.

    Attributes:
        towers: One task of a single event each, the conditions of one event excluding each other.
    """

    towers: tuple[Task, ...]

    def logits(self, towers: Mapping[str, tf.Tensor], tasks: Sequence[Task]) -> dict[str, tf.Tensor]:
        """The logit of every task.

        Args:
            towers: The towers' logits ``(batch,)``, by name.
            tasks: What is asked for.

        Raises:
            ValueError: A task is certain, impossible, or not determined by the towers.
        """
        heads = {}
        for task in tasks:
            logit = self._logit(towers, task, frozenset(task.event), frozenset(task.given))
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
        wanted = wanted - known
        if not wanted:
            return True
        if any(self._impossible(event, known) for event in wanted):
            return False
        tower = self._next_tower(wanted, known)
        if tower is None:
            raise ValueError(
                f"task {task.name!r} ({task.expression}) does not follow from the towers of {self}. "
                "Give the missing step, such as 'conversion | click'."
            )
        event, z = tower.event[0], towers[tower.name]
        return _either(
            z,
            self._logit(towers, task, wanted, known | {event}),
            self._logit(towers, task, wanted, known | {f"!{event}"}),
        )

    def _impossible(self, event: str, known: frozenset[str]) -> bool:
        required = required_events(self.towers).get(event, ())
        return f"!{event}" in known or any(self._impossible(parent, known) for parent in required)

    def _next_tower(self, wanted: frozenset[str], known: frozenset[str]) -> Task | None:
        """A tower of a wanted event whose conditions hold, or of one of those events' conditions."""
        settled = {event_of(literal) for literal in known}
        needed = list(wanted)
        for event in needed:  # grows while we walk: conditions of conditions count too
            for tower in self._of(event):
                needed += [e for e in map(event_of, tower.given) if e not in needed]
        for tower in self.towers:
            if tower.event[0] in needed and tower.event[0] not in settled and set(tower.given) <= known:
                return tower
        return None

    def _of(self, event: str) -> list[Task]:
        return [tower for tower in self.towers if tower.event[0] == event]

    def __str__(self) -> str:
        return ", ".join(tower.expression for tower in self.towers)


def _either(z: tf.Tensor, if_so: Logit, if_not: Logit) -> Logit:
    """Logit of ``p a + (1-p) b`` where a and b may be certain or impossible."""
    if isinstance(if_so, bool) and isinstance(if_not, bool):
        return if_so if if_so == if_not else (z if if_so else -z)
    if if_not is False:
        return logit_and(z, if_so)
    if if_not is True:
        return logit_or(-z, if_so)
    if if_so is False:
        return logit_and(-z, if_not)
    if if_so is True:
        return logit_or(z, if_not)
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
    planned = list(tasks)
    for task in tasks:
        positive = tuple(literal for literal in task.given if not literal.startswith("!"))
        covered = any(set(task.event) <= set(other.event) for other in entire_space(planned))
        if task.given and not covered:
            planned.append(Task("_and_".join(positive + task.event), positive + task.event))
    return tuple(planned)

"""Click, conversion given the click, and both: the three tasks of every conversion model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fuxi_mtl.objectives.funnel import check_binary, with_joint_tasks
from fuxi_mtl.tasks import Task, conversion_tasks


@dataclass(frozen=True)
class Chain:
    """The tasks by their part.

    Attributes:
        click: ``click``, on every exposure: whether a conversion is observed at all.
        conversion: ``conversion | click``: what is wanted for every exposure.
        joint: ``click & conversion``, on every exposure.
    """

    click: Task
    conversion: Task
    joint: Task

    @property
    def ips(self) -> str:
        """Name of the inverse-propensity-scored risk."""
        return f"{self.conversion.name}_ips"

    @property
    def dr(self) -> str:
        """Name of the doubly robust risk."""
        return f"{self.conversion.name}_dr"

    @property
    def eib(self) -> str:
        """Name of the error-imputation-based risk."""
        return f"{self.conversion.name}_eib"

    @property
    def imputation(self) -> str:
        """Name of the head with the imputed error, and of its own loss."""
        return f"{self.conversion.name}_imputation"


def chain_of(tasks: Sequence[Task]) -> Chain:
    """The parts of three tasks.

    Raises:
        ValueError: They are not a click, a conversion given that click, and both.
    """
    given = [task for task in tasks if task.given]
    if len(tasks) == 3 and len(given) == 1:
        (conversion,) = given
        events = [conversion.given, {*conversion.given, *conversion.event}]
        click = [t for t in tasks if not t.given and t.event == conversion.given]
        joint = [t for t in tasks if not t.given and set(t.event) == events[1] and len(t.event) == 2]
        if len(conversion.event) == 1 and len(click) == len(joint) == 1:
            return Chain(click[0], conversion, joint[0])
    raise ValueError(
        f"the tasks are {', '.join(task.expression for task in tasks)}, but a conversion model has one click "
        "and one conversion. Write tasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion}."
    )


def plan_chain(model: str, tasks: Sequence[Task], explicit: bool) -> tuple[Task, ...]:
    """The three tasks; two plain labels become ctr, cvr and ctcvr.

    Args:
        model: Its name, for errors.
        tasks: From ``tasks``, or one for each label.
        explicit: Whether the stanza has ``tasks``.

    Raises:
        ValueError: They are no such chain, or not binary.
    """
    check_binary(tasks)
    if len(tasks) == 2 and not explicit:
        tasks = conversion_tasks(*tasks)
    planned = with_joint_tasks(tasks)
    try:
        chain_of(planned)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None
    return planned

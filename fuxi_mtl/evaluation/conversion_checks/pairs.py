"""Pairs of pCTR and pCVR among the tasks, found by events and not by names."""

from collections.abc import Iterable
from typing import NamedTuple

from fuxi_mtl.tasks import Task


class Pair(NamedTuple):
    """A conversion task and the task that predicts its condition, by name."""

    conversion: str
    click: str


def conversion_pairs(tasks: Iterable[Task]) -> tuple[Pair, ...]:
    """Every ``conversion | click`` whose condition ``click`` is a task of its own.

    With ``buy | click & cart`` the condition's task is ``click & cart``. Conditions that must not happen
    (``!cart``) have no task.
    """
    listed = [task for task in tasks if task.kind == "binary"]
    of_event = {frozenset(task.event): task.name for task in reversed(listed) if not task.given}
    return tuple(
        Pair(task.name, of_event[frozenset(task.given)])
        for task in listed
        if task.given and frozenset(task.given) in of_event
    )

"""ESMM: the conversion rate, learnt on every exposure instead of on clicks only."""

from fuxi_mtl.objectives.funnel import split_values, with_joint_tasks
from fuxi_mtl.registry import register
from fuxi_mtl.tasks import conversion_tasks

from ._entire_space import EntireSpaceModel


@register
class ESMM(EntireSpaceModel):
    """Entire space multi-task model.

    ``pCTCVR = pCTR pCVR`` and ``L = BCE(click, pCTR) + BCE(click & conversion, pCTCVR)`` (equations 2
    to 4), both over all exposures; the product is taken of logits. The CVR tower has no loss of its
    own: it learns through the product. A chain of more than two events works likewise.

    Labels: ``click`` and ``conversion``; a conversion is never read where there was no click. Without
    ``tasks``, two labels in that order give the heads ctr, cvr and ctcvr. A value at the end, ``spend |
    conversion``, has a tower of its own; ``expected: ctr * cvr * spend`` serves it for every exposure.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: sizes are options (the paper's are 18; 360, 200, 80).

    Example:
        >>> model = fm.ESMM(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Ma et al. Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
        Conversion Rate. SIGIR 2018.
    """

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Adds what is missing of the chain; two plain labels become ctr, cvr and ctcvr."""
        events, values = split_values(tasks)
        if all(len(task.event) == 1 and not task.given for task in events):
            if explicit or len(events) != 2:
                raise ValueError(
                    "ESMM needs a chain of events, but the tasks are "
                    f"{', '.join(t.expression for t in tasks)}. "
                    "Write tasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion}, or "
                    "give two labels, the click first."
                )
            events = conversion_tasks(*events)
        return (*with_joint_tasks(events), *values)

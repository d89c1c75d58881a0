"""ESM2: conversions through a decisive action, such as the cart, or past it."""

from collections.abc import Sequence

from fuxi_mtl.objectives.funnel import split_values, with_joint_tasks
from fuxi_mtl.registry import register
from fuxi_mtl.tasks import Task, conversion_tasks

from ._entire_space import EntireSpaceModel


@register
class ESM2(EntireSpaceModel):
    """Entire space model via post-click behaviour decomposition.

    With ``y1 = P(click)``, ``y2 = P(action | click)``, ``y3 = P(buy | action)`` and
    ``y4 = P(buy | click, no action)``::

        pCTR = y1      pCTAVR = y1 y2      pCVR = y2 y3 + (1 - y2) y4      pCTCVR = y1 pCVR

    and ``L = BCE(click) + BCE(click & action) + BCE(click & buy)`` over all exposures, all in logit
    space. The general form is a funnel whose branches are tasks of the stanza, such as
    ``buy_after_cart: buy | click & cart`` and ``buy_without: buy | click & !cart``.

    Labels: ``click``, ``action`` and ``buy``. Without ``tasks``, three labels in that order give the
    heads ctr, ctavr, cvr and ctcvr.

    Args:
        features: The inputs.
        tasks: What to predict.

    Example:
        >>> four = [fm.Task("ctr", ("click",)), fm.Task("ctavr", ("click", "cart"))]
        >>> four += [fm.Task("cvr", ("buy",), ("click",)), fm.Task("ctcvr", ("click", "buy"))]
        >>> model = fm.ESM2(data.features, four)
        >>> list(model.logits(frame))
        ['ctr', 'ctavr', 'cvr', 'ctcvr']

    Reference:
        Wen et al. Entire Space Multi-Task Modeling via Post-Click Behavior Decomposition for
        Conversion Rate Prediction. SIGIR 2020.
    """

    @classmethod
    def steps(cls, tasks):
        """The four steps of the paper, unless the stanza draws its own branches."""
        return _with_branches(tasks)

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Adds what is missing of the funnel; three plain labels become ctr, ctavr, cvr and ctcvr."""
        events, values = split_values(tasks)
        if all(len(task.event) == 1 and not task.given for task in events):
            if explicit or len(events) != 3:
                raise ValueError(
                    f"ESM2 needs a funnel, but the tasks are {', '.join(t.expression for t in tasks)}. Write "
                    "tasks: {ctr: click, ctavr: click & cart, cvr: buy | click, ctcvr: click & buy}, or give "
                    "three labels: the click, the action, the purchase."
                )
            click, action, purchase = events
            ctr, *others = conversion_tasks(click, purchase)
            events = (ctr, Task("ctavr", click.event + action.event, metrics=action.metrics), *others)
        planned = with_joint_tasks(events)
        _with_branches(planned)
        return (*planned, *values)


def _with_branches(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks and the four steps of the paper, unless the stanza draws its own branches."""
    if any(literal.startswith("!") for task in tasks for literal in task.given):
        return tuple(tasks)
    events = list(dict.fromkeys(event for task in tasks for event in task.columns))
    if len(events) != 3:
        raise ValueError(
            f"ESM2 is about three events (click, action, purchase), but the tasks have {', '.join(events)}. "
            "For another funnel write its branches as tasks, such as 'buy | click & cart' and "
            "'buy | click & !cart'."
        )
    click, action, buy = _in_order(events, tasks)
    return (
        Task("y1", (click,)),
        Task("y2", (action,), (click,)),
        Task("y3", (buy,), (click, action)),
        Task("y4", (buy,), (click, f"!{action}")),
    )


def _in_order(events: Sequence[str], tasks: Sequence[Task]) -> list[str]:
    """Click first, then the events in the order in which the joint tasks name them."""
    joint = [task.event for task in tasks if not task.given]
    roots = [event[0] for event in joint if len(event) == 1]
    if len(roots) != 1 or any(event[0] != roots[0] for event in joint):
        raise ValueError(
            f"ESM2: which of {', '.join(events)} is the click? Exactly one task must be a plain event, "
            "and the joint tasks must begin with it, as in 'click & cart'."
        )
    later = dict.fromkeys(event for events_of_task in joint for event in events_of_task[1:])
    return [roots[0], *later, *(e for e in events if e != roots[0] and e not in later)]

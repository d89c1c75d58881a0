"""ESM2: conversions through a decisive action, such as the cart, or past it."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of, with_joint_tasks
from fuxi_mtl.registry import register
from fuxi_mtl.tasks import Task, conversion_tasks


@register
class ESM2(MultiTaskModel):
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
        embedding_dim: Width of the embeddings.
        bottom: What lies under the towers: ``shared_embedding`` (the paper), ``ShareBottom``, ``MMoE`` or
            ``PLE``, or a block of that ``type`` with its options.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Reference:
        Wen et al. Entire Space Multi-Task Modeling via Post-Click Behavior Decomposition for
        Conversion Rate Prediction. SIGIR 2020.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        bottom: str | dict = "shared_embedding",
        tower_hidden_units: Sequence[int] = (256, 128),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        self.funnel = Funnel(towers_of(_with_branches(tasks)))
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        names = [tower.name for tower in self.funnel.towers]
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.bottom = make_bottom(bottom, names, mlp)
        self.towers = Towers(names, tower_hidden_units, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        towers = self.towers(self.bottom(x, training=training), training=training)
        return self.funnel.logits(towers, self.tasks)

    def shared_variables(self):
        """The last layer that the bottom shares; none means the embeddings."""
        return self.bottom.shared_variables()

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Adds what is missing of the funnel; three plain labels become ctr, ctavr, cvr and ctcvr."""
        check_binary(tasks)
        if all(len(task.event) == 1 and not task.given for task in tasks):
            if explicit or len(tasks) != 3:
                raise ValueError(
                    f"ESM2 needs a funnel, but the tasks are {', '.join(t.expression for t in tasks)}. Write "
                    "tasks: {ctr: click, ctavr: click & cart, cvr: buy | click, ctcvr: click & buy}, or give "
                    "three labels: the click, the action, the purchase."
                )
            click, action, purchase = tasks
            ctr, *others = conversion_tasks(click, purchase)
            tasks = (ctr, Task("ctavr", click.event + action.event, metrics=action.metrics), *others)
        planned = with_joint_tasks(tasks)
        _with_branches(planned)
        return planned

    @classmethod
    def supervised_tasks(cls, tasks):
        """Those that are defined on every exposure."""
        return entire_space(tasks)


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

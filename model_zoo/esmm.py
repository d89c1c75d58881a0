"""ESMM: the conversion rate, learnt on every exposure instead of on clicks only."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of, with_joint_tasks
from fuxi_mtl.registry import register
from fuxi_mtl.tasks import conversion_tasks


@register
class ESMM(MultiTaskModel):
    """Entire space multi-task model.

    ``pCTCVR = pCTR pCVR`` and ``L = BCE(click, pCTR) + BCE(click & conversion, pCTCVR)`` (equations 2
    to 4), both over all exposures; the product is taken of logits. The CVR tower has no loss of its
    own: it learns through the product. A chain of more than two events works likewise.

    Labels: ``click`` and ``conversion``; a conversion is never read where there was no click. Without
    ``tasks``, two labels in that order give the heads ctr, cvr and ctcvr.

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

    Differs from the paper: sizes are options (the paper's are 18; 360, 200, 80).

    Reference:
        Ma et al. Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
        Conversion Rate. SIGIR 2018.
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
        self.funnel = Funnel(towers_of(tasks))
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
        """Adds what is missing of the chain; two plain labels become ctr, cvr and ctcvr."""
        check_binary(tasks)
        if all(len(task.event) == 1 and not task.given for task in tasks):
            if explicit or len(tasks) != 2:
                raise ValueError(
                    "ESMM needs a chain of events, but the tasks are "
                    f"{', '.join(t.expression for t in tasks)}. "
                    "Write tasks: {ctr: click, cvr: conversion | click, ctcvr: click & conversion}, or "
                    "give two labels, the click first."
                )
            tasks = conversion_tasks(*tasks)
        return with_joint_tasks(tasks)

    @classmethod
    def supervised_tasks(cls, tasks):
        """Those that are defined on every exposure: never the conversion rate itself."""
        return entire_space(tasks)

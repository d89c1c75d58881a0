"""ESMM: the conversion rate, learnt on every exposure instead of on clicks only."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of, with_joint_tasks
from fuxi_mtl.options.shared import BottomOptions, embedding_options, mlp_options
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

    Differs from the paper: sizes are options (the paper's are 18; 360, 200, 80).

    Reference:
        Ma et al. Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
        Conversion Rate. SIGIR 2018.
    """

    defaults: ClassVar[BottomOptions] = {"tower_hidden_units": (256, 128)}

    def __init__(
        self,
        features,
        tasks,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks)
        self.funnel = Funnel(towers_of(tasks))
        mlp = mlp_options(common)
        names = [tower.name for tower in self.funnel.towers]
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = make_bottom(common["bottom"], names, mlp)
        self.towers = Towers(names, common["tower_hidden_units"], **mlp)

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

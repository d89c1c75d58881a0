"""The base of conversion models: three tasks, one network, and a choice of objectives."""

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.causal import Chain, Imputation, InversePropensity, chain_of, plan_chain
from fuxi_mtl.objectives.losses import logit_and
from fuxi_mtl.options.shared import BottomOptions, embedding_options, mlp_options

logger = logging.getLogger(__name__)


class ConversionModel(MultiTaskModel):
    """Towers for the click and the conversion over any bottom; their product is the third head.

    A subclass says what it learns from: :meth:`learns_from` before there is a network, and
    :meth:`objectives` of these names. With :attr:`imputes` there is a further head, the imputed error:
    objectives see it, predictions do not.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.
    """

    imputes: ClassVar[bool] = False
    ipw: InversePropensity  # set by a subclass that weighs
    defaults: ClassVar[BottomOptions] = {"tower_hidden_units": (256, 128)}

    def __init__(
        self,
        features,
        tasks,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks)
        self.chain = chain_of(tasks)
        mlp = mlp_options(common)
        names = self.tower_names()
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = make_bottom(common["bottom"], names, mlp)
        self.towers = Towers(names, common["tower_hidden_units"], **mlp)

    def tower_names(self) -> list[str]:
        """The heads that have a tower over the bottom."""
        return [self.chain.click.name, self.chain.conversion.name, *self.imputed_heads()]

    def imputed_heads(self) -> list[str]:
        """The head that is no task, if there is one."""
        return [self.chain.imputation] if self.imputes else []

    def heads(self, x, training=False):
        """See the base class."""
        heads = self.towers(self.bottom(x, training=training), training=training)
        product = logit_and(heads[self.chain.click.name], heads[self.chain.conversion.name])
        return heads | {self.chain.joint.name: product}

    def shared_variables(self):
        """The last layer that the bottom shares; none means the embeddings."""
        return self.bottom.shared_variables()

    def prepare(self, labels, batches):
        """Tells the weights the rates of the training rows, and warns where they make them all the same."""
        click = labels[self.chain.click.name]
        if not hasattr(self, "ipw") or np.isnan(click).all():
            return
        rate = float(np.nanmean(click))
        of_clicked = labels[self.chain.conversion.name][click == 1]
        known = float(np.mean(~np.isnan(of_clicked))) if len(of_clicked) else 1.0
        self.ipw.start_at(rate, known or 1.0)
        if known < 1:
            logger.info("%.2f%% of clicked rows have no conversion that is known.", 100 * (1 - known))
        if self.ipw.options.eps_clip > rate:
            logger.warning(
                "ipw.eps_clip is %g, above the click rate %.4g: most weights will be %g, which is no "
                "correction. See ipw_clipped_share in the log.",
                self.ipw.options.eps_clip,
                rate,
                1 / self.ipw.options.eps_clip,
            )

    def imputation(self, kind: str, dr_grad: str = "joint") -> Imputation:
        """The imputed error that the further head stands for."""
        return Imputation(self.chain.imputation, kind, detached=dr_grad != "joint")

    def imputation_first(self) -> list:
        """Alternating steps: the imputation loss moves what is the imputation's own, the rest the rest."""
        head = self.chain.imputation
        own = [*self.bottom.own_variables(head), *self.towers.own_variables(head)]
        keys = {id(variable) for variable in own}
        others = [variable for variable in self.trainable_variables if id(variable) not in keys]
        return [((head,), own), ([n for n in self.objective_names(self.tasks) if n != head], others)]

    @classmethod
    def learns_from(cls, chain: Chain) -> Sequence[str]:
        """Names of the objectives, in order."""
        raise NotImplementedError(f"{cls.__name__} must define learns_from(chain).")

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Two plain labels, the click first, become ctr, cvr and ctcvr."""
        return plan_chain(cls.__name__, tasks, explicit)

    @classmethod
    def objective_names(cls, tasks):
        """See the base class."""
        return tuple(cls.learns_from(chain_of(tasks)))

    @classmethod
    def supervised_tasks(cls, tasks):
        """The tasks among what is learnt from."""
        return tuple(task for task in tasks if task.name in cls.objective_names(tasks))

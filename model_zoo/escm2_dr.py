"""ESCM2-DR: ESMM with a counterfactual risk of conversions, doubly robust."""

from dataclasses import replace
from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, imputation_loss
from fuxi_mtl.options.shared import BottomOptions, ImputationGradient, Imputed, LambdaC, LambdaG, Weights
from fuxi_mtl.registry import register


@register
class ESCM2_DR(ConversionModel):  # noqa: N801 (the method's own name)
    """ESMM plus the doubly robust risk of conversions.

    With e the cross-entropy of the conversion, p = max(pCTR, eps_clip), D all exposures, O the clicked
    ones and e^ an imputed error (``softplus`` of a third tower, so that it may exceed one)::

        L = BCE(click, pCTR) + lambda_c (L_DR + L_imp) + lambda_g BCE(click & conversion, pCTR pCVR)
        L_DR = (sum_D e^ + sum_O (e - e^) / p) / |D|        L_imp = sum_O (e^ - e)^2 / p / |D|

    ``lambda_g: 0`` is :class:`~model_zoo.multi_dr.MultiDR`, ``lambda_c: 0`` is
    :class:`~model_zoo.esmm.ESMM` with an imputation tower that never learns.

    An imputed error that does not depend on pCVR leaves the conversion tower the very gradient of inverse
    propensity scoring: it acts through shared layers only. A pseudo-label (``imputation: label``) does not.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: the paper alternates; the default here is one step for all (``dr_grad``).

    Example:
        >>> model = fm.ESCM2_DR(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Wang et al. ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
        Estimation. SIGIR 2022.
    """

    imputes: ClassVar = True

    defaults: ClassVar[BottomOptions] = {"bottom": "MMoE"}

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        lambda_c: LambdaC = 0.1,
        lambda_g: LambdaG = 1.0,
        dr_grad: ImputationGradient = "joint",
        imputation: Imputed = "error",
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.lambda_c = lambda_c
        self.lambda_g = lambda_g
        self.imputed = self.imputation(imputation, dr_grad)
        self.alternates = dr_grad == "alternate"

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            doubly_robust(self.chain, self.ipw, self.imputed.in_risk(self.chain), self.lambda_c),
            imputation_loss(self.chain, self.ipw, self.imputed, self.lambda_c),
            replace(supervised(self.chain.joint), scale=self.lambda_g),
        ]

    def alternating_steps(self):
        """See the base class."""
        return self.imputation_first() if self.alternates else []

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.dr, chain.imputation, chain.joint.name

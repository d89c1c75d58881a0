"""Multi-DR: doubly robust, with the click head as the propensity and a third tower for the error."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, imputation_loss
from fuxi_mtl.options.shared import BottomOptions, ImputationGradient, Imputed, LambdaC, Weights
from fuxi_mtl.registry import register


@register
class MultiDR(ConversionModel):
    """Doubly robust: inverse propensity scoring of what an imputed error leaves over.

    With e the cross-entropy of the conversion, p = max(pCTR, eps_clip), D all exposures, O the clicked
    ones and e^ an imputed error (``softplus`` of a third tower, so that it may exceed one)::

        L = BCE(click, pCTR) + lambda_c (L_DR + L_imp)
        L_DR = (sum_D e^ + sum_O (e - e^) / p) / |D|        L_imp = sum_O (e^ - e)^2 / p / |D|

    The risk is unbiased if p or e^ is right, and may be negative.

    An imputed error that does not depend on pCVR leaves the conversion tower the very gradient of inverse
    propensity scoring: it acts through shared layers only. A pseudo-label (``imputation: label``) does not.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: L_imp is always there: without it e^ falls without bound on unclicked rows.

    Example:
        >>> model = fm.MultiDR(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020, section 4.3.
    """

    imputes: ClassVar = True

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        lambda_c: LambdaC = 1.0,
        dr_grad: ImputationGradient = "joint",
        imputation: Imputed = "error",
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.lambda_c = lambda_c
        self.imputed = self.imputation(imputation, dr_grad)
        self.alternates = dr_grad == "alternate"

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            doubly_robust(self.chain, self.ipw, self.imputed.in_risk(self.chain), self.lambda_c),
            imputation_loss(self.chain, self.ipw, self.imputed, self.lambda_c),
        ]

    def alternating_steps(self):
        """See the base class."""
        return self.imputation_first() if self.alternates else []

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.dr, chain.imputation

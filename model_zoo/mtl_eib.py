"""MTL-EIB: unclicked exposures count with an imputed error."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import error_imputation, imputation_loss
from fuxi_mtl.options.shared import BottomOptions, Imputed, LambdaC
from fuxi_mtl.registry import register


@register
class MTL_EIB(ConversionModel):  # noqa: N801 (the method's own name)
    """Error imputation: clicked rows count with their error, unclicked ones with an imputed error.

    With e the cross-entropy of the conversion, D all exposures, O the clicked ones and e^ an imputed error
    (``softplus`` of a third tower)::

        L = BCE(click, pCTR) + lambda_c (L_EIB + L_imp)
        L_EIB = (sum_O e + sum_unclicked e^) / |D|        L_imp = sum_O (e^ - e)^2 / |D|

    Unbiased if e^ is right; there are no weights. With ``imputation: error`` the conversion tower has the
    gradient of :class:`~model_zoo.naive_cvr.NaiveCVR` times the click rate.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: L_imp is always there, over all exposures like the risk.

    Example:
        >>> model = fm.MTL_EIB(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    imputes: ClassVar = True

    def __init__(
        self,
        features,
        tasks,
        *,
        lambda_c: LambdaC = 1.0,
        imputation: Imputed = "error",
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.lambda_c = lambda_c
        self.imputed = self.imputation(imputation)

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            error_imputation(self.chain, self.imputed.in_risk(self.chain), self.lambda_c),
            imputation_loss(self.chain, None, self.imputed, self.lambda_c),
        ]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.eib, chain.imputation

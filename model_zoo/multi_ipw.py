"""Multi-IPW: inverse propensity scoring, with the click head as the propensity."""

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
from fuxi_mtl.options.shared import BottomOptions, LambdaC, Weights
from fuxi_mtl.registry import register


@register
class MultiIPW(ConversionModel):
    """Clicked rows weighted by the inverse of the click head.

    ``L = BCE(click, pCTR) + lambda_c sum over clicks of BCE(conversion, pCVR) / pCTR / |D|``, D all
    exposures. An unclicked exposure adds nothing to the sum and counts in its divisor. The propensity gets
    no gradient of the risk (``propensity_stop_gradient``); the two meet in what lies below the towers.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: no gradient into the propensity unless asked for; clipping, on which the paper
    says little.

    Example:
        >>> model = fm.MultiIPW(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020, section 4.2.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        lambda_c: LambdaC = 1.0,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.lambda_c = lambda_c

    def objectives(self):
        """See the base class."""
        return [supervised(self.chain.click), inverse_propensity(self.chain, self.ipw, self.lambda_c)]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.ips

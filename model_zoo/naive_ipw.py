"""Inverse propensity scoring with a propensity model of its own."""

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import FrozenPropensityModel
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
from fuxi_mtl.options.shared import FrozenPropensityOptions, Weights
from fuxi_mtl.registry import register


@register
class NaiveIPW(FrozenPropensityModel):
    """Clicked rows weighted by the inverse of a propensity that was fitted beforehand.

    ``L = sum over clicks of BCE(conversion, pCVR) / p / |D|`` with D all exposures and p the probability
    of the click by a separate model: it is fitted before training and never moves again. Unbiased if p is
    right and nothing is clipped.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr. ctr is the frozen model.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: a stack on embeddings is the propensity; sizes are options.

    Example:
        >>> model = fm.NaiveIPW(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Schnabel et al. Recommendations as Treatments: Debiasing Learning and Evaluation. ICML 2016,
        equation 3.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        **common: Unpack[FrozenPropensityOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)

    def objectives(self):
        """See the base class."""
        return [inverse_propensity(self.chain, self.ipw)]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return (chain.ips,)

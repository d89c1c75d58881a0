"""Heuristic DR: doubly robust, with an error that is guessed instead of learnt."""

from typing import Annotated

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, heuristic_error
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import BottomOptions, LambdaC, Weights
from fuxi_mtl.registry import register


@register
class HeuristicDR(ConversionModel):
    """Doubly robust with a guess: every exposure converts with probability eta.

    With e the cross-entropy of the conversion, p = max(pCTR, eps_clip), D all exposures and O the clicked
    ones::

        L = BCE(click, pCTR) + lambda_c (sum_D e^ + sum_O (e - e^) / p) / |D|
        e^ = eta BCE(1, pCVR) + (1 - eta) BCE(0, pCVR)

    The guess depends on pCVR, so unclicked rows do train the conversion tower, towards eta.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: its probability is not printed there; eta is an option.

    Example:
        >>> model = fm.HeuristicDR(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        lambda_c: LambdaC = 1.0,
        eta: Annotated[
            float, option("Probability of a conversion in the imputed error.", least=0, most=1)
        ] = 0.01,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.lambda_c = lambda_c
        self.eta = eta

    def objectives(self):
        """See the base class."""
        risk = doubly_robust(self.chain, self.ipw, heuristic_error(self.chain, self.eta), self.lambda_c)
        return [supervised(self.chain.click), risk]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.dr

"""ESCM2-IPS: ESMM with a counterfactual risk of conversions, inverse propensity scored."""

from dataclasses import replace
from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
from fuxi_mtl.options.shared import BottomOptions, LambdaC, LambdaG, Weights
from fuxi_mtl.registry import register


@register
class ESCM2_IPS(ConversionModel):  # noqa: N801 (the method's own name)
    """ESMM plus the inverse-propensity-scored risk of conversions.

    ::

        L = BCE(click, pCTR) + lambda_c L_IPS + lambda_g BCE(click & conversion, pCTR pCVR)
        L_IPS = sum over clicks of BCE(conversion, pCVR) / max(pCTR, eps_clip) / |D|

    all three over the exposures D. The propensity gets no gradient of L_IPS; the click tower learns from the
    product all the same. ``lambda_g: 0`` is :class:`~model_zoo.multi_ipw.MultiIPW`, ``lambda_c: 0`` is
    :class:`~model_zoo.esmm.ESMM`.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: sizes are options.

    Example:
        >>> model = fm.ESCM2_IPS(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Wang et al. ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
        Estimation. SIGIR 2022.
    """

    defaults: ClassVar[BottomOptions] = {"bottom": "MMoE"}

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        lambda_c: LambdaC = 0.1,
        lambda_g: LambdaG = 1.0,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.lambda_c = lambda_c
        self.lambda_g = lambda_g

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            inverse_propensity(self.chain, self.ipw, self.lambda_c),
            replace(supervised(self.chain.joint), scale=self.lambda_g),
        ]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.ips, chain.joint.name

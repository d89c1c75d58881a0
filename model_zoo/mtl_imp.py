"""MTL-IMP: exposures without a click are taken as conversions that did not happen."""

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.registry import register


@register
class MTL_IMP(ConversionModel):  # noqa: N801 (the method's own name)
    """An unclicked exposure is a conversion that did not happen.

    ``L = BCE(click, pCTR) + BCE(click & conversion, pCVR)``, both over all exposures: the label is that of
    ESMM, but the head is one tower, no product. It therefore estimates the joint probability, and what it
    gives as cvr is too small by about the click rate; both heads, cvr and ctcvr, are that same number.
    Never multiply it by pCTR.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: sizes are options.

    Example:
        >>> model = fm.MTL_IMP(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    def heads(self, x, training=False):
        """See the base class; cvr and ctcvr are one."""
        heads = super().heads(x, training=training)
        return heads | {self.chain.joint.name: heads[self.chain.conversion.name]}

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.joint.name

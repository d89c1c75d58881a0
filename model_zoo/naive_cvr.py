"""Naive CVR: the conversion rate of clicked rows, beside the click."""

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.registry import register


@register
class NaiveCVR(ConversionModel):
    """The conversion rate learnt on clicked rows only.

    ``L = BCE(click, pCTR)`` over all exposures ``+ BCE(conversion, pCVR)`` over clicked ones: what every
    other conversion model is held against. Exposures that nobody clicks never reach the conversion tower,
    so its values there are extrapolated.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: sizes are options.

    Example:
        >>> model = fm.NaiveCVR(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.click.name, chain.conversion.name

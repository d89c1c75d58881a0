"""MTL-IMP: exposures without a click are taken as conversions that did not happen."""

from collections.abc import Sequence
from typing import ClassVar

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
        embedding_dim: Width of the embeddings.
        bottom: What lies under the towers: ``shared_embedding``, ``ShareBottom``, ``MMoE`` or ``PLE``, or a
            block of that ``type`` with its options.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Differs from the paper: sizes are options.

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    learns_from: ClassVar = ("{ctr}", "{ctcvr}")

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        bottom: str | dict = "shared_embedding",
        tower_hidden_units: Sequence[int] = (256, 128),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(
            features,
            tasks,
            embedding_dim=embedding_dim,
            bottom=bottom,
            tower_hidden_units=tower_hidden_units,
            hidden_activations=hidden_activations,
            net_dropout=net_dropout,
            batch_norm=batch_norm,
            net_regularizer=net_regularizer,
            embedding_regularizer=embedding_regularizer,
        )

    def heads(self, x, training=False):
        """See the base class; cvr and ctcvr are one."""
        heads = super().heads(x, training=training)
        return heads | {self.chain.joint.name: heads[self.chain.conversion.name]}

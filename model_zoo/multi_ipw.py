"""Multi-IPW: inverse propensity scoring, with the click head as the propensity."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
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
        embedding_dim: Width of the embeddings.
        bottom: What lies under the towers: ``shared_embedding``, ``ShareBottom``, ``MMoE`` or ``PLE``, or a
            block of that ``type`` with its options.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.
        ipw: Block of propensity weights, see :class:`~fuxi_mtl.objectives.causal.PropensityWeights`.
        lambda_c: Factor of the risk of conversions, from 0 up.

    Differs from the paper: no gradient into the propensity unless asked for; clipping, on which the paper
    says little.

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020, section 4.2.
    """

    learns_from: ClassVar = ("{ctr}", "{cvr}_ips")

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
        ipw: dict | None = None,
        lambda_c: float = 1.0,
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
        self.ipw = InversePropensity(ipw)
        self.check_factors(lambda_c=lambda_c)
        self.lambda_c = lambda_c

    def objectives(self):
        """See the base class."""
        return [supervised(self.chain.click), inverse_propensity(self.chain, self.ipw, self.lambda_c)]

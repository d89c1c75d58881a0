"""Heuristic DR: doubly robust, with an error that is guessed instead of learnt."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.layers.blocks import check_range
from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, heuristic_error
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
        eta: Probability of a conversion in the imputed error, from 0 to 1.

    Differs from the paper: its probability is not printed there; eta is an option.

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    learns_from: ClassVar = ("{ctr}", "{cvr}_dr")

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
        eta: float = 0.01,
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
        check_range("eta", eta, 0, 1)
        self.eta = eta

    def objectives(self):
        """See the base class."""
        risk = doubly_robust(self.chain, self.ipw, heuristic_error(self.chain, self.eta), self.lambda_c)
        return [supervised(self.chain.click), risk]

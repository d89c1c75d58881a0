"""Multi-DR: doubly robust, with the click head as the propensity and a third tower for the error."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, imputation_loss
from fuxi_mtl.registry import register


@register
class MultiDR(ConversionModel):
    """Doubly robust: inverse propensity scoring of what an imputed error leaves over.

    With e the cross-entropy of the conversion, p = max(pCTR, eps_clip), D all exposures, O the clicked
    ones and e^ an imputed error (``softplus`` of a third tower, so that it may exceed one)::

        L = BCE(click, pCTR) + lambda_c (L_DR + L_imp)
        L_DR = (sum_D e^ + sum_O (e - e^) / p) / |D|        L_imp = sum_O (e^ - e)^2 / p / |D|

    The risk is unbiased if p or e^ is right, and may be negative.

    An imputed error that does not depend on pCVR leaves the conversion tower the very gradient of inverse
    propensity scoring: it acts through shared layers only. A pseudo-label (``imputation: label``) does not.

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
        lambda_c: Factor of the risk of conversions and of the imputation loss, from 0 up.
        dr_grad: ``joint``: the risk moves the imputed error, too. ``stop``: it learns from its own loss only.
            ``alternate``: likewise, and it moves in steps of its own.
        imputation: What is imputed: the ``error``, or the ``label``: a pseudo-label, which trains the
            conversion tower on unclicked rows.

    Differs from the paper: L_imp is always there: without it e^ falls without bound on unclicked rows.

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020, section 4.3.
    """

    learns_from: ClassVar = ("{ctr}", "{cvr}_dr", "{cvr}_imputation")
    further: ClassVar = ("{cvr}_imputation",)

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
        dr_grad: str = "joint",
        imputation: str = "error",
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
        self.imputed = self.imputation(imputation, dr_grad)
        self.alternates = dr_grad == "alternate"

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            doubly_robust(self.chain, self.ipw, self.imputed.in_risk(self.chain), self.lambda_c),
            imputation_loss(self.chain, self.ipw, self.imputed, self.lambda_c),
        ]

    def alternating_steps(self):
        """See the base class."""
        return self.imputation_first() if self.alternates else []

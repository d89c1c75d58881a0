"""MTL-EIB: unclicked exposures count with an imputed error."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import error_imputation, imputation_loss
from fuxi_mtl.registry import register


@register
class MTL_EIB(ConversionModel):  # noqa: N801 (the method's own name)
    """Error imputation: clicked rows count with their error, unclicked ones with an imputed error.

    With e the cross-entropy of the conversion, D all exposures, O the clicked ones and e^ an imputed error
    (``softplus`` of a third tower)::

        L = BCE(click, pCTR) + lambda_c (L_EIB + L_imp)
        L_EIB = (sum_O e + sum_unclicked e^) / |D|        L_imp = sum_O (e^ - e)^2 / |D|

    Unbiased if e^ is right; there are no weights. With ``imputation: error`` the conversion tower has the
    gradient of :class:`~model_zoo.naive_cvr.NaiveCVR` times the click rate.

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
        lambda_c: Factor of the risk of conversions and of the imputation loss, from 0 up.
        imputation: What is imputed: the ``error``, or the ``label``: a pseudo-label, which trains the
            conversion tower on unclicked rows.

    Differs from the paper: L_imp is always there, over all exposures like the risk.

    Reference:
        Zhang et al. Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
        Multi-task Learning. WWW 2020 (its baseline).
    """

    learns_from: ClassVar = ("{ctr}", "{cvr}_eib", "{cvr}_imputation")
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
        lambda_c: float = 1.0,
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
        self.check_factors(lambda_c=lambda_c)
        self.lambda_c = lambda_c
        self.imputed = self.imputation(imputation)

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            error_imputation(self.chain, self.imputed.in_risk(self.chain), self.lambda_c),
            imputation_loss(self.chain, None, self.imputed, self.lambda_c),
        ]

"""ESCM2-IPS: ESMM with a counterfactual risk of conversions, inverse propensity scored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from fuxi_mtl.model.conversion import ConversionModel
from fuxi_mtl.objectives import supervised
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
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
        lambda_g: Factor of the loss of the joint event, from 0 up; 0 is MultiIPW.

    Differs from the paper: sizes are options.

    Reference:
        Wang et al. ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
        Estimation. SIGIR 2022.
    """

    learns_from: ClassVar = ("{ctr}", "{cvr}_ips", "{ctcvr}")

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        bottom: str | dict = "MMoE",
        tower_hidden_units: Sequence[int] = (256, 128),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
        ipw: dict | None = None,
        lambda_c: float = 0.1,
        lambda_g: float = 1.0,
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
        self.check_factors(lambda_c=lambda_c, lambda_g=lambda_g)
        self.lambda_c = lambda_c
        self.lambda_g = lambda_g

    def objectives(self):
        """See the base class."""
        return [
            supervised(self.chain.click),
            inverse_propensity(self.chain, self.ipw, self.lambda_c),
            replace(supervised(self.chain.joint), scale=self.lambda_g),
        ]

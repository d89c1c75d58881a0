"""Inverse propensity scoring with a propensity model of its own."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.model.conversion import FrozenPropensityModel
from fuxi_mtl.objectives.causal import InversePropensity, inverse_propensity
from fuxi_mtl.registry import register


@register
class NaiveIPW(FrozenPropensityModel):
    """Clicked rows weighted by the inverse of a propensity that was fitted beforehand.

    ``L = sum over clicks of BCE(conversion, pCVR) / p / |D|`` with D all exposures and p the probability
    of the click by a separate model: it is fitted before training and never moves again. Unbiased if p is
    right and nothing is clipped.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr. ctr is the frozen model.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.
        embedding_dim: Width of the embeddings, those of the propensity included.
        bottom: What lies under the towers: ``shared_embedding``, ``ShareBottom``, ``MMoE`` or ``PLE``, or a
            block of that ``type`` with its options.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.
        ipw: Block of propensity weights, see :class:`~fuxi_mtl.objectives.causal.PropensityWeights`.
        propensity_hidden_units: Hidden layers of the propensity model; none is a logistic regression.
        propensity_epochs: Passes over the training data that fit it.
        propensity_learning_rate: Step of its Adam.

    Differs from the paper: a stack on embeddings is the propensity; sizes are options.

    Reference:
        Schnabel et al. Recommendations as Treatments: Debiasing Learning and Evaluation. ICML 2016,
        equation 3.
    """

    learns_from: ClassVar = ("{cvr}_ips",)

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
        propensity_hidden_units: Sequence[int] = (64,),
        propensity_epochs: int = 1,
        propensity_learning_rate: float = 0.001,
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
            propensity_hidden_units=propensity_hidden_units,
            propensity_epochs=propensity_epochs,
            propensity_learning_rate=propensity_learning_rate,
        )
        self.ipw = InversePropensity(ipw)

    def objectives(self):
        """See the base class."""
        return [inverse_propensity(self.chain, self.ipw)]

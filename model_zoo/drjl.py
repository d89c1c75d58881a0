"""DRJL: alternating steps of conversion and imputation, under a frozen propensity."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model.conversion import FrozenPropensityModel
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, imputation_loss
from fuxi_mtl.options.shared import FrozenPropensityOptions, Imputed, Weights, embedding_options, mlp_options
from fuxi_mtl.registry import register


@register
class DRJL(FrozenPropensityModel):
    """Doubly robust joint learning: the conversion model and the imputation model take turns.

    With e the cross-entropy of the conversion, p a propensity that was fitted beforehand and frozen, D all
    exposures and O the clicked ones::

        even steps, the imputation model:  min sum_O (e^ - e)^2 / p / |D|              pCVR constant
        odd steps, the conversion model:   min (sum_D e^ + sum_O (e - e^) / p) / |D|   imputation constant

    The imputation model is a network of its own, embeddings included; "joint" means the turns, not sharing.

    Labels: ``click`` and ``conversion``, two in that order or as tasks; a conversion is never read where
    there was no click. Heads: ctr, cvr and their product ctcvr. ctr is the frozen model.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.

    Differs from the paper: turns change with every step, not with every epoch.

    Example:
        >>> model = fm.DRJL(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr', 'click_and_buy']

    Reference:
        Wang et al. Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random. ICML 2019.
    """

    imputes: ClassVar = True

    def __init__(
        self,
        features,
        tasks,
        *,
        ipw: Weights = None,
        imputation: Imputed = "label",
        **common: Unpack[FrozenPropensityOptions],
    ):
        super().__init__(features, tasks, **common)
        self.ipw = InversePropensity(ipw)
        self.imputed = self.imputation(imputation, "alternate")
        self.imputation_embedding = FeatureEmbedding(features, **embedding_options(common))
        self.imputation_tower = Towers(
            [self.imputed.head], common["tower_hidden_units"], **mlp_options(common)
        )

    def objectives(self):
        """See the base class."""
        return [
            imputation_loss(self.chain, self.ipw, self.imputed),
            doubly_robust(self.chain, self.ipw, self.imputed.in_risk(self.chain)),
        ]

    def tower_names(self):
        """The conversion's; the imputation is a network of its own."""
        return [self.chain.conversion.name]

    def embed(self, inputs):
        """See the base class."""
        return super().embed(inputs) | {"imputation": self.imputation_embedding(inputs)}

    def embedding_layers(self):
        """See the base class."""
        return {**super().embedding_layers(), "imputation": self.imputation_embedding}

    def heads(self, x, training=False):
        """See the base class."""
        return super().heads(x, training) | self.imputation_tower(x["imputation"], training=training)

    def alternating_steps(self):
        """The imputation model, then the conversion model."""
        imputation, risk = self.objective_names(self.tasks)
        models = [
            [self.imputation_embedding, self.imputation_tower],
            [self.embedding, self.bottom, self.towers],
        ]
        own, others = ([v for layer in layers for v in layer.trainable_variables] for layers in models)
        return [((imputation,), own), ((risk,), others)]

    @classmethod
    def learns_from(cls, chain):
        """See the base class."""
        return chain.imputation, chain.dr

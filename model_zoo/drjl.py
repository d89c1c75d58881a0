"""Doubly robust joint learning: conversion and imputation take turns, under a frozen propensity."""

from collections.abc import Sequence
from typing import ClassVar

from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model.conversion import FrozenPropensityModel
from fuxi_mtl.objectives.causal import InversePropensity, doubly_robust, imputation_loss
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
        embedding_dim: Width of the embeddings, of each of the three networks.
        bottom: What lies under the towers: ``shared_embedding``, ``ShareBottom``, ``MMoE`` or ``PLE``, or a
            block of that ``type`` with its options.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.
        ipw: Block of propensity weights, see :class:`~fuxi_mtl.objectives.causal.PropensityWeights`.
        imputation: What is imputed: the ``error``, or the ``label``: a pseudo-label, which trains the
            conversion tower on unclicked rows.
        propensity_hidden_units: Hidden layers of the propensity model; none is a logistic regression.
        propensity_epochs: Passes over the training data that fit it.
        propensity_learning_rate: Step of its Adam.

    Differs from the paper: turns change with every step, not with every epoch.

    Reference:
        Wang et al. Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random. ICML 2019.
    """

    learns_from: ClassVar = ("{cvr}_imputation", "{cvr}_dr")
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
        imputation: str = "label",
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
        self.imputed = self.imputation(imputation, "alternate")
        self.imputation_embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.imputation_tower = Towers(
            [self.imputed.head],
            tower_hidden_units,
            activations=hidden_activations,
            dropout=net_dropout,
            batch_norm=batch_norm,
            penalty=net_regularizer,
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

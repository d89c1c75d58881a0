"""PLE: private and shared experts in levels; one level is CGC, :mod:`model_zoo.cgc`."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import ExtractionLevels, FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class PLE(MultiTaskModel):
    """Progressive layered extraction.

    Each level gives every task its own experts beside the shared ones; gates choose among both, and
    between levels the shared stream gathers from all of them (equations 1 to 6; the levels are
    :class:`fuxi_mtl.layers.ExtractionLevels`). In the last level a loss never reaches another task's
    experts.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        num_layers: Number of levels; 1 is CGC.
        num_shared_experts: Shared experts in each level.
        num_specific_experts: Private experts of each task in each level.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of each gate; none is the paper's gate.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Differs from the paper: gates have a bias. (FuxiCTR's shared gate sees the shared experts only.)

    Reference:
        Tang et al. Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations. RecSys 2020.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        num_layers: int = 1,
        num_shared_experts: int = 4,
        num_specific_experts: int = 2,
        expert_hidden_units: Sequence[int] = (256, 128),
        gate_hidden_units: Sequence[int] = (),
        tower_hidden_units: Sequence[int] = (64,),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        names = [task.name for task in tasks]
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.bottom = ExtractionLevels(
            names,
            mlp,
            num_layers,
            num_shared_experts,
            num_specific_experts,
            expert_hidden_units,
            gate_hidden_units,
        )
        self.towers = Towers(names, tower_hidden_units, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The last kernels of the last level's shared experts."""
        return self.bottom.shared_variables()

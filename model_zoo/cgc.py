"""CGC: private and shared experts in one level; levels of it are PLE."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import ExtractionLevels, FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class CGC(MultiTaskModel):
    """Customized gate control: PLE with a single level.

    ``S^k = [E_k(x), E_s(x)]``, ``g^k = softmax(W_gk x) . S^k``, ``z_k = tower_k(g^k)`` (equations 1 to 4):
    a task mixes its own experts with the shared ones. A loss reaches its own experts and the shared ones,
    never another task's. Without private experts this is MMoE, without shared ones a MoE for each task.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        num_shared_experts: Shared experts.
        num_specific_experts: Private experts of each task.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of each gate; none is the paper's gate.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Differs from the paper: gates have a bias.

    Reference:
        Tang et al. Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations. RecSys 2020, section 4.1.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
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
            num_shared_experts=num_shared_experts,
            num_specific_experts=num_specific_experts,
            expert_hidden_units=expert_hidden_units,
            gate_hidden_units=gate_hidden_units,
        )
        self.towers = Towers(names, tower_hidden_units, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The last kernels of the shared experts."""
        return self.bottom.shared_variables()

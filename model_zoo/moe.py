"""MoE: shared experts and one gate that mixes them for all tasks."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import FeatureEmbedding, GatedExperts, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register

_GATE = "common"


@register
class MoE(MultiTaskModel):
    """Mixture of experts with one gate, called OMoE in the MMoE paper.

    ``g = softmax(W_g x)``, ``f(x) = sum_e g(x)_e f_e(x)``, ``z_k = tower_k(f(x))``: the same mixture for
    every task (equation 5 of the MMoE paper). Each loss reaches all experts, the gate and its own tower.
    With one expert this is ShareBottom.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        num_experts: Number of experts.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of the gate; none is the paper's gate.
        gate_stabilize: A block with ``temperature``, ``noise_std`` (of the logits, in training),
            ``entropy_reg_weight`` and ``load_balance_kl_weight`` (added to the loss); null is the paper's.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Differs from the paper: gates have a bias; experts learn together, without a competing likelihood.

    Reference:
        Jacobs et al. Adaptive Mixtures of Local Experts. Neural Computation 3, 1991.
        Ma et al. Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts. KDD 2018, section 4.1.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        num_experts: int = 8,
        expert_hidden_units: Sequence[int] = (256, 128),
        gate_hidden_units: Sequence[int] = (),
        gate_stabilize: dict | None = None,
        tower_hidden_units: Sequence[int] = (64,),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.bottom = GatedExperts(
            [_GATE], mlp, num_experts, expert_hidden_units, gate_hidden_units, gate_stabilize
        )
        self.towers = Towers([task.name for task in tasks], tower_hidden_units, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training)[_GATE], training=training)

    def shared_variables(self):
        """The last kernels of all experts."""
        return self.bottom.shared_variables()

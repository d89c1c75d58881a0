"""MoE: shared experts and one gate that mixes them for all tasks."""

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, GatedExperts, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.shared import (
    CommonOptions,
    ExpertUnits,
    GateUnits,
    NumExperts,
    Stabilize,
    embedding_options,
    mlp_options,
)
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

    Differs from the paper: gates have a bias; experts learn together, without a competing likelihood.

    Example:
        >>> model = fm.MoE(data.features, data.tasks, num_experts=4)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

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
        num_experts: NumExperts = 8,
        expert_hidden_units: ExpertUnits = (256, 128),
        gate_hidden_units: GateUnits = (),
        gate_stabilize: Stabilize = None,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = GatedExperts(
            [_GATE],
            mlp,
            num_experts=num_experts,
            expert_hidden_units=expert_hidden_units,
            gate_hidden_units=gate_hidden_units,
            gate_stabilize=gate_stabilize,
        )
        self.towers = Towers(
            [task.name for task in tasks], common["tower_hidden_units"], outputs=self.head_widths, **mlp
        )

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training)[_GATE], training=training)

    def shared_variables(self):
        """The last kernels of all experts."""
        return self.bottom.shared_variables()

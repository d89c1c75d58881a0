"""MMoE: shared experts, and for each task a gate that mixes them."""

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, GatedExperts, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.shared import (
    CommonOptions,
    ExpertUnits,
    GateUnits,
    NumExperts,
    Routing,
    Stabilize,
    embedding_options,
    mlp_options,
)
from fuxi_mtl.registry import register


@register
class MMoE(MultiTaskModel):
    """Multi-gate mixture of experts.

    ``f^k(x) = sum_e g^k(x)_e f_e(x)``, ``g^k(x) = softmax(W_gk x)``, ``z_k = tower_k(f^k(x))``
    (equations 5 to 7). Each loss reaches all experts, in proportion to its own gate, and its own
    gate and tower. With one expert this is ShareBottom.

    With ``sparse_routing`` this is SMES: each row reads few of many experts, and a loss reaches those that
    its task reads and, through the balance of their use, all gates.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: gates have a bias. Of SMES no program is public and two notes agree on what is
    here; all experts are computed, so that few of them save no time.

    Example:
        >>> model = fm.MMoE(data.features, data.tasks, num_experts=4)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Ma et al. Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts. KDD 2018.
        Zhang et al. SMES. arXiv 2602.09386, 2026.
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
        sparse_routing: Routing = None,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = GatedExperts(
            names,
            mlp,
            num_experts=num_experts,
            expert_hidden_units=expert_hidden_units,
            gate_hidden_units=gate_hidden_units,
            gate_stabilize=gate_stabilize,
            sparse_routing=sparse_routing,
        )
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The last kernels of all experts."""
        return self.bottom.shared_variables()

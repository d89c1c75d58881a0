"""APG_MMOE: MMoE whose experts and towers are generated for each row."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fuxi_mtl.layers import ConditionedEmbedding, Gate, GeneratedMLP, Towers, generation, mix
from fuxi_mtl.layers.blocks import check_range
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class APG_MMOE(MultiTaskModel):  # noqa: N801 - the name is written so
    """Multi-gate mixture of experts of adaptive parameter generation.

    ``f^k = sum_e g^k(x)_e f_e,z(x)``, ``logit_k = <w_k, tower_k,z(f^k)> + b_k``: the layers of the experts
    and the hidden layers of the towers have weights of each row's own, generated from its condition z
    (:class:`~fuxi_mtl.layers.generated.GeneratedDense`); gates are plain and never see a condition that
    the network does not. Each loss reaches all experts, in proportion to its own gate, and its own gate and
    tower, with what generates them and the embeddings of the condition.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        apg: Condition, rank and mode; the keys of :class:`~fuxi_mtl.layers.generation.Generation`.
        num_experts: Number of experts.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of each gate; none is MMoE's own gate.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Raises:
        ValueError: No expert, a condition is no feature, or ``rank_k`` is larger than a layer.

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction.
        NeurIPS 2022, on the experts and towers of Ma et al. KDD 2018, equations 5 to 7.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        apg: dict | None = None,
        num_experts: int = 4,
        expert_hidden_units: Sequence[int] = (64, 32),
        gate_hidden_units: Sequence[int] = (),
        tower_hidden_units: Sequence[int] = (32,),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        check_range("num_experts", num_experts, 1)
        names, made = [task.name for task in tasks], generation(apg)
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = ConditionedEmbedding(features, embedding_dim, embedding_regularizer, made)
        self.experts = [
            GeneratedMLP(expert_hidden_units, made, name=f"expert_{i}", **mlp) for i in range(num_experts)
        ]
        self.gates = [Gate(num_experts, gate_hidden_units, name=f"{name}_gate", **mlp) for name in names]
        self.stacks = [GeneratedMLP(tower_hidden_units, made, name=f"{name}_tower", **mlp) for name in names]
        self.towers = Towers(names, (), penalty=net_regularizer)

    def heads(self, x, training=False):
        """See the base class."""
        x, *conditions = self.embedding.split(x)
        shares = [gate(x, training=training) for gate in self.gates]
        experts = [expert([x, *conditions], training=training) for expert in self.experts]
        hidden = {}
        for name, stack, h in zip(
            self.towers.names, self.stacks, mix(shares, tf.stack(experts, axis=1)), strict=True
        ):
            hidden[name] = stack([h, *conditions], training=training)
        return self.towers(hidden, training=training)

    def shared_variables(self):
        """What the last kernels of all experts are made of."""
        return [variable for expert in self.experts for variable in expert.last_variables()]

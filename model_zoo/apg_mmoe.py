"""APG_MMOE: MMoE whose experts and towers are generated for each row."""

from typing import ClassVar

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import Gate, GeneratedMLP, Towers, mix
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.blocks import Generation
from fuxi_mtl.options.shared import (
    Apg,
    CommonOptions,
    ExpertUnits,
    GateUnits,
    NumExperts,
    embedding_options,
    mlp_options,
)
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._conditioned import ConditionedEmbedding


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

    Raises:
        ValueError: No expert, a condition is no feature, or ``rank_k`` is larger than a layer.

    Example:
        >>> model = fm.APG_MMOE(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction.
        NeurIPS 2022, on the experts and towers of Ma et al. KDD 2018, equations 5 to 7.
    """

    defaults: ClassVar[CommonOptions] = {"tower_hidden_units": (32,)}

    def __init__(
        self,
        features,
        tasks,
        *,
        apg: Apg = None,
        num_experts: NumExperts = 4,
        expert_hidden_units: ExpertUnits = (64, 32),
        gate_hidden_units: GateUnits = (),
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names, made = [task.name for task in tasks], block(Generation, apg, "apg")
        mlp = mlp_options(common)
        self.embedding = ConditionedEmbedding(features, made, **embedding_options(common))
        self.experts = [
            GeneratedMLP(expert_hidden_units, made, name=f"expert_{i}", **mlp) for i in range(num_experts)
        ]
        self.gates = [Gate(num_experts, gate_hidden_units, name=f"{name}_gate", **mlp) for name in names]
        self.stacks = [
            GeneratedMLP(common["tower_hidden_units"], made, name=f"{name}_tower", **mlp) for name in names
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])

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

"""APG_AITM_V2: generated experts, and a gated transfer from each task to the next."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import (
    AttendedTransfer,
    Gate,
    GatedTransfer,
    GeneratedMLP,
    Towers,
    mix,
)
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.blocks import Generation
from fuxi_mtl.options.shared import (
    Apg,
    CommonOptions,
    ExpertUnits,
    GateUnits,
    NumSpecificExperts,
    embedding_options,
    mlp_options,
)
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._conditioned import ConditionedEmbedding


@register
class APG_AITM_V2(MultiTaskModel):  # noqa: N801 - the name is written so
    """Customized gate control of generated experts under a cascade of tasks.

    With the experts of task t and the shared ones, ``S^t = [E_t(x), E_s(x)]``, and ``h_1 = c_1``::

        c_t = softmax(W_gt x) . S^t     m = relu(W h_{t-1} + b)     g = sigmoid(net([c_t, m, logit_{t-1}]))
        h_t = LayerNorm(c_t + g * m)    logit_t = <v_t, tower_t(h_t)> + a_t

    The layers of the experts and the hidden layers of the towers have weights of each row's own, generated
    from its condition (:class:`~fuxi_mtl.layers.generated.GeneratedDense`); gates and the transfer, one for
    all steps, are plain. ``h_{t-1}`` and ``logit_{t-1}`` come through a stop-gradient: a loss reaches its own
    experts, gate and tower, the shared experts and the transfer, and nothing of the task before.

    Args:
        features: The inputs.
        tasks: What to predict, in the order of the cascade.

    Raises:
        ValueError: An expert count or a transfer that cannot be, no layer of the experts, a condition that
            is no feature, or ``rank_k`` larger than a layer.

    Differs from the papers: it joins APG with one level of PLE; the transfer is in neither.

    Example:
        >>> model = fm.APG_AITM_V2(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction. NeurIPS 2022,
        on the experts of Tang et al. Progressive Layered Extraction. RecSys 2020, equations 1 to 4.
    """

    defaults: ClassVar[CommonOptions] = {"tower_hidden_units": (32, 32)}

    def __init__(
        self,
        features,
        tasks,
        *,
        apg: Apg = None,
        num_shared_experts: Annotated[int, option("Shared experts.", least=1, most=10_000)] = 2,
        num_specific_experts: NumSpecificExperts = 2,
        expert_hidden_units: ExpertUnits = (64, 64),
        gate_hidden_units: GateUnits = (),
        transfer: Annotated[
            Literal["gated", "attention"],
            option("gated, or attention: h_t = AIT([W h_{t-1} + b, c_t]) as in APG_AITM."),
        ] = "gated",
        transfer_hidden_units: Annotated[
            Sequence[int],
            option("Widths of the hidden layers of the transfer's gate.", least=1, most=65_536),
        ] = (64,),
        generated_towers: Annotated[
            bool, option("False: the towers are plain, one set of weights for all rows.")
        ] = True,
        detach_prev_rep: Annotated[
            bool, option("False lets a loss through h_{t-1} into the experts and gate of the task before.")
        ] = True,
        detach_prev_logit: Annotated[
            bool, option("False lets it through logit_{t-1} into its tower, and what is below.")
        ] = True,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        self.refuse_wide_heads("hands the logit of each task on to the next")
        names, made = [task.name for task in tasks], block(Generation, apg, "apg")
        if not expert_hidden_units:
            raise ValueError("expert_hidden_units is empty: APG_AITM_V2 transfers what its last layer says.")
        width, num_experts = expert_hidden_units[-1], num_specific_experts + num_shared_experts
        mlp = mlp_options(common)
        self.embedding = ConditionedEmbedding(features, made, **embedding_options(common))
        shared = [f"shared_{i}" for i in range(num_shared_experts)]
        own = [[f"{name}_{i}" for i in range(num_specific_experts)] for name in names]

        def stacks(units: Sequence[int], stack_names: Sequence[str]) -> list[GeneratedMLP]:
            return [GeneratedMLP(units, made, name=name, **mlp) for name in stack_names]

        self.shared = stacks(expert_hidden_units, shared)
        self.specific = [stacks(expert_hidden_units, each) for each in own]
        self.gates = [
            Gate(num_experts, gate_hidden_units, name=f"{name}_gate", experts=[*each, *shared], **mlp)
            for name, each in zip(names, own, strict=True)
        ]
        self.transfer: GatedTransfer | AttendedTransfer | None = None
        if len(names) > 1 and transfer == "gated":
            # Without batch_norm: each step would train on its own moments and predict with their mixture.
            self.transfer = GatedTransfer(width, transfer_hidden_units, **(mlp | {"batch_norm": False}))
        elif len(names) > 1:
            self.transfer = AttendedTransfer(width, penalty=common["net_regularizer"])
        towers = common["tower_hidden_units"]
        self.stacks = stacks(towers, [f"{name}_tower" for name in names]) if generated_towers else []
        self.towers = [
            Towers([name], () if generated_towers else towers, outputs=self.head_widths, **mlp)
            for name in names
        ]
        self.stop_h = tf.stop_gradient if detach_prev_rep else tf.identity
        self.stop_logit = tf.stop_gradient if detach_prev_logit else tf.identity

    def heads(self, x, training=False):
        """See the base class."""
        x, *conditions = self.embedding.split(x)
        shared = [expert([x, *conditions], training=training) for expert in self.shared]
        heads: dict[str, tf.Tensor] = {}
        before = None
        for place, tower in enumerate(self.towers):
            gate, specific = self.gates[place], self.specific[place]
            own = [expert([x, *conditions], training=training) for expert in specific]
            (h,) = mix([gate(x, training=training)], tf.stack([*own, *shared], axis=1))
            if self.transfer is not None and before is not None:
                step, logit = before
                h = self.transfer([self.stop_h(step), h, self.stop_logit(logit)], training=training)
            hidden = {tower.names[0]: h}
            if self.stacks:
                hidden = {tower.names[0]: self.stacks[place]([h, *conditions], training=training)}
            heads |= tower(hidden, training=training)
            before = h, heads[tower.names[0]]
        return heads

    def shared_variables(self):
        """What the last kernels of the shared experts are made of."""
        return [variable for expert in self.shared for variable in expert.last_variables()]

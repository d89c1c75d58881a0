"""M3oE: experts that all share, experts of each domain and of each task, in learnt proportions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, DomainShares, DomainTowers, FeatureEmbedding, StarDense
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel, PerId
from fuxi_mtl.options import option
from fuxi_mtl.options.blocks import FusionStart
from fuxi_mtl.options.shared import UnnormedOptions, embedding_options, mlp_options
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._m3oe import FusionScalars, NormedExperts, mixed, own_and_others


@register
class M3oE(MultiTaskModel):
    """Multi-domain, multi-task mixture of experts.

    With d the domain of a row, x its embeddings, ``*`` by element, S, D and T experts over z::

        z       = MLP(x (W_d * W_s) + b_d + b_s) + MLP(x)
        dom_d   = beta_d D_d + (1 - beta_d) / (domains - 1) sum_{d' != d} D_d'          task_t likewise
        f_{t,d} = sum_e softmax(gate_{t,d}(SG[z]))_e S_e + w_d dom_d + w_t task_t
        y_t     = tower_{t,d}(f_{t,d})

    SG stops the gradient. Every MLP is Dense, LayerNorm, activation. w_d, w_t, beta_d and beta_t are learnt
    on validation batches by an optimizer of their own (`bilevel_learning_rate`), all else on training
    batches, in turns. A row of no known domain takes equal parts of all that domains have of their own.
    Labels and objectives: one a task, which may be undefined on the rows of some domains.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No such feature, or no layer of trunk or experts.

    Differs from the paper: W_d starts at one, so that all domains start alike; the loss of a task is a mean
    over its rows in all domains, not the sum of the domains' means. The official code takes its "validation"
    batches from the training rows, once an epoch, and moves the four numbers in ordinary steps, too.

    Example:
        >>> model = fm.M3oE(data.features, data.tasks, domain="item_id")
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Zhang et al. M3oE: Multi-Domain Multi-Task Mixture-of-Experts Recommendation Framework. SIGIR 2024.
        Official code: Applied-Machine-Learning-Lab/M3oE. W_d * W_s: Sheng et al., CIKM 2021, equation 6.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        domain: Annotated[
            str,
            option("The categorical feature whose values are the domains (of ready ids, those from 1 up)."),
        ] = "domain",
        star_units: Annotated[int, option("Width of x (W_d * W_s).", least=1, most=65_536)] = 256,
        trunk_hidden_units: Annotated[
            Sequence[int],
            option(
                "Widths of the MLP behind it; the one beside it has the last of them.",
                least=1,
                most=65_536,
            ),
        ] = (128,),
        num_experts: Annotated[int, option("Number of experts S.", least=1, most=10_000)] = 4,
        expert_hidden_units: Annotated[
            Sequence[int], option("Widths of each expert of all three kinds.", least=1, most=65_536)
        ] = (128, 64),
        fusion_start: Annotated[
            FusionStart | Mapping | None,
            option("Where w_d, w_t, beta_d and beta_t start; null for the defaults."),
        ] = None,
        **common: Unpack[UnnormedOptions],
    ):
        super().__init__(features, tasks)
        if not trunk_hidden_units or not expert_hidden_units:
            empty = "expert_hidden_units" if trunk_hidden_units else "trunk_hidden_units"
            raise ValueError(f"{empty} is empty; the least is one layer.")
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.domain = domain
        self.domain_shares = DomainShares(features, domain)
        domains = self.domain_shares.count
        self.star = StarDense(star_units, domains, common["net_regularizer"])
        self.trunk = MLP(trunk_hidden_units, layer_norm=True, **mlp)
        self.skip = MLP(trunk_hidden_units[-1:], layer_norm=True, **mlp)
        self.shared_experts = NormedExperts(num_experts, expert_hidden_units, **mlp)
        self.domain_experts = NormedExperts(domains, expert_hidden_units, **mlp)
        self.task_experts = NormedExperts(len(names), expert_hidden_units, **mlp)
        gates = len(names) * domains * num_experts
        self.gates = keras.layers.Dense(gates, kernel_regularizer=regularizer(common["net_regularizer"]))
        self.fusion = FusionScalars(asdict(block(FusionStart, fusion_start, "fusion_start")))
        outputs = max([1, *self.head_widths.values()])  # a head of fewer leaves the rest unused
        self.towers = DomainTowers(len(names), domains, common["tower_hidden_units"], outputs, **mlp)

    def embed(self, inputs):
        """The embeddings, and how much of each domain a row is."""
        return {"x": self.embedding(inputs), "domain": self.domain_shares(inputs)}

    def embedding_layers(self):
        """See the base class."""
        return {"x": self.embedding}

    def heads(self, x, training=False):
        """See the base class."""
        x, domain = x["x"], tf.stop_gradient(x["domain"])  # surgery compares what is learnt alone
        z = self.trunk(self.star(x, domain), training=training) + self.skip(x, training=training)
        groups = self.shared_experts, self.domain_experts, self.task_experts
        shared, of_domain, of_task = (experts(z, training=training) for experts in groups)
        names = [task.name for task in self.tasks]
        fusion = self.fusion.numbers()
        logits = tf.cast(self.gates(tf.stop_gradient(z)), tf.float32)
        logits = tf.reshape(logits, (-1, len(names), domain.shape[1], shared.shape[1]))
        # No einsum: the transposes that ONNX gets of it are none that OpenVINO takes.
        by_domain = tf.nn.softmax(logits) * domain[:, None, :, None]
        gates = tf.unstack(tf.reduce_sum(by_domain, axis=2), axis=1)
        dom = mixed(fusion["domain_weight"] * own_and_others(fusion["domain_balance"], domain), of_domain)
        f = []
        for t in range(len(names)):
            own = own_and_others(fusion["task_balance"], tf.one_hot([t], len(names)))
            f.append(mixed(gates[t], shared) + dom + mixed(fusion["task_weight"] * own, of_task))
        heads = tf.unstack(self.towers(tf.stack(f, axis=1), domain, training=training), axis=1)
        if not self.head_widths:
            return dict(zip(names, heads, strict=True))
        widths = [self.head_widths.get(name) for name in names]
        return {
            name: head[:, :width] if width else head[:, 0]
            for name, head, width in zip(names, heads, widths, strict=True)
        }

    def objectives(self):
        """One a task; the four numbers are in the log."""
        first, *others = super().objectives()
        return [
            replace(first, watch=lambda *_: self.fusion.numbers(), watched=tuple(self.fusion.start)),
            *others,
        ]

    def shared_variables(self):
        """The last kernel of the shared experts."""
        return self.shared_experts.kernels[-1:]

    def variables_by_id(self):
        """Those of the domains."""
        heads, experts = len(self.tasks), self.shared_experts.shape[0]
        own = [
            (self.star.kernels, (0, *self.star.kernels.shape[1:])),
            (self.star.biases, (0, self.star.units)),
            (self.gates.kernel, (self.gates.kernel.shape[0], heads, 0, experts)),
            (self.gates.bias, (heads, 0, experts)),
        ]
        for stacks in (self.domain_experts, self.towers):
            rest = stacks.shape[1:]
            own += [(kernel, (0, *rest, *kernel.shape[-2:])) for kernel in stacks.kernels]
            for parameters in (stacks.biases, stacks.gains, stacks.offsets):
                own += [
                    (each, (0, *rest, units)) for each, units in zip(parameters, stacks.units, strict=False)
                ]
        return [PerId(variable, self.domain, shape) for variable, shape in own]

    def bilevel_variables(self):
        """The four numbers, before their sigmoid."""
        return [self.fusion.logits]

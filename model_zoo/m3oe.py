"""M3oE: experts that all share, experts of each domain and of each task, in learnt proportions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers import (
    MLP,
    DomainShares,
    DomainTowers,
    FeatureEmbedding,
    FusionScalars,
    NormedExperts,
    StarDense,
    mixed,
    own_and_others,
)
from fuxi_mtl.layers.blocks import check_range, check_widths
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register

START = {"domain_weight": 0.5, "task_weight": 0.5, "domain_balance": 0.7, "task_balance": 0.7}


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
        domain: The categorical feature whose values are the domains (of ready ids, those from 1 up).
        embedding_dim: Width of the embeddings.
        star_units: Width of ``x (W_d * W_s)``.
        trunk_hidden_units: Widths of the MLP behind it; the one beside it has the last of them.
        num_experts: Number of experts S.
        expert_hidden_units: Widths of each expert of all three kinds.
        tower_hidden_units: Widths of the hidden layers of each tower, one tower a task and domain.
        fusion_start: Where the four numbers start: ``domain_weight`` w_d, ``task_weight`` w_t,
            ``domain_balance`` beta_d, ``task_balance`` beta_t, each between 0 and 1.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        net_regularizer: Penalty of the kernels but W_d: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Raises:
        ValueError: No such feature, no layer of trunk or experts, a width below 1, a start out of range.

    Differs from the paper: W_d starts at one, so that all domains start alike; the loss of a task is a mean
    over its rows in all domains, not the sum of the domains' means. The official code takes its "validation"
    batches from the training rows, once an epoch, and moves the four numbers in ordinary steps, too.

    Reference:
        Zhang et al. M3oE: Multi-Domain Multi-Task Mixture-of-Experts Recommendation Framework. SIGIR 2024.
        Official code: Applied-Machine-Learning-Lab/M3oE. W_d * W_s: Sheng et al., CIKM 2021, equation 6.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        domain: str = "domain",
        embedding_dim: int = 16,
        star_units: int = 256,
        trunk_hidden_units: Sequence[int] = (128,),
        num_experts: int = 4,
        expert_hidden_units: Sequence[int] = (128, 64),
        tower_hidden_units: Sequence[int] = (64,),
        fusion_start: dict | None = None,
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        check_range("star_units", star_units, 1)
        check_range("num_experts", num_experts, 1)
        check_widths("trunk_hidden_units", trunk_hidden_units, needed=True)
        check_widths("expert_hidden_units", expert_hidden_units, needed=True)
        check_widths("tower_hidden_units", tower_hidden_units)
        names = [task.name for task in tasks]
        mlp: dict[str, Any] = {"activations": hidden_activations, "dropout": net_dropout}
        mlp["penalty"] = net_regularizer
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.domain_shares = DomainShares(features, domain)
        domains = self.domain_shares.count
        self.star = StarDense(star_units, domains, net_regularizer)
        self.trunk = MLP(trunk_hidden_units, layer_norm=True, **mlp)
        self.skip = MLP(trunk_hidden_units[-1:], layer_norm=True, **mlp)
        self.shared_experts = NormedExperts(num_experts, expert_hidden_units, **mlp)
        self.domain_experts = NormedExperts(domains, expert_hidden_units, **mlp)
        self.task_experts = NormedExperts(len(names), expert_hidden_units, **mlp)
        gates = len(names) * domains * num_experts
        self.gates = keras.layers.Dense(gates, kernel_regularizer=regularizer(net_regularizer))
        self.fusion = FusionScalars(START, "fusion_start", fusion_start)
        self.towers = DomainTowers(len(names), domains, tower_hidden_units, **mlp)

    def embed(self, inputs):
        """The embeddings, and how much of each domain a row is."""
        return {"x": self.embedding(inputs), "domain": self.domain_shares(inputs)}

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
        gates = tf.einsum("btde,bd->tbe", tf.nn.softmax(logits), domain)
        dom = mixed(fusion["domain_weight"] * own_and_others(fusion["domain_balance"], domain), of_domain)
        f = []
        for t in range(len(names)):
            own = own_and_others(fusion["task_balance"], tf.one_hot([t], len(names)))
            f.append(mixed(gates[t], shared) + dom + mixed(fusion["task_weight"] * own, of_task))
        heads = self.towers(tf.stack(f, axis=1), domain, training=training)
        return dict(zip(names, tf.unstack(heads, axis=1), strict=True))

    def objectives(self):
        """One a task; the four numbers are in the log."""
        first, *others = super().objectives()
        return [replace(first, watch=lambda *_: self.fusion.numbers(), watched=tuple(START)), *others]

    def shared_variables(self):
        """The last kernel of the shared experts."""
        return self.shared_experts.kernels[-1:]

    def bilevel_variables(self):
        """The four numbers, before their sigmoid."""
        return [self.fusion.logits]

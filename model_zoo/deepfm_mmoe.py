"""DeepFM_MMoE: a ranking model whose experts see deep, pairwise and pooled parts of a row."""

from typing import Any

import tensorflow as tf

from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.layers.deepfm import DeepFM
from fuxi_mtl.layers.deepfm import backbone as read_backbone
from fuxi_mtl.layers.mixture import ComposedExperts, make_towers, mixture
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of
from fuxi_mtl.objectives.priors import check_priors, logit, prior_logits
from fuxi_mtl.registry import register


@register
class DeepFM_MMoE(MultiTaskModel):  # noqa: N801 - the name is written so
    """DeepFM under a multi-gate mixture of experts.

    ::

        wide = sum_f w_f     fm_vec = 1/2 ((sum_f v_f)^2 - sum_f v_f^2) / F     deep_h = MLP([v_1 ... v_F])
        x    = LayerNorm(Adapter([part_1, part_2, part_3]))    part = Dropout(LayerNorm(Dense(.)))
               of deep_h, fm_vec and the mean of the embeddings
        z_k  = tower_k(sum_e g^k(x)_e f_e(x)) + [use_wide_k] wide + [use_fm_k] sum(fm_vec)

    The tasks say how the heads learn. With a joint task (``ctcvr: click & conversion``) it is an entire-space
    model: towers of conditional events, whose total logits are chained as in ESMM, trained on the tasks that
    every exposure defines. Without one, each task has a head and a loss of its own.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        backbone: The deep, pairwise and wide parts; the keys of :class:`~fuxi_mtl.layers.deepfm.Backbone`.
        mmoe: Parts, adapter, experts and gates; the keys of :class:`~fuxi_mtl.layers.mixture.Mixture`.
        heads: ``{default: {mlp_dims, dropout, use_bn, activation}, ctr: {...}}``: the towers.
        bias_prior: Where the heads' biases start: ``auto``, the rates of the training labels under the
            weights of positives; ``none``; or rates by head.
        hidden_activations: Activation of hidden layers where a block does not say.
        net_dropout: Share of hidden units dropped in training where a block does not say.
        batch_norm: Whether to normalise hidden layers where a block does not say.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Differs from the papers: it joins two of them, and DeepFM's classic machine is ``fm_scale: sum``.

    Reference:
        Guo et al. DeepFM: A Factorization-Machine based Neural Network for CTR Prediction. IJCAI 2017.
        Ma et al. Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts. KDD 2018.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 8,
        backbone: dict | None = None,
        mmoe: dict | None = None,
        heads: dict | None = None,
        bias_prior: str | dict[str, float] = "auto",
        hidden_activations: str = "relu",
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
        self.funnel = Funnel(towers_of(tasks)) if _is_entire_space(tasks) else None
        self.events = tuple(tasks) if self.funnel is None else self.funnel.towers
        names = [event.name for event in self.events]
        self.bias_prior = check_priors(bias_prior, names)
        parts = read_backbone(backbone)
        experts = mixture(mmoe, parts.fm_enabled)
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.backbone = DeepFM(
            features, self.embedding, parts, names, mlp, experts.add_fm_vec, embedding_regularizer
        )
        self.bottom = ComposedExperts(names, self.embedding, experts, mlp)
        self.towers = make_towers(heads, names, mlp)

    def embed(self, inputs):
        """The embeddings, and the wide logit beside them."""
        return {"embeddings": self.embedding(inputs), **self.backbone.wide(inputs)}

    def heads(self, x, training=False):
        """See the base class."""
        parts = self._parts(x, training)
        totals = {name: tf.add_n(list(each.values())) for name, each in parts.items()}
        return totals if self.funnel is None else self.funnel.logits(totals, self.tasks)

    def logit_parts(self, inputs):
        """What the logit of each tower is the sum of: ``{tower: {deep, wide, fm}}`` of ``(batch,)``."""
        return self._parts(self.embed(inputs), training=False)

    def shared_variables(self):
        """The last kernels of all experts."""
        return self.bottom.experts.shared_variables()

    def prepare(self, labels, batches):
        """Starts the biases of the heads at their base rates."""
        if self.bias_prior is None:
            starts = prior_logits(self.events, self.tasks, labels, self.imbalance.weight_at)
        else:
            starts = {name: logit(rate) for name, rate in self.bias_prior.items()}
        self.towers.start_at(starts)

    def _parts(self, x, training):
        deep, pairs = self.backbone(x["embeddings"], training=training)
        mixtures = self.bottom(self.bottom.parts(deep, pairs, x["embeddings"]), training=training)
        return self.backbone.logit_parts(self.towers(mixtures, training=training), x.get("wide"), pairs)

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):  # noqa: ARG003
        """The tasks as they are; a chain is of probabilities."""
        if _is_entire_space(tasks):
            check_binary(tasks)
        return tuple(tasks)

    @classmethod
    def supervised_tasks(cls, tasks):
        """All tasks; with a joint one, those that are defined on every exposure."""
        return entire_space(tasks) if _is_entire_space(tasks) else tuple(tasks)


def _is_entire_space(tasks) -> bool:
    return any(len(task.event) > 1 for task in tasks)

"""DeepFM_MMoE: a ranking model whose experts see deep, pairwise and pooled parts of a row."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, check_binary, entire_space, towers_of
from fuxi_mtl.objectives.priors import check_priors, logit, prior_logits
from fuxi_mtl.options import option
from fuxi_mtl.options.blocks import Backbone, Head, Mixture
from fuxi_mtl.options.shared import TowerlessOptions, embedding_options, mlp_options
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._composed_experts import ComposedExperts, make_towers
from ._deepfm import DeepFM


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
    every exposure defines. Without one, each task has a head and a loss of its own. An ``interaction`` lies
    under the MLP of ``deep_h``.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the papers: it joins two of them, and DeepFM's classic machine is ``fm_scale: sum``.

    Example:
        >>> model = fm.DeepFM_MMoE(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Guo et al. DeepFM: A Factorization-Machine based Neural Network for CTR Prediction. IJCAI 2017.
        Ma et al. Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts. KDD 2018.
    """

    defaults: ClassVar[TowerlessOptions] = {"embedding_dim": 8}

    def __init__(
        self,
        features,
        tasks,
        *,
        backbone: Annotated[
            Backbone | Mapping | None, option("The deep, pairwise and wide parts; null for the defaults.")
        ] = None,
        mmoe: Annotated[
            Mixture | Mapping | None, option("Parts, adapter, experts and gates; null for the defaults.")
        ] = None,
        heads: Annotated[
            Mapping[str, Head | Mapping] | None,
            option("The towers, by head; default is of all that are not named."),
        ] = None,
        bias_prior: Annotated[
            str | dict[str, float],
            option(
                "Where the biases of the heads start: auto, the rates of the training labels under the "
                "weights of positives; none; or rates by head."
            ),
        ] = "auto",
        **common: Unpack[TowerlessOptions],
    ):
        super().__init__(features, tasks)
        self.refuse_wide_heads("adds logits of several parts in each head")
        mlp = mlp_options(common)
        self.funnel = Funnel(towers_of(tasks)) if _is_entire_space(tasks) else None
        self.events = tuple(tasks) if self.funnel is None else self.funnel.towers
        names = [event.name for event in self.events]
        self.bias_prior = check_priors(bias_prior, names)
        parts, experts = block(Backbone, backbone, "backbone"), block(Mixture, mmoe, "mmoe")
        if experts.add_fm_vec and not parts.fm_enabled:
            raise ValueError("mmoe.add_fm_vec needs backbone.fm_enabled: True. Write add_fm_vec: False.")
        penalty = common["embedding_regularizer"]
        self.embedding = FeatureEmbedding(features, **embedding_options(common, interacting=False))
        interaction = self.embedding.interaction_behind(common["interaction"], mlp)
        self.backbone = DeepFM(
            features, self.embedding, interaction, parts, names, mlp, experts.add_fm_vec, penalty
        )
        self.bottom = ComposedExperts(names, self.embedding, experts, mlp)
        self.towers = make_towers(heads, names, mlp)

    def embed(self, inputs):
        """The embeddings, and the wide logit beside them."""
        return {"embeddings": self.embedding(inputs), **self.backbone.wide(inputs)}

    def embedding_layers(self):
        """See the base class."""
        return {"embeddings": self.embedding}

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

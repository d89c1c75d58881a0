"""APG_AITM: AITM whose towers are generated for each row."""

from collections.abc import Sequence
from typing import Any

import keras

from fuxi_mtl.layers import ConditionedEmbedding, GeneratedMLP, InformationTransfer, Towers, generation
from fuxi_mtl.layers.blocks import check_range
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import CALIBRATOR, calibrator, supervised
from fuxi_mtl.objectives.funnel import as_steps
from fuxi_mtl.registry import register


@register
class APG_AITM(MultiTaskModel):  # noqa: N801 - the name is written so
    """Adaptive information transfer of adaptive parameter generation.

    With ``q_t`` a bottom of step t on the embeddings, and ``z_1 = q_1``::

        p_t = W_t z_{t-1} + b_t     w_u = softmax_u(<h1(u), h2(u)> / sqrt(h)) over u in {p_t, q_t}
        z_t = sum_u w_u h3(u)       logit_t = <v_t, tower_t(z_t)> + c_t
        L = sum_t BCE(y_t) + calibrator_weight * sum_{t>1} mean max(y_t - y_{t-1}, 0)

    The layers of the bottoms and the hidden layers of the towers have weights of each row's own, generated
    from its condition (:class:`~fuxi_mtl.layers.generated.GeneratedDense`); the messages and the attention,
    one for all steps, are plain and linear with biases. The loss of step t reaches the bottoms of steps 1 to
    t and its own tower.

    Labels are those of AITM: two or more events, each a step of the one before, on all exposures.

    Args:
        features: The inputs.
        tasks: The steps, first to last.
        embedding_dim: Width of the embeddings.
        apg: Condition, rank and mode; the keys of :class:`~fuxi_mtl.layers.generation.Generation`.
        bottom_hidden_units: Widths of each bottom q_t, at least one; the last is the width h of the transfer.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.
        calibrator_weight: Factor of the calibrator, from 0 up; AITM's own is 0.6.

    Raises:
        ValueError: No hidden layer of the bottoms, a negative calibrator_weight, a condition that is no
            feature, or ``rank_k`` larger than a layer.

    Differs from the papers: it joins them. AITM has plain towers with nothing behind the transfer, h1, h2 and
    h3 without biases, and its calibrator.

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction. NeurIPS 2022,
        on Xi et al. Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
        Learning in Targeted Display Advertising. KDD 2021, equations 1 to 8.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        apg: dict | None = None,
        bottom_hidden_units: Sequence[int] = (64, 64),
        tower_hidden_units: Sequence[int] = (32, 32),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
        calibrator_weight: float = 0.0,
    ):
        super().__init__(features, tasks)
        if not bottom_hidden_units:
            raise ValueError("bottom_hidden_units is empty: APG_AITM transfers what its last layer says.")
        check_range("calibrator_weight", calibrator_weight, 0)
        names, made, width = [task.name for task in tasks], generation(apg), bottom_hidden_units[-1]
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = ConditionedEmbedding(features, embedding_dim, embedding_regularizer, made)
        self.bottoms = [GeneratedMLP(bottom_hidden_units, made, name=f"{n}_bottom", **mlp) for n in names]
        self.messages = [
            keras.layers.Dense(width, kernel_regularizer=regularizer(net_regularizer), name=f"{name}_message")
            for name in names[1:]
        ]
        self.transfer = InformationTransfer(width, use_bias=True, penalty=net_regularizer)
        self.stacks = [GeneratedMLP(tower_hidden_units, made, name=f"{name}_tower", **mlp) for name in names]
        self.towers = Towers(names, (), penalty=net_regularizer)
        self.calibrator = calibrator(tasks, calibrator_weight)

    def heads(self, x, training=False):
        """See the base class."""
        x, *conditions = self.embedding.split(x)
        own = [bottom([x, *conditions], training=training) for bottom in self.bottoms]
        steps = own[:1]
        for message, q in zip(self.messages, own[1:], strict=True):
            steps.append(self.transfer([message(steps[-1]), q]))
        hidden = [s([z, *conditions], training=training) for s, z in zip(self.stacks, steps, strict=True)]
        return self.towers(dict(zip(self.towers.names, hidden, strict=True)), training=training)

    def objectives(self):
        """The steps' losses and the calibrator's."""
        return [*map(supervised, self.tasks), *([self.calibrator] if len(self.tasks) > 1 else [])]

    @classmethod
    def objective_names(cls, tasks):
        """See the base class."""
        return (*(task.name for task in tasks), *([CALIBRATOR] if len(tasks) > 1 else []))

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Plain labels become the steps of a chain; tasks must be one already."""
        return as_steps(tasks, explicit, cls.__name__)

"""AITM: a chain of conversions in which each step tells the next what it has learnt."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fuxi_mtl.layers import MLP, FeatureEmbedding, InformationTransfer, Towers
from fuxi_mtl.layers.blocks import check_range
from fuxi_mtl.layers.mlp import of_each
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import CALIBRATOR, calibrator, supervised
from fuxi_mtl.objectives.funnel import as_steps
from fuxi_mtl.registry import register


@register
class AITM(MultiTaskModel):
    """Adaptive information transfer between the steps of a chain of events.

    With ``q_t`` the tower of step t on the shared embeddings, ``z_1 = q_1`` and h1, h2, h3 one set of linear
    maps for all steps (equations 1 to 8)::

        p_t = g_t(z_{t-1})      w_u = softmax_u(<h1(u), h2(u)> / sqrt(h)) over u in {p_t, q_t}
        z_t = sum_u w_u h3(u)                    y_t = sigmoid(<v_t, z_t> + b_t)
        L = sum_t BCE(y_t) + calibrator_weight * sum_{t>1} mean max(y_t - y_{t-1}, 0)

    Every y_t is about all exposures (y_2 is pCTCVR, not pCVR), and the calibrator asks that it be no more
    probable than the step before. The loss of step t reaches the towers of steps 1 to t.

    Labels: two or more events, each a step of the one before, as tasks such as ``{ctr: click, ctcvr: click &
    buy}``; plain labels are taken as such steps, in order. The calibrator is an objective of weight one.

    Args:
        features: The inputs.
        tasks: The steps, first to last.
        embedding_dim: Width of the embeddings.
        tower_hidden_units: Widths of each tower q_t, at least one; the last is the width h of the transfer.
        hidden_activations: Activation of hidden layers, one for all or one a layer; g_t has that of the
            last layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        attention_regularizer: Penalty of h1, h2 and h3, written likewise.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.
        calibrator_weight: Factor of the calibrator, from 0 up.
        transfer_stop_gradient: True keeps the loss of a step out of the towers of earlier steps.
        calibrator_stop_prev: True lets the calibrator lower y_t only, and never raise y_{t-1}.

    Raises:
        ValueError: No hidden layer, or a negative calibrator_weight.

    Differs from the paper: the official code drops 0.1, 0.3 and 0.3 of the layers; here all layers have one
    rate, 0 unless said.

    Reference:
        Xi et al. Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
        Learning in Targeted Display Advertising. KDD 2021. Official code: xidongbo/AITM.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 5,
        tower_hidden_units: Sequence[int] = (128, 64, 32),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        attention_regularizer: float | str = 1e-6,
        embedding_regularizer: float | str = 1e-6,
        calibrator_weight: float = 0.6,
        transfer_stop_gradient: bool = False,
        calibrator_stop_prev: bool = False,
    ):
        super().__init__(features, tasks)
        if not tower_hidden_units:
            raise ValueError("tower_hidden_units is empty: AITM transfers what the last hidden layer says.")
        check_range("calibrator_weight", calibrator_weight, 0)
        names, width = [task.name for task in tasks], tower_hidden_units[-1]
        *_, last = of_each(tower_hidden_units, hidden_activations)
        common: dict[str, Any] = {
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.stacks = [
            MLP(tower_hidden_units, hidden_activations, name=f"{name}_tower", **common) for name in names
        ]
        self.messages = [MLP([width], last, name=f"{name}_message", **common) for name in names[1:]]
        self.transfer = InformationTransfer(width, stddev=0.01, penalty=attention_regularizer)
        self.towers = Towers(names, (), penalty=net_regularizer)
        self.calibrator = calibrator(tasks, calibrator_weight, calibrator_stop_prev)
        self.stop = tf.stop_gradient if transfer_stop_gradient else tf.identity

    def heads(self, x, training=False):
        """See the base class."""
        own = [stack(x, training=training) for stack in self.stacks]
        steps = own[:1]
        for message, q in zip(self.messages, own[1:], strict=True):
            p = message(self.stop(steps[-1]), training=training)
            steps.append(self.transfer([p, q]))
        return self.towers(dict(zip(self.towers.names, steps, strict=True)), training=training)

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

"""AITM: a chain of conversions in which each step tells the next what it has learnt."""

from typing import Annotated, ClassVar

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, FeatureEmbedding, InformationTransfer, Towers
from fuxi_mtl.layers.mlp import of_each
from fuxi_mtl.objectives import calibrator
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CalibratorWeight, CommonOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register

from ._calibrated_chain import CalibratedChain


@register
class AITM(CalibratedChain):
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

    Raises:
        ValueError: No hidden layer, or a negative calibrator_weight.

    Differs from the paper: the official code drops 0.1, 0.3 and 0.3 of the layers; here all layers have one
    rate, 0 unless said.

    Example:
        >>> steps = [fm.Task("ctr", ("click",)), fm.Task("ctcvr", ("click", "buy"))]
        >>> model = fm.AITM(data.features, steps)
        >>> list(model.logits(frame))
        ['ctr', 'ctcvr']

    Reference:
        Xi et al. Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
        Learning in Targeted Display Advertising. KDD 2021. Official code: xidongbo/AITM.
    """

    defaults: ClassVar[CommonOptions] = {"embedding_dim": 5, "tower_hidden_units": (128, 64, 32)}

    def __init__(
        self,
        features,
        tasks,
        *,
        attention_regularizer: Annotated[
            float | str, option("Penalty of h1, h2 and h3, written like net_regularizer.")
        ] = 1e-6,
        calibrator_weight: CalibratorWeight = 0.6,
        transfer_stop_gradient: Annotated[
            bool, option("True keeps the loss of a step out of the towers of earlier steps.")
        ] = False,
        calibrator_stop_prev: Annotated[
            bool, option("True lets the calibrator lower y_t only, and never raise y_{t-1}.")
        ] = False,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        if not common["tower_hidden_units"]:
            raise ValueError("tower_hidden_units is empty: AITM transfers what the last hidden layer says.")
        names, width = [task.name for task in tasks], common["tower_hidden_units"][-1]
        *_, last = of_each(common["tower_hidden_units"], common["hidden_activations"])
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.stacks = [MLP(common["tower_hidden_units"], name=f"{name}_tower", **mlp) for name in names]
        self.messages = [
            MLP([width], name=f"{name}_message", **(mlp | {"activations": last})) for name in names[1:]
        ]
        self.transfer = InformationTransfer(width, stddev=0.01, penalty=attention_regularizer)
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])
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

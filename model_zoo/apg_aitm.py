"""APG_AITM: AITM whose towers are generated for each row."""

from typing import ClassVar

import keras
from typing_extensions import Unpack

from fuxi_mtl.layers import GeneratedMLP, InformationTransfer, Towers
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.objectives import calibrator
from fuxi_mtl.options.blocks import Generation
from fuxi_mtl.options.shared import (
    Apg,
    BottomUnits,
    CalibratorWeight,
    CommonOptions,
    embedding_options,
    mlp_options,
)
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._calibrated_chain import CalibratedChain
from ._conditioned import ConditionedEmbedding


@register
class APG_AITM(CalibratedChain):  # noqa: N801 - the name is written so
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

    Raises:
        ValueError: No hidden layer of the bottoms, a negative calibrator_weight, a condition that is no
            feature, or ``rank_k`` larger than a layer.

    Differs from the papers: it joins them. AITM has plain towers with nothing behind the transfer, h1, h2 and
    h3 without biases, and its calibrator.

    Example:
        >>> steps = [fm.Task("ctr", ("click",)), fm.Task("ctcvr", ("click", "buy"))]
        >>> model = fm.APG_AITM(data.features, steps)
        >>> list(model.logits(frame))
        ['ctr', 'ctcvr']

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction. NeurIPS 2022,
        on Xi et al. Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
        Learning in Targeted Display Advertising. KDD 2021, equations 1 to 8.
    """

    defaults: ClassVar[CommonOptions] = {"tower_hidden_units": (32, 32)}

    def __init__(
        self,
        features,
        tasks,
        *,
        apg: Apg = None,
        bottom_hidden_units: BottomUnits = (64, 64),
        calibrator_weight: CalibratorWeight = 0.0,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        if not bottom_hidden_units:
            raise ValueError("bottom_hidden_units is empty: APG_AITM transfers what its last layer says.")
        names, made, width = (
            [task.name for task in tasks],
            block(Generation, apg, "apg"),
            bottom_hidden_units[-1],
        )
        mlp = mlp_options(common)
        self.embedding = ConditionedEmbedding(features, made, **embedding_options(common))
        self.bottoms = [GeneratedMLP(bottom_hidden_units, made, name=f"{n}_bottom", **mlp) for n in names]
        self.messages = [
            keras.layers.Dense(
                width, kernel_regularizer=regularizer(common["net_regularizer"]), name=f"{name}_message"
            )
            for name in names[1:]
        ]
        self.transfer = InformationTransfer(width, use_bias=True, penalty=common["net_regularizer"])
        self.stacks = [
            GeneratedMLP(common["tower_hidden_units"], made, name=f"{name}_tower", **mlp) for name in names
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])
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

"""APG_SharedBottom: Shared-Bottom whose layers are generated for each row."""

from typing_extensions import Unpack

from fuxi_mtl.layers import GeneratedMLP, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.blocks import Generation
from fuxi_mtl.options.shared import Apg, BottomUnits, CommonOptions, embedding_options, mlp_options
from fuxi_mtl.options.values import block
from fuxi_mtl.registry import register

from ._conditioned import ConditionedEmbedding


@register
class APG_SharedBottom(MultiTaskModel):  # noqa: N801 - the name is written so
    """Shared bottom of adaptive parameter generation.

    ``h = MLP_z(x)``, ``logit_k = <w_k, tower_k,z(h)> + b_k``: the layers of the bottom and the hidden layers
    of the towers have weights of each row's own, generated from its condition z
    (:class:`~fuxi_mtl.layers.generated.GeneratedDense`). Each loss reaches the shared stack, its own tower,
    what generates them, and the embeddings of the condition.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: A condition is no feature, or ``rank_k`` is larger than a layer.

    Example:
        >>> model = fm.APG_SharedBottom(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction.
        NeurIPS 2022, on the bottom and the towers of Caruana. Multitask Learning. 1997.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        apg: Apg = None,
        bottom_hidden_units: BottomUnits = (256, 128),
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names, made = [task.name for task in tasks], block(Generation, apg, "apg")
        mlp = mlp_options(common)
        self.embedding = ConditionedEmbedding(features, made, **embedding_options(common))
        self.bottom = GeneratedMLP(bottom_hidden_units, made, **mlp)
        self.stacks = [
            GeneratedMLP(common["tower_hidden_units"], made, name=f"{name}_tower", **mlp) for name in names
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])

    def heads(self, x, training=False):
        """See the base class."""
        x, *conditions = self.embedding.split(x)
        h = self.bottom([x, *conditions], training=training)
        hidden = [stack([h, *conditions], training=training) for stack in self.stacks]
        return self.towers(dict(zip(self.towers.names, hidden, strict=True)), training=training)

    def shared_variables(self):
        """What the last kernel of the bottom is made of."""
        return self.bottom.last_variables()

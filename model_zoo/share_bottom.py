"""Shared-Bottom: one stack for all tasks, a tower for each."""

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, SharedBottom, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.shared import BottomUnits, CommonOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register


@register
class ShareBottom(MultiTaskModel):
    """Shared bottom: one stack, then a tower for each task.

    ``h = MLP(x)``, ``z_k = tower_k(h)``. The plainest way to share, and the first baseline for related
    tasks. Each loss reaches the shared stack and its own tower, never another task's tower.

    Args:
        features: The inputs.
        tasks: What to predict.

    Example:
        >>> model = fm.ShareBottom(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Caruana. Multitask Learning. Machine Learning 28, 1997.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        bottom_hidden_units: BottomUnits = (256, 128),
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = SharedBottom(names, mlp, bottom_hidden_units=bottom_hidden_units)
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The kernel of the bottom's last layer."""
        return self.bottom.shared_variables()

"""SingleTask: one private network a task, the baseline that sharing has to beat."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.shared import CommonOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register


@register
class SingleTask(MultiTaskModel):
    """One private network for each task.

    ``z_k = MLP_k(embedding_k(x))``: nothing is shared, the embeddings included. What a multi-task model
    gains or loses against this is positive or negative transfer.

    Args:
        features: The inputs.
        tasks: What to predict.

    Example:
        >>> model = fm.SingleTask(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        The baseline "STL" of Caruana. Multitask Learning. Machine Learning 28, 1997.
    """

    defaults: ClassVar[CommonOptions] = {"tower_hidden_units": (256, 128, 64)}

    def __init__(
        self,
        features,
        tasks,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.private_embeddings = [
            FeatureEmbedding(features, **embedding_options(common), name=f"{name}_embedding")
            for name in names
        ]
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def embed(self, inputs):
        """Each task's own embedding of the inputs, by task."""
        return {
            task.name: embedding(inputs)
            for task, embedding in zip(self.tasks, self.private_embeddings, strict=True)
        }

    def embedding_layers(self):
        """See the base class."""
        return {task.name: layer for task, layer in zip(self.tasks, self.private_embeddings, strict=True)}

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(x, training=training)

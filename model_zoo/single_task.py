"""SingleTask: one private network a task, the baseline that sharing has to beat."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class SingleTask(MultiTaskModel):
    """One private network for each task.

    ``z_k = MLP_k(embedding_k(x))``: nothing is shared, the embeddings included. What a multi-task model
    gains or loses against this is positive or negative transfer.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        tower_hidden_units: Widths of each network's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Reference:
        The baseline "STL" of Caruana. Multitask Learning. Machine Learning 28, 1997.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        tower_hidden_units: Sequence[int] = (256, 128, 64),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        names = [task.name for task in tasks]
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.private_embeddings = [
            FeatureEmbedding(features, embedding_dim, embedding_regularizer, name=f"{name}_embedding")
            for name in names
        ]
        self.towers = Towers(names, tower_hidden_units, **mlp)

    def embed(self, inputs):
        """Each task's own embedding of the inputs, by task."""
        return {
            task.name: embedding(inputs)
            for task, embedding in zip(self.tasks, self.private_embeddings, strict=True)
        }

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(x, training=training)

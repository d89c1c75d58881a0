"""Shared-Bottom: one stack for all tasks, a tower for each."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import FeatureEmbedding, SharedBottom, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class ShareBottom(MultiTaskModel):
    """Shared bottom: one stack, then a tower for each task.

    ``h = MLP(x)``, ``z_k = tower_k(h)``. The plainest way to share, and the first baseline for related
    tasks. Each loss reaches the shared stack and its own tower, never another task's tower.

    Args:
        features: The inputs.
        tasks: What to predict.
        embedding_dim: Width of the embeddings.
        bottom_hidden_units: Widths of the shared stack.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Reference:
        Caruana. Multitask Learning. Machine Learning 28, 1997.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        bottom_hidden_units: Sequence[int] = (256, 128),
        tower_hidden_units: Sequence[int] = (64,),
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
        self.embedding = FeatureEmbedding(features, embedding_dim, embedding_regularizer)
        self.bottom = SharedBottom(names, mlp, bottom_hidden_units)
        self.towers = Towers(names, tower_hidden_units, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The kernel of the bottom's last layer."""
        return self.bottom.shared_variables()

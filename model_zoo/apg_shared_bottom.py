"""APG_SharedBottom: Shared-Bottom whose layers are generated for each row."""

from collections.abc import Sequence
from typing import Any

from fuxi_mtl.layers import ConditionedEmbedding, GeneratedMLP, Towers, generation
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


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
        embedding_dim: Width of the embeddings.
        apg: Condition, rank and mode; the keys of :class:`~fuxi_mtl.layers.generation.Generation`.
        bottom_hidden_units: Widths of the shared stack.
        tower_hidden_units: Widths of each tower's hidden layers.
        hidden_activations: Activation of hidden layers, one for all or one a layer.
        net_dropout: Share of hidden units dropped in training.
        batch_norm: Whether to normalise hidden layers.
        net_regularizer: Penalty of the kernels: a number (L2), ``l1(x)``, ``l2(x)``, ``l1_l2(a,b)``.
        embedding_regularizer: Penalty of the embedding rows of a batch, written likewise.

    Raises:
        ValueError: A condition is no feature, or ``rank_k`` is larger than a layer.

    Reference:
        Yan et al. APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction.
        NeurIPS 2022, on the bottom and the towers of Caruana. Multitask Learning. 1997.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        apg: dict | None = None,
        bottom_hidden_units: Sequence[int] = (256, 128),
        tower_hidden_units: Sequence[int] = (64,),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        net_regularizer: float | str = 0.0,
        embedding_regularizer: float | str = 1e-6,
    ):
        super().__init__(features, tasks)
        names, made = [task.name for task in tasks], generation(apg)
        mlp: dict[str, Any] = {
            "activations": hidden_activations,
            "dropout": net_dropout,
            "batch_norm": batch_norm,
            "penalty": net_regularizer,
        }
        self.embedding = ConditionedEmbedding(features, embedding_dim, embedding_regularizer, made)
        self.bottom = GeneratedMLP(bottom_hidden_units, made, **mlp)
        self.stacks = [GeneratedMLP(tower_hidden_units, made, name=f"{name}_tower", **mlp) for name in names]
        self.towers = Towers(names, (), penalty=net_regularizer)

    def heads(self, x, training=False):
        """See the base class."""
        x, *conditions = self.embedding.split(x)
        h = self.bottom([x, *conditions], training=training)
        hidden = [stack([h, *conditions], training=training) for stack in self.stacks]
        return self.towers(dict(zip(self.towers.names, hidden, strict=True)), training=training)

    def shared_variables(self):
        """What the last kernel of the bottom is made of."""
        return self.bottom.last_variables()

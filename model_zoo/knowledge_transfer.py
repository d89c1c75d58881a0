"""Knowledge transfer: towers read the hidden layers of earlier tasks' towers, and leave them alone."""

from typing import Annotated, ClassVar

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import BottomOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register

from ._sources import edges_and_order


@register
class KnowledgeTransfer(MultiTaskModel):
    """Towers that read the last hidden layer of other towers, through a stop-gradient.

    With ``h_k`` what the bottom gives task k and ``u_j`` the last hidden layer of the tower of task j::

        u_k = tower_k([h_k, SG(u_j) for each source j of k])        z_k = <w_k, u_k> + b_k

    so the earlier task, which has more data, informs the later one with more than the one number pCTR, and
    the loss of the later one reaches its own tower and, through ``h_k``, the bottom; neither the sources'
    towers nor anything below them through ``u_j``.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No hidden layer to read, an unknown task, or a cycle.

    Example:
        >>> model = fm.KnowledgeTransfer(data.features, data.tasks)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        A design pattern without a paper of its own; progressive networks are the nearest: Rusu et al.
        Progressive Neural Networks. arXiv 1606.04671, 2016.
    """

    defaults: ClassVar[BottomOptions] = {"bottom": "MMoE"}

    def __init__(
        self,
        features,
        tasks,
        *,
        transfer: Annotated[
            dict[str, list[str]] | None,
            option(
                "Sources of each task that has any, such as {dwell: [ctr], forward: [ctr, dwell]}, in any "
                "order without a cycle; null is a chain, each task reading the one before it."
            ),
        ] = None,
        transfer_units: Annotated[
            int,
            option(
                "Width to which a source is projected, linearly and behind the stop-gradient; 0 hands it "
                "over as it is.",
                least=0,
                most=65_536,
            ),
        ] = 0,
        transfer_stop_gradient: Annotated[
            bool, option("False lets the losses of later tasks into the towers of earlier ones.")
        ] = True,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks)
        if not common["tower_hidden_units"]:
            raise ValueError("tower_hidden_units is empty: KnowledgeTransfer hands on the last hidden layer.")
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = make_bottom(common["bottom"], names, mlp)
        self.edges, self.order = edges_and_order(names, transfer, "transfer")
        self.stop = tf.stop_gradient if transfer_stop_gradient else tf.identity
        self.stacks = [MLP(common["tower_hidden_units"], name=f"{name}_tower", **mlp) for name in names]
        self.projections = [
            keras.layers.Dense(
                transfer_units,
                kernel_regularizer=regularizer(common["net_regularizer"]),
                name=f"{source}_to_{name}",
            )
            for name, source in self.edges
            if transfer_units
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        inputs = self.bottom(x, training=training)
        stacks = dict(zip(self.towers.names, self.stacks, strict=True))
        hidden: dict[str, tf.Tensor] = {}
        for name in self.order:
            seen = [inputs[name]]
            for place, (reader, source) in enumerate(self.edges):
                if reader == name:
                    message = self.stop(hidden[source])
                    seen.append(self.projections[place](message) if self.projections else message)
            hidden[name] = stacks[name](tf.concat(seen, axis=-1), training=training)
        return self.towers({name: hidden[name] for name in self.towers.names}, training=training)

    def shared_variables(self):
        """The last layer that the bottom shares; none means the embeddings."""
        return self.bottom.shared_variables()

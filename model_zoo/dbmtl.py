"""DBMTL: a tower reads the last hidden layers of the towers that its task depends on."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import BottomOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register

from ._sources import edges_and_order


@register
class DBMTL(MultiTaskModel):
    """Deep Bayesian multi-target learning: a chain of towers, one for each factor of the joint probability.

    ``P(y_1 ... y_T | x) = prod_k P(y_k | y_parents(k), x)`` with a declared order. With ``h_k`` what the
    bottom gives task k::

        u_k = tower_k(h_k)        r_k = relation_k([u_k, r_p for each parent p])        z_k = <w_k, r_k> + b_k

    and ``r_k = u_k`` for a task without parents. Hidden layers are handed on, no labels and no probabilities.
    All gradients flow: the loss of a task reaches the towers and relations of its ancestors, never those of
    its descendants. With a stop-gradient it would be ``KnowledgeTransfer``.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No hidden layer to read, an unknown task, or a cycle.

    Example:
        >>> model = fm.DBMTL(data.features, data.tasks, relations={"cvr": ["ctr"]})
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Wang et al. A Deep Probabilistic Model for Customer Conversion: Deep Bayesian Multi-Target Learning
        for Recommender Systems. arXiv 1902.09154, 2019. Relations as in its authors' EasyRec.
    """

    defaults: ClassVar[BottomOptions] = {"bottom": "ShareBottom"}

    def __init__(
        self,
        features,
        tasks,
        *,
        relations: Annotated[
            dict[str, list[str]] | None,
            option(
                "Parents of each task that has any, such as {cvr: [ctr]}, in any order without a cycle; null "
                "is a chain, each task depending on the one before it."
            ),
        ] = None,
        relation_hidden_units: Annotated[
            Sequence[int],
            option("Widths of the layers that read a tower and its parents.", least=1, most=65_536),
        ] = (32,),
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks)
        if not common["tower_hidden_units"]:
            raise ValueError("tower_hidden_units is empty: DBMTL hands on the last hidden layer.")
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = make_bottom(common["bottom"], names, mlp)
        self.edges, self.order = edges_and_order(names, relations, "relations")
        readers = list(dict.fromkeys(reader for reader, _ in self.edges))
        self.stacks = [MLP(common["tower_hidden_units"], name=f"{name}_tower", **mlp) for name in names]
        self.relations = {
            name: MLP(relation_hidden_units, name=f"{name}_relation", **mlp) for name in readers
        }
        self.towers = Towers(names, (), outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        inputs = self.bottom(x, training=training)
        stacks = dict(zip(self.towers.names, self.stacks, strict=True))
        read: dict[str, tf.Tensor] = {}
        for name in self.order:
            read[name] = stacks[name](inputs[name], training=training)
            if name in self.relations:
                parents = [read[source] for reader, source in self.edges if reader == name]
                seen = tf.concat([read[name], *parents], axis=-1)
                read[name] = self.relations[name](seen, training=training)
        return self.towers({name: read[name] for name in self.towers.names}, training=training)

    def shared_variables(self):
        """The last layer that the bottom shares; none means the embeddings."""
        return self.bottom.shared_variables()

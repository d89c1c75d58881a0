"""STAR: a network that all domains share, times one of each domain, element by element."""

from collections.abc import Sequence
from typing import Annotated

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import DomainShares, FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel, PerId
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import UnnormedOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register

from ._star import PartitionedNorm, StarStack, StarTowers


@register
class STAR(MultiTaskModel):
    """Star topology adaptive recommender, under the towers of several tasks.

    With p the domain of a row, x its embeddings and ``*`` by element::

        z   = (gain * gain_p) (x - mean_p) / sqrt(variance_p + eps) + offset + offset_p
        h   = act(h' (W * W_p) + b + b_p)     layer by layer, from z on
        y_k = tower_k(h) + auxiliary_k(x)

    Statistics of z are those of the domain's rows in a batch, running ones at inference and where there are
    fewer than two of them. A row of domain p moves what is shared and what is p's; a row of no known domain
    goes through the shared part alone, normalised over all rows, and moves nothing else. The auxiliary
    network sees which domain it is, as everything in x; its value is added before the sigmoid.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No such feature.

    Differs from the paper: several tasks, whose towers the domains share (``star_towers: True``: they do not,
    and one task is the paper's model); W_p starts at one and b_p at zero, so that all domains start as one
    network, where a product of two Glorot kernels would start next to zero.

    Example:
        >>> model = fm.STAR(data.features, data.tasks, domain="item_id")
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Sheng et al. One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR
        Prediction. CIKM 2021.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        domain: Annotated[
            str,
            option("The categorical feature whose values are the domains (of ready ids, those from 1 up)."),
        ] = "domain",
        star_hidden_units: Annotated[
            Sequence[int],
            option("Widths of the layers that each domain has kernels of.", least=1, most=65_536),
        ] = (256, 128),
        star_towers: Annotated[
            bool, option("Whether each domain has kernels of the towers, too, down to the head.")
        ] = False,
        auxiliary_hidden_units: Annotated[
            Sequence[int],
            option("Hidden widths of each task's auxiliary network.", least=1, most=65_536),
        ] = (32,),
        **common: Unpack[UnnormedOptions],
    ):
        super().__init__(features, tasks)
        names, mlp, units = [task.name for task in tasks], mlp_options(common), common["tower_hidden_units"]
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.domain = domain
        self.domain_shares = DomainShares(features, domain, unknown_apart=True)
        domains = self.domain_shares.count
        self.norm = PartitionedNorm(domains)
        self.bottom = StarStack(star_hidden_units, domains, **mlp)
        if star_towers:
            self.towers = StarTowers(names, units, domains, outputs=self.head_widths, **mlp)
        else:
            self.towers = Towers(names, units, outputs=self.head_widths, **mlp)
        # Under names of their own: two parts of one sum must not both start where labels are on average.
        self.auxiliary_names = {name: f"{name}_auxiliary" for name in names}
        widths = {self.auxiliary_names[name]: width for name, width in self.head_widths.items()}
        also = list(self.auxiliary_names.values())
        self.auxiliary = Towers(also, auxiliary_hidden_units, outputs=widths, **mlp)

    def embed(self, inputs):
        """The embeddings, and which domain a row is of."""
        return {"x": self.embedding(inputs), "domain": self.domain_shares(inputs)}

    def embedding_layers(self):
        """See the base class."""
        return {"x": self.embedding}

    def heads(self, x, training=False):
        """See the base class."""
        x, domain = x["x"], tf.stop_gradient(x["domain"])  # surgery compares what is learnt alone
        h = self.bottom(self.norm(x, domain, training=training), domain, training=training)
        seen = (h, domain) if isinstance(self.towers, StarTowers) else (h,)
        heads, auxiliary = self.towers(*seen, training=training), self.auxiliary(x, training=training)
        return {name: heads[name] + auxiliary[also] for name, also in self.auxiliary_names.items()}

    def shared_variables(self):
        """The kernel that all domains share of the last star layer."""
        return [star.shared_kernel for star in self.bottom.hidden[-1:]]

    def variables_by_id(self):
        """Those of the domains."""
        stars, norm = list(self.bottom.hidden), self.norm
        if isinstance(self.towers, StarTowers):
            stars += [star for stack in self.towers.stacks for star in stack.hidden] + self.towers.outputs
        width = norm.gain.shape[0]
        own: list[tuple] = [
            (each, (0, width)) for each in (norm.gains, norm.offsets, norm.means, norm.variances)
        ]
        own.append((norm.batches, (0,)))
        for star in stars:
            own += [(star.kernels, (0, *star.kernels.shape[1:])), (star.biases, (0, star.units))]
        return [PerId(variable, self.domain, shape) for variable, shape in own]

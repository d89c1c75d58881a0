"""PEPNet: what a row is decides how much of each input counts, who it is for how much of each hidden unit."""

from collections.abc import Sequence
from typing import Annotated, Literal

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, FeatureEmbedding, Towers
from fuxi_mtl.layers.checks import check_choice
from fuxi_mtl.layers.mlp import of_each
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register


class GateUnit(keras.layers.Layer):
    """GateNU, ``2 sigmoid(relu(x W + b) W' + b')``: factors from 0 to 2.

    Args:
        units: Number of factors.
        hidden: Width of the hidden layer.
        neutral: Whether all factors are 1 at the start.
        penalty: Regularizer of the kernels.
        name: Name of the layer.
    """

    def __init__(self, units: int, hidden: int, neutral: bool, penalty: keras.Regularizer | None, name: str):
        super().__init__(name=name)
        start = "zeros" if neutral else "glorot_uniform"
        self.hidden = keras.layers.Dense(hidden, activation="relu", kernel_regularizer=penalty)
        self.factors = keras.layers.Dense(
            units, activation="sigmoid", kernel_initializer=start, kernel_regularizer=penalty
        )

    def call(self, x):
        """``(batch, width)`` to ``(batch, units)``."""
        return 2 * self.factors(self.hidden(x))


@register
class PEPNet(MultiTaskModel):
    """Parameter and embedding personalised network: EPNet on the inputs, PPNet on the towers.

    With ``E`` the embeddings of a row, ``E_dom`` those of ``domain_features`` and ``P`` those of
    ``gate_features`` (user, item, author), among them or from tables of the gates' own, and ``GateNU(x) =
    2 sigmoid(relu(x W + b) W' + b')``::

        O = GateNU([E_dom, SG(E)]) * E                                            EPNet
        H_k,l = act(H_k,l-1 W + b) * GateNU_k,l([P, SG(O)])        H_k,0 = O      PPNet
        z_k = <w_k, H_k> + b_k

    The loss of k reaches its own tower and gates; the embeddings through E, through ``E_dom`` and ``P``, and
    never through the gates' other input. Without EPNet ``O = E``, without PPNet the towers are plain. An
    ``interaction`` makes ``H_k,0`` of O.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: A feature that is no input, no feature for a gate, or no hidden layer to gate.

    Differs from the paper: O is not gated again before the first layer; every task and layer has a gate of
    its own.

    Example:
        >>> gates = {"domain_features": ["item_id"], "gate_features": ["item_id"]}
        >>> model = fm.PEPNet(data.features, data.tasks, **gates)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Chang et al. PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior
        Information. KDD 2023.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        domain_features: Annotated[
            Sequence[str], option("Features that say which domain a row is of, for EPNet.", example="[tab]")
        ] = (),
        gate_features: Annotated[
            Sequence[str],
            option(
                "Features that say who a row is about, for PPNet.", example="[user_id, video_id, author_id]"
            ),
        ] = (),
        epnet: Annotated[bool, option("Whether inputs are gated.")] = True,
        ppnet: Annotated[bool, option("Whether hidden layers of towers are gated.")] = True,
        gate_hidden_units: Annotated[
            int | None,
            option("Hidden width of each gate; that of what it gates unless said.", least=1, most=65_536),
        ] = None,
        gate_embedding_dim: Annotated[
            int | None,
            option(
                "Width of tables of the gates' own; null reads the features' tables.",
                least=1,
                most=65_536,
            ),
        ] = None,
        gate_start: Annotated[
            Literal["plain", "neutral"], option("neutral: all factors are 1 at the start.")
        ] = "plain",
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        names, units, mlp = [task.name for task in tasks], common["tower_hidden_units"], mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common, interacting=False))
        self.interaction = self.embedding.interaction_behind(common["interaction"], mlp)
        read = [*(domain_features if epnet else ()), *(gate_features if ppnet else ())]
        self.gate_embedding = None
        if gate_embedding_dim is not None:
            penalty_of_rows = common["embedding_regularizer"]
            self.gate_embedding = FeatureEmbedding(features, gate_embedding_dim, penalty_of_rows, read)
        self.domain = self._columns("domain_features", domain_features, "epnet") if epnet else []
        self.prior = self._columns("gate_features", gate_features, "ppnet") if ppnet else []
        if ppnet and not units:
            raise ValueError("tower_hidden_units is empty: PPNet gates hidden layers. Set ppnet: False.")
        width = list(self.embedding.column_ranges.values())[-1][1]
        penalty, neutral = regularizer(common["net_regularizer"]), gate_start == "neutral"

        def gate(count: int, name: str) -> GateUnit:
            return GateUnit(count, gate_hidden_units or count, neutral, penalty, name)

        self.input_gate = gate(width, "epnet") if epnet else None
        activations = of_each(units, mlp.pop("activations"))
        self.layers_of = [
            [
                MLP([count], activations=each, name=f"{name}_layer_{i}", **mlp)
                for i, (count, each) in enumerate(zip(units, activations, strict=True))
            ]
            for name in names
        ]
        self.gates_of = [
            [gate(count, f"{name}_gate_{i}") for i, count in enumerate(units)] if ppnet else []
            for name in names
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])

    def embed(self, inputs):
        """The embeddings, and what gates read if they have tables of their own."""
        x = self.embedding(inputs)
        return x if self.gate_embedding is None else {"x": x, "gates": self.gate_embedding(inputs)}

    def embedding_layers(self):
        """See the base class."""
        own = self.gate_embedding
        return self.embedding if own is None else {"x": self.embedding, "gates": own}

    def heads(self, x, training=False):
        """See the base class."""
        x, read = (x, x) if self.gate_embedding is None else (x["x"], x["gates"])
        heads = {}
        if self.input_gate is not None:
            x = x * self.input_gate(tf.concat([_taken(read, self.domain), tf.stop_gradient(x)], axis=1))
        seen = tf.concat([_taken(read, self.prior), tf.stop_gradient(x)], axis=1) if self.prior else x
        x = x if self.interaction is None else self.interaction(x)
        for name, layers, gates in zip(self.towers.names, self.layers_of, self.gates_of, strict=True):
            hidden = x
            for i, layer in enumerate(layers):
                hidden = layer(hidden, training=training)
                if gates:
                    hidden = hidden * gates[i](seen)
            heads[name] = hidden
        return self.towers(heads, training=training)

    def _columns(self, key: str, names: Sequence[str], part: str) -> list[tuple[int, int]]:
        """The columns of some features among the embeddings."""
        ranges = (self.gate_embedding or self.embedding).column_ranges
        for name in names:
            check_choice(key, name, list(ranges))
        if not names:
            raise ValueError(f"{key} is empty: {part} gates by them. Name features, or set {part}: False.")
        return [ranges[name] for name in dict.fromkeys(names)]


def _taken(x: tf.Tensor, ranges: Sequence[tuple[int, int]]) -> tf.Tensor:
    return tf.concat([x[:, start:end] for start, end in ranges], axis=1)

"""The blocks ``mmoe`` and ``heads``: composed inputs, gated experts, and towers of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.blocks import check_choice, check_names, check_range, read_block
from fuxi_mtl.layers.bottoms import GatedExperts
from fuxi_mtl.layers.composer import FUSIONS, NORMS, InputComposer
from fuxi_mtl.layers.deepfm import said
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.mlp import Towers

AGGREGATES = ("none", "sum", "mean", "concat")
_WITHOUT = {
    "gate_type": "gate_hidden_dims says it: [] is a linear gate. Leave it out.",
    "input": "the first part is always deep_h. Leave it out.",
    "log_gates": "write log_health_metrics: True beside the model's options.",
}


@dataclass(frozen=True)
class Mixture:
    """The block ``mmoe``.

    Attributes:
        num_experts: Number of experts.
        expert_mlp_dims: Widths of each expert.
        gate_hidden_dims: Widths of the hidden layers of each gate; none is a linear gate.
        dropout: Share dropped of experts' units and of the composed parts; the model's unless said.
        gate_stabilize: A block of :class:`~fuxi_mtl.layers.stabilizing.GateStabilize`, or None.
        add_fm_vec: Whether the pairs of the factorization machine are a part.
        add_emb: ``none``, or how the embeddings are a part: their ``sum`` or ``mean`` over features,
            or ``concat``, all of them. Embeddings of different widths are summed by width.
        part_proj_dim: Width to which each part is projected; None leaves them as they are.
        fusion: How parts become one: ``concat`` or ``sum``.
        adapter_mlp_dims: Widths of the hidden layers behind it; none is no adapter.
        adapter_dropout: Share of their units dropped; that of `dropout` unless said.
        norm: ``layernorm`` or ``none``.

    Raises:
        ValueError: A value that cannot be.
    """

    num_experts: int = 4
    expert_mlp_dims: Sequence[int] = (128,)
    gate_hidden_dims: Sequence[int] = ()
    dropout: float | None = None
    gate_stabilize: dict | None = None
    add_fm_vec: bool = True
    add_emb: str = "mean"
    part_proj_dim: int | None = 128
    fusion: str = "concat"
    adapter_mlp_dims: Sequence[int] = (128,)
    adapter_dropout: float | None = None
    norm: str = "layernorm"

    def __post_init__(self):
        check_choice("mmoe.add_emb", self.add_emb, AGGREGATES)
        check_choice("mmoe.fusion", self.fusion, FUSIONS)
        check_choice("mmoe.norm", self.norm, NORMS)
        if self.part_proj_dim is not None:
            check_range("mmoe.part_proj_dim", self.part_proj_dim, 1)


def mixture(block: Mapping | None, fm_enabled: bool) -> Mixture:
    """What the option ``mmoe`` describes.

    Raises:
        ValueError: An unknown key, a value that cannot be, or pairs without a factorization machine.
    """
    options = read_block(Mixture, block, "mmoe", _WITHOUT)
    if options.add_fm_vec and not fm_enabled:
        raise ValueError("mmoe.add_fm_vec needs backbone.fm_enabled: True. Write add_fm_vec: False.")
    return options


class ComposedExperts(keras.layers.Layer):
    """Gated experts over composed parts of a row.

    Args:
        names: The heads.
        embedding: Gives the embeddings.
        options: The block ``mmoe``.
        mlp: Options of :class:`MLP` unless the block says otherwise.

    Raises:
        ValueError: The embeddings of features with ids are asked for, and there is no such feature.
    """

    def __init__(
        self, names: Sequence[str], embedding: FeatureEmbedding, options: Mixture, mlp: Mapping[str, Any]
    ):
        super().__init__()
        if options.add_emb in ("sum", "mean") and not embedding.field_counts():
            raise ValueError(f"mmoe.add_emb {options.add_emb} needs a feature with ids. Use none or concat.")
        self.options = options
        own = {**mlp, **said({"dropout": options.dropout})}
        self.composer = InputComposer(
            options.part_proj_dim,
            options.fusion,
            options.adapter_mlp_dims,
            options.norm,
            own["dropout"],
            {**own, **said({"dropout": options.adapter_dropout})},
        )
        self.experts = GatedExperts(
            names,
            own,
            options.num_experts,
            options.expert_mlp_dims,
            options.gate_hidden_dims,
            options.gate_stabilize,
        )
        self._fields = embedding.fields

    def parts(self, deep: tf.Tensor, pairs: tf.Tensor | None, x: tf.Tensor) -> list[tf.Tensor]:
        """The parts that the block asks for, of deep_h, fm_vec and the embeddings."""
        parts = [deep]
        if self.options.add_fm_vec:
            parts.append(pairs)
        if self.options.add_emb != "none":
            parts.append(x if self.options.add_emb == "concat" else self._aggregate(x))
        return parts

    def build(self, input_shape):
        """Creates the layers."""
        self.composer.build(input_shape)
        self.experts.build((None, self.composer.width))

    def call(self, parts, training=False):
        """Each head's mixture of the experts."""
        return self.experts(self.composer(parts, training=training), training=training)

    def _aggregate(self, x: tf.Tensor) -> tf.Tensor:
        over = tf.reduce_sum if self.options.add_emb == "sum" else tf.reduce_mean
        return tf.concat([over(vectors, axis=1) for vectors in self._fields(x).values()], axis=1)


@dataclass(frozen=True)
class Head:
    """An entry of ``heads``: the tower of one head, or of all of them under ``default``.

    Attributes:
        mlp_dims: Widths of the hidden layers.
        dropout: Share of their units dropped; the model's unless said.
        use_bn: Whether they are normalised; as the model unless said.
        activation: Their activation; the model's unless said.
    """

    mlp_dims: Sequence[int] | None = None
    dropout: float | None = None
    use_bn: bool | None = None
    activation: str | None = None


_OF_MLP = {"mlp_dims": "units", "dropout": "dropout", "use_bn": "batch_norm", "activation": "activations"}


def make_towers(block: Mapping | None, names: Sequence[str], mlp: Mapping[str, Any]) -> Towers:
    """The towers that the option ``heads`` describes: ``{default: {mlp_dims: [128]}, ctr: {...}}``.

    Args:
        block: The option.
        names: The heads.
        mlp: Options of :class:`MLP` unless the block says otherwise.

    Raises:
        ValueError: An unknown head or key, or a value of another type.
    """
    given = {} if block is None else block
    check_names("heads", given, ["default", *names])
    read = {key: said(asdict(read_block(Head, each, f"heads.{key}"))) for key, each in given.items()}
    common = read.pop("default", {})
    own = {
        name: {_OF_MLP[key]: value for key, value in {**common, **read.get(name, {})}.items()}
        for name in names
    }
    return Towers(names, (128,), own=own, **mlp)

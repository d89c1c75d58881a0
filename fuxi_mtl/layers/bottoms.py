"""Bottoms between the embeddings and the towers: one representation for each head.

Every bottom takes ``(batch, width)`` and gives a dict of ``(batch, units)`` by head. It also says
which variables are the last shared layer, on which gradient norms are taken. Models name their bottom
(MMoE, PLE), and entire-space models put any of them under their funnel.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.experts import Experts, Gate, mix, record_again, side_by_side
from fuxi_mtl.layers.mlp import MLP
from fuxi_mtl.layers.penalties import add_penalty
from fuxi_mtl.layers.routing import enabled_routing, routed, weights_of
from fuxi_mtl.layers.stabilizing import enabled_stabilize, gate_penalty
from fuxi_mtl.options.blocks import SparseRouting
from fuxi_mtl.options.bottoms import BOTTOMS
from fuxi_mtl.options.declaring import Option
from fuxi_mtl.options.shared import (
    BottomUnits,
    ExpertUnits,
    GateUnits,
    NumExperts,
    NumLevels,
    NumSharedExperts,
    NumSpecificExperts,
    Routing,
    Stabilize,
)
from fuxi_mtl.options.values import convert, located

_SHARED = ""  # key of the shared stream; no head is called so


@keras.saving.register_keras_serializable("fuxi_mtl")
class SharedEmbedding(Brick):
    """Nothing but the shared embeddings: each tower sees them as they are (ESMM's own bottom).

    >>> import tensorflow as tf
    >>> heads = SharedEmbedding(["ctr", "cvr"])(tf.ones((2, 3)))
    >>> {name: tuple(head.shape) for name, head in heads.items()}
    {'ctr': (2, 3), 'cvr': (2, 3)}
    """

    def __init__(self, names: Sequence[str], mlp: Mapping | None = None, **kwargs):
        super().__init__(**kwargs)
        self.names = tuple(names)

    def call(self, x, training=False):
        """The same input for every head."""
        return dict.fromkeys(self.names, x)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return dict.fromkeys(self.names, tuple(input_shape))

    def shared_variables(self) -> list[keras.Variable]:
        """None: the last thing that is shared is the embedding output."""
        return []

    def own_variables(self, name: str) -> list[keras.Variable]:
        """What serves one head only: nothing."""
        return []


@keras.saving.register_keras_serializable("fuxi_mtl")
class SharedBottom(Brick):
    """``h = MLP(x)`` for every head (Caruana 1997).

    Args:
        names: The heads.
        mlp: Options of :class:`MLP`, common to all stacks.
        bottom_hidden_units: Widths of the shared stack.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, width)`` to a dict of ``(batch, bottom_hidden_units[-1])`` by head.

    >>> import tensorflow as tf
    >>> heads = SharedBottom(["ctr", "cvr"], bottom_hidden_units=[8])(tf.ones((2, 3)))
    >>> {name: tuple(head.shape) for name, head in heads.items()}
    {'ctr': (2, 8), 'cvr': (2, 8)}
    """

    def __init__(
        self,
        names: Sequence[str],
        mlp: Mapping | None = None,
        *,
        bottom_hidden_units: BottomUnits = (256, 128),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.names = _heads(names)
        self.stack = MLP(bottom_hidden_units, **_options(mlp, self.dtype_policy))

    def build(self, input_shape):
        """Creates the layers."""
        self.stack.build(input_shape)

    def call(self, x, training=False):
        """The same hidden state for every head."""
        return dict.fromkeys(self.names, self.stack(x, training=training))

    def compute_output_shape(self, input_shape):
        """See the class."""
        return dict.fromkeys(self.names, self.stack.compute_output_shape(input_shape))

    def shared_variables(self) -> list[keras.Variable]:
        """The kernel of the last shared layer."""
        return self.stack.last_variables()

    def own_variables(self, name: str) -> list[keras.Variable]:
        """What serves one head only: nothing."""
        return []


@keras.saving.register_keras_serializable("fuxi_mtl")
class GatedExperts(Brick):
    """``f^k(x) = sum_e g^k(x)_e f_e(x)``: shared experts, one gate a head (Ma et al., KDD 2018, eq. 6).

    Args:
        names: The heads.
        mlp: Options of :class:`MLP`, common to experts and gates.
        num_experts: Number of experts.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of each gate; none is the paper's gate.
        gate_stabilize: A :class:`~fuxi_mtl.options.blocks.GateStabilize`, such a mapping, or None.
        sparse_routing: A :class:`~fuxi_mtl.options.blocks.SparseRouting`, such a mapping, or None.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, width)`` to a dict of ``(batch, expert_hidden_units[-1])`` by head.

    >>> import tensorflow as tf
    >>> bottom = GatedExperts(["ctr", "cvr"], {"dropout": 0.1}, num_experts=4, expert_hidden_units=[8])
    >>> heads = bottom(tf.ones((2, 3)))
    >>> {name: tuple(head.shape) for name, head in heads.items()}
    {'ctr': (2, 8), 'cvr': (2, 8)}
    """

    def __init__(
        self,
        names: Sequence[str],
        mlp: Mapping | None = None,
        *,
        num_experts: NumExperts = 8,
        expert_hidden_units: ExpertUnits = (256, 128),
        gate_hidden_units: GateUnits = (),
        gate_stabilize: Stabilize = None,
        sparse_routing: Routing = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.names = _heads(names)
        mlp = _options(mlp, self.dtype_policy)
        self.stabilize = enabled_stabilize(gate_stabilize)
        self.routing = enabled_routing(sparse_routing, self.names, num_experts)
        self.experts = Experts(num_experts, expert_hidden_units, **mlp)
        self.gates = [
            Gate(num_experts, gate_hidden_units, name=f"{name}_gate", stabilize=self.stabilize, **mlp)
            for name in names
        ]

    def build(self, input_shape):
        """Creates the layers."""
        self.experts.build(input_shape)
        for gate in self.gates:
            gate.build(input_shape)

    def call(self, x, training=False):
        """Each head's own mixture of the experts."""
        gates, experts = side_by_side(
            [(gate, x) for gate in self.gates],
            [(stack, x) for stack in self.experts.stacks],
            training=training,
        )
        if training and self.stabilize is not None and self.stabilize.penalises:
            add_penalty(self, gate_penalty(self.stabilize, gates))
        if self.routing is not None:
            gates = self._routed(self.routing, gates, training)
        return dict(zip(self.names, mix(gates, tf.stack(experts, axis=1)), strict=True))

    def compute_output_shape(self, input_shape):
        """See the class."""
        batch, _, width = self.experts.compute_output_shape(input_shape)
        return dict.fromkeys(self.names, (batch, width))

    def _routed(self, routing: SparseRouting, gates: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
        """The gates with zeros at all experts that a row does not read."""
        weights = weights_of(routing, self.names)
        shares, unequal = routed(
            tf.stack(gates, axis=1), routing.shared_experts, routing.own_experts, weights
        )
        if training and routing.balance > 0:
            add_penalty(self, routing.balance * unequal)
        sparse = tf.unstack(shares, num=len(gates), axis=1)
        record_again(dict(zip(self.gates, sparse, strict=True)))
        return sparse

    def shared_variables(self) -> list[keras.Variable]:
        """The last kernels of all experts."""
        return self.experts.last_variables()

    def own_variables(self, name: str) -> list[keras.Variable]:
        """What serves one head only: its gate."""
        return self.gates[self.names.index(name)].trainable_variables


class ExtractionLevel(keras.layers.Layer):
    """One level of PLE: private experts for each head, shared experts, and gates over both.

    The shared gate, absent from the last level, sees every expert of the level.
    """

    def __init__(
        self,
        names: Sequence[str],
        mlp: Mapping,
        num_shared: int,
        num_specific: int,
        units: Sequence[int],
        gate_units: Sequence[int],
        last: bool,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.names = tuple(names)
        self.specific = [
            Experts(num_specific, units, name=f"{n}_experts", **mlp) for n in names if num_specific
        ]
        self.shared = Experts(num_shared, units, **mlp) if num_shared else None
        own = [[f"{name}_{i}" for i in range(num_specific)] for name in names]
        common = [f"shared_{i}" for i in range(num_shared)]

        def gate(name: str, experts: Sequence[str]) -> Gate:
            return Gate(len(experts), gate_units, name=f"{name}_gate", experts=experts, **mlp)

        self.gates = [gate(name, [*private, *common]) for name, private in zip(names, own, strict=True)]
        everyone = [*itertools.chain(*own), *common]
        self.shared_gate = None if last or not num_shared else gate("shared", everyone)

    def build(self, input_shape):
        """Creates the layers; a level has one input width for all of its streams."""
        shape = input_shape[self.names[0]]
        for layer in [*self.specific, self.shared, *self.gates, self.shared_gate]:
            if layer is not None:
                layer.build(shape)

    def call(self, inputs, training=False):
        """Takes and gives a dict by head, with the shared stream under a key of its own."""
        gates = [(gate, inputs[name]) for name, gate in zip(self.names, self.gates, strict=True)]
        if self.shared_gate is not None:
            gates.append((self.shared_gate, inputs[_SHARED]))
        specific = [
            [(stack, inputs[name]) for stack in experts.stacks]
            for name, experts in zip(self.names, self.specific, strict=False)
        ]
        shared = [(stack, inputs[_SHARED]) for stack in self.shared.stacks] if self.shared else []
        shares, *own, common = side_by_side(gates, *specific, shared, training=training)
        streams = {}
        for i, name in enumerate(self.names):
            seen = tf.stack([*itertools.chain(*own[i : i + 1]), *common], axis=1)  # (batch, experts, units)
            (streams[name],) = mix(shares[i : i + 1], seen)
        if self.shared_gate is not None:
            (streams[_SHARED],) = mix(shares[-1:], tf.stack([*itertools.chain(*own), *common], axis=1))
        return streams

    def compute_output_shape(self, input_shape):
        """The shape of each stream, for that of each that comes in."""
        batch, _, width = (self.shared or self.specific[0]).compute_output_shape(input_shape)
        return (batch, width)


@keras.saving.register_keras_serializable("fuxi_mtl")
class ExtractionLevels(Brick):
    """Progressive layered extraction (Tang et al., RecSys 2020, eq. 1 to 6); one level is CGC.

    Level j of head k mixes its own experts, fed by its own stream, with the shared experts, fed by
    the shared stream; a gate reads the stream it feeds. Before the last level the shared stream mixes
    all experts of the level, so another head's experts learn from a head's loss through it; in the
    last level they do not.

    Args:
        names: The heads.
        mlp: Options of :class:`MLP`, common to experts and gates.
        num_layers: Number of levels.
        num_shared_experts: Shared experts in each level.
        num_specific_experts: Private experts of each head in each level.
        expert_hidden_units: Widths of each expert.
        gate_hidden_units: Widths of the hidden layers of each gate.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, width)`` to a dict of ``(batch, expert_hidden_units[-1])`` by head.

    Raises:
        ValueError: No level, or no expert.

    >>> import tensorflow as tf
    >>> heads = ExtractionLevels(["ctr", "cvr"], num_layers=2, expert_hidden_units=[8])(tf.ones((2, 3)))
    >>> {name: tuple(head.shape) for name, head in heads.items()}
    {'ctr': (2, 8), 'cvr': (2, 8)}
    """

    def __init__(
        self,
        names: Sequence[str],
        mlp: Mapping | None = None,
        *,
        num_layers: NumLevels = 1,
        num_shared_experts: NumSharedExperts = 4,
        num_specific_experts: NumSpecificExperts = 2,
        expert_hidden_units: ExpertUnits = (256, 128),
        gate_hidden_units: GateUnits = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        mlp = _options(mlp, self.dtype_policy)
        counts = (num_shared_experts, num_specific_experts)
        if num_layers < 1 or min(counts) < 0 or sum(counts) < 1:
            raise ValueError(
                f"num_layers is {num_layers}, num_shared_experts {num_shared_experts}, "
                f"num_specific_experts {num_specific_experts}: at least one level and one expert are needed."
            )
        self.names = _heads(names)
        self.levels = [
            ExtractionLevel(
                names,
                mlp,
                num_shared_experts,
                num_specific_experts,
                expert_hidden_units,
                gate_hidden_units,
                last=level == num_layers - 1,
                name=f"level_{level + 1}",
                dtype=self.dtype_policy,
            )
            for level in range(num_layers)
        ]

    def build(self, input_shape):
        """Creates the layers."""
        shape = tuple(input_shape)
        for level in self.levels:
            level.build(dict.fromkeys([*self.names, _SHARED], shape))
            shape = level.compute_output_shape(shape)

    def call(self, x, training=False):
        """Each head's stream after the last level."""
        streams = dict.fromkeys([*self.names, _SHARED], x)
        for level in self.levels:
            streams = level(streams, training=training)
        return streams

    def compute_output_shape(self, input_shape):
        """See the class."""
        shape = tuple(input_shape)
        for level in self.levels:
            shape = level.compute_output_shape(shape)
        return dict.fromkeys(self.names, shape)

    def shared_variables(self) -> list[keras.Variable]:
        """The last kernels of the last level's shared experts."""
        last = self.levels[-1].shared
        return [] if last is None else last.last_variables()

    def own_variables(self, name: str) -> list[keras.Variable]:
        """One head's experts and gates, though others see its experts before the last level."""
        at = self.names.index(name)
        layers: list[keras.layers.Layer] = []
        for level in self.levels:
            layers += [*level.specific[at : at + 1], level.gates[at]]
        return [variable for layer in layers for variable in layer.trainable_variables]


def make_bottom(spec: str | Mapping, names: Sequence[str], mlp: Mapping) -> keras.layers.Layer:
    """The bottom that an option such as ``bottom: {type: MMoE, num_experts: 4}`` describes.

    Args:
        spec: A name of :data:`~fuxi_mtl.options.bottoms.BOTTOMS`, or a block with that ``type`` and the
            bottom's options.
        names: The heads.
        mlp: Options of :class:`MLP`, common to all stacks.

    Raises:
        ValueError: Unknown type or option, or a value of another type.
    """
    given = convert(located(spec), str | dict, "bottom", Option("", choices=BOTTOMS))
    options = given if isinstance(given, dict) else {"type": given}
    member = BOTTOMS[options.pop("type")]
    return member.make(options, names=names, mlp=mlp)


def _heads(names: Any) -> tuple[str, ...]:
    """The names of heads. Features in their place are those of a model with a similar name."""
    if isinstance(names, str) or not all(isinstance(each, str) for each in names):
        raise ValueError(
            f"names is {type(names).__name__}. A layer takes the names of its heads, such as ['ctr', 'cvr']; "
            "a model, such as ShareBottom, takes features and tasks."
        )
    return tuple(names)


def _options(mlp: Mapping | None, dtype: Any) -> dict[str, Any]:
    """Options of stacks in a layer of this dtype policy."""
    return {"dtype": dtype, **(mlp or {})}

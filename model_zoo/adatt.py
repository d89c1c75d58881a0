"""AdaTT: levels in which each task fuses all experts, and keeps more of its own."""

from collections.abc import Sequence
from typing import Annotated

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import Experts, FeatureEmbedding, Gate, Towers
from fuxi_mtl.layers.experts import mix, side_by_side
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions, NumSharedExperts, embedding_options, mlp_options
from fuxi_mtl.registry import register

_SHARED = ""  # key of the shared unit's stream; no task is called so


class FusionLevel(keras.layers.Layer):
    """``f_k = g_k^T E + v_k^T E_k``: a gate over all experts of a level, and the task's own beside it.

    Args:
        names: The streams; the shared one may be among them.
        experts: How many experts each stream has.
        units: Width of an expert.
        fused: The streams that go on: the shared one ends before the last level.
        mlp: Options of experts and gates.
        name: Name of the layer.
    """

    def __init__(
        self,
        names: Sequence[str],
        experts: dict[str, int],
        units: int,
        fused: Sequence[str],
        mlp: dict,
        name: str,
    ):
        super().__init__(name=name)
        self.names, self.fused = tuple(names), tuple(fused)
        called = {stream: stream or "shared" for stream in names}
        self.experts = [
            Experts(experts[each], [units], name=f"{called[each]}_experts", **mlp) for each in names
        ]
        labels = [f"{called[each]}_{i}" for each in names for i in range(experts[each])]
        self.gates = [Gate(len(labels), name=f"{called[each]}_gate", experts=labels, **mlp) for each in fused]
        self.counts = [experts[each] for each in names]
        self.native: dict[str, keras.Variable] = {}
        for each in fused:
            count = experts[each]
            if count > 1:  # a single one counts once
                start = keras.initializers.RandomUniform(-(count**-0.5), count**-0.5)
                self.native[called[each]] = self.add_weight(
                    name=f"{called[each]}_native", shape=(count,), initializer=start
                )

    def build(self, input_shape):
        """Creates the layers; all streams have one width."""
        shape = input_shape[self.names[0]]
        for layer in [*self.experts, *self.gates]:
            layer.build(shape)

    def call(self, streams, training=False):
        """Takes and gives a dict by stream."""
        gates = [(gate, streams[name]) for name, gate in zip(self.fused, self.gates, strict=True)]
        stacks = [
            [(stack, streams[name]) for stack in experts.stacks]
            for name, experts in zip(self.names, self.experts, strict=True)
        ]
        shares, *outputs = side_by_side(gates, *stacks, training=training)
        everyone = tf.stack([output for own in outputs for output in own], axis=1)  # (batch, experts, units)
        fused = [share + self._own(name) for name, share in zip(self.fused, shares, strict=True)]
        return dict(zip(self.fused, mix(fused, everyone), strict=True))

    def _own(self, name: str) -> tf.Tensor:
        """``(1, experts)``: what the native term adds to the gate of a stream."""
        place = self.names.index(name)
        native = self.native.get(name or "shared")
        weights = tf.ones([1]) if native is None else tf.cast(tf.convert_to_tensor(native), tf.float32)
        before, after = sum(self.counts[:place]), sum(self.counts[place + 1 :])
        return tf.pad(weights, [[before, after]])[None]

    def compute_output_shape(self, input_shape):
        """Unused: the level is called with tensors."""
        return input_shape


@register
class AdaTT(MultiTaskModel):
    """Adaptive task-to-task fusion: AdaTT-sp, or AdaTT with a shared unit.

    With the experts ``E_k`` of task k on its own stream ``f_k`` of the level before, E those of all tasks and
    ``f_k = x`` below the first level::

        f_k <- g_k^T E + v_k^T E_k        g_k = softmax(W_k f_k)        z_k = tower_k(f_k)

    (equations 3 to 11). ``v_k`` is learnt and not normalised; with one expert a task it is 1. With
    ``num_shared_experts`` a shared unit has a stream, a gate and experts like a task; in the last level
    experts only. The loss of k reaches the experts of all tasks; gates of the last level are private.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: gates have a bias, as in its authors' program.

    Example:
        >>> model = fm.AdaTT(data.features, data.tasks, level_hidden_units=[64, 32])
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Li et al. AdaTT: Adaptive Task-to-Task Fusion Network for Multitask Learning in Recommendations. KDD
        2023.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        level_hidden_units: Annotated[
            Sequence[int], option("Width of the experts of each level.", least=1, most=65_536)
        ] = (128, 64),
        num_specific_experts: Annotated[
            int, option("Experts of each task, in each level.", least=1, most=1000)
        ] = 1,
        num_shared_experts: NumSharedExperts = 0,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        if not level_hidden_units:
            raise ValueError("level_hidden_units is empty: AdaTT has one level at least.")
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        counts = dict.fromkeys(names, num_specific_experts)
        counts |= {_SHARED: num_shared_experts} if num_shared_experts else {}
        last = len(level_hidden_units) - 1
        self.levels = [
            FusionLevel([*counts], counts, units, names if i == last else [*counts], mlp, name=f"level_{i}")
            for i, units in enumerate(level_hidden_units)
        ]
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        streams = dict.fromkeys(self.levels[0].names, x)
        for level in self.levels:
            streams = level(streams, training=training)
        return self.towers(streams, training=training)

    def shared_variables(self):
        """The kernels of the last level's experts."""
        return [variable for experts in self.levels[-1].experts for variable in experts.last_variables()]

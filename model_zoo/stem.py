"""STEM: tables of each task beside shared ones; tasks read each other's experts and leave them alone."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import Experts, FeatureEmbedding, Gate, Towers
from fuxi_mtl.layers.experts import mix
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import ExtractionOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register

_SHARED = ""  # key of the shared stream; no task is called so


class SelectingLevel(keras.layers.Layer):
    """Experts of every stream, and gates that read all of them, others' behind a stop-gradient.

    Args:
        names: The tasks.
        counts: Experts of each stream.
        options: ``expert_hidden_units`` and ``gate_hidden_units``.
        mlp: Options of experts and gates.
        goes_on: Whether the shared stream does.
        stop_in_shared: Whether the tasks' experts are stopped in the shared stream, too.
        name: Name of the layer.
    """

    def __init__(
        self,
        names: list[str],
        counts: Mapping[str, int],
        options: Mapping,
        mlp: Mapping,
        goes_on: bool,
        stop_in_shared: bool,
        name: str,
    ):
        super().__init__(name=name)
        self.names, self.stops = names, stop_in_shared
        called = {each: each or "shared" for each in counts}
        labels = [f"{called[each]}_{i}" for each, count in counts.items() for i in range(count)]
        self.experts = [
            Experts(count, options["expert_hidden_units"], name=f"{called[each]}_experts", **mlp)
            for each, count in counts.items()
        ]
        self.streams = list(counts)
        self.gates = [
            Gate(
                len(labels), options["gate_hidden_units"], name=f"{called[each]}_gate", experts=labels, **mlp
            )
            for each in ([*names, _SHARED] if goes_on else names)
        ]

    def call(self, x, training=False):
        """Takes and gives a dict by stream."""
        outputs = {
            each: experts(x[each], training=training)
            for each, experts in zip(self.streams, self.experts, strict=True)
        }
        stopped = {each: tf.stop_gradient(output) for each, output in outputs.items()}
        found = {}
        for name, gate in zip([*self.names, _SHARED], self.gates, strict=False):
            shares = gate(x[name] + x[_SHARED] if name else x[_SHARED], training=training)
            seen = [
                output if each in (name, _SHARED) or (not name and not self.stops) else stopped[each]
                for each, output in outputs.items()
            ]
            (found[name],) = mix([shares], tf.concat(seen, axis=1))
        return found


@register
class STEM(MultiTaskModel):
    """STEM-Net: embeddings of each task and shared ones; all experts forward, the task's own backward.

    With ``x_k`` the inputs from the tables of task k, ``x_s`` those from the shared tables, and
    ``E_k(x_k)``, ``E_s(x_s)`` experts::

        f_k = sum of softmax(G_k(x_k + x_s)) times [E_k, SG(E_j) for the other tasks j, E_s]
        z_k = tower_k(f_k)

    The loss of k reaches the tables and experts of k and the shared ones, and no others; its gate sees all.
    With several levels the shared stream reads all experts, too, behind the same stop.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: with several levels ``stop_in_shared`` keeps tables of one task from the losses of
    others; its authors' program lets them through in the shared stream.

    Example:
        >>> model = fm.STEM(data.features, data.tasks, num_shared_experts=2)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Su et al. STEM: Unleashing the Power of Embeddings for Multi-Task Recommendation. AAAI 2024.
    """

    defaults: ClassVar[ExtractionOptions] = {
        "num_shared_experts": 8,
        "num_specific_experts": 1,
        "expert_hidden_units": (256, 128),
        "gate_hidden_units": (),
    }

    def __init__(
        self,
        features,
        tasks,
        *,
        num_layers: Annotated[int, option("Number of levels.", least=1, most=100)] = 1,
        stop_in_shared: Annotated[
            bool, option("Whether the shared stream of several levels leaves the tasks' experts alone, too.")
        ] = True,
        **options: Unpack[ExtractionOptions],
    ):
        super().__init__(features, tasks)
        names, mlp = [task.name for task in tasks], mlp_options(options)
        counts = dict.fromkeys(names, options["num_specific_experts"]) | {
            _SHARED: options["num_shared_experts"]
        }
        counts = {name: count for name, count in counts.items() if count}
        if not counts:
            raise ValueError("num_specific_experts and num_shared_experts are 0: STEM mixes experts.")
        tables = embedding_options(options)
        self.private_embeddings = [
            FeatureEmbedding(features, **tables, name=f"{name}_embedding") for name in names
        ]
        self.shared_embedding = FeatureEmbedding(features, **tables, name="shared_embedding")
        self.levels = [
            SelectingLevel(names, counts, options, mlp, i < num_layers - 1, stop_in_shared, name=f"level_{i}")
            for i in range(num_layers)
        ]
        self.towers = Towers(names, options["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def embed(self, inputs):
        """The inputs from each task's own tables and from the shared ones, by task."""
        return {name: embedding(inputs) for name, embedding in self.embedding_layers().items()}

    def embedding_layers(self):
        """See the base class."""
        layers = [*self.private_embeddings, self.shared_embedding]
        return dict(zip([*self.towers.names, _SHARED], layers, strict=True))

    def heads(self, x, training=False):
        """See the base class."""
        for level in self.levels:
            x = level(x, training=training)
        return self.towers({name: x[name] for name in self.towers.names}, training=training)

    def shared_variables(self):
        """The last kernels of the last level's shared experts; none means the embeddings."""
        level = self.levels[-1]
        if _SHARED not in level.streams:
            return []
        return level.experts[level.streams.index(_SHARED)].last_variables()

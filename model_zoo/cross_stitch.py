"""Cross-stitch: a private network for each task, whose hidden layers are mixed layer by layer."""

from typing import Annotated, ClassVar, Literal

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import MLP, FeatureEmbedding, Towers
from fuxi_mtl.layers.mlp import of_each
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions, embedding_options, mlp_options
from fuxi_mtl.registry import register


class Stitch(keras.layers.Layer):
    """``x'_k = sum_j a_kj x_j``, a one number a pair of tasks, or one a pair and unit.

    Args:
        tasks: Number of tasks.
        share: Of a task's own layer at the start; the others have the rest in equal parts.
        by_unit: Whether every unit has numbers of its own.
        name: Name of the layer.
    """

    def __init__(self, tasks: int, share: float, by_unit: bool, name: str):
        super().__init__(name=name)
        self.tasks, self.share, self.by_unit = tasks, share, by_unit

    def build(self, input_shape):
        """Creates the numbers."""
        rest = (1 - self.share) / (self.tasks - 1) if self.tasks > 1 else 0.0
        start = tf.linalg.diag(tf.fill([self.tasks], (self.share if self.tasks > 1 else 1.0) - rest)) + rest
        width = input_shape[-1] if self.by_unit else 1
        self.numbers = self.add_weight(name="stitch", shape=(self.tasks, self.tasks, width))
        self.numbers.assign(tf.tile(start[:, :, None], [1, 1, width]))

    def call(self, x):
        """``(batch, tasks, width)`` to the same."""
        numbers = tf.cast(tf.convert_to_tensor(self.numbers), x.dtype)
        if self.by_unit:
            return tf.einsum("bjw,kjw->bkw", x, numbers)
        return tf.einsum("bjw,kj->bkw", x, numbers[:, :, 0])


@register
class CrossStitch(MultiTaskModel):
    """Cross-stitch networks: towers side by side, mixed after each of their hidden layers.

    ``x~_k = sum_j a_kj x_j`` after every layer, and the next layer of task k reads ``x~_k`` (equation 1). The
    loss of k reaches all towers below the last stitch, all numbers of earlier stitches, and its own row of
    the last. With ``a`` the identity these are single networks on shared embeddings.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No hidden layer to mix.

    Example:
        >>> model = fm.CrossStitch(data.features, data.tasks, tower_hidden_units=[64, 32])
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Misra et al. Cross-stitch Networks for Multi-task Learning. CVPR 2016.
    """

    defaults: ClassVar[CommonOptions] = {"tower_hidden_units": (64, 32)}

    def __init__(
        self,
        features,
        tasks,
        *,
        stitch_share: Annotated[
            float, option("Share of a task's own layer at the start.", least=0, most=1)
        ] = 0.9,
        stitch: Annotated[
            Literal["scalar", "unit"], option("One number for a pair of tasks, or one for each unit, too.")
        ] = "scalar",
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        units = common["tower_hidden_units"]
        if not units:
            raise ValueError("tower_hidden_units is empty: CrossStitch mixes hidden layers.")
        names = [task.name for task in tasks]
        mlp = mlp_options(common)
        activations = of_each(units, mlp.pop("activations"))
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.levels = [
            [MLP([width], activations=activation, name=f"{name}_layer_{place}", **mlp) for name in names]
            for place, (width, activation) in enumerate(zip(units, activations, strict=True))
        ]
        self.stitches = [
            Stitch(len(names), stitch_share, stitch == "unit", name=f"stitch_{place}")
            for place in range(len(units))
        ]
        self.towers = Towers(names, (), outputs=self.head_widths, penalty=common["net_regularizer"])

    def heads(self, x, training=False):
        """See the base class."""
        streams = [x] * len(self.tasks)
        for layers, stitch in zip(self.levels, self.stitches, strict=True):
            hidden = [layer(stream, training=training) for layer, stream in zip(layers, streams, strict=True)]
            streams = tf.unstack(stitch(tf.stack(hidden, axis=1)), axis=1)
        return self.towers(dict(zip(self.towers.names, streams, strict=True)), training=training)

    def shared_variables(self):
        """The kernels of the layers below the last stitch."""
        return [variable for layer in self.levels[-1] for variable in layer.last_variables()]

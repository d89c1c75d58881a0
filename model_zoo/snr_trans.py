"""SNR: sub-networks joined by transformations, each of which may be switched off."""

import math
from collections.abc import Sequence
from typing import Annotated

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import Experts, FeatureEmbedding, Towers
from fuxi_mtl.layers.mlp import of_each
from fuxi_mtl.layers.penalties import add_penalty
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions, NumExperts, embedding_options, mlp_options
from fuxi_mtl.registry import register

_BETA, _LOW, _HIGH = 0.9, -0.1, 1.1  # temperature and stretch of the hard concrete distribution


class Joints(keras.layers.Layer):
    """``u_i = sum_j z_ij W_ij v_j``, z from a hard concrete distribution.

    ``z = clip(1.2 s - .1, 0, 1)``; in training ``s = sigmoid((log u - log(1 - u) + log_alpha) / .9)`` with u
    uniform, drawn once a step; afterwards ``s = sigmoid(log_alpha)``.

    Args:
        inputs: Number of sub-networks below.
        outputs: Number of those above, or of tasks.
        l0: Weight of the expected number of joints that are not 0.
        penalty: Regularizer of the transformations.
        name: Name of the layer.
    """

    def __init__(self, inputs: int, outputs: int, l0: float, penalty: keras.Regularizer | None, name: str):
        super().__init__(name=name)
        self.sizes, self.l0, self.penalty = (outputs, inputs), l0, penalty
        self.generator = keras.random.SeedGenerator()

    def build(self, input_shape):
        """Creates the transformations, and the joints at even odds."""
        width = input_shape[-1]
        limit = math.sqrt(3 / width)  # of each kernel alone, as a Dense layer would start it
        self.kernels = self.add_weight(
            name="kernels",
            shape=(*self.sizes, width, width),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            regularizer=self.penalty,
        )
        self.log_alpha = self.add_weight(name="log_alpha", shape=self.sizes, initializer="zeros")

    def call(self, v, training=False):
        """``(batch, inputs, width)`` to ``(batch, outputs, width)``."""
        logits = tf.cast(tf.convert_to_tensor(self.log_alpha), tf.float32)
        if self.l0:
            add_penalty(self, self.l0 * tf.reduce_sum(tf.sigmoid(logits - _BETA * math.log(-_LOW / _HIGH))))
        z = joints(logits, keras.random.uniform(self.sizes, seed=self.generator) if training else None)
        kernels = tf.cast(tf.convert_to_tensor(self.kernels), tf.float32) * z[:, :, None, None]
        return tf.einsum("bjw,ijwu->biu", v, tf.cast(kernels, v.dtype))


def joints(log_alpha: tf.Tensor, u: tf.Tensor | None = None) -> tf.Tensor:
    """The z of the hard concrete distribution for uniform numbers, or as it is after training."""
    if u is not None:
        u = tf.clip_by_value(u, 1e-6, 1 - 1e-6)
        log_alpha = (tf.math.log(u) - tf.math.log1p(-u) + log_alpha) / _BETA
    return tf.clip_by_value(tf.sigmoid(log_alpha) * (_HIGH - _LOW) + _LOW, 0.0, 1.0)


@register
class SNR_trans(MultiTaskModel):  # noqa: N801 - the name is written so
    """Sub-network routing with transformations.

    Every level has E sub-networks ``v_j = relu(W_j u_j + b_j)``; between levels, and from the last one to the
    towers::

        u_i = sum_j z_ij W_ij v_j        z_k = tower_k(u_k)

    with ``z_ij`` from 0 to 1, random in training and settled afterwards: which sub-network feeds which is
    learnt. The loss of k reaches all sub-networks below the last joints, of these its own row.

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: No level.

    Example:
        >>> model = fm.SNR_trans(data.features, data.tasks, num_experts=3, level_hidden_units=[64, 32])
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Ma et al. SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task Learning. AAAI 2019.
        Constants of the distribution: Louizos et al. Learning Sparse Neural Networks through L0
        Regularization. ICLR 2018.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        num_experts: NumExperts = 4,
        level_hidden_units: Annotated[
            Sequence[int], option("Width of the sub-networks of each level.", least=1, most=65_536)
        ] = (128, 64),
        snr_l0: Annotated[
            float, option("Weight of the expected number of joints that are not 0.", least=0)
        ] = 0.0,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        if not level_hidden_units:
            raise ValueError("level_hidden_units is empty: SNR_trans has one level at least.")
        names, mlp = [task.name for task in tasks], mlp_options(common)
        activations = of_each(level_hidden_units, mlp["activations"])
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.levels = [
            [
                Experts(1, [units], name=f"level_{place}_{i}", **mlp | {"activations": activation})
                for i in range(num_experts)
            ]
            for place, (units, activation) in enumerate(zip(level_hidden_units, activations, strict=True))
        ]
        last, penalty = len(level_hidden_units) - 1, regularizer(common["net_regularizer"])
        self.joints = [
            Joints(num_experts, len(names) if i == last else num_experts, snr_l0, penalty, name=f"joints_{i}")
            for i in range(last + 1)
        ]
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        streams = [x] * len(self.levels[0])
        for level, joint in zip(self.levels, self.joints, strict=True):
            parts = [expert(stream, training=training) for expert, stream in zip(level, streams, strict=True)]
            streams = tf.unstack(joint(tf.concat(parts, axis=1), training=training), axis=1)
        return self.towers(dict(zip(self.towers.names, streams, strict=True)), training=training)

    def shared_variables(self):
        """None: a joint may be off in a step, and no layer behind the embeddings is surely shared."""
        return []

"""The bricks of M3oE: experts in one product, four learnt numbers, and how they mix."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.layers.stacked import NormedStacks


class NormedExperts(NormedStacks):
    """Experts over one input.

    Args:
        count: Number of experts.
        units: Width of each layer.
        **options: Those of :class:`NormedStacks`.

    Shapes:
        ``(batch, width)`` to ``(batch, experts, units[-1])``.
    """

    def __init__(self, count: int, units: Sequence[int], **options):
        super().__init__((count,), units, **options)

    def call(self, x, training=False):
        """All experts' outputs."""
        for layer, (kernel, bias, *norm) in enumerate(self.parameters()):
            equation = "beu,euv->bev" if layer else "bu,euv->bev"
            x = self.after(layer, tf.einsum(equation, x, kernel) + bias, norm, training)
        return x


class FusionScalars(keras.layers.Layer):
    """Numbers between 0 and 1, ``sigmoid`` of parameters that no ordinary step moves.

    They are learnt on validation batches: see :meth:`MultiTaskModel.bilevel_variables`.

    Args:
        start: Where each starts, by name: the number itself, not the parameter.
    """

    def __init__(self, start: Mapping[str, float]):
        super().__init__(dtype="float32")
        self.start = dict(start)
        logits = [math.log(value / (1 - value)) for value in self.start.values()]
        self.logits = self.add_weight(
            shape=(len(logits),),
            initializer=keras.initializers.Constant(logits),
            trainable=False,
            autocast=False,  # read inside other layers, which may compute in half precision
            name="fusion_scalars",
        )
        self.built = True

    def numbers(self) -> dict[str, tf.Tensor]:
        """The numbers, by name."""
        values = tf.sigmoid(tf.convert_to_tensor(self.logits))
        return dict(zip(self.start, tf.unstack(values), strict=True))


def own_and_others(balance: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """``shares (beta I + (1 - beta) / (n - 1) (1 - I))``: beta for the own of n, the rest for all others.

    The only one of its kind has all.

    Args:
        balance: beta, a scalar.
        shares: ``(rows, n)``, each row summing to 1.
    """
    n = shares.shape[-1]
    if n == 1:
        return shares
    return balance * shares + (1 - balance) / (n - 1) * (1 - shares)


def mixed(shares: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """``sum_e shares_e expert_e``: ``(batch or 1, experts)`` and ``(batch, experts, width)``."""
    return tf.reduce_sum(tf.cast(shares, experts.dtype)[:, :, None] * experts, axis=1)

"""Gates that do not settle too early, and do not forget experts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.layers.blocks import check_range, read_block


@dataclass(frozen=True)
class GateStabilize:
    """The block ``gate_stabilize``.

    A gate of logits u is, in training, ``softmax((u + noise) / temperature)`` with normal noise, and the
    total loss gets, once a step, ``R = w_H (- mean_bt H(g_bt)) + w_KL mean_t KL(mean_b g_bt || uniform)``.
    Minimising R spreads the gate of every row (first term) and the use of experts over a batch (second).

    Attributes:
        enabled: False is a gate without any of this.
        temperature: Above 1 the shares are closer to each other, in training and afterwards.
        noise_std: Deviation of the noise, in training only, before the temperature.
        eps: Added inside the logarithm of the entropy.
        entropy_reg_weight: w_H. It rewards gates that choose nothing, so 0 lets experts specialise.
        load_balance_kl_weight: w_KL.

    Raises:
        ValueError: A number out of its range.
    """

    enabled: bool = True
    temperature: float = 1.2
    noise_std: float = 0.05
    eps: float = 1e-8
    entropy_reg_weight: float = 1e-3
    load_balance_kl_weight: float = 1e-3

    def __post_init__(self):
        for key in ("temperature", "eps"):
            if getattr(self, key) <= 0:
                raise ValueError(f"gate_stabilize.{key} is {getattr(self, key):g}; it must be above 0.")
        for key in ("noise_std", "entropy_reg_weight", "load_balance_kl_weight"):
            check_range(f"gate_stabilize.{key}", getattr(self, key), 0)

    @property
    def penalises(self) -> bool:
        """Whether it adds to the loss."""
        return self.entropy_reg_weight > 0 or self.load_balance_kl_weight > 0

    def penalty(self, gates: Sequence[tf.Tensor]) -> tf.Tensor:
        """R of some gates, a scalar.

        Args:
            gates: One float32 ``(batch, experts)`` tensor for each task.
        """
        shares = tf.stack(gates, axis=1)  # (batch, tasks, experts)
        entropy = -tf.reduce_sum(shares * tf.math.log(shares + self.eps), axis=-1)
        mean = tf.reduce_mean(shares, axis=0)  # (tasks, experts)
        divergence = tf.reduce_sum(mean * tf.math.log(mean * mean.shape[-1] + self.eps), axis=-1)
        return self.load_balance_kl_weight * tf.reduce_mean(
            divergence
        ) - self.entropy_reg_weight * tf.reduce_mean(entropy)


_WITHOUT = {"log_stats": "write log_health_metrics: True beside the model's options."}


def gate_stabilize(block: Mapping | None) -> GateStabilize | None:
    """What the option ``gate_stabilize`` asks for; None where it asks for nothing.

    Raises:
        ValueError: An unknown key, or a value that cannot be.
    """
    if block is None:
        return None
    options = read_block(GateStabilize, block, "gate_stabilize", _WITHOUT)
    return options if options.enabled else None

"""Gate temperature, noise, entropy and load-balance regularisation."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_mean
from fuxi_mtl.options.blocks import GateStabilize
from fuxi_mtl.options.values import block


def gate_penalty(stabilize: GateStabilize, gates: Sequence[tf.Tensor]) -> tf.Tensor:
    """R of some gates, a scalar, over all replicas; see :class:`~fuxi_mtl.options.blocks.GateStabilize`.

    Args:
        stabilize: The block.
        gates: One float32 ``(batch, experts)`` tensor for each task.
    """
    shares = tf.stack(gates, axis=1)  # (batch, tasks, experts)
    entropy = -tf.reduce_sum(shares * tf.math.log(shares + stabilize.eps), axis=-1)
    mean = global_mean(shares)  # (tasks, experts)
    divergence = tf.reduce_sum(mean * tf.math.log(mean * mean.shape[-1] + stabilize.eps), axis=-1)
    return stabilize.load_balance_kl_weight * tf.reduce_mean(
        divergence
    ) - stabilize.entropy_reg_weight * global_mean(entropy, axis=None)


def enabled_stabilize(given: GateStabilize | Mapping | None) -> GateStabilize | None:
    """What the option ``gate_stabilize`` asks for; None where it asks for nothing.

    Raises:
        ValueError: An unknown key, or a value that cannot be.
    """
    if given is None:
        return None
    options = block(GateStabilize, given, "gate_stabilize")
    return options if options.enabled else None

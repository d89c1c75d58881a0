"""Sparse routing: the experts that a row reads (SMES, Zhang et al., arXiv 2602.09386)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_mean
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.blocks import SparseRouting
from fuxi_mtl.options.values import block


def routed(shares: tf.Tensor, shared: int, own: int, weights: Sequence[float]) -> tuple[tf.Tensor, tf.Tensor]:
    """What each task of a row reads of each expert, and how unequally experts are used.

    Args:
        shares: ``(batch, tasks, experts)`` float32, the gates; each row of experts sums to 1.
        shared: How many experts all tasks of a row read.
        own: How many each of them adds.
        weights: Of the tasks in the choice of the former; they sum to 1.

    Returns:
        ``(batch, tasks, experts)``, zeros at experts that are not chosen and a sum of 1; and a scalar, 1
        where experts are chosen and weighed alike. Of equal shares that of the lower number is chosen.
    """
    experts = shares.shape[-1]
    # No einsum, whose transposes in ONNX OpenVINO refuses.
    agreed = tf.reduce_sum(shares * tf.constant(weights, shares.dtype)[:, None], axis=1)
    chosen = tf.broadcast_to(_largest(agreed, shared)[:, None], tf.shape(shares))
    if own:
        chosen += _largest(tf.where(chosen > 0, -1.0, shares), own)
    kept = shares * chosen
    # Of the rows of all replicas. How often an expert is chosen is a constant: a choice has no gradient.
    use, mean = (global_mean(tf.reduce_mean(each, axis=1)) for each in (chosen, shares))
    unequal = experts / (shared + own) * tf.reduce_sum(use * mean)
    return kept / tf.maximum(tf.reduce_sum(kept, axis=-1, keepdims=True), 1e-30), unequal


def _largest(x: tf.Tensor, count: int) -> tf.Tensor:
    """Ones at the largest so many along the last axis, zeros elsewhere."""
    if count == 0:
        return tf.zeros_like(x)
    return tf.reduce_sum(tf.one_hot(tf.math.top_k(x, count).indices, x.shape[-1]), axis=-2)


def enabled_routing(
    given: SparseRouting | Mapping | None, names: Sequence[str], experts: int
) -> SparseRouting | None:
    """What the option ``sparse_routing`` asks for; None where it asks for nothing.

    Args:
        given: The option.
        names: The tasks.
        experts: How many experts there are.

    Raises:
        ValueError: An unknown key, more experts than there are, or weights of other tasks.
    """
    if given is None:
        return None
    options = block(SparseRouting, given, "sparse_routing")
    count = options.shared_experts + options.own_experts
    if count > experts:
        raise ValueError(f"sparse_routing reads {count} experts of {experts}: num_experts is less than that.")
    for name in options.task_weights or {}:
        if name not in names:
            near = did_you_mean(name, names)
            raise ValueError(
                f"sparse_routing.task_weights names {name!r}, which is no task.{near} Tasks: "
                f"{', '.join(names)}."
            )
    return options


def weights_of(routing: SparseRouting, names: Sequence[str]) -> list[float]:
    """The weight of each task, with a sum of 1; of those that are not named, none."""
    given = routing.task_weights or dict.fromkeys(names, 1.0)
    return [given.get(name, 0.0) / sum(given.values()) for name in names]

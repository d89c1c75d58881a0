"""Values of heads as they are served, and labels in the unit in which heads are trained on them.

A head is raw: a logit, or a number in the unit of its label's normalizer. What makes of it the value that is
served, and of a label the number that it is held against, is here and nowhere else.
"""

from collections.abc import Mapping

import tensorflow as tf

from fuxi_mtl.features import LabelUnit
from fuxi_mtl.tasks import Task


def unit_of(task: Task, units: Mapping[str, LabelUnit]) -> LabelUnit | None:
    """The unit in which a regression is learnt; None for its label's own, and for binary tasks."""
    return units.get(task.event[0]) if task.kind == "regression" else None


def served(task: Task, head: tf.Tensor, unit: LabelUnit | None) -> tf.Tensor:
    """The probability, or the value in the label's own unit, of a raw head.

    Args:
        task: What the head predicts.
        head: ``(batch,)``.
        unit: That of :func:`unit_of`.
    """
    if task.kind == "binary":
        return tf.sigmoid(head)
    if unit is None:
        return head
    value = head * unit.scale + unit.offset
    return tf.math.expm1(value) if unit.log else value


def learnt(label: tf.Tensor, unit: LabelUnit | None) -> tf.Tensor:
    """What a raw head is held against: the label, in the unit of its normalizer; NaN stays NaN.

    Args:
        label: ``(batch,)``.
        unit: That of :func:`unit_of`.
    """
    if unit is None:
        return label
    return ((tf.math.log1p(label) if unit.log else label) - unit.offset) / unit.scale

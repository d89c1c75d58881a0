"""Values of heads as they are served, and labels in the unit in which heads are trained on them.

A head is raw: a logit, or a number in the unit of its label's normalizer. What makes of it the value that is
served, and of a label the number that it is held against, is here and nowhere else.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fuxi_mtl.decoders import Decoder, make_decoder
from fuxi_mtl.features import FeatureMap, LabelUnit
from fuxi_mtl.metrics import Parts
from fuxi_mtl.tasks import Task


def unit_of(task: Task, units: Mapping[str, LabelUnit]) -> LabelUnit | None:
    """The unit in which a regression is learnt; None for its label's own, and for binary tasks."""
    return units.get(task.event[0]) if task.kind == "regression" else None


def decoders_of(tasks: Iterable[Task], features: FeatureMap) -> dict[str, Decoder]:
    """The decoder of each task that has one.

    Raises:
        ValueError: A decoder's options do not fit, or see :func:`check_names`.
    """
    made = {task.name: make_decoder(task, features) for task in tasks}
    decoders = {name: each for name, each in made.items() if each is not None}
    check_names(made, decoders)
    return decoders


def check_names(names: Iterable[str], decoders: Mapping[str, Decoder]) -> None:
    """Refuses names by which a decoder serves something else: that would be measured in their place.

    Args:
        names: Tasks or products.
        decoders: By task.

    Raises:
        ValueError: It says which.
    """
    parts = {f"{task}_{end}": task for task, each in decoders.items() for end in each.part_names}
    for name in names:
        if name in parts:
            raise ValueError(
                f"{name!r} is what the decoder of {parts[name]!r} serves beside its value: give the task or "
                "product of that name another one."
            )


def check_products(expected: Iterable[Task], decoders: Mapping[str, Decoder]) -> None:
    """Refuses products that would be served in the place of something else, or that are no expectation.

    Raises:
        ValueError: It says which.
    """
    check_names([task.name for task in expected], decoders)
    for task in expected:
        last = task.product[-1]
        if last in decoders and not decoders[last].in_unit:
            raise ValueError(
                f"expected {task.name!r}: the decoder of {last!r} serves a quantile from 0 to 1, so the "
                "product is no expectation. Let it serve the value."
            )


def check_shapes(model: str, heads: Mapping[str, Any], widths: Mapping[str, int]) -> None:
    """Refuses heads of a shape that would be held against each label of a batch, and not against its own.

    Args:
        model: Its name.
        heads: Of a batch, by task.
        widths: How many raw numbers a head ends in, of those with more than one.

    Raises:
        ValueError: A head has another shape.
    """
    for name, head in heads.items():
        width = widths.get(name)
        wanted = () if width is None else (width,)
        found = tuple(head.shape)[1:]
        if found != wanted:
            cure = " Squeeze its last axis." if found == (*wanted, 1) else ""
            shown = [f"({', '.join(('batch', *map(str, shape)))})" for shape in (found, wanted)]
            raise ValueError(f"{model}: heads() gives {name!r} as {shown[0]}; it needs {shown[1]}.{cure}")


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


def decoded(
    tasks: Iterable[Task],
    decoders: Mapping[str, Decoder],
    units: Mapping[str, LabelUnit],
    heads: Mapping[str, tf.Tensor],
    inputs: Mapping[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """What raw heads are served as, ``(batch,)`` by task, then what decoders give beside by its own name.

    Args:
        tasks: What the heads predict.
        decoders: Those that there are, by task.
        units: The units of labels that have a normalizer.
        heads: Raw heads by task.
        inputs: The batch, for decoders that look at it.
    """
    plain: dict[str, tf.Tensor] = {}
    parts: dict[str, tf.Tensor] = {}
    for task in tasks:
        head, decoder = heads[task.name], decoders.get(task.name)
        if decoder is None:
            plain[task.name] = served(task, head, unit_of(task, units))
        else:
            plain[task.name] = decoder.value(head, inputs)
            names = (f"{task.name}_{end}" for end in decoder.part_names)
            parts |= dict(zip(names, decoder.parts(head), strict=True))
    return plain | parts


def with_products(found: Mapping[str, tf.Tensor], expected: Iterable[Task]) -> dict[str, tf.Tensor]:
    """Predictions, and products of them: of what is served, so that each is that of its columns."""
    products = {task.name: [found[name] for name in task.product] for task in expected}
    return {**found, **{name: functools.reduce(tf.multiply, each) for name, each in products.items()}}


def measured_parts(decoders: Mapping[str, Decoder], predicted: Mapping[str, np.ndarray]) -> dict[str, Parts]:
    """What metrics see of predictions beside values, by task."""
    found = {}
    for name, decoder in decoders.items():
        parts = decoder.measured({end: predicted[f"{name}_{end}"] for end in decoder.part_names})
        if parts is not None:
            found[name] = parts
    return found


def scalars_of(
    tasks: Iterable[Task], decoders: Mapping[str, Decoder], predicted: Mapping[str, Any]
) -> dict[str, Any]:
    """One number a row for each task that has one: of classes the expected value, else the prediction."""
    found = {}
    for task in tasks:
        end = decoders[task.name].scalar if task.kind == "classes" else None
        if task.kind != "classes":
            found[task.name] = predicted[task.name]
        elif end is not None:
            found[task.name] = predicted[f"{task.name}_{end}"]
    return found

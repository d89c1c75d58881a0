"""Objectives as data: a name, a loss of heads and labels, and what is watched.

An objective is not a task: ESMM has three heads and two objectives. A model hands its objectives up
to the base class as data; weightings count objectives and never ask which model they serve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeAlias

import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_sum, replicas
from fuxi_mtl.objectives import losses
from fuxi_mtl.options.errors import DEFAULT_ERROR, ERRORS
from fuxi_mtl.tasks import Task

Heads = Mapping[str, tf.Tensor]
Labels = Mapping[str, tf.Tensor]
Quotient: TypeAlias = tuple[tf.Tensor, tf.Tensor]  # of two sums over rows

CALIBRATOR = "calibrator"


@dataclass(frozen=True)
class Objective:
    """One term of the training loss.

    With ``m`` the rows that count and ``w`` their weights, one unless said::

        L = sum(m w error) / sum(m w)

    so a mean over all exposures has an error of 0 on the rows that add nothing, and a mean over clicks
    counts only those.

    Attributes:
        name: Key of its loss, weight and gradient norm.
        error: ``error(heads, labels) -> (batch,)``. Labels of rows that do not count are 0.
        given: ``given(labels) -> (batch,)`` booleans: the rows over which the error is averaged.
            Labels are NaN where a task is not defined or not observed.
        kind: ``binary`` or ``regression``, which uncertainty weighting treats differently, or ``fixed``:
            an adaptive weighting leaves its weight at one, because the value may be negative or is no
            measure of how well a task goes.
        observed: ``observed(labels) -> (batch,)`` booleans: the rows whose error is known, if that is not all
            of those over which it is averaged. The others add 0 to the sum and one to the divisor.
        weight: ``weight(heads, labels) -> (batch,)``: w, as when risks are self-normalised. No gradient
            flows through it.
        scale: Constant factor of the loss, outside the weighting: the lambda of a paper.
        watch: ``watch(heads, labels) -> scalars by name`` for the log, once a training step. It may bring
            running statistics up to date. Labels are NaN where not defined or not observed.
        watched: Those names.
        task: The task whose head is held against its own label, if that is what it does.

    Example:
        >>> error = lambda heads, labels: (heads["ctr"] - labels["ctr"]) ** 2
        >>> everywhere = lambda labels: tf.ones_like(labels["ctr"], tf.bool)
        >>> objective = fm.Objective("ctr", error, everywhere)
        >>> loss, rows = objective.loss({"ctr": tf.constant([1.0, 3.0])}, {"ctr": tf.constant([1.0, 1.0])})
        >>> float(loss), float(rows)
        (2.0, 2.0)
    """

    name: str
    error: Callable[[Heads, Labels], tf.Tensor]
    given: Callable[[Labels], tf.Tensor]
    kind: str = "binary"
    observed: Callable[[Labels], tf.Tensor] | None = None
    weight: Callable[[Heads, Labels], tf.Tensor] | None = None
    scale: float = 1.0
    watch: Callable[[Heads, Labels], Mapping[str, tf.Tensor]] | None = None
    watched: tuple[str, ...] = ()
    task: Task | None = None

    def loss(
        self, heads: Heads, labels: Labels, sample_weight: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean error over the rows that count, and the sum of their weights (0 if there is none).

        Both are of these rows, be there others on other replicas. A subclass with another loss overrides
        :meth:`quotients`.

        Args:
            heads: The heads of the batch, by task.
            labels: ``(batch,)`` labels, by task; NaN where not defined or not observed.
            sample_weight: ``(batch,)`` weights, or None for ones.
        """
        quotients = self.quotients(heads, labels, sample_weight)
        return summed_quotients(quotients), quotients[0][1]

    def quotients(
        self, heads: Heads, labels: Labels, sample_weight: tf.Tensor | None = None
    ) -> list[Quotient]:
        """The loss as quotients that are added up, each of two sums over rows; the first counts the rows.

        So the rows of a batch may lie apart: numerators and denominators are summed over all parts first.
        """
        return [self.sums(self.error(heads, without_nan(labels)), heads, labels, sample_weight)]

    def mean(
        self, error: tf.Tensor, heads: Heads, labels: Labels, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The mean of any ``(batch,)`` numbers over the rows of all replicas, as :meth:`loss` takes it."""
        return summed_quotients([global_sum(self.sums(error, heads, labels, sample_weight))])

    def sums(
        self, error: tf.Tensor, heads: Heads, labels: Labels, sample_weight: tf.Tensor | None = None
    ) -> Quotient:
        """The weighted sum of any ``(batch,)`` numbers over the rows that count, and that of the weights."""
        if self.observed is not None:
            error = tf.where(self.observed(labels), error, 0.0)
        mask = self.given(labels)
        weight = tf.cast(mask, tf.float32)
        if sample_weight is not None:
            weight *= sample_weight
        if self.weight is not None:
            weight *= tf.where(mask, tf.stop_gradient(self.weight(heads, without_nan(labels))), 0.0)
        return losses.masked_sums(error, mask, weight)

    def seen(
        self, heads: Heads, labels: Labels, sample_weight: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """What the objective has to say about a training step: the numbers of `watch`."""
        return {} if self.watch is None else dict(self.watch(heads, labels))


class Losses(NamedTuple):
    """The losses of a batch, by objective.

    Attributes:
        values: Each over the rows of all replicas.
        rows: The weight of those rows.
        shares: What the rows of this replica add to each; these are what a gradient is taken of, and their
            gradients add up. On one replica they are the values.
    """

    values: dict[str, tf.Tensor]
    rows: dict[str, tf.Tensor]
    shares: dict[str, tf.Tensor]


def losses_over_replicas(
    objectives: Sequence[Objective], heads: Heads, labels: Labels, sample_weight: tf.Tensor | None
) -> Losses:
    """The losses of some objectives over the rows of all replicas.

    Raises:
        ValueError: On several replicas, an objective has a loss of its own that is no sum of quotients.
    """
    labels = _Labels(labels)
    if replicas() == 1:
        values, rows = {}, {}
        for objective in objectives:
            loss, rows[objective.name] = objective.loss(heads, labels, sample_weight)
            values[objective.name] = _checked(objective.name, loss)
        return Losses(values, rows, values)
    for objective in objectives:
        if type(objective).loss is not Objective.loss:
            raise ValueError(
                f"objective {objective.name!r}: {type(objective).__name__}.loss is a mean over the rows of "
                "one device. On several, override quotients, which gives the sums that the mean is made of."
            )
    own = {o.name: o.quotients(heads, labels, sample_weight) for o in objectives}
    # Numerators and denominators of all in one call: what is divided by is no matter of gradients.
    everywhere = global_sum(tf.nest.map_structure(tf.stop_gradient, own))
    values = {name: _checked(name, summed_quotients(found)) for name, found in everywhere.items()}
    rows = {name: quotients[0][1] for name, quotients in everywhere.items()}
    shares = {
        name: summed_quotients([(mine, all_) for (mine, _), (_, all_) in zip(own[name], found, strict=True)])
        for name, found in everywhere.items()
    }
    return Losses(values, rows, shares)


def _checked(name: str, loss: tf.Tensor) -> tf.Tensor:
    return tf.debugging.check_numerics(loss, f"objective {name}")


def summed_quotients(quotients: Sequence[Quotient]) -> tf.Tensor:
    """Their sum; a quotient without rows is 0."""
    first, *others = (tf.math.divide_no_nan(*quotient) for quotient in quotients)
    return sum(others, first)


class _Labels(dict[str, tf.Tensor]):
    """Labels that have been asked for without NaN: every objective of a step asks for those of all tasks."""

    def __init__(self, labels: Labels):
        super().__init__(labels)
        self.known = without_nan(labels)


def without_nan(labels: Labels) -> Labels:
    """The labels with 0 for NaN, whose gradient would be NaN even where masked."""
    if isinstance(labels, _Labels):
        return labels.known
    return {name: tf.where(tf.math.is_nan(y), tf.zeros_like(y), y) for name, y in labels.items()}


class Decodes(Protocol):
    """What makes an error of a head of raw numbers; see :class:`fuxi_mtl.decoders.Decoder`."""

    kind: str
    watched: tuple[str, ...]

    def error(self, raw: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """``(batch,)`` errors."""

    def watch(self, raw: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """``(batch,)`` numbers whose means over rows are watched, in the order of their names."""


def supervised(task: Task, decoder: Decodes | None = None) -> Objective:
    """The error of a task's head against its label, over the rows where the label is known.

    Args:
        task: What the head predicts.
        decoder: That of the task, if it has one.

    Raises:
        ValueError: The task's loss does not fit its kind.
    """
    if decoder is not None:
        return _decoded(task, decoder)
    name, errors = task.loss or DEFAULT_ERROR[task.kind], ERRORS[task.kind]
    if name not in errors:
        raise ValueError(
            f"task {task.name!r} is {task.kind} but its loss is {name!r}. "
            f"Losses of a {task.kind} task: {', '.join(errors)}."
        )
    error = errors[name].make(dict(task.loss_options))
    return Objective(
        name=task.name,
        error=lambda heads, labels: error(heads[task.name], labels[task.name]),
        given=lambda labels: tf.logical_not(tf.math.is_nan(labels[task.name])),
        kind=task.kind,
        task=task,
    )


def _decoded(task: Task, decoder: Decodes) -> Objective:
    names = tuple(f"{task.name}_{end}" for end in decoder.watched)

    def given(labels: Labels) -> tf.Tensor:
        return tf.logical_not(tf.math.is_nan(labels[task.name]))

    def watch(heads: Heads, labels: Labels) -> dict[str, tf.Tensor]:
        known = tf.cast(given(labels), tf.float32)
        sums = [tf.reduce_sum(known * each) for each in decoder.watch(heads[task.name])]
        sums, rows = global_sum((sums, tf.reduce_sum(known)))
        return {name: tf.math.divide_no_nan(each, rows) for name, each in zip(names, sums, strict=True)}

    return Objective(
        name=task.name,
        error=lambda heads, labels: decoder.error(heads[task.name], labels[task.name]),
        given=given,
        kind=decoder.kind,
        watch=watch if names else None,
        watched=names,
        task=task,
    )


def calibrator(tasks: Sequence[Task], weight: float, stop_previous: bool = False) -> Objective:
    """``sum_t mean max(y_t - y_{t-1}, 0)`` over all rows: no step is more probable than the one before.

    Args:
        tasks: The steps, first to last, all of them on all exposures.
        weight: Factor of the loss.
        stop_previous: Whether it lowers y_t only, and never raises y_{t-1}.

    Reference:
        Xi et al. Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
        Learning in Targeted Display Advertising. KDD 2021.
    """
    stop = tf.stop_gradient if stop_previous else tf.identity

    def error(heads, labels):  # noqa: ARG001
        y = [tf.sigmoid(heads[task.name]) for task in tasks]
        return tf.add_n([tf.nn.relu(later - stop(earlier)) for earlier, later in pairwise(y)])

    def everywhere(labels):
        return tf.ones_like(labels[tasks[0].name], tf.bool)

    return Objective(CALIBRATOR, error, everywhere, kind="fixed", scale=weight)

"""Weighted positives, focal terms and auxiliary losses for rare positives.

The objectives of binary tasks are rewritten, whichever model has them: neither the model, nor the weighting,
nor the trainer knows. Options that are not used leave an objective as it is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_sum
from fuxi_mtl.objectives import Heads, Labels, Objective, supervised, without_nan
from fuxi_mtl.objectives.losses import bce_with_logits, focal_with_logits
from fuxi_mtl.options import (
    CVR_AUX,
    AuxFocalOptions,
    ClipScheduleOptions,
    ImbalanceOptions,
    has_default_error,
)
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)


class Imbalance:
    """Weighted positives, a focal term, factors and an auxiliary loss, as a stanza asks for them.

    ::

        w     = min(static_pos_weight or negatives / positives of the batch, clip(step))
        error = w y softplus(-z) + (1 - y) softplus(z)  +  1[step >= warmup_steps] lambda focal(z, y)
        L     = lambda_ctr L_ctr + lambda_ctcvr L_ctcvr + lambda_cvr_aux L_cvr_aux

    The weight multiplies positives only, the mean is over rows, and the focal term has no such weight.

    Args:
        options: The keys; none of them changes anything unless said.

    Reference:
        Lin et al. Focal Loss for Dense Object Detection. ICCV 2017 (the focal factor).
    """

    def __init__(self, options: ImbalanceOptions | None = None):
        self.options = options or ImbalanceOptions()
        for task, weight in (self.options.static_pos_weight or {}).items():
            most = largest_clip(self.options, task)
            if most is not None and weight > most:
                logger.warning(
                    "static_pos_weight of %s is %g, but its clip is never above %g: it is never reached.",
                    task,
                    weight,
                    most,
                )

    def apply(
        self, objectives: Sequence[Objective], tasks: Sequence[Task], step: tf.Tensor
    ) -> list[Objective]:
        """The objectives to minimise in place of the model's.

        Args:
            objectives: Those of the model.
            tasks: What the model predicts.
            step: Optimizer steps taken, a tensor: a Python number would stay what it was when traced.

        Raises:
            ValueError: ``lambda_cvr_aux`` has no task cvr, or one that has a loss of its own.
        """
        changed = [self._changed(objective, step) for objective in objectives]
        if self.options.lambda_cvr_aux:
            trained = [objective.task.name for objective in objectives if objective.task is not None]
            changed.append(_auxiliary(self.options, tasks, trained))
        return changed

    def pos_weight(self, task: str, step: tf.Tensor) -> tf.Tensor | None:
        """The static weight of a task's positives at a step, a float32 scalar; None where it has none."""
        static = (self.options.static_pos_weight or {}).get(task)
        return None if static is None else _clipped(tf.constant(static, tf.float32), self.clip(task, step))

    def weight_at(self, task: str, rate: float) -> float:
        """The weight of a task's positives at the first step, where they are `rate` of its rows."""
        start = tf.constant(0, tf.int64)
        if self.options.pos_weight_dynamic:
            return float(_clipped(tf.constant((1 - rate) / rate, tf.float32), self.clip(task, start)))
        weight = self.pos_weight(task, start)
        return 1.0 if weight is None else float(weight)

    def clip(self, task: str, step: tf.Tensor) -> tf.Tensor | None:
        """The largest weight of a task's positives at a step, a float32 scalar; None without a clip."""
        schedule = self.options.pos_weight_clip_schedule
        if schedule.enabled and schedule.target in (task, "both"):
            return scheduled_clip(schedule, step)
        clip = (self.options.pos_weight_clip or {}).get(task)
        return None if clip is None else tf.constant(clip, tf.float32)

    def _changed(self, objective: Objective, step: tf.Tensor) -> Objective:
        task, options = objective.task, self.options
        if task is None or task.kind != "binary":
            return objective
        factor = {"ctr": options.lambda_ctr, "ctcvr": options.lambda_ctcvr}.get(task.name, 1.0)
        if factor != 1:
            objective = replace(objective, scale=factor * objective.scale)
        if not has_default_error(task):  # there is no cross-entropy to change
            return objective
        focal = options.aux_focal if task.name == options.aux_focal.target_head else AuxFocalOptions()
        weighted = options.pos_weight_dynamic or task.name in (options.static_pos_weight or {})
        if not (weighted or focal.enabled):
            return objective
        known = {each.name: getattr(objective, each.name) for each in fields(Objective)}
        names = (*objective.watched, *_numbers(task.name, weighted, focal))
        return _Rebalanced(**{**known, "watched": names}, imbalance=self, focal=focal, step=step)


@dataclass(frozen=True)
class _Rebalanced(Objective):
    """A supervised binary objective with weighted positives and, perhaps, a focal term."""

    imbalance: Imbalance = field(default_factory=Imbalance)
    focal: AuxFocalOptions = field(default_factory=AuxFocalOptions)
    step: tf.Tensor = 0

    def quotients(self, heads, labels, sample_weight=None):
        bce = self._cross_entropy(heads, labels, self._pos_weight(labels, sample_weight))
        # Without a factor the focal term is not computed at all.
        error = bce + self._factor() * self._focal(heads, labels) if self._has_focal else bce
        return [self.sums(error, heads, labels, sample_weight)]

    def seen(self, heads, labels, sample_weight=None):
        weight = self._pos_weight(labels, sample_weight)
        numbers = super().seen(heads, labels, sample_weight)
        if weight is not None:
            numbers[f"pos_weight_{self.name}_effective"] = weight
        if self.focal.enabled:
            numbers["aux_focal_on"] = self._focal_is_on()
        if self.focal.enabled and self.focal.log_components:
            bce, focal = self._cross_entropy(heads, labels, weight), self._focal(heads, labels)
            numbers[f"loss_{self.name}_bce"] = self.mean(bce, heads, labels, sample_weight)
            numbers[f"loss_{self.name}_focal"] = self.mean(focal, heads, labels, sample_weight)
        return numbers

    @property
    def _has_focal(self) -> bool:
        return self.focal.enabled and self.focal.lambda_ > 0

    def _focal_is_on(self) -> tf.Tensor:
        return tf.cast(self.step >= self.focal.warmup_steps, tf.float32)

    def _factor(self) -> tf.Tensor:
        return self._focal_is_on() * self.focal.lambda_

    def _pos_weight(self, labels: Labels, sample_weight: tf.Tensor | None) -> tf.Tensor | None:
        if not self.imbalance.options.pos_weight_dynamic:
            return self.imbalance.pos_weight(self.name, self.step)
        mask, y = self.given(labels), without_nan(labels)[self.name]
        counted = tf.cast(mask, tf.float32) * (1.0 if sample_weight is None else sample_weight)
        positives, negatives = global_sum((tf.reduce_sum(counted * y), tf.reduce_sum(counted * (1 - y))))
        weight = tf.where(positives > 0, tf.math.divide_no_nan(negatives, positives), 1.0)
        return _clipped(weight, self.imbalance.clip(self.name, self.step))

    def _cross_entropy(self, heads: Heads, labels: Labels, weight: tf.Tensor | None) -> tf.Tensor:
        z, y = heads[self.name], without_nan(labels)[self.name]
        return bce_with_logits(z, y) if weight is None else bce_with_logits(z, y, weight)

    def _focal(self, heads: Heads, labels: Labels) -> tf.Tensor:
        options = self.focal
        return focal_with_logits(
            heads[self.name],
            without_nan(labels)[self.name],
            options.gamma,
            options.alpha if options.use_alpha else None,
            options.detach_p_for_weight,
            "float32" if options.compute_fp32 else keras.config.dtype_policy().compute_dtype,
        )


@dataclass(frozen=True)
class _BatchMean(Objective):
    """The same sum of errors, divided by all rows of the batch."""

    def sums(self, error, heads, labels, sample_weight=None):
        total, counted = super().sums(error, heads, labels, sample_weight)
        everything = tf.ones_like(error) if sample_weight is None else sample_weight
        # By way of the mean, as ever: the last bit is that of stored runs.
        return tf.math.divide_no_nan(total, counted) * counted, tf.reduce_sum(everything)


def _auxiliary(options: ImbalanceOptions, tasks: Sequence[Task], trained: Sequence[str]) -> Objective:
    """The error of the head cvr on its own rows, which are those with a click."""
    found = [task for task in tasks if task.name == "cvr" and task.given]
    if not found or "cvr" in trained:
        why = "it has a loss of its own already" if found else "there is no such task under a condition"
        raise ValueError(f"lambda_cvr_aux adds a loss of the task cvr, but {why}.")
    objective = supervised(found[0])
    kind = _BatchMean if options.cvr_aux_normalize == "batch" else Objective
    known = {each.name: getattr(objective, each.name) for each in fields(Objective)}
    return kind(**{**known, "name": CVR_AUX, "scale": options.lambda_cvr_aux})


def _numbers(task: str, weighted: bool, focal: AuxFocalOptions) -> list[str]:
    """What such an objective has to say."""
    names = [f"pos_weight_{task}_effective"] if weighted else []
    names += ["aux_focal_on"] if focal.enabled else []
    if focal.enabled and focal.log_components:
        names += [f"loss_{task}_bce", f"loss_{task}_focal"]
    return names


def _clipped(weight: tf.Tensor, clip: tf.Tensor | None) -> tf.Tensor:
    return weight if clip is None else tf.minimum(weight, clip)


def scheduled_clip(schedule: ClipScheduleOptions, step: tf.Tensor) -> tf.Tensor:
    """The clip at a step, a float32 scalar.

    ``piecewise`` is the value of the last milestone that is not above the step; ``linear`` goes from
    ``start_value`` at ``start_step`` to ``end_value`` at ``end_step`` and stays there.
    """
    if schedule.type == "piecewise":
        milestones = tf.constant(schedule.milestones, tf.int64)
        passed = tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) >= milestones, tf.int32))
        return tf.gather(tf.constant(schedule.values, tf.float32), passed - 1)
    since = tf.cast(tf.cast(step, tf.int64) - schedule.start_step, tf.float32)
    share = tf.clip_by_value(since / (schedule.end_step - schedule.start_step), 0.0, 1.0)
    return schedule.start_value + share * (schedule.end_value - schedule.start_value)


def largest_clip(options: ImbalanceOptions, task: str) -> float | None:
    """The largest value that the clip of a task's weight ever has; None without a clip."""
    schedule = options.pos_weight_clip_schedule
    if not (schedule.enabled and schedule.target in (task, "both")):
        return (options.pos_weight_clip or {}).get(task)
    if schedule.type == "piecewise":
        return max(schedule.values)
    return max(schedule.start_value, schedule.end_value)

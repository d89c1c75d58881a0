"""A plan of the learning rate that cannot be followed, or that another option would spoil."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import LearningRateOptions, OptimizerOptions, TrainingOptions


def checked_schedule(
    settings: Settings, optimizer: OptimizerOptions, training: TrainingOptions
) -> TrainingOptions:
    """How to train beside ``lr_scheduler``: without ``reduce_lr_on_plateau``, which is a plan of its own.

    Raises:
        ConfigError: A number that makes no plan, or both plans were asked for.
    """
    plan = optimizer.lr_scheduler
    if plan is None or not plan.enabled:
        return training
    for message in _mistakes(plan):
        raise settings.error("lr_scheduler", f"lr_scheduler{message}")
    if training.reduce_lr_on_plateau and settings.layer("reduce_lr_on_plateau") > Layer.BASE:
        raise settings.error(
            "reduce_lr_on_plateau",
            "reduce_lr_on_plateau and lr_scheduler both set the learning rate. Write "
            "reduce_lr_on_plateau: False, or leave lr_scheduler out.",
        )
    return replace(training, reduce_lr_on_plateau=False)


def _mistakes(plan: LearningRateOptions) -> Iterator[str]:
    if plan.warmup_steps < 0:
        yield f".warmup_steps is {plan.warmup_steps}; the least is 0."
    if plan.total_steps is not None and plan.total_steps <= plan.warmup_steps:
        yield f".total_steps is {plan.total_steps}; it must be above warmup_steps, {plan.warmup_steps}."
    if not 0 <= plan.min_lr_ratio <= 1:
        yield f".min_lr_ratio is {plan.min_lr_ratio:g}; it lies from 0 to 1."
    if not 0 < plan.step_gamma <= 1:
        yield f".step_gamma is {plan.step_gamma:g}; it must be above 0 and at most 1."
    if plan.type == "step" and not plan.step_milestones:
        yield " of type step needs step_milestones, such as [2000, 4000]."
    if plan.type == "cosine" and plan.step_milestones:
        yield ".step_milestones has no effect with type cosine. Use type: step, or leave it out."
    if any(second <= first for first, second in pairwise([-1, *plan.step_milestones])):
        yield f".step_milestones are {plan.step_milestones}; they rise, from 0 up."

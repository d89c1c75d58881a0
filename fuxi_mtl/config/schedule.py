"""Checks of ``lr_scheduler``, alone and beside ``reduce_lr_on_plateau``."""

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
    settings.tell(("lr_scheduler", f"lr_scheduler{message}") for message in _mistakes(plan))
    if training.reduce_lr_on_plateau and settings.layer("reduce_lr_on_plateau") > Layer.BASE:
        raise settings.error(
            "reduce_lr_on_plateau",
            "reduce_lr_on_plateau and lr_scheduler both set the learning rate. Write "
            "reduce_lr_on_plateau: False, or leave lr_scheduler out.",
        )
    return replace(training, reduce_lr_on_plateau=False)


def _mistakes(plan: LearningRateOptions) -> Iterator[str]:
    if plan.total_steps is not None and plan.total_steps <= plan.warmup_steps:
        yield f".total_steps is {plan.total_steps}; it must be above warmup_steps, {plan.warmup_steps}."
    if plan.type == "step" and not plan.step_milestones:
        yield " of type step needs step_milestones, such as [2000, 4000]."
    if plan.type == "cosine" and plan.step_milestones:
        yield ".step_milestones has no effect with type cosine. Use type: step, or leave it out."
    if any(second <= first for first, second in pairwise(plan.step_milestones)):
        yield f".step_milestones are {plan.step_milestones}; they rise."

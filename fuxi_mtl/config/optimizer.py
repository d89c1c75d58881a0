"""Checks of the optimizer's options: ``betas`` and ``epsilon``, and ``lr_scheduler`` beside the plateau."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import LearningRateOptions, OptimizerOptions, TrainingOptions

_WITH_BETAS = ("adam", "adamw", "nadam", "lion", "dense_equivalent_adam")
_WITH_EPSILON = ("adam", "adamw", "nadam", "rmsprop", "adagrad", "rowwise_adagrad", "dense_equivalent_adam")
_ROWS_OF = {"sgd": "sgd", "adagrad": "adagrad", "ftrl": "ftrl"}  # lazy Adam beside all others


def check_moments(settings: Settings, options: OptimizerOptions) -> None:
    """Each number has an optimizer that takes it.

    Raises:
        ConfigError: Not two betas, or an optimizer without them.
    """
    settings.tell(_mistakes_of_moments(settings, options))


def _mistakes_of_moments(settings: Settings, options: OptimizerOptions) -> Iterator[tuple[str, str]]:
    rows = options.embedding_optimizer or _ROWS_OF.get(options.optimizer, "adam")
    for prefix, optimizer in (("", options.optimizer), ("embedding_", rows)):
        for name, owners in (("betas", _WITH_BETAS), ("epsilon", _WITH_EPSILON)):
            key = f"{prefix}{name}"
            value = getattr(options, key)
            if value is None:
                continue
            if name == "betas" and len(value) != 2:
                yield key, f"{key} is {value}; give two numbers, as in [0.9, 0.999]."
            # Base speaks to all experiments.
            if optimizer not in owners and settings.layer(key) > Layer.BASE:
                yield (
                    key,
                    f"{key} has no effect on {prefix}optimizer {optimizer}. It is for {', '.join(owners)}.",
                )


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
    settings.tell(("lr_scheduler", f"lr_scheduler{message}") for message in _mistakes_of_schedule(plan))
    if training.reduce_lr_on_plateau and settings.layer("reduce_lr_on_plateau") > Layer.BASE:
        raise settings.error(
            "reduce_lr_on_plateau",
            "reduce_lr_on_plateau and lr_scheduler both set the learning rate. Write "
            "reduce_lr_on_plateau: False, or leave lr_scheduler out.",
        )
    if training.resume_path is not None and plan.type == "cosine" and plan.total_steps is None:
        raise settings.error(
            "resume_path",
            "resume_path goes on with another number of steps, on which lr_scheduler depends. Write "
            "lr_scheduler.total_steps as it was: the steps of the first run, or more of both.",
        )
    return replace(training, reduce_lr_on_plateau=False)


def _mistakes_of_schedule(plan: LearningRateOptions) -> Iterator[str]:
    if plan.total_steps is not None and plan.total_steps <= plan.warmup_steps:
        yield f".total_steps is {plan.total_steps}; it must be above warmup_steps, {plan.warmup_steps}."
    if plan.type == "step" and not plan.step_milestones:
        yield " of type step needs step_milestones, such as [2000, 4000]."
    if plan.type == "cosine" and plan.step_milestones:
        yield ".step_milestones has no effect with type cosine. Use type: step, or leave it out."
    if any(second <= first for first, second in pairwise(plan.step_milestones)):
        yield f".step_milestones are {plan.step_milestones}; they rise."

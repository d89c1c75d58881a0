"""Learning rates that warm up, and then fall by a plan."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.options import LearningRateOptions

logger = logging.getLogger(__name__)


@keras.saving.register_keras_serializable("fuxi_mtl")
class WarmUpThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The block ``lr_scheduler``.

    At step t, counted from 0 at the first one, with ``progress = min(1, (t - warmup) / (total - warmup))``::

        t < warmup   rate (t + 1) / warmup
        cosine       rate (min + (1 - min) (1 + cos(pi progress)) / 2)
        step         rate max(gamma^(milestones <= t), min)

    It is a function of the optimizer's count of steps, which a checkpoint holds, and of nothing else.

    Args:
        rate: The learning rate that the plan scales.
        options: The block.
        total_steps: Steps of the run, for a plan that names no total of its own.
        first_step: Where the optimizer's count stands when the run begins.

    >>> from fuxi_mtl.options import LearningRateOptions
    >>> plan = WarmUpThenDecay(0.1, LearningRateOptions(enabled=True, type="cosine", warmup_steps=2), 10)
    >>> [round(float(plan(step)), 3) for step in (0, 1, 2, 6)]
    [0.05, 0.1, 0.1, 0.05]
    """

    def __init__(self, rate: float, options: LearningRateOptions, total_steps: int, first_step: int = 0):
        self.rate, self.options, self.first_step = rate, options, first_step
        self.total_steps = options.total_steps or total_steps
        if options.warmup_steps >= total_steps:
            logger.warning(
                "lr_scheduler: the run ends after %d steps, before the warm-up of %d is over.",
                total_steps,
                options.warmup_steps,
            )

    def __call__(self, step) -> tf.Tensor:
        """The rate of a step."""
        t, options = tf.cast(step - self.first_step, tf.float32), self.options
        decayed = self._cosine(t) if options.type == "cosine" else self._steps(t)
        warming = (t + 1) / max(options.warmup_steps, 1)
        return self.rate * tf.where(t < options.warmup_steps, warming, decayed)

    def get_config(self) -> dict[str, Any]:
        """Its arguments."""
        options = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.options).items()}
        return {
            "rate": self.rate,
            "options": options,
            "total_steps": self.total_steps,
            "first_step": self.first_step,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "WarmUpThenDecay":
        """The plan of such a configuration."""
        return cls(**{**config, "options": LearningRateOptions(**config["options"])})

    def _cosine(self, t: tf.Tensor) -> tf.Tensor:
        least, warmup = self.options.min_lr_ratio, self.options.warmup_steps
        progress = tf.clip_by_value((t - warmup) / max(self.total_steps - warmup, 1), 0.0, 1.0)
        return least + 0.5 * (1 - least) * (1 + tf.cos(math.pi * progress))

    def _steps(self, t: tf.Tensor) -> tf.Tensor:
        milestones = tf.constant(self.options.step_milestones, tf.float32)
        passed = tf.reduce_sum(tf.cast(milestones <= t, tf.float32))
        return tf.maximum(tf.pow(self.options.step_gamma, passed), self.options.min_lr_ratio)

"""What can end a training before its time, told so that a user knows what to change."""

import tensorflow as tf

from fuxi_mtl.config import Experiment
from fuxi_mtl.evaluation.memory import TrainingError
from fuxi_mtl.model import MultiTaskModel


def diverged(error: tf.errors.OpError, model: MultiTaskModel, experiment: Experiment) -> Exception:
    """What to say of an objective whose loss is not finite; other errors stay as they are."""
    names = [o.name for o in model.training_objectives() if f"objective {o.name} :" in error.message]
    if not names:
        return error
    step = int(tf.convert_to_tensor(model.optimizer.iterations)) + 1
    return TrainingError(
        f"the loss of objective {names[0]!r} is not finite at step {step}. "
        f"Try a smaller learning_rate (now {experiment.optimizer.learning_rate:g}), "
        f"a smaller max_gradient_norm (now {experiment.optimizer.max_gradient_norm:g}), "
        "precision: float32, or look for extreme values in the numeric features and labels."
    )
